"""MCAP files without an index, cut off, or of another profile: read from the beginning as far as they go."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from mcap.exceptions import EndOfFile
from mcap.records import Channel, Chunk, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat

from r3d2_ros.replay.records import NO_DEFINITION, Record, Topic, one_line

RECORD_LIMIT = 2**31
MAGIC_BYTES = 8
TRANSIENT_LOCAL = re.compile(r"durability: (1|transient_local)\b")
OPEN_RECORDS = 4
"""Chunks that are held while messages are read in their order: neighbours in time are neighbours in the file."""

FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}


class ScannedMcap:
    """A file that has no usable index. It is read twice for its messages: to put them in order, and one by one.

    why  what keeps it from being read by its index
    """

    def __init__(self, path: Path, why: str) -> None:
        self._path = path
        self._channels: dict[int, tuple[str, str]] = {}
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        counts: dict[int, int] = {}
        cut = ""
        try:
            for _, _, record in self._scan():
                if isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    channels[record.id] = record
                elif isinstance(record, Message):
                    counts[record.channel_id] = counts.get(record.channel_id, 0) + 1
        except Exception as error:
            cut = "it is cut off" if isinstance(error, EndOfFile) else one_line(error)
        self.fault = f"{why}; read from the beginning as far as it goes: {cut}" if cut else ""
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
            begin = MAGIC_BYTES
            for record in _reader(file).records:
                for number, inner in enumerate(_inside(record)):
                    yield begin, number, inner
                begin = file.tell()

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
