"""Where the shipped configuration lies, and where results that cost time are kept between runs."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import shutil
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from r3d2_ros.errors import InputError, printable

log = logging.getLogger(__name__)

PACKAGE_DIR = Path(__file__).resolve().parent


def user_path(text: str | Path, where: str) -> Path:
    """The path that a user wrote, `~` and `~user` expanded. InputError, naming `where`, for a user that is unknown."""
    try:
        return Path(text).expanduser()
    except (RuntimeError, ValueError) as error:  # ValueError: a NUL byte in the name of the user
        got = f"'{text}', and there is no home folder for '{Path(text).parts[0]}'"
        raise InputError(where, "a path", printable(got)) from error


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

    $R3D2_CACHE_DIR, else $XDG_CACHE_HOME/r3d2_ros, else ~/.cache/r3d2_ros, else (without a home) a folder of this
    user beside other temporary ones. Where that cannot be written, or somebody else has put one there, a temporary
    folder that goes when the process ends, with a line in the log: then nothing is kept for the next run.
    """
    wanted, home = _cache_location()
    try:
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            facts = wanted.stat() if home else wanted.lstat()  # everybody can put a link among the temporary folders
    except OSError as error:
        return _temporary_folder(f"the cache folder {wanted} cannot be written ({error.strerror or error})")
    if not home and not (stat.S_ISDIR(facts.st_mode) and _is_private(facts)):
        return _temporary_folder(f"the cache folder {wanted} may have been put there by another user")
    return wanted


def code_folder(folder: Path, where: str, *, within: Path | None = None) -> Path:
    """A folder of compiled code, created. InputError, naming `where`, for one that cannot be written, or into which
    everybody could put code of their own, also by putting another folder `within` the given one in its place."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            facts = {folder: folder.stat()}
        if within is not None:
            facts[within] = within.stat()
    except OSError as error:
        raise InputError(where, "a folder that can be written", f"'{folder}': {error.strerror or error}") from error
    for path, fact in facts.items():
        if not _is_private(fact, sticky_will_do=path != folder):
            whose = f"'{path}' of user {fact.st_uid} with mode {stat.filemode(fact.st_mode)}"
            hint = "What lies in it is run: name a folder of your own, here or in R3D2_CACHE_DIR"
            raise InputError(where, "a folder of this user that not everybody can write", whose, hint)
    return folder


def _is_private(facts: os.stat_result, *, sticky_will_do: bool = False) -> bool:
    """Whether neither another user, but for root, nor everybody can write there, or, where `sticky_will_do`, can
    replace what lies there."""
    everybody = facts.st_mode & stat.S_IWOTH and not (sticky_will_do and facts.st_mode & stat.S_ISVTX)
    return facts.st_uid in (os.getuid(), 0) and not everybody


_temporary_lock = threading.Lock()
_temporary: list[Path] = []


def _temporary_folder(reason: str) -> Path:
    """The one of this process, whichever thread asks first; removed when the process ends."""
    with _temporary_lock:
        if not _temporary:
            folder = Path(tempfile.mkdtemp(prefix="r3d2_ros-"))
            _temporary.append(folder)
            atexit.register(_remove, folder, os.getpid())
            log.warning(
                "%s: using %s for this run, so the next one starts slowly again. Set R3D2_CACHE_DIR to a folder "
                "that can be written.",
                reason,
                folder,
            )
        return _temporary[0]


def _remove(folder: Path, pid: int) -> None:
    if os.getpid() == pid:  # not in a forked child, which inherits the exit handler
        shutil.rmtree(folder, ignore_errors=True)


def _cache_location() -> tuple[Path, bool]:
    """The wanted folder, and whether it was named or is in a home: then links in it are as the user wants them."""
    if named := os.environ.get("R3D2_CACHE_DIR"):
        return user_path(named, "R3D2_CACHE_DIR").absolute(), True
    if base := os.environ.get("XDG_CACHE_HOME"):
        return user_path(base, "XDG_CACHE_HOME").absolute() / "r3d2_ros", True
    try:
        return Path.home() / ".cache" / "r3d2_ros", True
    except RuntimeError:  # no HOME and no passwd entry, as in some containers
        return Path(tempfile.gettempdir()) / f"r3d2_ros-{os.getuid()}", False
