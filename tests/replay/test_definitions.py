"""Definitions: standard ones, shipped field lists, those of a bag, and of these only what was checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from r3d2_ros.replay.definitions import Decoder, checked_types
from r3d2_ros.replay.interfaces import INTERFACES
from r3d2_ros.replay.records import NO_DEFINITION, Topic
from tests.replay.bags import STORE, autoware_object, autoware_objects, marker_array, odometry, pose

ROOT = Path(__file__).resolve().parents[2]
BREAK = "=" * 80


def msg(text: str) -> MessageDefinition:
    return MessageDefinition(MessageDefinitionFormat.MSG, text)


def test_field_lists_of_our_own_messages_are_those_of_the_msg_files() -> None:
    for path in (ROOT / "msg").glob("*.msg"):
        lines = [line.split("#")[0].split() for line in path.read_text().splitlines()]
        fields = [(kind, name) for kind, name in (line for line in lines if line)]
        listed = [tuple(line.split()) for line in INTERFACES[f"r3d2_ros/msg/{path.stem}"].strip().splitlines()]
        own = {other.stem for other in (ROOT / "msg").glob("*.msg")}
        qualified = [(f"r3d2_ros/{kind}" if kind.removesuffix("[]") in own else kind, name) for kind, name in fields]
        assert listed == qualified


def test_a_type_that_is_not_installed_is_read_with_the_shipped_field_list() -> None:
    message = autoware_objects(1.0, [autoware_object(7, 1, pose(3.0, 4.0, 5.0), (4.0, 2.0, 1.5))])
    kind = "autoware_perception_msgs/msg/TrackedObjects"
    data = bytes(STORE.serialize_cdr(message, kind))
    read = Decoder(Topic("/objects", kind, 1)).decode(data)
    place = read.objects[0].kinematics.pose_with_covariance.pose.position
    assert (place.x, place.y, place.z) == (3.0, 4.0, 5.0)
    assert read.objects[0].shape.dimensions.z == 1.5


def test_the_definition_in_the_bag_comes_before_the_shipped_field_list() -> None:
    """Another version of a type has another field in front."""
    kind = "vision_msgs/msg/BoundingBox3D"
    point_text = "MSG: geometry_msgs/Point\nfloat64 x\nfloat64 y\nfloat64 z\n"
    text = f"uint64 generation\ngeometry_msgs/Point center\n{BREAK}\n{point_text}"
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(text, kind))
    point = store.types["geometry_msgs/msg/Point"](1.0, 2.0, 3.0)
    data = bytes(store.serialize_cdr(store.types[kind](generation=9, center=point), kind))
    read = Decoder(Topic("/box", kind, 1, msg(text))).decode(data)
    assert (read.generation, read.center.y) == (9, 2.0)


def test_bags_from_before_humble_have_shorter_markers() -> None:
    galactic = get_typestore(Stores.ROS2_GALACTIC)
    new = marker_array(1.0, [("car", 5.0)])
    kind = "visualization_msgs/msg/MarkerArray"
    fields = [name for name, _ in galactic.fielddefs["visualization_msgs/msg/Marker"][1]]
    old = galactic.types["visualization_msgs/msg/Marker"](**{name: getattr(new.markers[0], name) for name in fields})
    data = bytes(galactic.serialize_cdr(galactic.types[kind](markers=[old]), kind))
    read = Decoder(Topic("/markers", kind, 1)).decode(data)
    assert read.markers[0].text == "car" and read.markers[0].pose.position.x == 5.0


def test_a_message_of_damaged_bytes_is_refused_and_the_next_one_read() -> None:
    kind = "nav_msgs/msg/Odometry"
    data = bytes(STORE.serialize_cdr(odometry(1.0, pose(2.0)), kind))
    decoder = Decoder(Topic("/odom", kind, 1))
    for damaged in (b"", data[:40], data[:4] + b"\xff" * 40, b"\x00\x09" + data[2:]):
        with pytest.raises(ValueError, match="not a nav_msgs/msg/Odometry"):
            decoder.decode(damaged)
    assert decoder.decode(data).pose.pose.position.x == 2.0


def test_a_type_that_nobody_knows_is_named() -> None:
    with pytest.raises(ValueError, match="x_msgs/msg/Thing is not known, and the bag has no definition"):
        Decoder(Topic("/x", "x_msgs/msg/Thing", 1, NO_DEFINITION))


EVIL = "__import__('os').system('touch /tmp/r3d2_replay_was_here')"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("int32 a\n" * 2 + f"string A={EVIL}\nx_msgs/msg/Missing b\n", "does not define"),
        ("float64[70000] a\n", "1 to 65536 elements"),
        ("string[65] a\n", "1 to 64 elements"),
        (f"Foo[] a\n{BREAK}\nMSG: x_msgs/Foo\nBar b\n{BREAK}\nMSG: x_msgs/Bar\nFoo c\n", "no type inside itself"),
        (f"Foo[64] a\n{BREAK}\nMSG: x_msgs/Foo\nBar[64] b\n{BREAK}\nMSG: x_msgs/Bar\nBaz[64] c\n"
         f"{BREAK}\nMSG: x_msgs/Baz\nint8 d\n", "at most 20000 fields"),
        ("int32 __class__\n", "cannot be parsed"),
        ("int32 a; import os\n", "cannot be parsed"),
        ("int32 a\n" * 40_000, "characters"),
    ],
    ids=["missing", "array", "unrolled", "cycle", "expanded", "dunder", "code", "long"],
)  # fmt: skip
def test_definitions_that_are_not_understood_are_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        checked_types(msg(text), "x_msgs/msg/Thing")


def test_nothing_but_names_and_types_of_fields_is_passed_on() -> None:
    """Constants and defaults could hold anything; the code that rosbags makes of a definition never sees them."""
    text = f'string CODE="{EVIL}"\nstring name "{EVIL}"\nint32[<=3] numbers\nstring<=5 short\n'
    types = checked_types(msg(text), "x_msgs/msg/Thing")
    assert list(types) == ["x_msgs/msg/Thing"]
    constants, fields = types["x_msgs/msg/Thing"]
    assert constants == [] and [name for name, _ in fields] == ["name", "numbers", "short"]
    assert "import" not in repr(types)


@pytest.mark.parametrize("name", ["x_msgs/msg/Thing\nint32 a", "x/../msg/T", "x_msgs/msg/T'+evil", ""])
def test_type_names_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match="expected a type name"):
        checked_types(msg("int32 a\n"), name)
