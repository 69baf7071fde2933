"""Which topics are read: found, asked for, or said to be missing; and what becomes of every type."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r3d2_ros.config import SimConfig, load_config
from r3d2_ros.errors import InputError
from r3d2_ros.message_inputs import ActorMessage, EgoMessage
from r3d2_ros.replay.recording import Input, open_recording
from tests.replay import bags
from tests.replay.bags import Entry, drive, ns, oncoming, recorded, write_bag
from tests.replay.test_objects import LIBRARY

SECONDS = [0.0, 0.1, 0.2]


def inputs(bag: Path, config: SimConfig | None = None, **chosen: str) -> list[Input]:
    with open_recording(bag, config=config or SimConfig(), library=LIBRARY, **chosen) as recording:
        return list(recording.inputs())


def poses(entries: list[Input]) -> list[tuple[int, float]]:
    return [(e.message.stamp_ns, e.message.position_m[0]) for e in entries if isinstance(e.message, EgoMessage)]


def actors(entries: list[Input]) -> list[ActorMessage]:
    return [entry.message for entry in entries if isinstance(entry.message, ActorMessage)]


EXPECTED = [(ns(s), 10 * s) for s in SECONDS]


@pytest.mark.parametrize("kind", ["Odometry", "PoseStamped", "PoseWithCovarianceStamped"])
def test_every_pose_type(tmp_path: Path, kind: str) -> None:
    assert poses(inputs(write_bag(tmp_path / "bag", drive(SECONDS, kind=kind)))) == EXPECTED


def tf_entries(parent: str = "map", child: str = "base_link") -> list[Entry]:
    return [recorded("/tf", s, bags.tf(bags.transform(s, parent, child, bags.pose(10 * s)))) for s in SECONDS]


def test_tf_is_read_where_there_is_no_pose_topic(tmp_path: Path) -> None:
    assert poses(inputs(write_bag(tmp_path / "bag", tf_entries()))) == EXPECTED


def test_a_chain_without_static_transforms_asks_for_them(tmp_path: Path) -> None:
    expected = "got /tf .*: the frames map, odom. Set frames.map and frames.base_link; or is /tf_static missing"
    with pytest.raises(InputError, match=expected):
        inputs(write_bag(tmp_path / "bag", tf_entries(child="odom")))


def test_a_pose_topic_comes_before_tf(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [*tf_entries(), *drive(SECONDS, speed=3.0)])
    assert poses(inputs(bag))[-1][1] == pytest.approx(0.6)
    assert poses(inputs(bag, ego="/tf")) == EXPECTED


def test_odometry_of_another_frame_is_no_candidate(tmp_path: Path) -> None:
    wheel = [recorded("/wheel", s, bags.odometry(s, bags.pose(0), frame="odom")) for s in SECONDS]
    bag = write_bag(tmp_path / "bag", [*wheel, *drive(SECONDS)])
    assert poses(inputs(bag)) == EXPECTED
    only_wheel = write_bag(tmp_path / "wheel", wheel)
    with pytest.raises(InputError, match=r"between the frames 'map' and 'base_link'.*'odom' -> 'base_link'"):
        inputs(only_wheel)
    assert len(poses(inputs(only_wheel, load_config(None, {"frames.map": "odom"})))) == 3


def test_several_pose_topics_are_listed_and_one_can_be_chosen(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [*drive(SECONDS, topic="/a"), *drive(SECONDS, topic="/b", kind="PoseStamped")])
    with pytest.raises(InputError) as caught:
        inputs(bag)
    text = str(caught.value)
    assert "/a (nav_msgs/msg/Odometry, 3 messages), /b (geometry_msgs/msg/PoseStamped, 3 messages)" in text
    assert "Choose one with --ego TOPIC" in text
    assert len(poses(inputs(bag, ego="/b"))) == len(poses(inputs(bag, ego="b"))) == 3
    with pytest.raises(InputError, match=r"--ego /c.*got /a \(nav_msgs"):
        inputs(bag, ego="/c")


def test_a_bag_without_an_ego_says_what_it_has(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", oncoming(SECONDS))
    with pytest.raises(InputError, match=r"nav_msgs/msg/Odometry.*or tf between.*got /actors.*/tf: none"):
        inputs(bag)
    other = write_bag(tmp_path / "other", tf_entries("odom"))
    with pytest.raises(InputError, match="a chain that ends at 'odom'"):
        inputs(other)


CAR = (4.0, 1.8, 1.5)
OBJECTS: dict[str, Callable[[float], Any]] = {
    "TrackedObjects": lambda s: bags.autoware_objects(s, [bags.autoware_object(1, 1, bags.pose(20 - s, 2, 0.75), CAR)]),
    "PredictedObjects": lambda s: bags.autoware_objects(
        s, [bags.autoware_object(1, 1, bags.pose(20 - s, 2, 0.75), CAR, predicted=True)], predicted=True
    ),
    "ObjectArray": lambda s: bags.derived_objects(s, [bags.derived_object(1, 6, bags.pose(20 - s, 2, 0), CAR)]),
    "Detection3DArray": lambda s: bags.detections(s, [bags.detection("1", "car", bags.pose(20 - s, 2, 0.75), CAR)]),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_every_object_type(tmp_path: Path, kind: str) -> None:
    entries = [recorded("/objects", s, OBJECTS[kind](s)) for s in SECONDS]
    found = actors(inputs(write_bag(tmp_path / "bag", [*drive(SECONDS), *entries])))
    assert [message.stamp_ns for message in found] == [ns(s) for s in SECONDS]
    (actor,) = found[2].actors
    assert actor.asset in ("hatchback", "saloon")
    assert list(actor.position_m) == pytest.approx([19.8, 2.0, 0.0])


def test_actor_arrays_and_markers(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [*drive(SECONDS), *oncoming(SECONDS)])
    assert [message.actors[0].id for message in actors(inputs(bag))] == ["other"] * 3
    markers = [recorded("/shown", s, bags.marker_array(s, [("saloon", 8.0)])) for s in SECONDS]
    lanes = [recorded("/lanes", s, bags.marker_array(s, [("a lane", 8.0)])) for s in SECONDS]
    bag = write_bag(tmp_path / "markers", [*drive(SECONDS), *markers, *lanes])
    found = actors(inputs(bag))
    assert [(m.actors[0].asset, m.actors[0].size_m) for m in found] == [("saloon", (4.0, 2.0, 1.5))] * 3
    assert {m.actors[0].actor_pose for m in found} == {"box_center"}, "its middle, as RViz draws it"


def test_markers_that_name_no_asset_are_told_where_there_are_no_other_actors(tmp_path: Path) -> None:
    lanes = [recorded("/lanes", s, bags.marker_array(s, [("a lane", 8.0)])) for s in SECONDS]
    lone = write_bag(tmp_path / "lanes", [*drive(SECONDS), *lanes])
    with open_recording(lone, config=SimConfig(), library=LIBRARY) as recording:
        assert recording.actors is None
        (note,) = recording.bag.notes
        assert note.startswith("no actors: markers name no asset") and "(/lanes: first 'a lane')" in note
    both = write_bag(tmp_path / "both", [*drive(SECONDS), *lanes, *oncoming(SECONDS)])
    with open_recording(both, config=SimConfig(), library=LIBRARY) as recording:
        assert recording.bag.notes == []


def test_several_actor_topics_are_listed(tmp_path: Path) -> None:
    objects = [recorded("/objects", s, OBJECTS["TrackedObjects"](s)) for s in SECONDS]
    bag = write_bag(tmp_path / "bag", [*drive(SECONDS), *oncoming(SECONDS), *objects])
    with pytest.raises(InputError, match=r"got 2: /actors .*, /objects .*Choose one with --actors TOPIC"):
        inputs(bag)
    assert len(actors(inputs(bag, actors="/objects"))) == 3
    assert actors(inputs(bag, actors="none")) == []
    with pytest.raises(InputError, match="'none', or a topic of type"):
        inputs(bag, actors="/odom")


def test_detections_of_a_sensor_are_placed_by_the_ego(tmp_path: Path) -> None:
    """The lidar is 1 m ahead of base_link and looks to the left; the ego is at x = 1 m at 0.1 s and 2 m at 0.2 s.

    What is 5 m ahead of the lidar is at (ego + 1, 5) in the map, and turned by 90 degrees.
    """
    mounted = bags.tf(bags.transform(0, "base_link", "lidar", bags.pose(1, 0, 0, np.pi / 2)))
    seen = bags.detection("1", "car", bags.pose(5, 0, 0.75), CAR)
    entries = [Entry("/tf_static", ns(-1), mounted)]
    entries += [recorded("/detections", s, bags.detections(s, [seen], frame="lidar")) for s in (0.1, 0.15, 9.0)]
    found = inputs(write_bag(tmp_path / "bag", [*drive(SECONDS), *entries]))
    first, second = actors(found)
    assert list(first.actors[0].position_m) == pytest.approx([2.0, 5.0, 0.0])
    assert list(second.actors[0].position_m) == pytest.approx([2.5, 5.0, 0.0])
    assert list(first.actors[0].quat_wxyz) == pytest.approx([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    faults = [fault.text for entry in found for fault in entry.faults]
    assert faults == ["objects are left out: their stamp lies outside of the drive"]


def test_objects_of_an_unknown_frame_are_reported(tmp_path: Path) -> None:
    entries = [recorded("/objects", 0.0, bags.autoware_objects(0.0, [], frame="radar"))]
    found = inputs(write_bag(tmp_path / "bag", [*drive(SECONDS), *entries]))
    assert [f.text for e in found for f in e.faults] == [
        "objects: expected the frame 'map', 'base_link' or a frame that /tf_static places, got 'radar'"
    ]


def test_damaged_messages_are_faults_and_the_rest_is_read(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [*drive(SECONDS), *oncoming(SECONDS)])
    with sqlite3.connect(bags.storage_file(bag)) as database:
        database.execute("UPDATE messages SET data = x'0001000005' WHERE id IN (1, 4)")
    database.close()
    found = inputs(bag)
    assert [entry.topic for entry in found if entry.faults] == ["/odom", "/actors"]
    assert len(poses(found)) == 2 and len(actors(found)) == 2


def test_transforms_of_another_robot_are_those_of_its_topic(tmp_path: Path) -> None:
    """Two robots with frames of the same names; the second one's lidar is 2 m ahead of it, the first one's 1 m."""
    mounted = {x: bags.tf(bags.transform(0, "base_link", "lidar", bags.pose(x))) for x in (1.0, 2.0)}
    entries = [Entry("/tf_static", ns(-1), mounted[1.0]), Entry("/robot1/tf_static", ns(-1), mounted[2.0])]
    for s in SECONDS:
        moved = bags.tf(bags.transform(s, "map", "base_link", bags.pose(10 * s, 3.0)))
        entries.append(recorded("/robot1/tf", s, moved))
    seen = bags.detections(0.1, [bags.detection("1", "car", bags.pose(5, 0, 0.75), CAR)], frame="lidar")
    entries.append(recorded("/detections", 0.1, seen))
    with pytest.raises(InputError, match=r"/tf: the frames base_link, lidar\. Choose one with --ego TOPIC"):
        inputs(write_bag(tmp_path / "only", entries))
    bag = write_bag(tmp_path / "both", [*tf_entries(), *entries])
    found = inputs(bag, ego="/robot1/tf")
    assert poses(found) == EXPECTED
    assert {entry.message.position_m[1] for entry in found if isinstance(entry.message, EgoMessage)} == {3.0}
    assert list(actors(found)[0].actors[0].position_m) == pytest.approx([8.0, 3.0, 0.0])
    assert list(actors(inputs(bag))[0].actors[0].position_m) == pytest.approx([7.0, 0.0, 0.0])


@pytest.mark.parametrize("mark", ["", "/"])
def test_the_slash_in_front_of_frames_is_not_looked_at(tmp_path: Path, mark: str) -> None:
    """Messages of ROS 1, and configurations that name frames as these do."""
    config = load_config(None, {"frames.map": f"{mark}map", "frames.base_link": f"{mark}base_link"})
    car = bags.autoware_object(1, 1, bags.pose(5, 2, 0.75), CAR)
    for other in ("", "/"):
        drive = [recorded("/odom", s, bags.odometry(s, bags.pose(10 * s), frame=f"{other}map")) for s in SECONDS]
        frames = [f"{other}base_link", f"{other}map", f"{other}lidar"]
        objects = [recorded("/objects", 0.1, bags.autoware_objects(0.1, [car], frame=frame)) for frame in frames]
        lidar = bags.tf(bags.transform(0, f"{other}base_link", f"{other}lidar", bags.pose(1)))
        bag = write_bag(tmp_path / f"bag{len(other)}", [*drive, Entry("/tf_static", ns(-1), lidar), *objects])
        found = inputs(bag, config)
        assert poses(found) == EXPECTED and not any(entry.faults for entry in found)
        assert sorted(message.actors[0].position_m[0] for message in actors(found)) == pytest.approx([5.0, 6.0, 7.0])
        moved = write_bag(tmp_path / f"tf{len(other)}", tf_entries(f"{other}map", f"{other}base_link"))
        assert poses(inputs(moved, config)) == EXPECTED


@pytest.mark.parametrize("named", ["base_link", "car_a/base_link"])
def test_a_recording_may_name_the_vehicle_with_its_prefix_or_without(tmp_path: Path, named: str) -> None:
    """Of two vehicles in one tree it is that of the prefix."""
    config = load_config(None, {"frames.prefix": "car_a/"})
    other = [recorded("/tf", s, bags.tf(bags.transform(s, "map", "car_b/base_link", bags.pose(99)))) for s in SECONDS]
    lidar = Entry("/tf_static", ns(-1), bags.tf(bags.transform(0, named, "lidar", bags.pose(1))))
    seen = bags.detections(0.1, [bags.detection("1", "car", bags.pose(5, 0, 0.75), CAR)], frame="lidar")
    moved = [*tf_entries("map", named), *other, lidar, recorded("/detections", 0.1, seen)]
    found = inputs(write_bag(tmp_path / "tf", moved), config)
    assert poses(found) == EXPECTED and not any(entry.faults for entry in found)
    assert actors(found)[0].actors[0].position_m[0] == pytest.approx(7.0)
    drive = [recorded("/odom", s, bags.odometry(s, bags.pose(10 * s), child=named)) for s in SECONDS]
    assert poses(inputs(write_bag(tmp_path / "odometry", drive), config)) == EXPECTED


def test_a_topic_that_is_sparse_beside_tf_is_one_of_two(tmp_path: Path) -> None:
    seconds = [0.01 * i for i in range(42)]
    transforms = [bags.transform(s, "map", "base_link", bags.pose(10 * s)) for s in seconds]
    moving = [recorded("/tf", s, bags.tf(one)) for s, one in zip(seconds, transforms, strict=True)]
    initial = drive([0.05], topic="/initialpose", kind="PoseWithCovarianceStamped")
    bag = write_bag(tmp_path / "bag", [*moving, *initial])
    with pytest.raises(InputError, match=r"got 2: /initialpose .*, /tf \(map -> base_link, 42 poses\)\. Choose one"):
        inputs(bag)
    assert len(poses(inputs(bag, ego="/tf"))) == 42 and len(poses(inputs(bag, ego="/initialpose"))) == 1
    often = write_bag(tmp_path / "often", [*moving, *drive([0.0, 0.1, 0.2], topic="/slow")])
    assert len(poses(inputs(often))) == 3
    of_another = [recorded("/tf", s, bags.tf(bags.transform(s, "wheel", "hub", bags.pose(0)))) for s in seconds]
    assert len(poses(inputs(write_bag(tmp_path / "other", [*of_another, *initial])))) == 1
