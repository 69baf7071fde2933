"""HD-Score and its parts, worked out by hand. Boxes of the score are 3 m x 1.6 m, centred 1.5 m ahead of base_link."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r3d2_ros.boxes import rectangle
from r3d2_ros.closed_loop.actions import Snapshot
from r3d2_ros.closed_loop.demands import Demand, Trajectory
from r3d2_ros.closed_loop.inbox import Plan
from r3d2_ros.closed_loop.scores.data import SceneFacts, Score, run_data
from r3d2_ros.closed_loop.scores.hd import HdOptions, comfortable, drivable, hd_score, route_completion
from r3d2_ros.closed_loop.vehicle import Actuation
from r3d2_ros.lane_map import BUILDING, ROAD, SKY
from tests.closed_loop.drivers import Run
from tests.closed_loop.logs import moving, straight_ego, write
from tests.closed_loop.small_world import parked


def scene(*, wall: bool = False, hole_from_m: float = math.inf) -> SceneFacts:
    """Road points every 0.25 m between y = -1.75 and 5.25; `wall`: 200 points of a building around (60, 0, 1)."""
    x, y = np.meshgrid(np.arange(-10.0, 301.0, 0.25), np.arange(-1.75, 5.3, 0.25))
    road = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    road = road[road[:, 0] < hole_from_m]
    random = np.random.default_rng(0)
    building = np.array([60.0, 0.0, 1.0]) + random.uniform(-0.4, 0.4, (200 if wall else 0, 3))
    sky = np.array([60.0, 0.0, 1.0]) + random.uniform(-0.4, 0.4, (500, 3))
    labels = np.concatenate([np.full(len(road), ROAD), np.full(len(building), BUILDING), np.full(len(sky), SKY)])
    return SceneFacts(means=np.concatenate([road, building, sky]), labels=labels.astype(np.uint8))


def ahead(speed_mps: float, count: int = 6) -> Callable[[float], list[list[float]]]:
    """Plans of an ego that is at x = 10 t: straight on with another speed."""
    return lambda t: [[10.0 * t + speed_mps * 0.5 * i, 0.0, 0.0] for i in range(1, count + 1)]


def score(path: Path, facts: SceneFacts, *, where: Any = None, options: HdOptions | None = None, **keys: Any) -> Score:
    actors = {} if where is None else {"target": where}
    scenario = {"actors": [] if where is None else [parked(500.0)]}
    keys = {"ego": straight_ego(10.0), "plans": ahead(10.0), "seconds": 2.0, **keys}
    return hd_score(run_data(write(path / "log", actors=actors, scenario=scenario, **keys)), facts, options)


def test_a_free_road(tmp_path: Path) -> None:
    """Every part is 1, so the score is the completion: 2 s of 20 s, seen at the frame set of 1.9 s."""
    made = score(tmp_path, scene())
    assert {name: made.parts[name] for name in ("NC", "DAC", "TTC", "C")} == {"NC": 1, "DAC": 1, "TTC": 1, "C": 1}
    assert made.value == pytest.approx(made.parts["RC"])
    assert made.parts["frames"] == 20


def test_route_completion(tmp_path: Path) -> None:
    """201 places 1 m apart become 1601 at 0.125 m (midpoints while neighbours are over 0.1 m apart: 16 per metre).

    At x = 19 m it has come to place 19 * 16 + 1 of 200 * 16 + 1.
    """
    made = run_data(write(tmp_path / "log", ego=straight_ego(10.0), seconds=2.0))
    assert route_completion(made) == pytest.approx((19 * 16 + 1) / (0.9 * (200 * 16 + 1)))
    far = run_data(write(tmp_path / "far", ego=straight_ego(10.0, x_m=185.0), seconds=1.0))
    assert route_completion(far) == 1.0


def test_a_plan_into_a_parked_car(tmp_path: Path) -> None:
    """Boxes of a plan from x reach from x + 5 i to x + 5 i + 3, i = 0 to 6; the car from 36 to 40 m.

    Frames are at x = 0, 1, ..., 7. The last box touches the car from x = 3 on: three of eight plans are free. Those hit
    it with everything 5 m further on, which is 0.5 s from there.
    """
    made = score(tmp_path, scene(), where=moving(38.0, 0.0, 0.0, 0.0), seconds=0.8)
    assert made.parts["NC"] == pytest.approx(3 / 8)
    assert made.parts["TTC"] == 0.0
    assert made.value == pytest.approx(made.parts["RC"] * (3 / 8) * 2 / 7)


def test_cars_are_where_they_will_be(tmp_path: Path) -> None:
    """A car ahead that drives away with 10 m/s is never hit by a plan of 10 m/s, though it stands in the way now."""
    made = score(tmp_path, scene(), where=moving(20.0, 0.0, 0.0, 10.0), seconds=5.0)
    frames_with_future = 20  # of 50: later ones look beyond the recording, where its last set is used
    assert made.parts["NC"] >= frames_with_future / 50


def test_frames_count_from_the_one_whose_command_takes_over(tmp_path: Path) -> None:
    """A stack sends plans from the start on, and its first command for the frame set of 2.0 s of 3 s."""

    def plans_early(snapshot: Snapshot, run: Run) -> None:
        run.inbox.offer_plan(Plan(snapshot.stamp_ns, np.array([[5.0, 0], [10, 0], [15, 0]]), np.zeros(3)))
        if snapshot.phase == "startup" or snapshot.t_s >= 1.95:
            run.send(snapshot)

    control = {"timeout_s": 0.01, "max_misses": 0}
    run = Run(tmp_path / "log", on_frame=plans_early, control=control, end={"duration_s": 3.0})
    run.go()
    made = run_data(run.read())
    np.testing.assert_allclose([made.t_s[made.plans[k].tick] for k in (0, 1, -1)], [2.0, 2.1, 2.9], atol=1e-9)
    assert len(made.plans) == 10


def test_a_trajectory_counts_until_another_command_takes_its_place(tmp_path: Path) -> None:
    """One of 20 s after the warm-up of 0.5 s, and from the frame set of 1.0 s on the brake."""

    def demand(snapshot: Snapshot) -> Demand:
        if snapshot.t_s >= 0.95:
            return Actuation(-3.0, 0.0)
        stamps = tuple(snapshot.stamp_ns + second * 10**9 for second in range(21))
        return Trajectory(stamps, np.stack([snapshot.ego.x_m + 10.0 * np.arange(21), np.zeros(21)], axis=1))

    run = Run(tmp_path / "log", on_frame=lambda seen, run: run.send(seen, demand(seen)), end={"duration_s": 2.0})
    run.go()
    made = run_data(run.read())
    np.testing.assert_allclose([made.t_s[plan.tick] for plan in made.plans], [0.5, 0.6, 0.7, 0.8, 0.9], atol=1e-9)


def test_a_plan_into_the_background(tmp_path: Path) -> None:
    """200 points of a building within 0.8 m around x = 60 m: plans hold more than 100 of them from x = 27.4 m on."""
    assert score(tmp_path, scene(wall=True), seconds=1.0).parts["NC"] == 1.0
    made = score(tmp_path / "b", scene(wall=True), ego=straight_ego(10.0, x_m=30.0), plans=lambda t: [
        [30.0 + 10.0 * t + 5.0 * i, 0.0, 0.0] for i in range(1, 7)
    ], seconds=0.1)  # fmt: skip
    assert made.parts["NC"] == 0.0


def test_gaussians_of_the_sky_are_no_obstacle(tmp_path: Path) -> None:
    made = score(tmp_path, scene(), ego=straight_ego(10.0, x_m=58.0), plans=ahead(0.0), seconds=0.1)
    assert made.parts["NC"] == 1.0


def footprint(x_m: float, y_m: float) -> np.ndarray:
    return rectangle(x_m, y_m, 0.0, length_m=3.0, width_m=1.6)


def test_drivable_area_in_quarters() -> None:
    """The road ends at x = 100 m: cells of a footprint there are lost two by two; at its side, too."""
    facts = scene(hole_from_m=100.0)
    assert drivable(facts, [footprint(90.0, 0.0)]) == 1.0
    assert drivable(facts, [footprint(99.5, 0.0)]) == 1.0  # the front cells still hold the last points
    assert drivable(facts, [footprint(101.0, 0.0)]) == 1.0  # two of four cells are half: not less than 50 %
    assert drivable(facts, [footprint(90.0, 0.0), footprint(102.0, 0.0)]) == 0.0
    assert drivable(facts, [footprint(90.0, 6.0)]) == 1.0  # right half on the road
    assert drivable(facts, [footprint(101.0, 6.0)]) == 0.0  # one cell of four: 25 %


@pytest.mark.parametrize(
    ("speeds", "yaws", "value"),
    [
        ([10, 10, 10, 10], [0, 0, 0, 0, 0], 1.0),
        ([10, 11, 12, 13], [0, 0, 0, 0, 0], 1.0),  # 2 m/s2 all the time
        ([10, 11.3, 12.6, 13.9], [0, 0, 0, 0, 0], 0.0),  # 2.6 m/s2 is more than 2.40
        ([10, 8, 6, 4], [0, 0, 0, 0, 0], 1.0),  # -4 m/s2
        ([10, 7.9, 5.8, 3.7], [0, 0, 0, 0, 0], 0.0),  # -4.2 m/s2
        ([10, 11.1, 10, 11.1], [0, 0, 0, 0, 0], 0.0),  # from 2.2 to -2.2 m/s2 in 0.5 s: 8.8 m/s3
        ([5, 5, 5, 5], [0, 0.4, 0.8, 1.2, 1.6], 1.0),  # 0.8 rad/s
        ([5, 5, 5, 5], [0, 0.5, 1.0, 1.5, 2.0], 0.0),  # 1 rad/s
        ([1, 1, 1, 1], [3.1, -3.1, -3.05, -3.0, -2.95], 1.0),  # wrapped, it turns by 0.08
        ([5, 5, 5, 5], [0, 0.4, 0.3, 0.2, 0.1], 0.0),  # from 0.8 to -0.2 rad/s in 0.5 s: 2 rad/s2
    ],
)
def test_comfort(speeds: list[float], yaws: list[float], value: float) -> None:
    x = np.concatenate([[0.0], np.cumsum(np.array(speeds) * 0.5)])
    assert comfortable(np.stack([x, np.zeros(5)], axis=1), np.array(yaws)) == value


def test_comfort_of_three_points_is_not_asked_for() -> None:
    assert comfortable(np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 0.0]]), np.zeros(3)) == 1.0


def test_lateral_acceleration_is_a_switch() -> None:
    """10 m/s and 0.6 rad/s are 6 m/s2 to the side, which the published code does not see."""
    yaws = 0.3 * np.arange(5)
    points = np.stack([5.0 * np.arange(5.0), np.zeros(5)], axis=1)
    assert comfortable(points, yaws) == 1.0
    assert comfortable(points, yaws, lateral=True) == 0.0


def test_a_plan_to_stand_keeps_the_heading(tmp_path: Path) -> None:
    """Points within 1 m: their headings, here nonsense, are replaced by the ego's, so that no box turns into a car."""
    beside = moving(1.5, 2.0, 0.0, 0.0)  # its right side is at y = 1; the score's box reaches to 0.8
    turned = [[0.1, 0.0, 1.5], [0.2, 0.0, 1.5]]
    made = score(tmp_path, scene(), ego=straight_ego(0.0), plans=lambda t: turned, where=beside, seconds=0.3)
    assert made.parts["NC"] == 1.0


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    without = score(tmp_path, SceneFacts(), plans=None)
    assert without.value is None
    assert "labels" in without.missing[0] and "a plan of at least two points" in without.missing[1]
    one_point = score(tmp_path / "b", scene(), plans=ahead(10.0, count=1))
    assert one_point.value is None and len(one_point.missing) == 1


def test_the_stock_recording_is_a_switch(tmp_path: Path) -> None:
    """As the stock loop records: a step further on (1 m), without the last point. The car at 36 m is 4 m nearer.

    Without the last point boxes reach x + 1 + 25 + 3 = x + 29 m: with x up to 6 m the car's rear at 36 m is not hit.
    """
    where = moving(38.0, 0.0, 0.0, 0.0)
    stock = score(tmp_path, scene(), where=where, seconds=0.7, options=HdOptions(stock_recording=True))
    assert stock.parts["NC"] == 1.0
    assert score(tmp_path / "b", scene(), where=where, seconds=0.7).parts["NC"] < 1.0
