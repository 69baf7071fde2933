"""Conversion of simulation_interfaces messages; stand-ins have the fields of its versions, so it need not be there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Accel, Point, Pose, PoseStamped, Quaternion, Twist, Vector3
from std_msgs.msg import Header

from r3d2_ros.closed_loop.entity_desk import MoveRequest, SpawnRequest
from r3d2_ros.closed_loop.entity_filters import Filters
from r3d2_ros.closed_loop.entity_view import Entity
from r3d2_ros.closed_loop.simulation_codes import Answer, Category, SpawnCode
from r3d2_ros.geometry import Rigid
from r3d2_ros.nodes.simulation_messages import (
    entity_filters,
    move_request,
    spawn_request,
    write_answer,
    write_info,
    write_spawnable,
    write_state,
)
from tests.closed_loop.small_world import LIBRARY

POSE = Pose(position=Point(x=1.0, y=2.0, z=3.0), orientation=Quaternion(x=0.1, y=0.2, z=0.3, w=0.4))
POSITION, QUAT_WXYZ = (1.0, 2.0, 3.0), (0.4, 0.1, 0.2, 0.3)


def spawn(**fields: Any) -> SpawnRequest:
    pose = PoseStamped(header=Header(frame_id="map"), pose=POSE)
    common = {"name": "box", "allow_renaming": True, "entity_namespace": "ns", "initial_pose": pose}
    return spawn_request(SimpleNamespace(**common, **fields))


def test_spawn_requests_of_both_versions() -> None:
    wanted = SpawnRequest("box", True, "car", "<sdf/>", "ns", "map", POSITION, QUAT_WXYZ)
    assert spawn(uri="car", resource_string="<sdf/>") == wanted
    assert spawn(entity_resource=SimpleNamespace(uri="car", resource_string="<sdf/>")) == wanted


def move(**flags: bool) -> MoveRequest:
    state = SimpleNamespace(
        header=Header(frame_id="ego"),
        pose=POSE,
        twist=Twist(linear=Vector3(x=4.0), angular=Vector3(z=5.0)),
        acceleration=Accel(linear=Vector3(y=6.0), angular=Vector3(x=7.0)),
    )
    return move_request(SimpleNamespace(entity="box", state=state, **flags))


def test_move_requests_of_both_versions() -> None:
    """Without flags the acceleration is left out: a state that was read can be set."""
    old = move()
    assert (old.entity, old.frame, old.position_m, old.quat_wxyz) == ("box", "ego", POSITION, QUAT_WXYZ)
    assert (old.linear_mps, old.angular_radps) == ((4.0, 0.0, 0.0), (0.0, 0.0, 5.0))
    assert old.acceleration == (0.0, 6.0, 0.0, 7.0, 0.0, 0.0)
    assert (old.set_pose, old.set_twist, old.set_acceleration) == (True, True, False)
    new = move(set_pose=False, set_twist=False, set_acceleration=True)
    assert (new.set_pose, new.set_twist, new.set_acceleration) == (False, False, True)


def test_filters() -> None:
    message = SimpleNamespace(
        filter="^b",
        categories=[SimpleNamespace(category=4), SimpleNamespace(category=2)],
        tags=SimpleNamespace(tags=["a", "b"], filter_mode=1),
        bounds=SimpleNamespace(type=3, points=[Vector3(x=1.0), Vector3(x=5.0)]),
    )
    bounds = (3, ((1.0, 0.0, 0.0), (5.0, 0.0, 0.0)))
    assert entity_filters(message) == Filters("^b", (4, 2), ("a", "b"), True, bounds)


def test_spawnables_of_both_versions() -> None:
    """The box of the 4 m x 2 m x 1.5 m car: its upper corner comes first."""
    bounds = SimpleNamespace()
    old = SimpleNamespace(uri="", description="", spawn_bounds=bounds)
    new = SimpleNamespace(entity_resource=SimpleNamespace(uri=""), description="", spawn_bounds=SimpleNamespace())
    write_spawnable(old, "truck", LIBRARY["truck"])
    write_spawnable(new, "truck", LIBRARY["truck"])
    assert old.uri == new.entity_resource.uri == "asset:truck"
    assert old.description == "car"
    assert bounds.type == 1
    assert [(p.x, p.y, p.z) for p in bounds.points] == [(2.0, 1.0, 1.5), (-2.0, -1.0, 0.0)]


def test_states_and_info() -> None:
    entity = Entity(
        name="box",
        category=Category.HUMAN,
        description="who",
        tags=("a", "b"),
        size_m=(1.0, 1.0, 1.0),
        T_world_entity=Rigid.from_xyz_yaw(1.0, 2.0, 3.0, np.pi / 2),
        linear_mps=np.array([0.0, 4.0, 0.0]),
        angular_radps=np.array([0.0, 0.0, 5.0]),
        linear_mps2=np.array([6.0, 0.0, 0.0]),
    )
    state = SimpleNamespace(header=Header(), pose=Pose(), twist=Twist(), acceleration=Accel())
    write_state(state, entity, frame="map", stamp_ns=1_500_000_000)
    assert (state.header.frame_id, state.header.stamp) == ("map", Time(sec=1, nanosec=500_000_000))
    assert (state.pose.position, state.twist.linear) == (Point(x=1.0, y=2.0, z=3.0), Vector3(y=4.0))
    assert np.allclose([state.pose.orientation.z, state.pose.orientation.w], np.sqrt(0.5))
    assert (state.twist.angular, state.acceleration.linear) == (Vector3(z=5.0), Vector3(x=6.0))
    info = SimpleNamespace(category=SimpleNamespace(category=0), description="", tags=[])
    write_info(info, entity)
    assert (info.category.category, info.description, info.tags) == (2, "who", ["a", "b"])


def test_answers() -> None:
    result = SimpleNamespace(result=0, error_message="")
    write_answer(result, Answer(SpawnCode.MISSING_ASSETS, "known: car"))
    assert (result.result, result.error_message) == (107, "known: car")
    assert type(result.result) is int
