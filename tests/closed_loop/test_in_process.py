"""Whole runs with pictures: equal hashes in two processes, and the example controllers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from r3d2_ros.closed_loop.actions import Outcome
from r3d2_ros.closed_loop.controllers import CONTROLLERS, Observation
from r3d2_ros.closed_loop.demands import Command
from r3d2_ros.closed_loop.header import header
from r3d2_ros.closed_loop.in_process import run_in_process
from r3d2_ros.closed_loop.inbox import Plan
from r3d2_ros.closed_loop.run_log import LogWriter, RunLog, read_log
from r3d2_ros.closed_loop.scores.data import SceneFacts
from r3d2_ros.closed_loop.scores.summary import summarise
from r3d2_ros.simulator import FrameSet
from tests.closed_loop.small_world import LANE_MAP, parked, plan, simulator


def drive(path: Path, name: str, **keys: Any) -> tuple[Outcome, RunLog]:
    planned, made = plan(**keys), simulator()
    with LogWriter(path) as log:
        log.write("header", **header(planned, controller=name, renderer=made.renderer.name))
        outcome = run_in_process(planned, made, CONTROLLERS[name](planned), log)
    return outcome, read_log(path)


def test_constant_velocity_crashes(tmp_path: Path) -> None:
    outcome, log = drive(tmp_path / "a", "constant_velocity", actors=[parked(40.05)])
    assert outcome.reason == "collision"
    assert log.of("tick")[-1]["ego"][4] == pytest.approx(10.0)
    summary = summarise(log, SceneFacts(lane_map=LANE_MAP))
    assert summary["scores"]["neuroncap"]["value"] == pytest.approx(0.0, abs=1e-6)
    assert summary["scores"]["alpasim"]["value"] == 0.0
    assert summary["progress"] == pytest.approx(34.6 / 200.0)  # up to the contact


def test_depth_aeb_stops_before_a_parked_car(tmp_path: Path) -> None:
    end = {"duration_s": 8.0, "standstill_s": 0.5}
    outcome, log = drive(tmp_path / "a", "depth_aeb", actors=[parked(45.0)], end=end)
    assert outcome.reason == "standstill"
    last = log.of("tick")[-1]["ego"]
    gap = 43.0 - (last[0] + 3.5)
    assert 1.0 < gap < 4.0


def test_depth_aeb_drives_past_a_car_beside_its_corridor(tmp_path: Path) -> None:
    outcome, log = drive(tmp_path / "a", "depth_aeb", actors=[parked(35.0, y_m=3.5)], end={"duration_s": 5.0})
    assert outcome.reason == "duration"
    assert log.of("tick")[-1]["ego"][3 + 1] == pytest.approx(10.0, abs=0.05)


def test_path_follower_reaches_the_goal_of_a_bend(tmp_path: Path) -> None:
    ego = {"reference": {"points": [[0, 0], [20, 0], [40, 4], [60, 12], [80, 24]]}, "speed_mps": 8.0}
    outcome, log = drive(tmp_path / "a", "path_follower", ego=ego, end={"duration_s": 15.0})
    assert outcome.reason == "goal"
    assert log.counts["plan"] > 80


def test_frames_carry_their_hashes_and_the_distance_to_the_capture(tmp_path: Path) -> None:
    _, log = drive(tmp_path / "a", "constant_velocity", phases={"warmup_s": 0.2}, end={"duration_s": 0.5})
    frames = [frame for frame in log.of("frame") if frame["phase"] != "startup"]
    assert [frame["index"] for frame in frames] == [0, 1, 2, 3, 4]
    assert all(len(frame["hashes"]["front"]) == 32 for frame in frames)
    assert frames[0]["off_path_m"] == pytest.approx(0.0)
    assert frames[0]["out_of_bounds_m"] is None  # this scene states no bounds


SCRIPT = """
import json, sys
from pathlib import Path
from tests.closed_loop.test_in_process import drive
from tests.closed_loop.small_world import parked
_, log = drive(Path(sys.argv[1]), "path_follower", actors=[parked(30.0, 3.5, jitter={"longitudinal_m": 2.0})],
               seed=7, end={"duration_s": 1.5})
print(json.dumps([log.end["digest"], [f["hashes"] for f in log.of("frame")], [t["ego"] for t in log.of("tick")]]))
"""


@pytest.mark.slow
def test_two_processes_give_the_same_pictures_and_poses(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    results = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", SCRIPT, str(tmp_path / name)],
                cwd=root,
                capture_output=True,
                text=True,
                check=True,
                timeout=200,
            ).stdout
        )
        for name in ("a", "b")
    ]
    assert results[0] == results[1]
    assert len({json.dumps(hashes) for hashes in results[0][1]}) > 10  # the pictures do change


class Raises:
    """A controller with a fault of its own in it."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def step(self, observation: Observation) -> Command | None:
        if observation.snapshot.t_s > 0.2:
            raise self._error
        return CONTROLLERS["constant_velocity"](plan()).step(observation)

    def plan(self, observation: Observation) -> Plan | None:
        return None


@pytest.mark.parametrize(
    ("error", "reason"), [(KeyboardInterrupt(), "interrupted"), (RuntimeError("no weights"), "error")]
)
def test_what_ends_a_run_from_outside_is_in_its_log(tmp_path: Path, error: BaseException, reason: str) -> None:
    planned, made = plan(), simulator()
    with LogWriter(tmp_path / "a") as log:
        log.write("header", **header(planned, controller="x", renderer="cpu"))
        with pytest.raises(type(error)):
            run_in_process(planned, made, Raises(error), log)
    end = read_log(tmp_path / "a").end
    assert end is not None and (end["reason"], end["infrastructure"]) == (reason, True)
    assert reason == "interrupted" or end["detail"] == "RuntimeError: no weights"


def test_every_frame_set_is_seen(tmp_path: Path) -> None:
    planned, made, seen = plan(phases={"warmup_s": 0.2}, end={"duration_s": 0.3}), simulator(), []

    def on_frame(frame_set: FrameSet, observation: Observation) -> None:
        seen.append((observation.snapshot.phase, frame_set.stamp_ns))

    with LogWriter(tmp_path / "a") as log:
        log.write("header", **header(planned, controller="x", renderer="cpu"))
        controller = CONTROLLERS["constant_velocity"](planned)
        run_in_process(planned, made, controller, log, on_frame=on_frame)
    assert [phase for phase, _ in seen] == ["startup", "warmup", "warmup", "engage"]
