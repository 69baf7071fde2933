"""NeuroNCAP score, worked out by hand. The ego is 4 m x 2 m with its front 3.5 m ahead, the actor 4 m x 2 m."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r3d2_ros.closed_loop.scores.data import RunData, run_data
from r3d2_ros.closed_loop.scores.neuroncap import neuroncap, reference_velocity
from tests.closed_loop.logs import moving, straight_ego, write
from tests.closed_loop.small_world import parked


def run(path: Path, ego_mps: float, x_m: float, *, target: Any = None, **keys: Any) -> RunData:
    """An ego on y = 0 that has `ego_mps` all the time and a target from `x_m` on; the reference has 10 m/s."""
    scenario = {"actors": [{**parked(x_m), **(target or {})}], "end": {"duration_s": 8.0}, **keys.pop("scenario", {})}
    where = keys.pop("where", moving(x_m, 0.0, 0.0, 0.0))
    return run_data(
        write(path / "log", ego=straight_ego(ego_mps), actors={"target": where}, scenario=scenario, **keys)
    )


def test_without_a_collision_it_is_five(tmp_path: Path) -> None:
    assert neuroncap(run(tmp_path, 10.0, 100.0)).value == 5.0


def test_at_the_reference_speed_it_is_zero(tmp_path: Path) -> None:
    score = neuroncap(run(tmp_path, 10.0, 30.0))
    assert score.value == pytest.approx(0.0, abs=1e-9)
    assert score.parts["impact_speed_mps"] == pytest.approx(10.0)
    assert score.parts["reference_speed_mps"] == pytest.approx(10.0)
    # Rear at 28, front at 3.5 + 10 t: touched at 2.45 s, seen at that tick or the next.
    assert score.parts["t_s"] == pytest.approx(2.455, abs=0.006)


def test_a_standing_target_hit_with_a_quarter_of_the_speed(tmp_path: Path) -> None:
    """4 (1 - 2.5 / 10) = 3."""
    assert neuroncap(run(tmp_path, 2.5, 12.0)).value == pytest.approx(3.0)


def test_faster_than_the_reference_is_not_below_zero(tmp_path: Path) -> None:
    assert neuroncap(run(tmp_path, 14.0, 30.0)).value == 0.0


def test_an_oncoming_target(tmp_path: Path) -> None:
    """The target comes with 5 m/s: v_r = 10 + 5. The ego has braked to 1 m/s: v_i = 1 + 5. 4 (1 - 6 / 15) = 2.4."""
    target = {"place": {"x": 30.0, "y": 0.0, "yaw_deg": 180}, "motion": {"kind": "constant_velocity", "speed_mps": 5}}
    made = run(tmp_path, 1.0, 30.0, target=target, where=moving(30.0, 0.0, math.pi, 5.0), seconds=6.0)
    score = neuroncap(made)
    assert score.parts["impact_speed_mps"] == pytest.approx(6.0)
    assert score.parts["reference_speed_mps"] == pytest.approx(15.0)
    assert score.value == pytest.approx(2.4)


def test_a_target_from_the_side(tmp_path: Path) -> None:
    """At right angles with 6 m/s: v_r = sqrt(10^2 + 6^2), v_i = sqrt(8^2 + 6^2) = 10."""
    target = {"place": {"x": 20.0, "y": -14.0, "yaw_deg": 90}, "motion": {"kind": "constant_velocity", "speed_mps": 6}}
    made = run(tmp_path, 8.0, 20.0, target=target, where=moving(20.0, -14.0, math.pi / 2, 6.0))
    score = neuroncap(made)
    assert score.parts["impact_speed_mps"] == pytest.approx(10.0)
    assert score.value == pytest.approx(4.0 * (1 - 10.0 / math.sqrt(136.0)))


def test_the_targets_speed_is_that_of_4_s_after_the_start(tmp_path: Path) -> None:
    """It drives with 4 m/s from 4 s on, whatever it did when it was hit: v_r = 10 - 4."""
    motion = {"kind": "path", "points": [[12, 0], [112, 0]], "speed_mps": 4, "start": {"time_s": 4.0}}
    target = {"place": None, "motion": motion}
    assert neuroncap(run(tmp_path, 3.0, 12.0, target=target)).parts["reference_speed_mps"] == pytest.approx(6.0)


def test_pedestrians_do_not_count(tmp_path: Path) -> None:
    made = run(tmp_path, 10.0, 30.0)
    for actor in made.actors:
        object.__setattr__(actor, "category", "pedestrian")
    assert neuroncap(made).value == 5.0


def test_the_reference_velocity_and_its_switch(tmp_path: Path) -> None:
    """The reference slows down from 10 m/s to 2 m/s at 6 s: compat takes the end (2), intended is 4 s (10)."""
    points = [[0, 0], [60, 0], [70, 0]]
    ego = {"reference": {"points": points, "times_s": [0, 6, 11]}}
    made = run(tmp_path, 1.0, 8.0, scenario={"ego": ego})
    np.testing.assert_allclose(reference_velocity(made, compat=True), [2.0, 0.0])
    np.testing.assert_allclose(reference_velocity(made, compat=False), [10.0, 0.0])
    assert neuroncap(made).value == pytest.approx(4.0 * (1 - 1.0 / 2.0))
    assert neuroncap(made, compat=False).value == pytest.approx(4.0 * (1 - 1.0 / 10.0))


def test_a_short_reference(tmp_path: Path) -> None:
    """3 s are 7 poses: the published code would read beyond them; the intended one takes the last two."""
    made = run(tmp_path, 10.0, 20.0, scenario={"end": {"duration_s": 3.0}}, seconds=3.0)
    score = neuroncap(made)
    assert score.value is None and "more than 4 s" in score.missing[0]
    assert neuroncap(made, compat=False).value == pytest.approx(0.0, abs=1e-9)


def test_a_target_that_depends_on_the_ego_has_no_reference(tmp_path: Path) -> None:
    motion = {"kind": "constant_velocity", "speed_mps": 3, "start": {"distance_m": 10}}
    score = neuroncap(run(tmp_path, 10.0, 30.0, target={"motion": motion}))
    assert score.value is None and "'target'" in score.missing[0]
