"""AlpaSim scene score, worked out by hand. The reference is 200 m along y = 0; the road is y = -1.75 to 5.25."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from r3d2_ros.closed_loop.scores.alpasim import alpasim, off_road_s
from r3d2_ros.closed_loop.scores.data import RunData, Score, run_data
from tests.closed_loop.logs import moving, straight_ego, write
from tests.closed_loop.small_world import LANE_MAP, parked

Ego = Callable[[float], Any]


def score(path: Path, *, ego: Ego, where: Any = None, lane_map: Any = LANE_MAP, **keys: Any) -> Score:
    actors = {} if where is None else {"target": where}
    scenario = {"actors": [parked(500.0)] if where is not None else [], **keys.pop("scenario", {})}
    return alpasim(run_data(write(path / "log", ego=ego, actors=actors, scenario=scenario, **keys)), lane_map)


def test_progress_up_to_its_saturation(tmp_path: Path) -> None:
    """The centre is 1.5 m ahead of base_link: (10 * 4 + 1.5) / 200 of the way, divided by 0.8."""
    made = score(tmp_path, ego=straight_ego(10.0))
    assert made.value == pytest.approx(41.5 / 200 / 0.8)
    assert made.parts["progress_clipped_rel"] == pytest.approx(41.5 / 200)


def test_more_than_80_percent_is_all(tmp_path: Path) -> None:
    assert score(tmp_path, ego=straight_ego(10.0, x_m=140.0)).value == 1.0


def test_a_reference_shorter_than_5_m_asks_for_nothing(tmp_path: Path) -> None:
    ego = {"reference": {"lane": "ego", "to_m": 4.0}, "speed_mps": 1.0}
    assert score(tmp_path, ego=straight_ego(0.0), scenario={"ego": ego}).value == 1.0


@pytest.mark.parametrize(
    ("where", "kind", "value"),
    [
        (moving(34.0, 0.0, 0.0, 0.0), "collision_front", 0.0),  # it drives into the rear of a parked car
        (moving(-10.0, 0.0, 0.0, 15.0), "collision_rear", None),  # it is hit from behind
        # From the side: at 1.9 s the ego reaches from x = 18.5 to 22.5, and is hit in the doors, from 19.5 to 21.5.
        (moving(20.5, -12.0, math.pi / 2, 5.0), "collision_lateral", 0.0),
    ],
)
def test_who_is_at_fault(tmp_path: Path, where: Any, kind: str, value: float | None) -> None:
    ego = straight_ego(10.0)
    made = score(tmp_path, ego=ego, where=where)
    kinds = ("collision_front", "collision_rear", "collision_lateral")
    assert [name for name in kinds if made.parts[name]] == [kind]
    if value is None:  # no fault of the ego's: the progress up to then counts
        assert made.value == pytest.approx(made.parts["progress_clipped_rel"] / 0.8) and made.value > 0
    else:
        assert made.value == value


def test_round_corners_and_2_percent(tmp_path: Path) -> None:
    """Boxes that overlap by 1 cm at the corner do not touch in this score: each is 2 cm narrower on either side."""
    made = score(tmp_path, ego=straight_ego(10.0), where=moving(34.0, 1.99, 0.0, 0.0), scenario={})
    assert not made.parts["collision_at_fault"]
    assert score(tmp_path / "b", ego=straight_ego(10.0), where=moving(34.0, 1.5, 0.0, 0.0)).parts["collision_front"]


def test_off_the_road(tmp_path: Path) -> None:
    """The right side of the box is 1 m (0.98) to the right of y: at y = -0.78 it touches the edge at -1.75."""
    assert not score(tmp_path, ego=straight_ego(10.0, y_m=-0.7)).parts["offroad"]
    made = score(tmp_path / "b", ego=straight_ego(10.0, y_m=-0.8))
    assert made.parts["offroad"] and made.value == 0.0


def test_between_two_lanes_is_on_the_road(tmp_path: Path) -> None:
    assert not score(tmp_path, ego=straight_ego(10.0, y_m=1.75)).parts["offroad"]


def test_without_a_map_nothing_is_off_the_road(tmp_path: Path) -> None:
    made = score(tmp_path, ego=straight_ego(10.0, y_m=-0.8), lane_map=None)
    assert made.parts["offroad"] is False and made.parts["lane_map"] is False


def test_beyond_4_m_nothing_counts_any_more(tmp_path: Path) -> None:
    """It leaves sideways with 2 m/s from x = 20 m on, 4 m after 2 s; what follows is dropped, a crash too."""

    def ego(t: float) -> list[float]:
        return [10.0 * t, max(0.0, 2.0 * (t - 2.0)), 0.0, 0.0, 10.0, 0.0, 0.0]

    made = score(tmp_path, ego=ego, where=moving(60.0, 7.0, 0.0, 0.0), lane_map=None, seconds=7.0)
    assert not made.parts["collision_at_fault"]
    assert made.parts["progress_clipped_rel"] == pytest.approx((40.0 + 1.5) / 200)


def test_progress_after_the_first_contact_does_not_count(tmp_path: Path) -> None:
    """Hit from behind at a standstill after 1 s, pushed on in the log afterwards: 11.5 m are what it drove."""

    def ego(t: float) -> list[float]:
        return [10.0 * t, 0.0, 0.0, 0.0, 10.0, 0.0, 0.0]

    behind = score(tmp_path, ego=ego, where=moving(-7.45, 0.0, 0.0, 15.0), seconds=6.0)
    assert behind.parts["collision_rear"]
    assert behind.parts["progress_clipped_rel"] < 13.0 / 200


def test_progress_on_a_lap(tmp_path: Path) -> None:
    """Once around a circle of 20 m at 10 m/s: 4 s are 40 of 40 pi metres. After 12.6 s it is where it began."""
    angles = [math.tau * k / 72 for k in range(73)]
    points = [[20.0 * math.sin(a), 20.0 - 20.0 * math.cos(a)] for a in angles]

    def ego(t: float) -> list[float]:
        a = t / 2 - math.atan2(1.5, 20.0)  # the centre of the box, 1.5 m ahead, is on the circle or 6 cm beside it
        return [20.0 * math.sin(a), 20.0 - 20.0 * math.cos(a), 0.0, a, 10.0, 0.0, 0.0]

    lap = {"ego": {"reference": {"points": points}, "speed_mps": 10.0}, "end": {"duration_s": 20.0}}
    for seconds in (4.0, 12.0, 12.6, 13.0):
        made = score(tmp_path / str(seconds), ego=ego, lane_map=None, seconds=seconds, scenario=lap)
        expected = min(10.0 * seconds / (40.0 * math.pi), 1.0)
        assert made.parts["progress_clipped_rel"] == pytest.approx(expected, abs=0.01)


def test_when_the_road_was_left(tmp_path: Path) -> None:
    """1 m/s to the right: the box touches the edge at 0.77 m, seen at 0.8 s. Also far from the reference."""

    def data(name: str, ego: Ego, **keys: Any) -> RunData:
        return run_data(write(tmp_path / name, ego=ego, **keys))

    right = data("right", lambda t: [10.0 * t, -t, 0.0, 0.0, 10.0, 0.0, 0.0])
    assert off_road_s(right, LANE_MAP) == 0.8
    assert off_road_s(data("on", straight_ego(10.0)), LANE_MAP) == math.inf
    left = data("left", lambda t: [10.0 * t, 2.0 * t, 0.0, 0.0, 10.0, 0.0, 0.0])
    assert off_road_s(left, LANE_MAP) == 2.2  # 4.27 m to the left
    assert not alpasim(left, LANE_MAP).parts["offroad"]
    warm_up = data("warm_up", lambda t: [10.0 * t, t - 1.5, 0.0, 0.0, 10.0, 0.0, 0.0], warmup_s=1.0)
    assert off_road_s(warm_up, LANE_MAP) == math.inf
    assert off_road_s(right, None) is off_road_s(right, replace(LANE_MAP, road_edges=())) is None
