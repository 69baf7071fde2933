"""From bytes to messages, with the definitions that fit: standard ones, shipped field lists, or those of the bag.

`rosbags` turns definitions into Python code and runs it, and a bag comes from strangers. So of a definition in a bag
only what was understood is passed on: type names, field names and field types that were checked one by one. Constants,
default values and everything else in it are dropped.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from r3d2_ros.replay.interfaces import interface_types
from r3d2_ros.replay.records import Topic, one_line

TYPE_NAME = re.compile(r"[a-z][a-z0-9_]*/(msg|srv|action)/[A-Za-z][A-Za-z0-9_]*")
FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
BASE_TYPES = {
    "bool", "byte", "char", "string", "float32", "float64",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
}  # fmt: skip
MAX_TEXT = 2**18
MAX_TYPES, MAX_FIELDS = 200, 300
MAX_ARRAY, MAX_UNROLLED = 2**16, 64
"""Elements of a fixed array; one of texts or messages becomes code for each element."""
MAX_EXPANDED = 20_000
"""Fields of a message with every type and fixed array in it written out."""

Types = dict[str, Any]


class Decoder:
    """Decodes the messages of one topic.

    Which definitions are the right ones is known once a message has been decoded with them; they stay from then on.
    ValueError when nothing knows the type.
    """

    def __init__(self, topic: Topic) -> None:
        self.msgtype = topic.msgtype
        self._stores = [store for store in (_jazzy(), _galactic()) if topic.msgtype in store.fielddefs]
        refused = ""
        if topic.definition.format != MessageDefinitionFormat.NONE:
            try:
                own = _own_store(topic.definition, topic.msgtype)
            except ValueError as error:
                refused = str(error)
            else:
                standard = topic.msgtype in get_typestore(Stores.ROS2_JAZZY).fielddefs
                self._stores.insert(len(self._stores) if standard else 0, own)
        if not self._stores:
            why = f"the definition in the bag cannot be used: {refused}" if refused else "the bag has no definition"
            raise ValueError(f"the message type {topic.msgtype} is not known, and {why}")
        self._settled = False

    def decode(self, data: bytes) -> Any:
        """The message. ValueError for bytes that are none of this type."""
        if bytes(data[:1]) != b"\0":  # any other bytes may look like a message
            raise ValueError(f"not a {self.msgtype}: it does not begin as a CDR message")
        fault = ""
        for store in list(self._stores):
            try:
                message = store.deserialize_cdr(data, self.msgtype)
            except MemoryError:
                raise
            except Exception as error:  # a damaged message raises whatever its bytes lead to
                fault = fault or one_line(error)
                continue
            if not self._settled:
                self._stores, self._settled = [store], True
            return message
        raise ValueError(f"not a {self.msgtype}: {fault}")


@functools.cache
def _jazzy() -> Typestore:
    return _with_interfaces(Stores.ROS2_JAZZY)


@functools.cache
def _galactic() -> Typestore:
    """Before Humble, visualization_msgs/Marker and shape_msgs/SolidPrimitive had fewer fields."""
    return _with_interfaces(Stores.ROS2_GALACTIC)


def standard_types() -> Typestore:
    """The types of ROS 2 Jazzy and the shipped field lists."""
    return _jazzy()


def _with_interfaces(base: Stores) -> Typestore:
    store = get_typestore(base)
    store.register(interface_types())
    return store


def _own_store(definition: MessageDefinition, msgtype: str) -> Typestore:
    """The types of a definition from a bag, and nothing else. ValueError when it cannot be used."""
    types = checked_types(definition, msgtype)
    store = get_typestore(Stores.EMPTY)
    store.register(types)
    return store


def checked_types(definition: MessageDefinition, msgtype: str) -> Types:
    """The types that `msgtype` is made of, as far as they were checked. ValueError when something is not understood."""
    if len(definition.data) > MAX_TEXT:
        raise ValueError(f"expected at most {MAX_TEXT} characters, got {len(definition.data)}")
    if not TYPE_NAME.fullmatch(msgtype):
        raise ValueError(f"expected a type name such as my_msgs/msg/Thing, got {msgtype[:80]!r}")
    try:
        if definition.format == MessageDefinitionFormat.IDL:
            parsed: Any = get_types_from_idl(definition.data)
        else:
            parsed = get_types_from_msg(definition.data, msgtype)
    except MemoryError:
        raise
    except Exception as error:  # the parsers raise what the text leads to
        raise ValueError(f"it cannot be parsed: {one_line(error)}") from error
    known = get_typestore(Stores.ROS2_JAZZY).fielddefs
    types: Types = {}
    pending = [msgtype]
    while pending:
        name = pending.pop()
        if name in types:
            continue
        if len(types) >= MAX_TYPES:
            raise ValueError(f"expected at most {MAX_TYPES} types")
        entry = parsed.get(name) or known.get(name)
        if entry is None:
            raise ValueError(f"it does not define {name[:80]!r}")
        fields = [_checked_field(name, field) for field in entry[1]]
        if len(fields) > MAX_FIELDS:
            raise ValueError(f"{name}: expected at most {MAX_FIELDS} fields, got {len(fields)}")
        types[name] = ([], fields)
        pending += [kind for kind in map(_named, fields) if kind]
    _expanded(msgtype, types, {})
    return types


def _checked_field(owner: str, field: Any) -> Any:
    name, description = field
    if not FIELD_NAME.fullmatch(name) or name.startswith("__"):
        raise ValueError(f"{owner}: expected a field name, got {name[:80]!r}")
    kind, inner = description
    if kind in (Nodetype.BASE, Nodetype.NAME):
        return name, _checked_element(owner, description)
    element, length = inner
    checked = _checked_element(owner, element)
    if kind == Nodetype.ARRAY:
        unrolled = checked[0] == Nodetype.NAME or checked[1][0] == "string"
        most = MAX_UNROLLED if unrolled else MAX_ARRAY
        if not 0 < length <= most:
            raise ValueError(f"{owner}.{name}: expected 1 to {most} elements, got {length}")
        return name, (Nodetype.ARRAY, (checked, int(length)))
    return name, (Nodetype.SEQUENCE, (checked, 0))


def _checked_element(owner: str, description: Any) -> Any:
    kind, inner = description
    if kind == Nodetype.NAME:
        if not TYPE_NAME.fullmatch(inner):
            raise ValueError(f"{owner}: expected a type name, got {inner[:80]!r}")
        return Nodetype.NAME, str(inner)
    if kind != Nodetype.BASE or inner[0] not in BASE_TYPES:
        raise ValueError(f"{owner}: fields of type {inner[0]!r} are not supported")
    return Nodetype.BASE, (str(inner[0]), 0)


def _named(field: Any) -> str | None:
    """The message type that a field holds, if it holds messages."""
    kind, inner = field[1]
    element = inner[0] if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE) else field[1]
    return element[1] if element[0] == Nodetype.NAME else None


def _expanded(name: str, types: Types, sizes: dict[str, int]) -> int:
    """Fields of a type with everything in it written out. ValueError for a type inside itself, or for too many."""
    if name not in sizes:
        sizes[name] = MAX_EXPANDED + 1  # seen again below itself: endless
        total = 0
        for field in types[name][1]:
            kind, inner = field[1]
            times = inner[1] if kind == Nodetype.ARRAY and inner[0][0] == Nodetype.NAME else 1
            inside = _named(field)
            total += times * (_expanded(inside, types, sizes) if inside else 1)
        sizes[name] = total
    if sizes[name] > MAX_EXPANDED:
        raise ValueError(f"{name}: expected at most {MAX_EXPANDED} fields in all, and no type inside itself")
    return sizes[name]
