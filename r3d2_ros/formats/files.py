"""Limits of files, and writing files that are either whole or absent."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from r3d2_ros.errors import InputError
from r3d2_ros.input_files import not_a_file

MAX_ROWS = 50_000_000
"""Gaussians in one file. More fit no machine this runs on, and a sparse file may claim any number."""


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
        missing = isinstance(error, FileNotFoundError) and not path.parent.is_dir()
        hint = "Create the folder first" if missing else ""
        raise InputError(str(path), "a file that can be written", write_problem(path, error), hint) from error
    finally:
        with suppress(OSError):  # where it could not be made, it cannot be removed: not a directory, too long a name
            temporary.unlink()


def make_folder(path: Path) -> None:
    """Make a folder and its parents. InputError when that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        other = next((place for place in (path, *path.parents) if place.is_symlink() or place.exists()), path)
        what = not_a_file(other) or "a file"
        got = what if other == path else f"{what} at {other}"
        raise InputError(str(path), "a folder that can be written", got) from error
    except OSError as error:
        raise InputError(str(path), "a folder that can be written", write_problem(path, error)) from error


def check_output_file(path: Path) -> None:
    """InputError for a file that could not be written after work that may take hours. Makes its folder; what is there
    stays as it is."""
    make_folder(path.parent)
    try:
        if path.is_dir():
            raise InputError(str(path), "the name of a file to write", "a folder")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(str(path), "a file that can be written", write_problem(path, error)) from error


def free_name(path: Path) -> Path:
    """Where something that is called `path` can be set aside: path.1, path.2, ..., the first that is free."""
    return next(aside for k in count(1) if not (aside := path.with_name(f"{path.name}.{k}")).exists())


def write_problem(path: Path, error: OSError) -> str:
    """Why a file could not be written, for people."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        limit = "no space left" if error.errno == errno.ENOSPC else "the disk quota is used up"
        return f"{limit} on the disk of {path.parent}"
    return error.strerror or str(error)
