"""Pause, step and reset through their services."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from std_srvs.srv import SetBool, Trigger

from r3d2_ros.closed_loop.entity_desk import EntityDesk
from r3d2_ros.closed_loop.run_control import ResetAsked, RunControl, Stopped
from r3d2_ros.closed_loop.run_log import read_log
from tests.closed_loop_ros.harness import Run, TestStack, tiny_plan
from tests.nodes.harness import wait_for


def call(stack: TestStack, kind: Any, name: str, **fields: Any) -> Any:
    client = stack.node.create_client(kind, f"/closed_loop_node/{name}")
    assert client.wait_for_service(20.0), f"no service {name}"
    future = client.call_async(kind.Request(**fields))
    wait_for(future.done, f"the answer of {name}")
    return future.result()


def test_pause_step_and_go_on(tmp_path: Path) -> None:
    with TestStack() as stack, Run(tmp_path / "run.jsonl", tiny_plan(end={"duration_s": 3.0})) as run:
        wait_for(lambda: run.phase == "warmup", "the warm-up")
        assert not call(stack, Trigger, "step").success  # it is not paused
        assert call(stack, SetBool, "pause", data=True).success
        time.sleep(0.3)
        made = run.node.loop.snapshot.stamp_ns if run.node.loop else 0
        time.sleep(0.3)
        assert run.node.loop is not None and run.node.loop.snapshot.stamp_ns == made
        for k in (1, 2):
            answer = call(stack, Trigger, "step")
            assert answer.success, answer.message
            step_ns = run.node.loop.snapshot.stamp_ns - made
            assert (k - 1) * 100_000_000 < step_ns <= k * 100_000_000
        assert call(stack, SetBool, "pause", data=False).success
        outcome = run.wait()
    end = run.read().end
    assert outcome.reason == "duration"
    assert end is not None and end["misses"] == 0


def test_a_run_that_cannot_begin_has_its_last_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(desk: EntityDesk) -> None:
        raise KeyError("no such actor")

    monkeypatch.setattr(EntityDesk, "begin_run", fails)
    with Run(tmp_path / "run.jsonl", tiny_plan()) as run, pytest.raises(KeyError):
        run.wait()
    end = run.read().end
    assert end is not None and (end["reason"], end["detail"]) == ("error", "KeyError: 'no such actor'")


def test_reset_gives_the_same_run_again(tmp_path: Path) -> None:
    keys = {"end": {"duration_s": 20.0}, "ego": {"reference": {"lane": "ego", "to_m": 30.0}, "speed_mps": 10.0}}
    with TestStack() as stack, Run(tmp_path / "run.jsonl", tiny_plan(**keys)) as run:
        wait_for(lambda: run.phase == "drive", "the drive")
        answer = call(stack, Trigger, "reset")
        assert answer.success, answer.message
        outcome = run.wait()
    assert outcome.reason == "goal"
    first, second = read_log(tmp_path / "run.jsonl.1"), run.read()
    assert first.end is not None and first.end["reason"] == "reset"
    before = [(r["t_s"], r["ego"]) for r in first.of("tick")]
    assert len(before) > 3
    assert [(r["t_s"], r["ego"]) for r in second.of("tick")][: len(before)] == before


def test_time_stands_still_while_paused() -> None:
    control = RunControl()
    control.pause(True)
    before = control.now_s()
    time.sleep(0.05)
    assert control.now_s() == before
    control.pause(False)
    assert before <= control.now_s() < before + 0.05


def test_stop_and_reset_are_found_at_the_next_look() -> None:
    control = RunControl()
    control.check()
    control.stop("SIGTERM")
    with pytest.raises(Stopped, match="SIGTERM"):
        control.gate()
    control = RunControl()
    assert control.reset(0.01) == "the run did not begin anew within 0.01 s"
    with pytest.raises(ResetAsked):
        control.check()
    control.begin()
    control.check()
