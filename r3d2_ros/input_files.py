"""Opening files that come from outside: regular files only, and what else stands there is said in words."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from r3d2_ros.errors import InputError

SPECIAL_FILES = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def not_a_file(path: Path) -> str | None:
    """What keeps `path` from being read as a regular file, in words, found without opening it; None for nothing."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        return _why_not_there(path, error)
    if stat.S_ISREG(mode):
        return None
    return "a folder" if stat.S_ISDIR(mode) else f"{SPECIAL_FILES[stat.S_IFMT(mode)]}, not a regular file"


def _why_not_there(path: Path, error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):
        return "a name with a NUL byte"
    if isinstance(error, PermissionError):
        return "a folder that may not be searched (permission denied)"
    if error.errno == errno.ELOOP:
        return "a loop of symbolic links"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "a symbolic link to nothing" if path.is_symlink() else "no such file"
    return error.strerror or str(error)


@contextmanager
def open_input(path: str | Path, *, expected: str) -> Iterator[BinaryIO]:
    """Open a regular file for reading. InputError when it is missing, a folder, a pipe, a device or not readable,
    and for every OSError or MemoryError while it is read."""
    path = Path(path)
    if (got := not_a_file(path)) is not None:
        raise InputError(str(path), expected, got)
    try:
        with path.open("rb") as file:
            yield file
    except PermissionError as error:
        raise InputError(str(path), expected, "no permission to read it") from error
    except MemoryError as error:
        raise InputError(str(path), "a file that fits in memory", f"{path.stat().st_size} bytes") from error
    except OSError as error:
        raise InputError(str(path), expected, f"a read error: {error.strerror or error}") from error


def read_input(path: str | Path, *, expected: str, most_bytes: int) -> bytes:
    """The bytes of a regular file. InputError as in `open_input`, and when they are more than `most_bytes`."""
    with open_input(path, expected=expected) as file:
        data = file.read(most_bytes + 1)
        if len(data) > most_bytes:
            raise InputError(str(path), f"at most {most_bytes} bytes", f"{os.fstat(file.fileno()).st_size} bytes")
    return data
