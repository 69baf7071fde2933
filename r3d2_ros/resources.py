"""Where the shipped configuration lies, and where results that cost time are kept between runs."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from r3d2_ros.errors import InputError

PACKAGE_DIR = Path(__file__).resolve().parent


@functools.cache
def config_dir() -> Path:
    """Folder with the shipped `sim.yaml` and `rigs/`: of the checkout the package runs from, else of its installation.

    An installation is looked for in every prefix of AMENT_PREFIX_PATH, in sys.prefix, and in the prefixes above the
    package itself (lib/pythonX/site-packages). InputError that names the places when there is none.
    """
    places = list(dict.fromkeys(_places(PACKAGE_DIR)))
    for place in places:
        if place.is_dir():
            return place
    raise InputError(
        "shipped configuration",
        "a folder at one of " + ", ".join(str(place) for place in places),
        "none of them",
        "Install the package again, or run it from its checkout.",
    )


def _places(package_dir: Path) -> Iterator[Path]:
    checkout = package_dir.parent
    if (checkout / "package.xml").is_file():
        yield checkout / "config"
    prefixes = [Path(entry) for entry in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if entry]
    above = list(package_dir.parents)[1:5]  # site-packages/.., up to <prefix>/local/lib/pythonX/dist-packages
    for prefix in (*above, *prefixes, Path(sys.prefix)):
        yield prefix / "share" / "r3d2_ros" / "config"


@functools.cache
def cache_dir() -> Path:
    """Writable folder for built scenes and compiled kernels, created here.

    $R3D2_CACHE_DIR, else $XDG_CACHE_HOME/r3d2_ros, else ~/.cache/r3d2_ros. Where that cannot be written, a temporary
    folder of this process, with a warning: then nothing is kept for the next run.
    """
    wanted = _cache_location()
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            return wanted
    except OSError as error:
        fallback = Path(tempfile.mkdtemp(prefix="r3d2_ros-"))
        warnings.warn(
            f"the cache folder {wanted} cannot be written ({error.strerror}): using {fallback} for this run, so the "
            "next one starts slowly again. Set R3D2_CACHE_DIR to a folder that can be written.",
            stacklevel=2,
        )
        return fallback


def _cache_location() -> Path:
    if named := os.environ.get("R3D2_CACHE_DIR"):
        return Path(named).expanduser().absolute()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser().absolute() / "r3d2_ros"
    try:
        return Path.home() / ".cache" / "r3d2_ros"
    except RuntimeError:  # no HOME and no passwd entry, as in some containers
        return Path(tempfile.gettempdir()) / "r3d2_ros"
