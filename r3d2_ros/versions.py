"""Versions for people and for records."""

from __future__ import annotations

import platform
from importlib import metadata
from xml.etree import ElementTree

from r3d2_ros.resources import config_dir


def own_version() -> str:
    """Version of r3d2_ros: of the installed package, or of package.xml where a ROS build installed it."""
    try:
        return metadata.version("r3d2_ros")
    except metadata.PackageNotFoundError:
        return ElementTree.parse(config_dir().parent / "package.xml").findtext("version", "unknown")  # noqa: S314


def versions(*packages: str) -> dict[str, str]:
    """Versions of r3d2_ros, Python and those of `packages` (distribution names) that are installed."""
    found = {"r3d2_ros": own_version(), "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
