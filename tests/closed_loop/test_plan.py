"""Planning: reference paths, places on lanes, meetings, jitter. Numbers follow from 10 m/s along +x."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from r3d2_ros.closed_loop import motions
from r3d2_ros.closed_loop.plan import plan_run
from r3d2_ros.closed_loop.reference import Reference
from r3d2_ros.closed_loop.vehicle import VehicleState
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Array
from r3d2_ros.lane_map import LaneMap, MapLane
from r3d2_ros.lines import Line
from tests.closed_loop.small_world import LANE_MAP, LIBRARY, VEHICLE, parked, plan, spec


def ego(**reference: Any) -> dict[str, Any]:
    return {"reference": reference, "speed_mps": 10.0}


def test_reference_along_a_lane() -> None:
    reference = plan(ego=ego(lane="ego", from_m=25.0, to_m=125.0)).reference
    assert reference.length_m == 100.0
    assert reference.s_at(3.0) == 30.0 and reference.speed_at(3.0) == 10.0
    assert reference.time_at(30.0) == 3.0 and reference.time_at(130.0) == 13.0
    state = reference.state_at(2.0, VEHICLE)
    assert (state.x_m, state.y_m, state.speed_mps) == (45.0, 0.0, 10.0)
    assert reference.locate(45.0, 1.2) == (pytest.approx(20.0), pytest.approx(1.2))
    assert reference.locate(45.0, -0.7)[1] == pytest.approx(-0.7)


def test_references_that_lead_nowhere(tmp_path: Path) -> None:
    """Points one above the other are one place for who drives."""
    (tmp_path / "up.csv").write_text("x,y,z\n0,0,0\n0,0,5\n")
    expected = "expected at least two different points, seen from above, got one place"
    with pytest.raises(InputError, match=f"up.csv: {expected}"):
        plan(ego=ego(file=str(tmp_path / "up.csv")))
    with pytest.raises(InputError, match=f"ego.reference.points: {expected}"):
        plan(ego=ego(points=[[0, 0, 0], [0, 0, 5]]))
    up = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 5.0]])
    lane_map = LaneMap((MapLane("ego", up, up, up),))
    with pytest.raises(InputError, match=f"ego.reference.lane: {expected}"):
        plan_run(spec(ego=ego(lane="ego")), lane_map=lane_map, library=LIBRARY)


def test_reference_with_times() -> None:
    """10 m in 1 s, then 10 m in 4 s."""
    keys = {"reference": {"points": [[0, 0], [10, 0], [20, 0]], "times_s": [5, 6, 10]}}
    reference = plan(ego=keys).reference
    assert (reference.s_at(0.5), reference.s_at(3.0)) == (5.0, 15.0)
    assert (reference.speed_at(0.5), reference.speed_at(3.0)) == (10.0, 2.5)
    assert reference.time_at(15.0) == 3.0
    assert reference.s_at(7.0) == 25.0  # goes on with its last speed


def test_a_reference_faster_than_the_vehicle_is_refused() -> None:
    keys = {"reference": {"points": [[0, 0], [10, 0], [210, 0]], "times_s": [0, 1, 2]}}
    expected = "at most 40 m/s, max_speed_mps of the vehicle 'test', got 200 m/s from 1 to 2 s"
    with pytest.raises(InputError, match=f"ego.reference.times_s: expected {expected}"):
        plan(ego=keys)


def test_reference_that_stands() -> None:
    reference = plan(ego={"reference": {"lane": "ego"}, "speed_mps": 0.0}).reference
    assert (reference.s_at(5.0), reference.speed_at(5.0)) == (0.0, 0.0)
    assert reference.time_at(10.0) is None


def test_the_vehicle_stands_on_the_slope_of_its_path() -> None:
    """10 % uphill along +x: nose up, which is a negative pitch; downhill when it looks back."""
    reference = Reference.at_speed(Line([[0, 0, 5], [100, 0, 15]]), 10.0)
    T = reference.pose(VehicleState(50.0, 1.0, 0.0, 0.0))
    np.testing.assert_allclose(T.translation, [50.0, 1.0, 10.0])
    ahead = T.apply((1.0, 0.0, 0.0)) - T.translation
    assert ahead[2] == pytest.approx(math.sin(math.atan(0.1)))
    back = reference.pose(VehicleState(50.0, 1.0, math.pi, 0.0))
    assert back.apply((1.0, 0.0, 0.0))[2] - back.translation[2] == pytest.approx(-math.sin(math.atan(0.1)))


def test_wheels_are_turned_for_the_curve_at_the_start() -> None:
    angle = np.linspace(0.0, 1.0, 60)
    circle = [[30 * math.sin(a), 30 - 30 * math.cos(a)] for a in angle]
    state = plan(ego=ego(points=circle)).reference.state_at(1.0, VEHICLE)
    assert state.steer_rad == pytest.approx(math.atan(VEHICLE.wheelbase_m / 30.0), rel=0.02)


def actor(**keys: Any) -> dict[str, Any]:
    return {"id": "a", "asset": "car", **keys}


@pytest.mark.parametrize(
    ("place", "pose"),
    [
        ({"x": 7, "y": 3, "z": 1, "yaw_deg": 90}, (7, 3, 1, 90)),
        ({"lane": "ego", "s_m": 30, "left_m": 1, "heading_deg": 180}, (30, 1, 0, 180)),
        ({"lane": "oncoming", "s_m": 30, "left_m": 1}, (270, 2.5, 0, 180)),
        ({"lane": "reference", "s_m": 30}, (55, 0, 0, 0)),
        ({"lane": "footway", "s_m": 30}, (30, -3, 0, 0)),
    ],
)
def test_places(place: dict[str, Any], pose: tuple[float, ...]) -> None:
    planned = plan(ego=ego(lane="ego", from_m=25.0), actors=[actor(place=place)])
    (placed,) = planned.traffic.placed(planned.traffic.start())
    np.testing.assert_allclose(placed.T_world_actor.translation, pose[:3], atol=1e-9)
    assert math.cos(placed.T_world_actor.yaw_rad - math.radians(pose[3])) == pytest.approx(1.0)


def states(planned: Any, times: list[float]) -> list[Any]:
    """The first actor at these times, with an ego that is far away."""
    far = VehicleState(-500.0, 0.0, 0.0, 0.0)
    box, T = far.box(VEHICLE), planned.reference.pose(far)
    state, found = planned.traffic.start(), []
    for k in range(round(times[-1] * 100) + 1):
        if k:
            state = planned.traffic.advance(state, k * 0.01, ego=(box, T, 0.0))
        if any(abs(k * 0.01 - t) < 1e-9 for t in times):
            found.append(planned.traffic.placed(state)[0])
    return found


def test_constant_velocity_moves_from_the_beginning() -> None:
    motion = {"kind": "constant_velocity", "speed_mps": 5}
    now, later = states(plan(actors=[actor(place={"x": 10, "y": 0, "yaw_deg": 90}, motion=motion)]), [0.0, 2.0])
    np.testing.assert_allclose(now.T_world_actor.translation, [10, 0, 0])
    np.testing.assert_allclose(later.T_world_actor.translation, [10, 10, 0], atol=1e-9)
    assert later.speed_mps == 5.0


def test_a_start_by_time_is_exact() -> None:
    """1.234 s is between two ticks: at 2 s it has driven for 0.766 s."""
    motion = {"kind": "constant_velocity", "speed_mps": 5, "start": {"time_s": 1.234}}
    before, later = states(plan(actors=[actor(place={"x": 10, "y": 0}, motion=motion)]), [1.0, 2.0])
    assert (before.T_world_actor.translation[0], before.speed_mps) == (10.0, 0.0)
    assert later.T_world_actor.translation[0] == pytest.approx(10.0 + 5.0 * 0.766)


def test_a_path_with_acceleration() -> None:
    """2 m/s2 up to 4 m/s: after 2 s 4 m, after 3 s 8 m; then the end of the path at 10 m."""
    motion = {"kind": "path", "points": [[0, 5], [10, 5]], "speed_mps": 4, "acceleration_mps2": 2}
    two, three, five = states(plan(actors=[actor(motion=motion)]), [2.0, 3.0, 5.0])
    assert two.T_world_actor.translation[0] == pytest.approx(4.0)
    assert (three.T_world_actor.translation[0], three.speed_mps) == (pytest.approx(8.0), 4.0)
    assert (five.T_world_actor.translation[0], five.speed_mps) == (pytest.approx(10.0), 0.0)


def test_a_path_with_times_waits_where_a_point_repeats() -> None:
    points = [[0, 5], [10, 5], [10, 5], [30, 5]]
    motion = {"kind": "path", "frame": "reference", "points": points, "times_s": [0, 2, 3, 5]}
    found = states(plan(actors=[actor(motion=motion)]), [0.0, 2.0, 2.5, 3.0, 5.0])
    assert [p.T_world_actor.translation[0] for p in found] == pytest.approx([0, 10, 10, 10, 30])
    assert found[2].speed_mps == pytest.approx(0.0)


def test_the_curve_of_a_path_with_times_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tick asks for it: to the last bit it is what a curve made for that moment alone gives."""
    made = 0

    def counted(times_s: Array, s_m: Array) -> PchipInterpolator:
        nonlocal made
        made += 1
        return PchipInterpolator(times_s, s_m)

    monkeypatch.setattr(motions, "PchipInterpolator", counted)
    times_s = np.array([0.0, 0.7, 1.9, 3.0])
    timed = motions.Timed(Line([(0.0, 0.0, 0.0), (10.0, 0.0, 0.0)]), times_s, np.array([0.0, 1.0, 8.0, 10.0]))
    for t in (0.3, 0.7, 1.1, 2.9):
        alone = PchipInterpolator(times_s, timed.s_m)
        assert timed.after(t) == (float(alone(t)), float(alone(t, 1)))
    assert made == 1


def test_a_path_with_times_waits_where_only_the_height_changes() -> None:
    """Heights of a recorded actor that waits are noisy."""
    motion = {"kind": "path", "frame": "map", "times_s": [0, 1, 2, 3, 5]}
    points = [[10, 5, 0.01], [10, 5, 0.02], [10, 5, 0.0], [16, 5, 0.0], [30, 5, 0.1]]
    planned = plan(actors=[actor(motion={**motion, "points": points})])
    found = states(planned, [0.0, 1.0, 2.0, 3.0, 5.0])
    assert [p.T_world_actor.translation[0] for p in found] == pytest.approx([10, 10, 10, 16, 30])
    with pytest.raises(InputError, match=r"actors\.0\.motion\.points: expected at least two different points"):
        plan(actors=[actor(motion={"kind": "path", "frame": "map", "times_s": [0, 1], "points": points[:2]})])


def test_a_path_is_smooth_and_goes_through_its_points() -> None:
    corner = {"kind": "path", "points": [[0, 0], [10, 0], [14, 4], [14, 14]], "speed_mps": 1}
    planned = plan(actors=[actor(motion=corner)])
    line = planned.traffic.actors[0].motion.line
    for point in ([10, 0, 0], [14, 4, 0]):
        assert np.linalg.norm(line.points - point, axis=1).min() < 1e-9
    turns = np.diff([line.heading_rad(float(s)) for s in np.arange(0.0, line.length_m, 0.25)])
    assert np.abs(turns).max() < math.radians(9)


def test_who_meets_the_ego_is_where_it_is() -> None:
    """The ego's centre, 1.5 m ahead of base_link, is at x = 41.5 after 4 s. Crossing from the right with 3 m/s."""
    place = {"lane": "reference", "s_m": 41.5, "heading_deg": 90}
    motion = {"kind": "constant_velocity", "speed_mps": 3, "start": {"meets_reference": True}}
    first, meeting = states(plan(actors=[actor(place=place, motion=motion)]), [0.0, 4.0])
    np.testing.assert_allclose(meeting.T_world_actor.translation, [41.5, 0.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(first.T_world_actor.translation, [41.5, -12.0, 0.0], atol=1e-9)
    assert first.speed_mps == 3.0


def test_a_path_that_meets_the_ego_starts_late_enough() -> None:
    """From standstill 6 m beside the lane with 2 m/s2 up to 4 m/s: s / 4 + 1 seconds.

    It meets the ego at 4 s where it is first within 0.3 m of the lane's middle: after 5.75 m of a path with a point
    every 0.25 m.
    """
    motion = {
        "kind": "path",
        "points": [[41.5, -6], [41.5, 0], [41.5, 6]],
        "speed_mps": 4,
        "acceleration_mps2": 2,
        "start": {"meets_reference": True},
    }
    planned = plan(actors=[actor(motion=motion)])
    assert planned.traffic.actors[0].starts_s == pytest.approx(4.0 - (5.75 / 4 + 1))
    waiting, meeting = states(planned, [1.4, 4.0])
    np.testing.assert_allclose(waiting.T_world_actor.translation, [41.5, -6.0, 0.0], atol=1e-9)
    assert waiting.speed_mps == 0.0
    np.testing.assert_allclose(meeting.T_world_actor.translation, [41.5, -0.25, 0.0], atol=1e-6)


def test_jitter_changes_a_meeting() -> None:
    """Further along its way by what was drawn, it is there too early by as much."""
    place = {"lane": "reference", "s_m": 41.5, "heading_deg": 90}
    motion = {"kind": "constant_velocity", "speed_mps": 3, "start": {"meets_reference": True}}
    keys = actor(place=place, motion=motion, jitter={"longitudinal_m": 1.0})
    draws = np.random.default_rng(6).uniform(-1.0, 1.0, 8)
    (meeting,) = states(plan(seed=6, actors=[keys]), [4.0])
    np.testing.assert_allclose(meeting.T_world_actor.translation, [41.5, draws[4], 0.0], atol=1e-9)


def test_the_jitter_of_the_ego_leaves_the_others_where_they_are() -> None:
    """Places on its reference, and meetings, are those of the ego that is not moved."""
    place = {"lane": "reference", "s_m": 41.5, "heading_deg": 90}
    motion = {"kind": "constant_velocity", "speed_mps": 3, "start": {"meets_reference": True}}
    jitter = {"longitudinal_m": 5.0, "lateral_m": 1.0, "speed_mps": 2.0}
    starts = set()
    for seed in range(3):
        planned = plan(seed=seed, ego={**ego(lane="ego"), "jitter": jitter}, actors=[actor(place=place, motion=motion)])
        starts.add((planned.start.x_m, planned.start.y_m))
        (meeting,) = states(planned, [4.0])
        np.testing.assert_allclose(meeting.T_world_actor.translation, [41.5, 0.0, 0.0], atol=1e-9)
    assert len(starts) == 3


def test_meetings_that_cannot_be() -> None:
    motion = {"kind": "constant_velocity", "speed_mps": 3, "start": {"meets_reference": True}}
    with pytest.raises(InputError, match="actors.0.motion.start: expected a place that the ego passes after the start"):
        plan(actors=[actor(place={"x": -20, "y": 0}, motion=motion)])
    path = {"kind": "path", "points": [[20, -60], [20, 0]], "speed_mps": 4, "start": {"meets_reference": True}}
    with pytest.raises(InputError, match="expected a start that is not before the ego's, got -13"):
        plan(actors=[actor(motion=path)])


LANE = "for the lane 'ego', which is 300 m long"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"ego": ego(lane="ego", to_m=3000.0)}, f"ego.reference.to_m: expected -60 to 360 m {LANE}, got 3000 m"),
        ({"ego": ego(lane="ego", from_m=-500.0)}, f"ego.reference.from_m: expected -60 to 360 m {LANE}, got -500 m"),
        ({"actors": [actor(place={"lane": "ego", "s_m": 3500})]}, f"actors.0.place.s_m: expected .* {LANE}, got 3500"),
        (
            {"actors": [actor(place={"lane": "reference", "s_m": -500})]},
            "actors.0.place.s_m: expected -60 to 260 m for the lane 'reference', which is 200 m long, got -500 m",
        ),
        (
            {"actors": [actor(place={"lane": "ego", "s_m": 361}, motion={"kind": "idm", "desired_speed_mps": 5})]},
            f"actors.0.place.s_m: expected -60 to 360 m {LANE}, got 361 m",
        ),
        (
            {"actors": [actor(motion={"kind": "path", "frame": "ego", "points": [[0, 0], [999, 0]], "speed_mps": 1})]},
            f"actors.0.motion.points.1: expected -60 to 360 m {LANE}, got 999 m",
        ),
        (
            {"ego": {**ego(lane="ego"), "speed_mps": 80.0}},
            "ego.speed_mps: expected at most 40, max_speed_mps of the vehicle 'test', got 80",
        ),
    ],
)
def test_typos_in_distances_and_speeds(keys: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=f"^test.yaml: {expected}"):
        plan(**keys)


def test_places_a_little_beyond_the_ends() -> None:
    for s_m in (-60, 360):
        plan(actors=[actor(place={"lane": "ego", "s_m": s_m})])


def test_a_drawn_speed_is_one_of_the_vehicle() -> None:
    keys = {"reference": {"lane": "ego"}, "speed_mps": 39.0, "jitter": {"speed_mps": 30.0}}
    assert max(plan(seed=seed, ego=keys).start.speed_mps for seed in range(9)) == 40.0


def test_faults_of_what_varies_and_of_files_name_the_scenario() -> None:
    varied = replace(spec(actors=[{**parked(10.0), "asset": "tank"}]), variation={"asset": "tank"})
    with pytest.raises(InputError, match="^test.yaml: vary.asset: expected one of car, truck, got 'tank'"):
        plan_run(varied, lane_map=LANE_MAP, library=LIBRARY)
    with pytest.raises(InputError, match=r"^test.yaml: ego.reference.file: none.csv: expected a CSV file, got no such"):
        plan(ego=ego(file="none.csv"))


def test_what_a_scenario_names_must_be_there() -> None:
    with pytest.raises(InputError, match="test.yaml: actors.0.asset: expected one of car, truck, got 'tank'"):
        plan(actors=[{**parked(10.0), "asset": "tank"}])
    with pytest.raises(InputError, match="actors.0.place.lane: expected one of ego, oncoming, footway, got 'bus lane'"):
        plan(actors=[actor(place={"lane": "bus lane", "s_m": 1})])
    with pytest.raises(InputError, match="reference.lane: expected points or a file, for this scene has no lane map"):
        plan_run(spec(), lane_map=None, library=LIBRARY)
    with pytest.raises(InputError, match="ego.reference: expected a path of at least 1 m, got from 50 m to 20 m"):
        plan(ego=ego(lane="ego", from_m=50.0, to_m=20.0))
    with pytest.raises(InputError, match="ego.reference.points: expected at least two different points, .*one place"):
        plan(ego=ego(points=[[1, 1], [1, 1]]))


JITTER = {"longitudinal_m": 2.0, "lateral_m": 0.5, "yaw_deg": 10.0}


def jittered(seed: int, **others: Any) -> tuple[float, ...]:
    planned = plan(seed=seed, actors=[parked(40.0, jitter=JITTER), *others.get("more", [])])
    T = planned.traffic.placed(planned.traffic.start())[0].T_world_actor
    return (*T.translation, T.yaw_rad)


def test_jitter_is_a_function_of_the_seed() -> None:
    assert jittered(1) == jittered(1) != jittered(2)
    drawn = np.array([jittered(seed) for seed in range(200)])
    for column, centre, reach in ((0, 40.0, 2.0), (1, 0.0, 0.5), (3, 0.0, math.radians(10.0))):
        assert np.abs(drawn[:, column] - centre).max() <= reach
        assert drawn[:, column].std() == pytest.approx(reach / math.sqrt(3), rel=0.15)


def test_jitter_is_the_documented_draw() -> None:
    """default_rng(seed): four numbers for the ego, then four for the first actor."""
    draws = np.random.default_rng(5).uniform(-1.0, 1.0, 8)
    np.testing.assert_allclose(
        jittered(5), [40.0 + 2.0 * draws[4], 0.5 * draws[5], 0.0, math.radians(10.0) * draws[6]], atol=1e-12
    )


def test_one_jitter_leaves_the_others_alone() -> None:
    assert jittered(4) == jittered(4, more=[{**parked(80.0, jitter=JITTER), "id": "b", "target": False}])


def test_ego_jitter_moves_its_reference() -> None:
    keys = {**ego(lane="ego", from_m=20.0), "jitter": {"longitudinal_m": 3.0, "lateral_m": 0.4, "speed_mps": 1.0}}
    draws = np.random.default_rng(9).uniform(-1.0, 1.0, 4)
    planned = plan_run(spec(seed=9, ego=keys), lane_map=LANE_MAP, library=LIBRARY)
    start = planned.start
    assert start.x_m == pytest.approx(20.0 + 3.0 * draws[0])
    assert start.y_m == pytest.approx(0.4 * draws[1])
    assert start.speed_mps == pytest.approx(10.0 + draws[3])
