"""Opening files that come from outside, and writing files that are either whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from r3d2_ros.errors import InputError

MAX_ROWS = 50_000_000
"""Gaussians in one file. More fit no machine this runs on, and a sparse file may claim any number."""


@contextmanager
def open_input(path: str | Path, *, expected: str) -> Iterator[BinaryIO]:
    """Open a regular file for reading. InputError when it is missing, a folder, a device or not readable,
    and for every OSError or MemoryError while it is read."""
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(str(path), expected, "a folder")
        if not path.exists():
            raise InputError(str(path), expected, "no such file")
        if not path.is_file():
            raise InputError(str(path), expected, "something that is not a regular file")
        with path.open("rb") as file:
            yield file
    except PermissionError as error:
        raise InputError(str(path), expected, "no permission to read it") from error
    except MemoryError as error:
        raise InputError(str(path), "a file that fits in memory", f"{path.stat().st_size} bytes") from error
    except OSError as error:
        raise InputError(str(path), expected, f"a read error: {error.strerror or error}") from error


def file_size(file: BinaryIO) -> int:
    """Bytes in an open regular file."""
    return os.fstat(file.fileno()).st_size


@contextmanager
def atomic_output(path: str | Path) -> Iterator[BinaryIO]:
    """Write to a temporary file beside `path`, which takes its place when the block ends without an error.

    InputError when the folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.is_dir():
            raise InputError(str(path), "the name of a file to write", "a folder")
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        got = error.strerror or str(error)
        hint = "" if path.parent.is_dir() else "Create the folder first"
        raise InputError(str(path), "a file that can be written", got, hint) from error
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and its parents. InputError when that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(str(path), "a folder that can be written", error.strerror or str(error)) from error
