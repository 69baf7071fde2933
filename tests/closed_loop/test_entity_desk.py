"""Requests about entities: what each is answered with, while the run has not begun, goes on, or has ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r3d2_ros.closed_loop import entity_desk
from r3d2_ros.closed_loop.actions import Snapshot
from r3d2_ros.closed_loop.entities import World
from r3d2_ros.closed_loop.entity_desk import MAX_ENTITIES, EntityDesk, MoveRequest, SpawnRequest
from r3d2_ros.closed_loop.entity_view import category_of
from r3d2_ros.closed_loop.simulation_codes import Answer, Category, MoveCode, Result, SpawnCode
from r3d2_ros.config import FramesConfig
from tests.closed_loop.drivers import Run, answering
from tests.closed_loop.small_world import LIBRARY, parked, plan

NAN = math.nan
HALF = math.sqrt(0.5)
LEFT = (HALF, 0.0, 0.0, HALF)
"""A quarter turn to the left."""


def desk(**keys: Any) -> EntityDesk:
    """Of a run with the ego at the origin and a parked car, `target`, at x = 80."""
    return EntityDesk(plan(actors=[parked(80.0)], **keys), LIBRARY, FramesConfig())


@pytest.mark.parametrize("frame", ["base_link", "car_a/base_link"])
def test_the_vehicles_frame_is_known_with_its_prefix_and_without(frame: str) -> None:
    made = EntityDesk(plan(actors=[parked(80.0)]), LIBRARY, FramesConfig(prefix="car_a/"))
    answer, _ = made.spawn(SpawnRequest("a", uri="car", frame=frame, position_m=(10, 0, 0)))
    assert answer.ok
    assert made.spawn(SpawnRequest(frame, uri="car"))[0].code == SpawnCode.NAME_NOT_UNIQUE


def names(of: EntityDesk) -> list[str]:
    return [entity.name for entity in of.entities()]


def place(of: EntityDesk, name: str) -> list[float]:
    answer, entity = of.entity(name)
    assert answer.ok and entity is not None
    return [*entity.T_world_entity.translation.tolist(), entity.T_world_entity.yaw_rad]


# Spawning


def test_a_spawned_entity_is_known_at_once() -> None:
    made = desk()
    request = SpawnRequest("box", uri="asset:truck", position_m=(10.0, 2.0, 0.5), quat_wxyz=LEFT)
    assert made.spawn(request) == (Answer(Result.OK), "box")
    assert names(made) == ["ego", "target", "box"]
    assert place(made, "box") == pytest.approx([10.0, 2.0, 0.5, math.pi / 2])
    _, entity = made.entity("box")
    assert entity is not None
    assert (entity.category, entity.tags) == (Category.DYNAMIC_OBJECT, ("car", "truck", "spawned"))
    assert [corner.tolist() for corner in entity.box_m] == [[-2.0, -1.0, 0.0], [2.0, 1.0, 1.5]]


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"uri": ""}, SpawnCode.NO_RESOURCE, "got nothing; known: car, truck"),
        ({"uri": "", "resource_string": "<sdf/>"}, Result.FEATURE_UNSUPPORTED, "resource_string is not supported"),
        ({"uri": "tank"}, SpawnCode.MISSING_ASSETS, "got 'tank'; known: car, truck"),
        ({"uri": "asset:"}, SpawnCode.MISSING_ASSETS, "known: car, truck"),
        ({"uri": "/models/tank.sdf"}, SpawnCode.UNSUPPORTED_FORMAT, "asset:NAME"),
        ({"uri": "https://host/tank"}, SpawnCode.UNSUPPORTED_FORMAT, "asset:NAME"),
        ({"name": ""}, SpawnCode.NAME_INVALID, "allow_renaming"),
        ({"name": " box"}, SpawnCode.NAME_INVALID, "without spaces"),
        ({"name": "a\nb"}, SpawnCode.NAME_INVALID, "printable"),
        ({"name": "x" * 201}, SpawnCode.NAME_INVALID, "1 to 200"),
        ({"name": "target"}, SpawnCode.NAME_NOT_UNIQUE, "'target' is taken"),
        ({"name": "ego"}, SpawnCode.NAME_NOT_UNIQUE, "'ego' is taken"),
        ({"name": "map"}, SpawnCode.NAME_NOT_UNIQUE, "'map' is taken"),
        ({"namespace": "1 2"}, SpawnCode.NAMESPACE_INVALID, "a ROS namespace"),
        ({"position_m": (NAN, 0.0, 0.0)}, SpawnCode.INVALID_POSE, "three finite metres"),
        ({"position_m": (1e10, 0.0, 0.0)}, SpawnCode.INVALID_POSE, "three finite metres"),
        ({"quat_wxyz": (0.0, 0.0, 0.0, 0.0)}, SpawnCode.INVALID_POSE, "not all zero"),
        ({"quat_wxyz": (NAN, 0.0, 0.0, 1.0)}, SpawnCode.INVALID_POSE, "four finite numbers"),
        ({"frame": "moon"}, SpawnCode.INVALID_POSE, "frame_id 'moon'"),
    ],
)
def test_what_cannot_be_spawned(fields: dict[str, Any], code: int, text: str) -> None:
    made = desk()
    answer, name = made.spawn(SpawnRequest(**{"name": "box", "uri": "car", **fields}))
    assert (answer.code, name) == (code, "")
    assert text in answer.text
    assert names(made) == ["ego", "target"]


def test_names_that_are_taken_are_changed_where_that_is_allowed() -> None:
    made = desk()
    wanted = ["target", "", "", "ego", "free"]
    got = [made.spawn(SpawnRequest(name, allow_renaming=True, uri="truck"))[1] for name in wanted]
    assert got == ["target_1", "truck_1", "truck_2", "ego_1", "free"]
    assert made.delete("truck_1").ok
    assert made.spawn(SpawnRequest("truck_1", uri="car"))[1] == "truck_1"


def test_poses_in_the_frames_of_the_ego_and_of_entities() -> None:
    """The ego stands at the origin; `a` is 10 m ahead, turned left; `b` is 2 m ahead of that, so 2 m to the left."""
    made = desk()
    assert made.spawn(SpawnRequest("a", uri="car", frame="base_link", position_m=(10, 0, 0), quat_wxyz=LEFT))[0].ok
    assert made.spawn(SpawnRequest("b", uri="car", frame="a", position_m=(2.0, 0.0, 0.0)))[0].ok
    assert place(made, "b") == pytest.approx([10.0, 2.0, 0.0, math.pi / 2])
    for frame in ("", "map", "world", "ego"):
        assert made.spawn(SpawnRequest(f"in_{frame}", uri="car", frame=frame))[0].ok


def test_no_more_than_so_many() -> None:
    made = desk()
    answers = [made.spawn(SpawnRequest("x", allow_renaming=True, uri="car"))[0] for _ in range(MAX_ENTITIES)]
    assert all(answer.ok for answer in answers[:-1])
    assert answers[-1].code == Result.OPERATION_FAILED and f"at most {MAX_ENTITIES}" in answers[-1].text


def test_changes_do_not_pile_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entity_desk, "MAX_CHANGES", 100)
    made = desk()
    move = MoveRequest("target")
    assert all(made.move(move).ok for _ in range(100))
    assert made.move(move).code == Result.OPERATION_FAILED
    made.take(0)
    traffic = plan(actors=[parked(80.0)]).traffic
    made.show(World(traffic, traffic.start()))
    assert made.move(move).ok


# Deleting


def test_deleting() -> None:
    made = desk()
    assert made.delete("nobody").code == Result.NOT_FOUND
    assert made.delete("").code == Result.NOT_FOUND
    assert made.delete("ego").code == Result.OPERATION_FAILED
    assert made.delete("target").ok
    assert made.delete("target").code == Result.NOT_FOUND
    assert names(made) == ["ego"]


def test_what_was_spawned_goes_and_the_scenarios_own_stays() -> None:
    made = desk()
    made.spawn(SpawnRequest("a", uri="car"))
    made.spawn(SpawnRequest("b", uri="car"))
    made.delete("a")
    assert made.delete_spawned().ok
    assert names(made) == ["ego", "target"]
    assert made.delete_spawned().ok


# Moving


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"entity": "nobody"}, Result.NOT_FOUND),
        ({"entity": "ego"}, Result.OPERATION_FAILED),
        ({"set_pose": False, "set_twist": False}, Result.OPERATION_FAILED),
        ({"position_m": (0.0, math.inf, 0.0)}, MoveCode.INVALID_POSE),
        ({"quat_wxyz": (0.0,) * 4}, MoveCode.INVALID_POSE),
        ({"frame": "moon"}, MoveCode.INVALID_POSE),
        ({"frame": "moon", "set_pose": False}, Result.OPERATION_FAILED),
        ({"linear_mps": (NAN, 0.0, 0.0)}, Result.OPERATION_FAILED),
        ({"linear_mps": (151.0, 0.0, 0.0)}, Result.OPERATION_FAILED),
        ({"linear_mps": (3.0, 1.0, 0.0)}, Result.FEATURE_UNSUPPORTED),
        ({"linear_mps": (0.0, 0.0, 1.0)}, Result.FEATURE_UNSUPPORTED),
        ({"angular_radps": (0.0, 0.0, 0.1)}, Result.FEATURE_UNSUPPORTED),
        ({"acceleration": (1.0, 0.0, 0.0, 0.0, 0.0, 0.0), "set_acceleration": True}, Result.FEATURE_UNSUPPORTED),
        ({"acceleration": (NAN,) * 6, "set_acceleration": True}, Result.OPERATION_FAILED),
        ({"acceleration": (NAN,) * 6}, Result.OK),
        ({"linear_mps": (NAN, 0.0, 0.0), "set_twist": False}, Result.OK),
        ({"position_m": (NAN, 0.0, 0.0), "set_pose": False}, Result.OK),
    ],
)
def test_what_can_be_moved(fields: dict[str, Any], code: int) -> None:
    made = desk()
    answer = made.move(MoveRequest(**{"entity": "target", **fields}))
    assert answer.code == code, answer
    assert answer.ok or answer.text


@pytest.mark.parametrize(
    ("frame", "quat_wxyz", "linear_mps"),
    [("", LEFT, (0.0, 6.0, 0.0)), ("turned", (1.0, 0.0, 0.0, 0.0), (6.0, 0.0, 0.0))],
)
def test_a_velocity_is_in_the_axes_of_its_frame(
    frame: str, quat_wxyz: Sequence[float], linear_mps: Sequence[float]
) -> None:
    """Both times the car at (20, 5) faces +y of the map and drives at 6 m/s along it."""
    made = desk()
    made.spawn(SpawnRequest("turned", uri="car", position_m=(20.0, 5.0, 0.0), quat_wxyz=LEFT))
    position = (0.0, 0.0, 0.0) if frame else (20.0, 5.0, 0.0)
    move = MoveRequest("target", frame=frame, position_m=position, quat_wxyz=quat_wxyz, linear_mps=linear_mps)
    assert made.move(move).ok
    _, entity = made.entity("target")
    assert entity is not None
    assert place(made, "target") == pytest.approx([20.0, 5.0, 0.0, math.pi / 2])
    assert entity.linear_mps == pytest.approx([0.0, 6.0, 0.0])


# While the run goes on


def test_true_motion_of_ego_and_actors(tmp_path: Path) -> None:
    """The ego drives at 10 m/s; the actor reaches 4 m/s with 2 m/s2."""
    seen: dict[str, Any] = {}

    def on_gate(now: Snapshot, made: Run) -> None:
        if abs(now.t_s - 1.0) < 1e-6:
            seen.update({entity.name: entity for entity in made.desk.entities()})
            seen["stamp_ns"] = made.desk.stamp_ns - now.stamp_ns

    path = {"kind": "path", "points": [[40, 3], [80, 3]], "speed_mps": 4, "acceleration_mps2": 2}
    actors = [{"id": "a", "asset": "car", "motion": path}]
    Run(tmp_path / "a", on_frame=answering(), on_gate=on_gate, end={"duration_s": 1.5}, actors=actors).go()
    ego, actor = seen["ego"], seen["a"]
    assert seen["stamp_ns"] == 0
    assert (ego.category, ego.size_m, ego.centre_m) == (Category.ROBOT, (4.0, 2.0, 1.5), 1.5)
    assert ego.T_world_entity.translation == pytest.approx([10.0, 0.0, 0.0])
    assert ego.linear_mps == pytest.approx([10.0, 0.0, 0.0])
    assert actor.T_world_entity.translation == pytest.approx([41.0, 3.0, 0.0])
    assert actor.linear_mps == pytest.approx([2.0, 0.0, 0.0])
    assert actor.linear_mps2 == pytest.approx([2.0, 0.0, 0.0])
    assert np.all(actor.angular_radps == 0.0)


def test_a_turning_actor_and_one_that_was_put_elsewhere(tmp_path: Path) -> None:
    """A circle of 20 m at 4 m/s is 0.2 rad/s. What is put elsewhere has not flown there."""
    seen: list[Any] = []

    def on_gate(now: Snapshot, made: Run) -> None:
        if abs(now.t_s - 1.0) < 1e-6:
            seen.append(made.desk.entity("a")[1])
            assert made.desk.move(MoveRequest("a", position_m=(90.0, 9.0, 0.0), set_twist=False)).ok
            seen.append(made.desk.entity("a")[1])

    points = [[50 + 20 * math.sin(k / 20), 20 - 20 * math.cos(k / 20)] for k in range(21)]
    actors = [{"id": "a", "asset": "car", "motion": {"kind": "path", "points": points, "speed_mps": 4}}]
    Run(tmp_path / "a", on_frame=answering(), on_gate=on_gate, end={"duration_s": 1.2}, actors=actors).go()
    turning, moved = seen
    assert turning.angular_radps[2] == pytest.approx(0.2, rel=0.01)
    assert np.linalg.norm(turning.linear_mps2) == pytest.approx(0.8, rel=0.02)
    assert moved.linear_mps == pytest.approx([4.0, 0.0, 0.0])
    assert not moved.angular_radps.any() and not moved.linear_mps2.any()


def test_a_run_that_begins_anew() -> None:
    made = desk()
    made.begin_run()
    made.spawn(SpawnRequest("a", uri="car", position_m=(9.0, 0.0, 0.0)))
    made.move(MoveRequest("a", position_m=(50.0, 0.0, 0.0)))
    made.delete("target")
    made.keep_spawned(True)
    made.begin_run()
    assert place(made, "a")[:3] == [9.0, 0.0, 0.0]
    assert names(made) == ["ego", "target", "a"]
    assert len(made.take(0)) == 1
    made.begin_run()
    assert names(made) == ["ego", "target"]
    assert made.take(0) == ()


def test_what_was_spawned_in_the_place_of_a_scripted_actor_takes_it_again() -> None:
    made = desk()
    made.begin_run()
    assert made.delete("target").ok
    assert made.spawn(SpawnRequest("target", uri="car", position_m=(9.0, 0.0, 0.0)))[0].ok
    for _ in range(2):
        made.keep_spawned(True)
        made.begin_run()
        assert names(made) == ["ego", "target"] and place(made, "target")[:3] == [9.0, 0.0, 0.0]
    made.begin_run()
    assert names(made) == ["ego", "target"] and place(made, "target")[0] != 9.0, "the scenario's own"


def test_what_is_asked_for_before_the_first_run_is_done_in_it() -> None:
    made = desk()
    made.spawn(SpawnRequest("a", uri="car"))
    made.begin_run()
    assert names(made) == ["ego", "target", "a"]
    assert len(made.take(0)) == 1


def test_a_run_that_has_ended() -> None:
    made = desk()
    made.end_run()
    assert made.spawn(SpawnRequest("a", uri="car"))[0].code == Result.INCORRECT_STATE
    for answer in (made.delete("target"), made.move(MoveRequest("target")), made.delete_spawned()):
        assert answer.code == Result.INCORRECT_STATE
    assert names(made) == ["ego", "target"]
    made.begin_run()
    assert made.spawn(SpawnRequest("a", uri="car"))[0].ok


def test_kinds_of_entities() -> None:
    kinds = {name: category_of(name) for name in ("car", "cyclist", "pedestrian", "", "cone")}
    assert kinds == {
        "car": Category.DYNAMIC_OBJECT,
        "cyclist": Category.DYNAMIC_OBJECT,
        "pedestrian": Category.HUMAN,
        "": Category.OBJECT,
        "cone": Category.OBJECT,
    }
