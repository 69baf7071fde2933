"""Ctrl-C and SIGTERM, as real signals to this process, in every part of `r3d2 scenario run` without ROS."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from r3d2_ros.cli.main import main
from r3d2_ros.closed_loop import interrupts as interrupts_module
from r3d2_ros.closed_loop import session
from r3d2_ros.closed_loop.controllers import CONTROLLERS, ConstantVelocityController, Observation
from r3d2_ros.closed_loop.demands import Command
from r3d2_ros.closed_loop.interrupts import Interrupts
from r3d2_ros.closed_loop.run_log import read_log
from tests.closed_loop.worlds import write_world

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture(autouse=True)
def unhandled() -> Iterator[list[int]]:
    """A signal that reaches nobody is a failure of the test and not the end of pytest."""
    seen: list[int] = []
    before = {n: signal.signal(n, lambda number, _: seen.append(number)) for n in (signal.SIGINT, signal.SIGTERM)}
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)
    assert seen == []


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def interrupting(function: Callable[..., Any], number: signal.Signals, call: int = 1) -> Callable[..., Any]:
    """The function with a signal in its middle, the `call`-th time that it is called."""
    calls = []

    def interrupted(*args: Any, **keys: Any) -> Any:
        calls.append(None)
        if len(calls) == call:
            send(number)
        return function(*args, **keys)

    return interrupted


def controller(number: signal.Signals, at: Callable[[Observation], bool], times: int = 1) -> type:
    """One that sends signals at the first frame set for which `at` is true."""

    class Interrupting(ConstantVelocityController):
        sent = False

        def step(self, observation: Observation) -> Command | None:
            if at(observation) and not Interrupting.sent:
                Interrupting.sent = True
                for _ in range(times):
                    send(number)
            return super().step(observation)

    return Interrupting


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


def run(scenario: Path, out: Path, *words: str) -> int:
    arguments = ["--controller", "constant_velocity", "--seeds", "2", "--out", str(out), *words]
    return main(["scenario", "run", str(scenario), *arguments])


def finished(out: Path) -> list[str]:
    """Runs of the results; every file of the results is there and whole."""
    assert (out / "report.html").read_text().endswith("</html>\n")
    ElementTree.parse(out / "junit.xml")
    assert not list(out.rglob("*.tmp"))
    return [run["run_id"] for run in json.loads((out / "results.json").read_text())["runs"]]


@BOTH
@pytest.mark.parametrize("part", ["plan_run", "assemble"])
def test_before_the_first_run(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, part: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """While scenarios are planned and the scene is loaded it ends at once."""
    monkeypatch.setattr(session, part, interrupting(getattr(session, part), number))
    assert run(scenario, tmp_path / "out") == 130
    assert "interrupted" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("run.jsonl"))


@BOTH
@pytest.mark.parametrize("phase", ["startup", "warmup", "drive"])
def test_in_each_phase_the_log_has_its_last_record(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, phase: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    monkeypatch.setitem(CONTROLLERS, "constant_velocity", controller(number, lambda o: o.snapshot.phase == phase))
    assert run(scenario, out) == 130
    log = read_log(out / "runs" / "parked-s0" / "run.jsonl")
    assert log.cut == 0 and log.end is not None
    assert (log.end["reason"], log.end["detail"], log.end["phase"]) == ("interrupted", number.name, phase)
    assert finished(out) == []
    said = f"interrupted by {number.name}: 0 of 2 runs are done, --out {out} --resume does the others"
    assert said in capsys.readouterr().err


def test_the_second_one_does_not_wait(scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(interrupts_module, "AGAIN_S", 0.0)
    twice = controller(signal.SIGINT, lambda o: o.snapshot.t_s > 0.5, times=2)
    monkeypatch.setitem(CONTROLLERS, "constant_velocity", twice)
    assert run(scenario, out) == 130
    log = read_log(out / "runs" / "parked-s0" / "run.jsonl")
    assert log.cut == 0 and log.end is not None and log.end["reason"] == "interrupted"
    assert [record["t_s"] for record in log.of("command")][-1] == pytest.approx(0.5)  # that at 0.6 s was not given


def test_two_at_once_are_one(scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a terminal reaches a node from the terminal and from `ros2 launch`: its tick is done all the same."""
    out = tmp_path / "out"
    twice = controller(signal.SIGINT, lambda o: o.snapshot.t_s > 0.5, times=2)
    monkeypatch.setitem(CONTROLLERS, "constant_velocity", twice)
    assert run(scenario, out) == 130
    log = read_log(out / "runs" / "parked-s0" / "run.jsonl")
    assert log.end is not None and (log.end["reason"], log.end["detail"]) == ("interrupted", "SIGINT")
    assert [record["t_s"] for record in log.of("frame")][-1] == pytest.approx(0.6)


@BOTH
def test_between_two_runs(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """While the first is scored: its results are written, and the second does not begin."""
    out = tmp_path / "out"
    monkeypatch.setattr(session, "score_folder", interrupting(session.score_folder, number))
    assert run(scenario, out) == 130
    assert finished(out) == ["parked-s0"]
    assert (out / "runs" / "parked-s0" / "summary.json").is_file() and not (out / "runs" / "parked-s1").exists()


@BOTH
def test_while_results_are_written_everything_is_written(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """All runs are done by then: the exit status is theirs."""
    out = tmp_path / "out"
    monkeypatch.setattr(session, "write_report", interrupting(session.write_report, number))
    assert run(scenario, out) == 1
    assert finished(out) == ["parked-s0", "parked-s1"]


def test_resuming_that_is_interrupted_forgets_no_finished_run(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two runs is to be repeated and is interrupted: the results still have the second."""
    out = tmp_path / "out"
    assert run(scenario, out) == 1
    shutil.rmtree(out / "runs" / "parked-s0")
    monkeypatch.setitem(
        CONTROLLERS, "constant_velocity", controller(signal.SIGTERM, lambda o: o.snapshot.phase == "drive")
    )
    assert run(scenario, out, "--resume") == 130
    assert finished(out) == ["parked-s1"]


def test_replay_ends_with_a_last_record(scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from r3d2_ros.simulator import Simulator

    assert run(scenario, tmp_path / "out", "--seeds", "1") == 1
    monkeypatch.setattr(Simulator, "step", interrupting(Simulator.step, signal.SIGTERM, call=5))
    again = ["scenario", "replay", str(tmp_path / "out" / "runs" / "parked-s0"), "--out", str(tmp_path / "again")]
    assert main(again) == 130
    end = read_log(tmp_path / "again" / "run.jsonl").end
    assert end is not None and end["reason"] == "interrupted"


def test_a_held_signal_arrives_where_it_is_ready_again() -> None:
    reached = []
    with Interrupts() as interrupts, interrupts.held():
        send(signal.SIGINT)
        send(signal.SIGTERM)
        reached.append("held")
        with pytest.raises(KeyboardInterrupt, match="SIGTERM"), interrupts.ready():
            reached.append("ready")
    assert reached == ["held"]


def test_an_exception_that_is_swallowed_does_not_lose_the_signal(capsys: pytest.CaptureFixture[str]) -> None:
    """As C code does it that calls Python and cannot fail."""
    with Interrupts() as interrupts, interrupts.held():
        with interrupts.ready():
            try:
                send(signal.SIGINT)
                re.escape("a call in which the handler runs at the latest")
            except KeyboardInterrupt:
                pass
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts():
            send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_given_back(unhandled: list[int]) -> None:
    with Interrupts():
        pass
    send(signal.SIGTERM)
    assert unhandled.pop() == signal.SIGTERM
