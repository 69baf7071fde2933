"""The shipped scenarios with stacks as processes: who brakes for nobody crashes everywhere, who sees depth stops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r3d2_ros.closed_loop.runs import load_runs, shipped_scenarios
from tests.closed_loop_ros.test_command_line import scenario_run

RIG = """
name: one
cameras:
  front: {width_px: 320, height_px: 180, fov_x_deg: 70, pose: {xyz_m: [1.5, 0, 1.5], rpy_deg: [0, 0, 0]}}
"""


STATIONARY = [name for name in shipped_scenarios() if load_runs(name)[0].scenario.type == "stationary"]


def outcome(folder: Path, stack: str, scenario: str) -> tuple[str, str]:
    """(verdict, how it ended), with one small camera."""
    (folder / "rig.yaml").write_text(RIG)
    words = ["--stack", stack, "--set", f"rig.source={folder / 'rig.yaml'}"]
    done = scenario_run([scenario], folder / "out", *words, timeout_s=390)
    assert (folder / "out" / "results.json").is_file(), done.stderr
    run = json.loads((folder / "out" / "results.json").read_text())["runs"][0]
    return run["verdict"], run["outcome"]["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", shipped_scenarios())
def test_constant_velocity_crashes(tmp_path: Path, scenario: str) -> None:
    assert outcome(tmp_path, "constant_velocity", scenario) == ("failed", "collision")


@pytest.mark.slow
@pytest.mark.parametrize("scenario", STATIONARY)
def test_depth_aeb_stops(tmp_path: Path, scenario: str) -> None:
    assert len(STATIONARY) >= 3
    assert outcome(tmp_path, "depth_aeb", scenario) == ("passed", "standstill")
