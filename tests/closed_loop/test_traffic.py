"""Actors that depend on others: triggers by distance, and followers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from r3d2_ros.closed_loop.motions import Following, smooth_line
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.scenario import IdmFollower
from r3d2_ros.closed_loop.traffic import PlacedActor
from r3d2_ros.closed_loop.vehicle import VehicleState
from r3d2_ros.geometry import Rigid
from r3d2_ros.lines import Line
from tests.closed_loop.small_world import VEHICLE, plan

IDM = IdmFollower(kind="idm", desired_speed_mps=15.0, time_headway_s=1.5, min_gap_m=2.0)


Placed = dict[float, dict[str, PlacedActor]]


def drive(planned: RunPlan, seconds: float, ego_mps: float, ego_x_m: float = 0.0) -> Placed:
    """Actors by time, with an ego that drives along y = 0 at constant speed."""
    state, found = planned.traffic.start(), {}
    for k in range(round(seconds * 100) + 1):
        found[k / 100] = {actor.id: actor for actor in planned.traffic.placed(state)}
        ego = VehicleState(ego_x_m + ego_mps * k / 100, 0.0, 0.0, ego_mps)
        corners, T = ego.box(VEHICLE), planned.reference.pose(ego)
        state = planned.traffic.advance(state, (k + 1) / 100, ego=(corners, T, ego_mps))
    return found


def x(actor: PlacedActor) -> float:
    return float(actor.T_world_actor.translation[0])


def test_a_trigger_by_distance_fires_when_the_boxes_are_that_near() -> None:
    """A car at x = 60 has its rear at 58; the ego's front is at 3.5 + 10 t. 14.5 m remain at t = 4.0 s."""
    motion = {"kind": "constant_velocity", "speed_mps": 5, "start": {"distance_m": 14.5}}
    found = drive(plan(actors=[{"id": "a", "asset": "car", "place": {"x": 60, "y": 0}, "motion": motion}]), 6.0, 10.0)
    assert x(found[3.99]["a"]) == 60.0 and found[3.99]["a"].speed_mps == 0.0
    assert x(found[5.0]["a"]) == pytest.approx(65.0, abs=0.06)  # within a tick of the trigger
    assert found[5.0]["a"].speed_mps == 5.0


def test_a_trigger_never_fires_for_an_ego_that_stays_away() -> None:
    motion = {"kind": "constant_velocity", "speed_mps": 5, "start": {"distance_m": 10}}
    found = drive(plan(actors=[{"id": "a", "asset": "car", "place": {"x": 60, "y": 0}, "motion": motion}]), 3.0, 1.0)
    assert x(found[3.0]["a"]) == 60.0


def test_idm_formula() -> None:
    """At 10 m/s with 1.5 s and 2 m: s* = 17 m behind one as fast. a (1 - (2/3)^4 - (17/20)^2) with a = 1.5."""
    following = Following(Line([[0, 0, 0], [100, 0, 0]]), 0.0, 0.0, IDM, 2.0, 1.0)
    expected = 1.5 * (1 - (2 / 3) ** 4 - (17 / 20) ** 2)
    assert following.acceleration(10.0, (20.0, 10.0)) == pytest.approx(expected)
    # Closing in with 5 m/s: s* grows by v dv / (2 sqrt(a b)) = 10 * 5 / (2 sqrt 3).
    wanted = 17 + 50 / (2 * math.sqrt(3.0))
    assert following.acceleration(10.0, (20.0, 5.0)) == pytest.approx(1.5 * (1 - (2 / 3) ** 4 - (wanted / 20) ** 2))
    assert following.acceleration(15.0, None) == 0.0


def follower(**keys: Any) -> dict[str, Any]:
    motion = {"kind": "idm", "desired_speed_mps": 15.0, "speed_mps": 10.0, **keys}
    return {"id": "f", "asset": "car", "place": {"lane": "ego", "s_m": 20.0}, "motion": motion}


def test_a_follower_reaches_its_own_speed_on_a_free_road() -> None:
    found = drive(plan(actors=[follower()]), 25.0, 0.0)
    assert found[0.0]["f"].speed_mps == 10.0
    assert found[25.0]["f"].speed_mps == pytest.approx(15.0, abs=0.3)


def test_a_follower_settles_behind_who_is_ahead() -> None:
    """Behind a car of 8 m/s: s = (s0 + v T) / sqrt(1 - (v / v0)^4) = 14 / sqrt(1 - (8/15)^4) between the boxes."""
    lead = {
        "id": "lead",
        "asset": "car",
        "place": {"lane": "ego", "s_m": 60.0},
        "motion": {"kind": "constant_velocity", "speed_mps": 8},
    }
    found = drive(plan(actors=[lead, follower()]), 26.0, 0.0)
    gap = x(found[26.0]["lead"]) - x(found[26.0]["f"]) - 4.0
    assert found[26.0]["f"].speed_mps == pytest.approx(8.0, abs=0.1)
    assert gap == pytest.approx(14.0 / math.sqrt(1 - (8 / 15) ** 4), abs=0.7)


def test_a_follower_follows_the_ego_and_stops_behind_it() -> None:
    """The ego stands with its rear at x = 80 - 0.5; the follower ends s0 = 2 m behind it."""
    found = drive(plan(actors=[follower()]), 25.0, 0.0, ego_x_m=80.0)
    assert found[25.0]["f"].speed_mps < 0.05
    assert 79.5 - (x(found[25.0]["f"]) + 2.0) == pytest.approx(2.0, abs=0.3)


def test_who_is_in_the_other_lane_is_not_ahead() -> None:
    beside = {"id": "b", "asset": "car", "place": {"lane": "oncoming", "s_m": 230.0}}
    found = drive(plan(actors=[beside, follower()]), 25.0, 0.0)
    assert found[25.0]["f"].speed_mps > 14.0


def test_a_follower_waits_for_its_start() -> None:
    found = drive(plan(actors=[follower(start={"time_s": 2.0})]), 3.0, 0.0)
    assert (x(found[1.99]["f"]), found[1.99]["f"].speed_mps) == (20.0, 0.0)
    assert found[2.01]["f"].speed_mps > 9.9
    assert x(found[3.0]["f"]) == pytest.approx(30.0, abs=0.6)


@pytest.mark.parametrize("beyond_m", [-250.0, -100.0, -10.0, 10.0, 100.0, 250.0])
def test_who_is_ahead_far_beyond_the_ends_of_a_line(beyond_m: float) -> None:
    """A lane of 50 m, and from 15 m behind a car of 4 m: 11 m from the front to its rear, if both are 4 m long."""
    at_m = beyond_m if beyond_m < 0.0 else 50.0 + beyond_m
    following = Following(Line([[0, 0, 0], [20, 0, 0], [50, 0, 0]]), 0.0, 0.0, IDM, 2.0, 1.0)
    lead = VehicleState(at_m - 1.5, 0.0, 0.0, 8.0)  # its centre is 1.5 m ahead of base_link
    others = [(lead.box(VEHICLE), Rigid.from_xyz_yaw(at_m, 0.0, 0.0, 0.0), 8.0)]
    assert following.ahead(at_m - 15.0, others) == pytest.approx((11.0, 8.0))
    assert following.ahead(at_m + 15.0, others) is None


def test_the_same_ego_gives_the_same_traffic() -> None:
    once, again = (drive(plan(actors=[follower()]), 5.0, 6.0, ego_x_m=40.0) for _ in range(2))
    assert [x(once[t]["f"]) for t in once] == [x(again[t]["f"]) for t in again]


def test_a_smooth_line_goes_through_points_that_all_but_fall_on_its_grid() -> None:
    """Equal chords are multiples of the grid up to rounding: neither point nor grid may be lost or counted twice."""
    angles = np.arange(21) / 20
    points = np.stack([20.0 * np.sin(angles), 20.0 - 20.0 * np.cos(angles), np.zeros(21)], axis=1)
    line, s = smooth_line(points)
    assert s == pytest.approx(20.0 * angles, rel=1e-3)
    assert np.allclose([line.at(float(v)) for v in s], points, atol=1e-9)
