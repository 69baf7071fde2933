"""Reading back what a replay wrote into MCAP files, whole or cut off, and putting such files together."""

from __future__ import annotations

import heapq
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from mcap.reader import make_reader
from mcap.records import Channel, McapRecord, Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from rosbags.interfaces import MessageDefinitionFormat

from r3d2_ros.message_fields import stamp_to_ns
from r3d2_ros.replay.bag import Bag
from r3d2_ros.replay.definitions import standard_types
from r3d2_ros.replay.mcap_file import McapFile, qos
from r3d2_ros.replay.mcap_output import FRAME_SET_TOPIC, MANIFEST_RECORD, MISSING_RECORD, TF_STATIC
from r3d2_ros.replay.mcap_scan import RECORD_LIMIT
from r3d2_ros.replay.messages import FRAME_SET, TF_MESSAGE
from r3d2_ros.replay.records import Record, Topic

ENCODINGS = {MessageDefinitionFormat.MSG: "ros2msg", MessageDefinitionFormat.IDL: "ros2idl"}


@dataclass(frozen=True)
class Stated:
    """What a file says of one frame set: content hash by camera, and the reason of each camera without a picture."""

    index: int
    stamp_ns: int
    hashes: dict[str, str]
    reasons: dict[str, str]


@dataclass(frozen=True)
class Group:
    """The messages of one frame set: (topic, type, data), in their order."""

    stated: Stated
    log_ns: int
    messages: list[tuple[str, str, bytes]]


def manifest_of(path: Path) -> dict[str, Any] | None:
    """What the replay that wrote a file was made of; None for a file that no replay wrote."""
    found = _metadata(path).get(MANIFEST_RECORD, {})
    try:
        manifest = json.loads(found.get("manifest", ""))
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) else None


def missing_of(path: Path) -> list[tuple[int, str, str]]:
    """(index, cause, reason) of the frame sets without pictures; of a file that is not whole, none."""
    try:
        return [
            (int(i), str(cause), str(reason))
            for i, cause, reason in json.loads(_metadata(path).get(MISSING_RECORD, {}).get("missing", "[]"))
        ]
    except (ValueError, TypeError):
        return []


def _metadata(path: Path) -> dict[str, dict[str, str]]:
    try:
        with path.open("rb") as file:
            return {record.name: record.metadata for record in make_reader(file).iter_metadata()}
    except Exception:  # a file without an end: the first records have what it is
        return {record.name: record.metadata for record in _records(path, first=20) if isinstance(record, Metadata)}


def _records(path: Path, *, first: int | None = None) -> Iterator[McapRecord]:
    """The records of a file as far as it goes."""
    with path.open("rb") as file:
        try:
            for number, record in enumerate(StreamReader(file, record_size_limit=RECORD_LIMIT).records):
                if first is not None and number >= first:
                    return
                yield record
        except Exception:  # the end of a file that was cut off
            return


def has_index(path: Path) -> bool:
    """Whether a file was closed in order."""
    try:
        with path.open("rb") as file:
            return make_reader(file).get_summary() is not None
    except Exception:
        return False


def stated_in(path: Path) -> Iterator[Stated]:
    """What a file states of its frame sets; of a whole file only the parts that hold statements are read."""
    if not has_index(path):
        yield from (group.stated for group in groups_in(path))
        return
    with path.open("rb") as file:
        for _, _, message in make_reader(file).iter_messages(topics=[FRAME_SET_TOPIC]):
            yield _stated(message.data)


def _stated(data: bytes) -> Stated:
    message: Any = standard_types().deserialize_cdr(data, FRAME_SET)
    return Stated(
        index=int(message.index),
        stamp_ns=stamp_to_ns(message.header.stamp),
        hashes={status.camera: status.content_hash for status in message.cameras if status.published},
        reasons={status.camera: status.reason for status in message.cameras if not status.published},
    )


def groups_in(path: Path, *, others: Collection[str] = ()) -> Iterator[Group]:
    """The frame sets of a file that are whole. `others` are topics in it that belong to none."""
    schemas: dict[int, str] = {}
    channels: dict[int, tuple[str, str]] = {}
    messages: list[tuple[str, str, bytes]] = []
    for record in _records(path):
        if isinstance(record, Schema):
            schemas[record.id] = record.name
        elif isinstance(record, Channel):
            channels[record.id] = (record.topic, schemas.get(record.schema_id, ""))
        elif isinstance(record, Message) and record.channel_id in channels:
            topic, msgtype = channels[record.channel_id]
            if topic == TF_STATIC or topic in others:
                continue
            messages.append((topic, msgtype, record.data))
            if topic == FRAME_SET_TOPIC:
                yield Group(_stated(record.data), record.log_time, messages)
                messages = []


@dataclass(frozen=True)
class SourceTopics:
    """Topics of the bag that go into the output as well: those messages that were recorded while its frame sets were.

    What was published once for readers that join later (transient local) and recorded before goes to the beginning.
    """

    names: tuple[str, ...]
    first_ns: int
    last_ns: int

    def records(self, bag: Bag) -> Iterator[Record]:
        """In the order of recording."""
        kept: list[Record] = []
        begun = False
        for record in bag.records(self.names):
            if record.log_ns > self.last_ns:
                continue
            if record.log_ns < self.first_ns:
                if bag.topics[record.topic].transient_local:
                    kept.append(Record(record.topic, self.first_ns, record.data))
                continue
            if not begun:
                begun = True
                yield from kept
            yield record
        if not begun:
            yield from kept


def merged(
    parts: Collection[Path],
    target: Path,
    *,
    manifest: dict[str, Any],
    transforms: bytes | None,
    source: tuple[Bag, SourceTopics] | None,
) -> None:
    """Write the frame sets of the parts, in order, and the messages of the source into one file.

    Of a frame set that several parts have, the one with the most pictures stays. InputError when `target` cannot be
    written.
    """
    file = McapFile(target)
    try:
        file.add_metadata(MANIFEST_RECORD, {"manifest": json.dumps(manifest)})
        done = set()
        begun = False
        records = source[1].records(source[0]) if source else iter(())
        for entry in _in_order(records, _best_of_each(parts, others=source[1].names if source else ())):
            if transforms is not None and not begun:
                file.add_topic(TF_STATIC, TF_MESSAGE, offered_qos=qos(transient_local=True, depth=1))
                file.write(TF_STATIC, entry.log_ns, transforms)
            begun = True
            if isinstance(entry, Group):
                _write_group(file, entry)
                if not entry.stated.reasons:
                    done.add(entry.stated.index)
            elif source is not None:
                if entry.topic not in file:
                    _add_source_topic(file, source[0].topics[entry.topic])
                file.write(entry.topic, entry.log_ns, entry.data)
        missing = {found[0]: found for part in parts for found in missing_of(part) if found[0] not in done}
        file.add_metadata(MISSING_RECORD, {"missing": json.dumps([missing[index] for index in sorted(missing)])})
        file.close()
    except BaseException:
        file.abandon()
        target.unlink(missing_ok=True)
        raise


def _best_of_each(parts: Collection[Path], *, others: Collection[str]) -> Iterator[Group]:
    groups = heapq.merge(*(groups_in(part, others=others) for part in parts), key=lambda group: group.stated.index)
    for _, same in groupby(groups, key=lambda group: group.stated.index):
        yield max(same, key=lambda group: len(group.stated.hashes))


def _in_order(records: Iterator[Record], groups: Iterator[Group]) -> Iterator[Record | Group]:
    """Both in the order of recording, records first where equal."""
    both: list[Iterator[Record | Group]] = [iter(records), iter(groups)]
    return heapq.merge(*both, key=lambda entry: entry.log_ns)


def _write_group(file: McapFile, group: Group) -> None:
    for topic, msgtype, data in group.messages:
        if topic not in file:
            file.add_topic(topic, msgtype)
        file.write(topic, group.log_ns, data)


def _add_source_topic(file: McapFile, topic: Topic) -> None:
    definition = None
    if topic.definition.format in ENCODINGS:
        definition = (ENCODINGS[topic.definition.format], topic.definition.data.encode())
    elif topic.msgtype not in standard_types().fielddefs:
        definition = ("", b"")
    offered = qos(transient_local=topic.transient_local, depth=1 if topic.transient_local else 10)
    file.add_topic(topic.name, topic.msgtype, definition=definition, offered_qos=offered)
