"""Reading bags: sqlite3 and MCAP, one file or many, with or without metadata.yaml, compressed, damaged.

A `Bag` gives the messages of all files of a recording in the order of their recording. What cannot be read does not
end it: it is listed in `damage`, and everything else is delivered.
"""

from __future__ import annotations

import heapq
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, Self
from urllib.parse import quote

import zstandard
from rosbags.interfaces import Connection, ConnectionExtRosbag2, QosDurability
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.storage_mcap import ChunkInfo, McapReader, Msg, msgsrc
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from r3d2_ros.errors import InputError
from r3d2_ros.replay.bag_files import METADATA, ZSTD_SUFFIX, find_files
from r3d2_ros.replay.mcap_scan import MAGIC, ScannedMcap
from r3d2_ros.replay.records import Record, Topic, one_line
from r3d2_ros.resources import user_path

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_MESSAGE_BYTES = 2**30
COPY_BYTES = 2**20
NAMED_CHUNKS = 10
"""Damaged chunks of a file that are named one by one."""


class Storage(Protocol):
    """One file of a bag."""

    topics: list[Topic]
    fault: str
    """What is wrong with the file although it can be read, or empty."""

    def records(self, types: Mapping[str, str], report: Callable[[str], None]) -> Iterator[Record]:
        """Messages by topic and type, in the order of recording. What ends the file early is raised as it comes.

        types   topic -> the type that its messages must have; others are left out
        report  gets a line for a part that cannot be read, with more behind it
        """

    def close(self) -> None: ...


class RosbagsFile:
    """A .db3 or .mcap file, read by the library `rosbags`."""

    def __init__(self, path: Path) -> None:
        wal = path.with_name(path.name + "-wal")  # rosbags opens a database without its log
        unwritten = wal.is_file() and wal.stat().st_size > 0
        self.fault = f"{wal.name} holds messages that are not read; open it once with sqlite3" if unwritten else ""
        self._reader = Reader(path)
        if isinstance(self._reader.storage, Sqlite3Reader):  # puts the path into a URI as it is
            self._reader.storage.path = Path(quote(os.fsencode(path)))
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

    def records(self, types: Mapping[str, str], report: Callable[[str], None]) -> Iterator[Record]:
        connections = [c for c in self._reader.connections if types.get(c.topic) == c.msgtype]
        if not connections:
            return
        storage = self._reader.storage
        if isinstance(storage, McapReader) and storage.chunks:
            yield from _of_chunks(storage, connections, report)
            return
        for connection, log_ns, data in self._reader.messages(connections):
            yield Record(connection.topic, log_ns, data)

    def close(self) -> None:
        self._reader.close()


def _of_chunks(
    storage: McapReader, connections: Collection[Connection], report: Callable[[str], None]
) -> Iterator[Record]:
    """As `McapReader.messages`, which a damaged chunk ends."""
    channels = {connection.id: connection for connection in connections}
    damaged = 0

    def messages(chunk: ChunkInfo) -> Iterator[Msg]:
        nonlocal damaged
        try:
            assert storage.bio is not None
            yield from msgsrc(chunk, channels, chunk.message_start_time, chunk.message_end_time + 1, storage.bio)
        except MemoryError:
            raise
        except Exception as error:  # as in Bag._of_file
            damaged += 1
            if damaged <= NAMED_CHUNKS:
                part = f"recorded from {chunk.message_start_time} to {chunk.message_end_time} ns"
                report(f"the chunk at byte {chunk.chunk_start_offset}, {part}, cannot be read: {one_line(error)}")
            elif damaged == NAMED_CHUNKS + 1:
                report("further chunks cannot be read")

    chunks = [chunk for chunk in storage.chunks if any(chunk.channel_count.get(number, 0) for number in channels)]
    for log_ns, _, connection, data in heapq.merge(*map(messages, chunks)):
        if connection is not None and data is not None:  # else the place of a chunk that is not open yet
            yield Record(connection.topic, log_ns, data)


def _is_transient_local(ext: Any) -> bool:
    profiles = ext.offered_qos_profiles if isinstance(ext, ConnectionExtRosbag2) else []
    return any(profile.durability == QosDurability.TRANSIENT_LOCAL for profile in profiles)


class _NothingRead(ValueError):
    """A file of which nothing can be used; its text says why, for people."""


@dataclass(eq=False)
class _OpenFile:
    """A file of the bag under the name that the user knows."""

    name: str
    storage: Storage


@dataclass(eq=False)
class Bag:
    """An open bag; a context manager. See `open_bag`.

    topics    by name; a topic that has two types is there, and is read, with the first
    damage    one line for each file or part that could not be read; grows while records are read
    notes     what the user should know besides
    unpacked  compressed file -> where it lies unpacked while the bag is open
    """

    path: Path
    files: tuple[Path, ...]
    topics: dict[str, Topic] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unpacked: dict[Path, Path] = field(default_factory=dict)
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
            for record in file.storage.records(types, lambda text: self._report(f"{file.name}: {text}")):
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
        except _NothingRead as error:
            self._report(f"{name}: {error}")
            return
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


def open_bag(path: str | Path, *, unpacked: Mapping[Path, Path] = MappingProxyType({})) -> Bag:
    """A bag folder, or one .db3 or .mcap file (also .db3.zstd and .mcap.zstd). InputError when nothing can be read.

    See `find_files` for which files of a folder are read.

    unpacked  that of a bag that is open and stays so: its files are not unpacked again
    """
    path = user_path(path, "bag")
    found = find_files(path)
    bag = Bag(path, found.files)
    bag.damage += [f"{name}: is named in {METADATA} and is not there" for name in found.missing]
    if found.others:
        bag.notes.append(f"not named in {METADATA} and not read: {', '.join(found.others)}")
    try:
        for file in found.files:
            readable = file
            if file.suffix == ZSTD_SUFFIX:
                readable = unpacked[file] if file in unpacked else _unpack(bag, file)
                bag.unpacked[file] = readable
            bag._add(readable, file.name)
        if not bag._open:
            raise InputError(str(path), "a readable rosbag2", "; ".join(bag.damage) or "no files")
    except BaseException:
        bag._stack.close()
        raise
    return bag


def _unpack(bag: Bag, file: Path) -> Path:
    """The file as it is without compression, while the bag is open."""
    folder = bag._stack.enter_context(tempfile.TemporaryDirectory(prefix="r3d2_bag-"))
    readable, fault = _decompressed(file, Path(folder))
    if fault:
        bag._report(f"{file.name}: {fault}")
    return readable


def _storage(path: Path) -> Storage:
    """Open one file: by `rosbags`, and an MCAP file that it refuses by reading it from the beginning."""
    if path.stat().st_size == 0:
        raise ValueError("an empty file")
    if path.suffix != ".mcap":
        return RosbagsFile(path)
    try:
        file = RosbagsFile(path)
    except Exception as error:  # also MemoryError, for a length in a damaged index that no memory holds
        why = _why_no_index(path, error)
        scanned = ScannedMcap(path, why)
        if not scanned.topics:
            ended = scanned.ended or "no topic has messages in CDR"
            raise _NothingRead(f"{why}; read from the beginning it has nothing that can be used: {ended}") from error
        return scanned
    if file.is_unordered:
        file.close()
        return ScannedMcap(path, "no index")
    return file


def _why_no_index(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        file.seek(-min(len(MAGIC), path.stat().st_size), os.SEEK_END)
        if file.read() != MAGIC:
            return "its end, where the index is, is missing"
    return f"its index is damaged: {one_line(error)}"


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

    A CDR message begins with 0x00, a compressed one with the magic number of zstd. One that cannot be decompressed
    stays as it is, and is then one that cannot be decoded.
    """
    if bytes(data[:4]) != ZSTD_MAGIC:
        return data
    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as stream:
            plain = stream.read(MAX_MESSAGE_BYTES + 1)
    except zstandard.ZstdError:
        return data
    return plain if len(plain) <= MAX_MESSAGE_BYTES else data
