"""Ctrl-C and SIGTERM, as real signals to this process, while a stack of its own drives: nothing hangs or is left."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from std_srvs.srv import SetBool

from r3d2_ros.closed_loop.actions import Snapshot
from r3d2_ros.closed_loop.example_stacks import StackCommand
from r3d2_ros.closed_loop.interrupts import Interrupts
from r3d2_ros.closed_loop.run_log import RunLog, read_log
from r3d2_ros.demo import children
from r3d2_ros.nodes.ros_runs import RosRuns
from r3d2_ros.simulator import FrameSet
from tests.closed_loop_ros.harness import pose_simulator, tiny_plan
from tests.demo.test_processes import is_running
from tests.nodes.harness import wait_for

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
ENDLESS: dict[str, Any] = {
    "control": {"timeout_s": 1e4},
    "end": {"duration_s": 1e4, "off_reference_m": 1e5, "at_goal": False},
    "phases": {"warmup_s": 0.2, "startup_timeout_s": 1e4},
}
DRIVES = "-m r3d2_ros.nodes.stacks.constant_velocity"
SAYS_NOTHING = "-c 'import time; time.sleep(1000)'"
WILL_NOT_END = "-c 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)'"


class Drive:
    """A run without end, and what happens in it once it shows `phase`."""

    def __init__(self, folder: Path, python: str, phase: str, happens: Callable[[Drive], None]) -> None:
        self.folder, self._phase, self._happens = folder, phase, happens
        self._pid = folder / "pid"
        program = f"echo $$ > {shlex.quote(str(self._pid))}; exec {sys.executable} {python}"
        self._stack = StackCommand("under test", ("sh", "-c", program))
        self._thread: threading.Thread | None = None

    @property
    def stack_pid(self) -> int:
        return int(self._pid.read_text())

    def run(self) -> RunLog:
        """Until a signal ends it, as KeyboardInterrupt; afterwards no process of the stack is there."""
        with (
            Interrupts() as interrupts,
            interrupts.held(),
            RosRuns(
                lambda sim: pose_simulator(),
                stack=self._stack,
                log_name="run.jsonl",
                interrupts=interrupts,
                on_frame=lambda folder, simulator: self._on_frame,
            ) as runs,
            pytest.raises(KeyboardInterrupt),
        ):
            runs(tiny_plan(**ENDLESS), self.folder)
        assert self._thread is not None
        self._thread.join(20)
        assert not is_running(self.stack_pid)
        return read_log(self.folder / "run.jsonl")

    def _on_frame(self, frame_set: FrameSet, snapshot: Snapshot) -> None:
        if self._thread is None and snapshot.phase == self._phase:
            wait_for(lambda: self._pid.exists() and self._pid.read_text().endswith("\n"), "the stack's process")
            self._thread = threading.Thread(target=self._happens, args=(self,))
            self._thread.start()


def sent(number: signal.Signals, after_s: float = 0.5) -> None:
    time.sleep(after_s)
    os.kill(os.getpid(), number)


def check_end(log: RunLog, number: signal.Signals, phase: str) -> None:
    assert log.end is not None and log.cut == 0
    assert (log.end["reason"], log.end["detail"], log.end["phase"]) == ("interrupted", number.name, phase)


@BOTH
def test_while_the_stack_starts(tmp_path: Path, number: signal.Signals) -> None:
    check_end(Drive(tmp_path, SAYS_NOTHING, "startup", lambda drive: sent(number)).run(), number, "startup")


@BOTH
def test_while_it_waits_for_a_stack_that_hangs(
    tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stack is stopped in the middle: it hears no SIGTERM either and has to be killed."""
    monkeypatch.setattr(children, "TERM_S", 0.5)

    def happens(drive: Drive) -> None:
        os.kill(drive.stack_pid, signal.SIGSTOP)
        sent(number)

    check_end(Drive(tmp_path, DRIVES, "drive", happens).run(), number, "drive")


@BOTH
def test_while_it_is_paused(tmp_path: Path, number: signal.Signals) -> None:
    def happens(drive: Drive) -> None:
        context = Context()
        rclpy.init(args=[], context=context)
        try:
            node = Node("presses_pause", context=context)
            client = node.create_client(SetBool, "/closed_loop_node/pause")
            assert client.wait_for_service(20.0)
            asked = client.call_async(SetBool.Request(data=True))
            executor = rclpy.executors.SingleThreadedExecutor(context=context)
            rclpy.spin_until_future_complete(node, asked, executor, timeout_sec=20.0)
            assert asked.result().success
        finally:
            sent(number)
            context.try_shutdown()

    check_end(Drive(tmp_path, DRIVES, "drive", happens).run(), number, "drive")


def test_more_signals_while_the_stack_is_ended_leave_nothing_behind(tmp_path: Path) -> None:
    """A stack that ignores SIGTERM is waited for six seconds; whoever is impatient meanwhile orphans nobody."""

    def happens(drive: Drive) -> None:
        for after_s in (0.5, 1.5, 1.0):
            sent(signal.SIGINT, after_s)

    check_end(Drive(tmp_path, WILL_NOT_END, "startup", happens).run(), signal.SIGINT, "startup")
