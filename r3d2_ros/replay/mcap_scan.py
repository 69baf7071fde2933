"""MCAP files without an index, cut off, or of another profile: read from the beginning as far as they go."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from mcap.exceptions import EndOfFile
from mcap.records import Channel, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat

from r3d2_ros.replay.records import NO_DEFINITION, Record, Topic, one_line

RECORD_LIMIT = 2**31
TRANSIENT_LOCAL = re.compile(r"durability: (1|transient_local)\b")
FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}


class ScannedMcap:
    """A file that has no usable index. Its messages of the topics asked for are held in memory to put them in order.

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
            for record in self._scan():
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

    def _scan(self) -> Iterator[McapRecord]:
        with self._path.open("rb") as file:
            yield from StreamReader(file, record_size_limit=RECORD_LIMIT).records

    def records(self, types: Mapping[str, str]) -> Iterator[Record]:
        found: list[Record] = []
        try:
            for record in self._scan():
                if isinstance(record, Message) and record.channel_id in self._channels:
                    topic, msgtype = self._channels[record.channel_id]
                    if types.get(topic) == msgtype:
                        found.append(Record(topic, record.log_time, record.data))
        except Exception:  # noqa: S110 - `fault` has said it
            pass
        yield from sorted(found, key=lambda record: record.log_ns)

    def close(self) -> None:
        pass
