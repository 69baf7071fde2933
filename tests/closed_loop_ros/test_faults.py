"""What goes wrong with stacks: dead, late, twice, not a number, from the past; slow readers; stopped in each phase."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path

import pytest
from sensor_msgs.msg import Image

from r3d2_ros.closed_loop.run_control import Stopped
from r3d2_ros.nodes.qos import reliable
from tests.closed_loop_ros.harness import MS, Run, TestStack, drive, steady, tiny_plan
from tests.nodes.harness import wait_for

IMPATIENT = {"timeout_s": 0.3, "max_misses": 3}


def test_a_stack_that_falls_silent_ends_the_run(tmp_path: Path) -> None:
    answers = iter(range(8))

    def answer(stack: TestStack, stamp_ns: int, number: int) -> None:
        if next(answers, None) is not None:
            stack.send(stamp_ns)

    outcome, log = drive(tmp_path / "run.jsonl", answer, control=IMPATIENT, end={"duration_s": 3.0})
    assert (outcome.reason, outcome.infrastructure) == ("control_lost", True)
    assert log.end is not None and log.end["misses"] == 3 and not log.end["deterministic"]


def test_a_stack_that_never_says_anything(tmp_path: Path) -> None:
    keys = {"control": IMPATIENT, "phases": {"startup_timeout_s": 1.0, "warmup_s": 0.2}}
    outcome, _ = drive(tmp_path / "run.jsonl", lambda *_: None, **keys)
    assert (outcome.reason, outcome.infrastructure) == ("no_command", True)


def test_a_process_of_a_stack_that_ends_is_named(tmp_path: Path) -> None:
    alive = time.monotonic() + 2.0

    def fault() -> str:
        return "" if time.monotonic() < alive else "the stack ended with exit code 3"

    with TestStack(), Run(tmp_path / "run.jsonl", tiny_plan(end={"duration_s": 1e4}), stack_fault=fault) as run:
        outcome = run.wait()
    assert (outcome.reason, outcome.detail) == ("stack_ended", "the stack ended with exit code 3")
    end = run.read().end
    assert end is not None and end["infrastructure"]


def test_a_late_answer_is_a_miss_and_then_stale(tmp_path: Path) -> None:
    def answer(stack: TestStack, stamp_ns: int, number: int) -> None:
        if len(stack.frame_sets) == 8:
            time.sleep(1.0)
        stack.send(stamp_ns)

    outcome, log = drive(
        tmp_path / "run.jsonl", answer, control={"timeout_s": 0.3, "max_misses": 0}, end={"duration_s": 1.5}
    )
    assert outcome.reason == "duration"
    assert log.counts["miss"] >= 1
    assert "stale" in {r["cause"] for r in log.of("refused")}
    assert log.end is not None and not log.end["deterministic"]


def test_the_second_of_two_answers_is_refused(tmp_path: Path) -> None:
    def answer(stack: TestStack, stamp_ns: int, number: int) -> None:
        stack.send(stamp_ns, acceleration=1.0)
        stack.send(stamp_ns, acceleration=-8.0)

    outcome, log = drive(tmp_path / "run.jsonl", answer)
    assert outcome.reason == "duration"
    assert {r["command"]["demand"]["acceleration_mps2"] for r in log.of("command")} == {1.0}
    assert {r["cause"] for r in log.of("refused")} <= {"duplicate", "stale"}
    assert "duplicate" in {r["cause"] for r in log.of("refused")}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_is_refused_and_the_next_answer_used(tmp_path: Path, bad: float) -> None:
    def answer(stack: TestStack, stamp_ns: int, number: int) -> None:
        stack.send(stamp_ns, acceleration=bad)
        stack.send(stamp_ns, steering=bad)
        stack.send(stamp_ns)

    outcome, log = drive(tmp_path / "run.jsonl", answer)
    assert outcome.reason == "duration"
    assert log.end is not None and log.end["misses"] == 0
    assert {r["cause"] for r in log.of("refused")} == {"invalid"}


def test_a_stamp_from_the_past_or_the_future_is_refused(tmp_path: Path) -> None:
    def answer(stack: TestStack, stamp_ns: int, number: int) -> None:
        stack.send(stamp_ns - 5000 * MS, acceleration=-8.0)
        stack.send(stamp_ns + 5000 * MS, acceleration=-8.0)
        stack.send(stamp_ns)

    outcome, log = drive(tmp_path / "run.jsonl", answer)
    assert outcome.reason == "duration"
    assert log.of("tick")[-1]["ego"][4] == pytest.approx(10.0)
    assert {"future"} < {r["cause"] for r in log.of("refused")} <= {"future", "stale", "out_of_order"}


def test_a_slow_reader_of_one_camera_slows_nobody(tmp_path: Path) -> None:
    reached = threading.Event()
    with TestStack() as stack, TestStack(lambda *_: None) as slow:
        seen: list[Image] = []

        def read_slowly(message: Image) -> None:
            seen.append(message)
            reached.wait(2.0)

        slow.node.create_subscription(Image, "/camera/left/image_raw", read_slowly, reliable(1))
        with Run(tmp_path / "run.jsonl", tiny_plan(end={"duration_s": 3.0})) as run:
            outcome = run.wait()
        reached.set()
    end = run.read().end
    assert outcome.reason == "duration" and end is not None and end["misses"] == 0
    assert len(stack.frame_sets) > len(seen) > 0


PHASES = {
    "startup": {"answer": lambda *_: None},
    "warmup": {"phases": {"warmup_s": 1e4}, "end": {"duration_s": 2e4, "at_goal": False, "off_reference_m": 1e5}},
    "engage": {
        "control": {"max_age_s": 1e4, "max_misses": 0},
        "phases": {"warmup_s": 0.2, "engage_timeout_s": 1e4},
    },
    "drive": {"end": {"duration_s": 1e4, "off_reference_m": 1e5, "at_goal": False}},
}


@pytest.mark.parametrize("phase", PHASES)
def test_stopped_in_each_phase_the_log_is_whole(tmp_path: Path, phase: str) -> None:
    keys = dict(PHASES[phase])
    once = iter([True])

    def first_only(stack: TestStack, stamp_ns: int, number: int) -> None:
        if next(once, False):
            stack.send(stamp_ns)

    answer = keys.pop("answer", first_only if phase == "engage" else steady)
    with TestStack(answer), Run(tmp_path / "run.jsonl", tiny_plan(**keys)) as run:
        wait_for(lambda: run.phase == phase, f"the phase {phase}")
        run.control.stop("SIGINT")
        with pytest.raises(Stopped):
            run.wait()
    log = run.read()
    assert log.end is not None and log.cut == 0
    assert (log.end["reason"], log.end["detail"], log.end["phase"]) == ("interrupted", "SIGINT", phase)
