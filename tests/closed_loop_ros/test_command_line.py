"""`r3d2 scenario run` with stacks as processes: verdicts, exit statuses, results, Ctrl-C."""

from __future__ import annotations

import importlib.util
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from r3d2_ros.closed_loop.run_log import read_log
from tests.closed_loop.worlds import write_world

ROOT = Path(__file__).resolve().parents[2]


def scenario_run(
    scenarios: list[str], out: Path, *words: str, timeout_s: float = 110
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "r3d2_ros.cli", "scenario", "run", *scenarios, "--out", str(out), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout_s)


def patient(folder: Path) -> Path:
    """The small scenario as fast as it goes; a busy machine makes no misses of it."""
    scenario = write_world(folder)
    more = "\nclock: {rtf_max: 0, clock_rate_hz: 50}\ncontrol: {timeout_s: 20}\n"
    scenario.write_text(scenario.read_text() + more)
    return scenario


@pytest.mark.slow
def test_depth_aeb_passes_and_constant_velocity_fails(tmp_path: Path) -> None:
    scenario = patient(tmp_path)
    braking = scenario_run([str(scenario)], tmp_path / "a", "--stack", "depth_aeb")
    assert braking.returncode == 0, braking.stderr
    crashing = scenario_run([str(scenario)], tmp_path / "b", "--stack", "constant_velocity")
    assert crashing.returncode == 1, crashing.stderr
    run = json.loads((tmp_path / "b" / "results.json").read_text())["runs"][0]
    assert (run["verdict"], run["outcome"]["reason"]) == ("failed", "collision")
    assert "<failure" in (tmp_path / "b" / "junit.xml").read_text()
    folder = tmp_path / "a" / "runs" / "parked-s0"
    log = read_log(folder / "run.jsonl")
    assert log.header["controller"] == "stack depth_aeb"
    assert log.end is not None and log.end["deterministic"]
    assert list((folder / "film").glob("*.jpg"))
    assert "ready" in (folder / "stack.log").read_text()


def test_a_stack_that_dies_is_a_fault_of_the_infrastructure(tmp_path: Path) -> None:
    program = shlex.join([sys.executable, "-c", "import sys, time; time.sleep(1); sys.exit('no weights')"])
    done = scenario_run([str(patient(tmp_path))], tmp_path / "out", "--stack-command", program)
    assert done.returncode == 2, done.stderr
    run = json.loads((tmp_path / "out" / "results.json").read_text())["runs"][0]
    assert run["verdict"] == "error" and "no weights" in run["outcome"]["detail"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--stack", "nobody"], "--stack: expected one of constant_velocity, depth_aeb, timer_driver, got 'nobody'"),
        (["--stack-command", "no-such-program"], "--stack-command: expected a program that can be started"),
        (["--no-stack", "--max-age", "-1"], "--max-age: expected 0 to 60 seconds, got -1"),
        pytest.param(
            ["--no-stack", "--ros-args", "-p", "autoware_control:=true"],
            "needs the package 'autoware_control_msgs'",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("autoware_control_msgs") is not None,
                reason="autoware_control_msgs is installed",
            ),
        ),
        (["--no-stack", "--ros-args", "-p", ":::"], "--ros-args: expected arguments that ROS 2 can use"),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, words: list[str], expected: str) -> None:
    done = scenario_run([str(patient(tmp_path))], tmp_path / "out", *words)
    assert done.returncode == 1
    (fault,) = [line for line in done.stderr.splitlines() if line.startswith("r3d2 scenario: ")]
    assert expected in fault


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_whole_log(tmp_path: Path, number: signal.Signals) -> None:
    scenario, out = patient(tmp_path), tmp_path / "out"
    command = [sys.executable, "-m", "r3d2_ros.cli", "scenario", "run", str(scenario), "--out", str(out), "--no-stack"]
    log = out / "runs" / "parked-s0" / "run.jsonl"
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            end = time.monotonic() + 60
            while not (log.is_file() and b'"frame"' in log.read_bytes()):
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.1)
            process.send_signal(number)
            assert process.wait(30) == 130
        finally:
            process.kill()
    written = read_log(log)
    assert written.cut == 0 and written.end is not None
    assert (written.end["reason"], written.end["detail"]) == ("interrupted", number.name)
    assert (out / "results.json").is_file()
