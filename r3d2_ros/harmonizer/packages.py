"""Packages without which nothing of the harmonizer runs. Nothing here imports them."""

from __future__ import annotations

from importlib.util import find_spec

from r3d2_ros.errors import MissingPackageError

PACKAGES = ("torch", "diffusers", "safetensors")
INSTALL = "pip install 'r3d2_ros[harmonizer]'"


def need_packages(needed_for: str, install: str = INSTALL, *, besides: tuple[str, ...] = ()) -> None:
    """MissingPackageError, with what they are `needed_for` and how to `install` them, unless all are installed, those
    `besides` too."""
    for package in (*PACKAGES, *besides):
        if find_spec(package) is None:
            raise MissingPackageError(package, needed_for, install)
