"""Reading bags: sqlite3 and MCAP, one file or many, with or without metadata.yaml, compressed, damaged.

A `Bag` gives the messages of all files of a recording in the order of their recording. What cannot be read does not
end it: it is listed in `damage`, and everything else is delivered.
"""

from __future__ import annotations

import heapq
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

import yaml
import zstandard
from rosbags.interfaces import ConnectionExtRosbag2, QosDurability
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.storage_mcap import McapReader

from r3d2_ros.errors import InputError
from r3d2_ros.input_files import not_a_file
from r3d2_ros.replay.mcap_scan import ScannedMcap
from r3d2_ros.replay.records import Record, Topic, one_line
from r3d2_ros.resources import user_path

STORAGE_SUFFIXES = (".db3", ".mcap")
ZSTD_SUFFIX = ".zstd"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_MESSAGE_BYTES = 2**30
COPY_BYTES = 2**20
METADATA = "metadata.yaml"


class Storage(Protocol):
    """One file of a bag."""

    topics: list[Topic]
    fault: str
    """What is wrong with the file although it can be read, or empty."""

    def records(self, types: Mapping[str, str]) -> Iterator[Record]:
        """Messages by topic and type, in the order of recording. Whatever is wrong with the file is raised as it comes.

        types  topic -> the type that its messages must have; others are left out
        """

    def close(self) -> None: ...


class RosbagsFile:
    """A .db3 or .mcap file, read by the library `rosbags`."""

    def __init__(self, path: Path) -> None:
        wal = path.with_name(path.name + "-wal")  # rosbags opens a database without its log
        unwritten = wal.is_file() and wal.stat().st_size > 0
        self.fault = f"{wal.name} holds messages that are not read; open it once with sqlite3" if unwritten else ""
        self._reader = Reader(path)
        self._reader.open()
        self.topics = [
            Topic(
                name=connection.topic,
                msgtype=connection.msgtype,
                count=connection.msgcount,
                definition=connection.msgdef,
                transient_local=_is_transient_local(connection.ext),
            )
            for connection in self._reader.connections
        ]

    @property
    def is_unordered(self) -> bool:
        """Whether it is an MCAP file without an index, of which rosbags refuses messages that are not in order."""
        storage = self._reader.storage
        return isinstance(storage, McapReader) and not storage.chunks

    def records(self, types: Mapping[str, str]) -> Iterator[Record]:
        connections = [c for c in self._reader.connections if types.get(c.topic) == c.msgtype]
        if connections:
            for connection, log_ns, data in self._reader.messages(connections):
                yield Record(connection.topic, log_ns, data)

    def close(self) -> None:
        self._reader.close()


def _is_transient_local(ext: Any) -> bool:
    profiles = ext.offered_qos_profiles if isinstance(ext, ConnectionExtRosbag2) else []
    return any(profile.durability == QosDurability.TRANSIENT_LOCAL for profile in profiles)


@dataclass(eq=False)
class _OpenFile:
    """A file of the bag under the name that the user knows."""

    name: str
    storage: Storage


@dataclass(eq=False)
class Bag:
    """An open bag; a context manager. See `open_bag`.

    topics  by name; a topic that has two types is there, and is read, with the first
    damage  one line for each file or part that could not be read; grows while records are read
    """

    path: Path
    files: tuple[Path, ...]
    topics: dict[str, Topic] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    _open: list[_OpenFile] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def records(self, topics: Collection[str]) -> Iterator[Record]:
        """Messages of the topics in the order of recording, those of several files merged."""
        types = {name: self.topics[name].msgtype for name in topics if name in self.topics}
        streams = [self._of_file(file, types) for file in self._open]
        yield from heapq.merge(*streams, key=lambda record: record.log_ns)

    def _of_file(self, file: _OpenFile, types: Mapping[str, str]) -> Iterator[Record]:
        last = "nothing was read"
        try:
            for record in file.storage.records(types):
                last = f"the last message that was read was recorded at {record.log_ns} ns"
                yield replace(record, data=_plain(record.data))
        except MemoryError:
            raise
        except Exception as error:  # damaged files end in errors of sqlite, struct, zstd, ...
            self._report(f"{file.name}: the rest cannot be read, {last}: {one_line(error)}")

    def _report(self, text: str) -> None:
        if text not in self.damage:
            self.damage.append(text)

    def _add(self, path: Path, name: str) -> None:
        """Open one file; what is wrong with it is reported."""
        try:
            storage = _storage(path)
        except MemoryError:
            raise
        except Exception as error:
            self._report(f"{name}: cannot be read: {one_line(error)}")
            return
        self._stack.callback(storage.close)
        self._open.append(_OpenFile(name, storage))
        if storage.fault:
            self._report(f"{name}: {storage.fault}")
        for topic in storage.topics:
            known = self.topics.get(topic.name)
            if known is None:
                self.topics[topic.name] = topic
            elif known.msgtype != topic.msgtype:
                self._report(f"{name}: {topic.name} is {topic.msgtype} here and {known.msgtype} before; not read")
            else:
                definition = known.definition if known.definition.data else topic.definition
                self.topics[topic.name] = replace(known, count=known.count + topic.count, definition=definition)


def open_bag(path: str | Path) -> Bag:
    """A bag folder, or one .db3 or .mcap file (also .db3.zstd and .mcap.zstd). InputError when nothing can be read.

    Without metadata.yaml the files of a folder are taken in the order of their numbers.
    """
    path = user_path(path, "bag")
    files = _files(path)
    bag = Bag(path, tuple(files))
    try:
        if path.is_dir():
            bag.damage += _missing_files(path, files)
        for file in files:
            readable = file
            if file.suffix == ZSTD_SUFFIX:
                folder = bag._stack.enter_context(tempfile.TemporaryDirectory(prefix="r3d2_bag-"))
                readable, fault = _decompressed(file, Path(folder))
                if fault:
                    bag._report(f"{file.name}: {fault}")
            bag._add(readable, file.name)
        if not bag._open:
            raise InputError(str(path), "a readable rosbag2", "; ".join(bag.damage) or "no files")
    except BaseException:
        bag._stack.close()
        raise
    return bag


def _files(path: Path) -> list[Path]:
    """The storage files of a bag in their order."""
    if not path.is_dir():
        if (got := not_a_file(path)) is not None:
            raise InputError(str(path), "a rosbag2 folder, .db3 or .mcap file", got)
        if not _is_storage(path):
            raise InputError(str(path), "a rosbag2 folder, .db3 or .mcap file", f"a '{path.suffix}' file")
        if path.stat().st_size == 0:
            raise InputError(str(path), "a readable rosbag2", "an empty file")
        return [path]
    try:
        entries = sorted(path.iterdir(), key=lambda entry: _natural(entry.name))
    except OSError as error:
        raise InputError(str(path), "a rosbag2 folder that can be read", error.strerror or str(error)) from error
    files = [entry for entry in entries if _is_storage(entry)]
    for file in files:
        if (got := not_a_file(file)) is not None:
            raise InputError(str(file), "a file of a rosbag2", got)
    if not files:
        found = ", ".join(entry.name for entry in entries[:8]) or "an empty folder"
        raise InputError(str(path), "at least one .db3 or .mcap file in the folder", found)
    listed = _listed(path)
    order = {name: number for number, name in enumerate(listed)}
    return sorted(files, key=lambda file: order.get(file.name, len(order)))


def _is_storage(path: Path) -> bool:
    name = path.name.removesuffix(ZSTD_SUFFIX)
    return name.endswith(STORAGE_SUFFIXES)


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


def _missing_files(folder: Path, files: list[Path]) -> list[str]:
    there = {file.name for file in files}
    return [f"{name}: is named in {METADATA} and is not there" for name in _listed(folder) if name not in there]


def _storage(path: Path) -> Storage:
    """Open one file: by `rosbags`, and an MCAP file that it refuses by reading it from the beginning."""
    if path.stat().st_size == 0:
        raise ValueError("an empty file")
    if path.suffix != ".mcap":
        return RosbagsFile(path)
    try:
        file = RosbagsFile(path)
    except Exception as error:  # also MemoryError, for a length in a damaged index that no memory holds
        scanned = ScannedMcap(path, one_line(error))
        if not scanned.topics:
            raise
        return scanned
    if file.is_unordered:
        file.close()
        return ScannedMcap(path, "no index")
    return file


def _decompressed(file: Path, folder: Path) -> tuple[Path, str]:
    """The file decompressed into `folder`, and what went wrong: of a damaged one, the part before the damage."""
    target = folder / file.name.removesuffix(ZSTD_SUFFIX)
    fault = ""
    try:
        with file.open("rb") as source, target.open("wb") as out:
            try:
                zstandard.ZstdDecompressor().copy_stream(source, out, write_size=COPY_BYTES)
            except zstandard.ZstdError as error:
                fault = f"the rest cannot be decompressed: {one_line(error)}"
    except OSError as error:
        raise InputError(
            str(file), f"a file that can be decompressed into {folder}", error.strerror or str(error), "Set TMPDIR"
        ) from error
    return target, fault


def _plain(data: bytes) -> bytes:
    """The bytes of a message, decompressed where the bag is compressed message by message.

    A CDR message begins with 0x00, a compressed one with the magic number of zstd.
    """
    if bytes(data[:4]) != ZSTD_MAGIC:
        return data
    with zstandard.ZstdDecompressor().stream_reader(data) as stream:
        plain = stream.read(MAX_MESSAGE_BYTES + 1)
    if len(plain) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of more than {MAX_MESSAGE_BYTES} bytes")
    return plain
