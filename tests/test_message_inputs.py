"""The door for messages: which topic becomes the source of the ego and of the actors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from r3d2_ros.config import SimConfig
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.input_checks import ActorInput, Fault
from r3d2_ros.message_inputs import ActorMessage, EgoMessage, MessageDoor
from r3d2_ros.rigs import load_rig
from r3d2_ros.scene import Asset, AssetLibrary
from r3d2_ros.world import WorldState

MS = 1_000_000
UPRIGHT = (1.0, 0.0, 0.0, 0.0)
GOOD = EgoMessage(0, "map", "base_link", (1.0, 2.0, 0.0), UPRIGHT)
CAR = ActorInput("a", "car", (0.0, 0.0, 0.0), UPRIGHT)


@pytest.fixture
def door() -> MessageDoor:
    return make_door()


def make_door(defers: Callable[[str], bool] = lambda topic: False) -> MessageDoor:
    point = Gaussians(
        means=np.zeros((1, 3)), quats=[UPRIGHT], scales=np.ones((1, 3)), opacities=[0.9], sh=np.zeros((1, 1, 3))
    )
    library = AssetLibrary({"car": Asset("car", point, (4.0, 2.0, 1.5))})
    rig = load_rig("demo3")
    return MessageDoor(SimConfig(), rig=rig, library=library, has_actors=lambda: True, defers=defers)


@pytest.mark.parametrize(
    ("refused", "cause"),
    [
        (replace(GOOD, frame_id="odom"), "odometry.frame"),
        (replace(GOOD, child_frame_id="imu"), "ego.child_frame"),
        (replace(GOOD, position_m=(math.nan, 0.0, 0.0)), "ego.position"),
    ],
)
def test_a_topic_whose_poses_are_refused_leaves_the_ego_to_the_other(
    door: MessageDoor, refused: EgoMessage, cause: str
) -> None:
    for i in range(3):
        door.on_ego("odometry", replace(refused, stamp_ns=i * 100 * MS))
        door.on_ego("pose", replace(GOOD, stamp_ns=i * 100 * MS))
    assert door.synchronizer is not None and door.synchronizer.queue_depth == 3
    assert (door.reports.count(cause), door.reports.count("ego.second_source")) == (1, 2)


@pytest.mark.parametrize(
    "refused",
    [
        Fault("actors.mixed_headers", "two frames"),
        ActorMessage(0, "odom", [CAR]),
        ActorMessage(0, "map", [replace(CAR, asset="spaceship")]),
    ],
)
def test_a_topic_whose_actors_are_all_refused_leaves_them_to_the_other(
    door: MessageDoor, refused: ActorMessage | Fault
) -> None:
    door.on_actors("markers", refused)
    for stamp_ns in (100 * MS, 200 * MS):
        door.on_ego("pose", replace(GOOD, stamp_ns=stamp_ns))
        door.on_actors("actors", ActorMessage(stamp_ns, "map", [CAR]))
        tick = door.next_tick()
        assert tick is not None and isinstance(tick.state, WorldState)
        assert [actor.id for actor in tick.state.actors] == ["a"]


@pytest.mark.parametrize("order", [("actors", "markers"), ("markers", "actors")])
def test_markers_without_an_asset_do_not_shut_out_actors_of_the_same_stamp(order: tuple[str, str]) -> None:
    door = make_door(defers=lambda topic: topic == "markers")
    arrays = {"actors": [CAR], "markers": [replace(CAR, asset="package://viz/box.dae")]}
    for stamp_ns in (0, 100 * MS):
        door.on_ego("pose", replace(GOOD, stamp_ns=stamp_ns))
        for topic in order:
            door.on_actors(topic, ActorMessage(stamp_ns, "map", arrays[topic]))
        tick = door.next_tick()
        assert tick is not None and isinstance(tick.state, WorldState)
        assert [actor.id for actor in tick.state.actors] == ["a"]
    assert door.reports.count("actors.not_used") == (order[0] == "markers")


def test_actors_that_cannot_be_drawn_are_none_where_no_other_topic_has_some(door: MessageDoor) -> None:
    door.on_ego("pose", GOOD)
    door.on_actors("markers", ActorMessage(0, "map", [replace(CAR, asset="spaceship")]))
    tick = door.next_tick()
    assert tick is not None and tick.state is not None and tick.state.actors == ()


def test_an_empty_array_makes_its_topic_the_source(door: MessageDoor) -> None:
    door.on_actors("markers", ActorMessage(0, "map", []))
    door.on_actors("actors", ActorMessage(100 * MS, "map", [CAR]))
    (second,) = [report for report in door.reports.all() if report.cause == "actors.second_source"]
    assert second.text == "actors: the actors already comes from markers; messages here are ignored"


def test_a_vehicle_on_its_roof_is_reported_and_taken(door: MessageDoor) -> None:
    """(1, 0, 0, 0) in the order w, x, y, z, read as x, y, z, w, is half a turn about x."""
    door.on_ego("odometry", replace(GOOD, quat_wxyz=(0.0, 1.0, 0.0, 0.0)))
    door.on_ego("odometry", replace(GOOD, stamp_ns=100 * MS))
    assert door.reports.count("ego.upside_down") == 1
    assert door.synchronizer is not None and door.synchronizer.queue_depth == 2


def test_the_slash_in_front_of_frames_is_not_looked_at(door: MessageDoor) -> None:
    door.on_ego("odometry", replace(GOOD, frame_id="/map", child_frame_id="/base_link"))
    door.on_actors("actors", ActorMessage(0, "/map", [CAR]))
    assert door.next_tick() is not None and not door.reports.all()
