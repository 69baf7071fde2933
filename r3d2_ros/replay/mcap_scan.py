"""MCAP files without an index, cut off, or of another profile: read from the beginning as far as they go."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from mcap.records import Channel, Chunk, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat

from r3d2_ros.replay.records import NO_DEFINITION, Record, Topic, one_line

RECORD_LIMIT = 2**31
MAGIC = b"\x89MCAP0\r\n"
MAGIC_BYTES = len(MAGIC)
RECORD_HEAD = struct.Struct("<BQ")
"""Kind and length of a record, in front of it."""
TRANSIENT_LOCAL = re.compile(r"durability: (1|transient_local)\b")
OPEN_RECORDS = 4
"""Chunks that are held while messages are read in their order: neighbours in time are neighbours in the file."""

FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}


class ScannedMcap:
    """A file that has no usable index. It is read twice for its messages: to put them in order, and one by one.

    why    what keeps it from being read by its index
    ended  what ended the reading, empty where that was the end of the file
    """

    def __init__(self, path: Path, why: str) -> None:
        self._path = path
        self._channels: dict[int, tuple[str, str]] = {}
        self._begin = MAGIC_BYTES
        """Where the record begins that is read, or the next one."""
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        counts: dict[int, int] = {}
        self.ended = ""
        try:
            for _, _, record in self._scan():
                if isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    channels[record.id] = record
                elif isinstance(record, Message):
                    counts[record.channel_id] = counts.get(record.channel_id, 0) + 1
        except Exception as error:  # of struct, zstd, lz4, ...
            self.ended = self._damage(error)
        found = f"{sum(counts.values())} messages"
        self.fault = f"{why}; read from the beginning as far as it goes, {found}: {self.ended}" if self.ended else ""
        topics: dict[tuple[str, str], Topic] = {}
        for channel in channels.values():
            schema = schemas.get(channel.schema_id)
            if schema is None or channel.message_encoding != "cdr":
                continue
            definition = NO_DEFINITION
            if schema.encoding in FORMATS:
                text = schema.data.decode("utf-8", errors="replace")
                definition = MessageDefinition(FORMATS[schema.encoding], text)
            key = (channel.topic, schema.name)
            known = topics.get(key)
            count = counts.get(channel.id, 0) + (known.count if known else 0)
            kept = bool(TRANSIENT_LOCAL.search(channel.metadata.get("offered_qos_profiles", "")))
            topics[key] = Topic(channel.topic, schema.name, count, definition, kept)
            self._channels[channel.id] = key
        self.topics = list(topics.values())

    def _scan(self) -> Iterator[tuple[int, int, McapRecord]]:
        """Every record with its place: where it, or the chunk that holds it, begins, and its number in there."""
        with self._path.open("rb") as file:
            self._begin = MAGIC_BYTES
            for record in _reader(file).records:
                for number, inner in enumerate(_inside(record)):
                    yield self._begin, number, inner
                self._begin = file.tell()

    def _damage(self, error: Exception) -> str:
        """What is wrong with the record at which the scan ended."""
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            if file.read(MAGIC_BYTES) != MAGIC:
                return "it does not begin as an MCAP file does"
            file.seek(self._begin)
            head = file.read(RECORD_HEAD.size)
        there = size - self._begin - RECORD_HEAD.size
        if there < 0:
            return f"it is cut off at byte {size}, behind a record"
        _, length = RECORD_HEAD.unpack(head)
        if length > there:
            return f"it is cut off: of the {length} bytes of the record at byte {self._begin}, {there} are there"
        return f"the record at byte {self._begin} is damaged: {one_line(error)}"

    def records(self, types: Mapping[str, str], report: Callable[[str], None]) -> Iterator[Record]:
        places: list[tuple[int, int, int]] = []
        try:
            for begin, number, record in self._scan():
                if isinstance(record, Message) and record.channel_id in self._channels:
                    topic, msgtype = self._channels[record.channel_id]
                    if types.get(topic) == msgtype:
                        places.append((record.log_time, begin, number))
        except Exception:  # noqa: S110 - `fault` has said it
            pass
        with self._path.open("rb") as file:

            @lru_cache(maxsize=OPEN_RECORDS)
            def read(begin: int) -> list[McapRecord]:
                file.seek(begin)
                return _inside(next(_reader(file, skip_magic=True).records))

            for log_ns, begin, number in sorted(places):
                message = read(begin)[number]
                assert isinstance(message, Message)
                yield Record(self._channels[message.channel_id][0], log_ns, message.data)

    def close(self) -> None:
        pass


def _reader(file: BinaryIO, *, skip_magic: bool = False) -> StreamReader:
    return StreamReader(file, skip_magic=skip_magic, emit_chunks=True, record_size_limit=RECORD_LIMIT)


def _inside(record: McapRecord) -> list[McapRecord]:
    """The records of a chunk, or the record itself."""
    return breakup_chunk(record) if isinstance(record, Chunk) else [record]
