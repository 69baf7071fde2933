"""The files that a bag is made of, in their order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from r3d2_ros.errors import InputError
from r3d2_ros.foreign_files import ROS1_BAG_HINT
from r3d2_ros.input_files import not_a_file

STORAGE_SUFFIXES = (".db3", ".mcap")
ZSTD_SUFFIX = ".zstd"
METADATA = "metadata.yaml"


@dataclass(frozen=True)
class BagFiles:
    """files: those to read. missing: named in metadata.yaml and not there. others: in the folder, and not read."""

    files: tuple[Path, ...]
    missing: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def find_files(path: Path) -> BagFiles:
    """The files of a bag folder, or the one file. NAME and NAME.zstd are one file.

    Where metadata.yaml names one that is there, those that it names and no others; else all of the folder, in the order
    of their numbers.
    """
    if not path.is_dir():
        if (got := not_a_file(path)) is not None:
            raise InputError(str(path), "a rosbag2 folder, .db3 or .mcap file", got)
        if not _is_storage(path):
            hint = ROS1_BAG_HINT if path.suffix == ".bag" else ""
            raise InputError(str(path), "a rosbag2 folder, .db3 or .mcap file", f"a '{path.suffix}' file", hint)
        if path.stat().st_size == 0:
            raise InputError(str(path), "a readable rosbag2", "an empty file")
        return BagFiles((path,))
    try:
        entries = sorted(path.iterdir(), key=lambda entry: _natural(entry.name))
    except OSError as error:
        raise InputError(str(path), "a rosbag2 folder that can be read", error.strerror or str(error)) from error
    there = [entry.name for entry in entries if _is_storage(entry)]
    if not there:
        found = ", ".join(entry.name for entry in entries[:8]) or "an empty folder"
        raise InputError(str(path), "at least one .db3 or .mcap file in the folder", found)
    listed = _listed(path)
    named = {name: _present(name, there) for name in listed}
    chosen = [name for name in named.values() if name] or _one_of_each(there)
    missing = tuple(name for name, present in named.items() if present is None)
    files = tuple(path / name for name in dict.fromkeys(chosen))
    for file in files:
        if (got := not_a_file(file)) is not None:
            raise InputError(str(file), "a file of a rosbag2", got)
    read = {_unpacked(name) for name in chosen}
    return BagFiles(files, missing, tuple(name for name in there if _unpacked(name) not in read))


def _is_storage(path: Path) -> bool:
    return _unpacked(path.name).endswith(STORAGE_SUFFIXES)


def _unpacked(name: str) -> str:
    return name.removesuffix(ZSTD_SUFFIX)


def _present(name: str, there: Iterable[str]) -> str | None:
    """The file as metadata.yaml names it, else in its other form: packed or unpacked."""
    if name in there:
        return name
    return next((other for other in there if _unpacked(other) == _unpacked(name)), None)


def _one_of_each(names: Iterable[str]) -> list[str]:
    """Of a file that is there packed and unpacked, the latter."""
    return [name for name in names if name == _unpacked(name) or _unpacked(name) not in names]


def _natural(name: str) -> list[tuple[int, str]]:
    """drive_2 before drive_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _listed(folder: Path) -> list[str]:
    """File names in metadata.yaml, in its order; empty where there is none or it cannot be used."""
    try:
        data = yaml.safe_load((folder / METADATA).read_text(encoding="utf-8"))
        paths = data["rosbag2_bagfile_information"]["relative_file_paths"]
        return [Path(str(path)).name for path in paths]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, RecursionError):
        return []
