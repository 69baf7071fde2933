"""A run over DDS with a scene that costs nothing, and a stack in this process that a test tells what to answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import rclpy
from nav_msgs.msg import Odometry
from r3d2_ros.msg import FrameSet, VehicleCommand
from rclpy.context import Context
from rclpy.node import Node

from r3d2_ros.closed_loop.actions import Outcome
from r3d2_ros.closed_loop.header import header
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.run_control import RunControl, Stopped
from r3d2_ros.closed_loop.run_log import LogWriter, RunLog, read_log
from r3d2_ros.message_fields import stamp_to_ns
from r3d2_ros.nodes.closed_loop_node import ClosedLoopNode
from r3d2_ros.nodes.conversions import ns_to_stamp
from r3d2_ros.nodes.executor import LastingSingleThreadedExecutor, spin_until_shutdown
from r3d2_ros.nodes.qos import reliable
from r3d2_ros.scene import Scene
from r3d2_ros.simulator import Simulator
from tests.closed_loop.small_world import LIBRARY, plan
from tests.nodes.harness import PoseRenderer, gaussians, small_rig

MS = 1_000_000
FAST = {"rtf_max": 0.0, "clock_rate_hz": 50.0}
"""As fast as it goes: five ticks a frame set."""

Answer = Callable[["TestStack", int, int], None]
"""Called with the stack, the stamp of a frame set and its number."""


def tiny_plan(*, depth: bool = False, **keys: Any) -> RunPlan:
    """A run of 0.5 s after a warm-up of 0.2 s, on the straight road of `small_world`."""
    keys = {"clock": FAST, "phases": {"warmup_s": 0.2}, "end": {"duration_s": 0.7}, **keys}
    planned = plan(**keys)
    spec = planned.spec
    sim = replace(spec.sim, output=replace(spec.sim.output, depth=depth))
    return replace(planned, spec=replace(spec, sim=sim))


def pose_simulator() -> Simulator:
    return Simulator(scene=Scene("empty", gaussians()), library=LIBRARY, rig=small_rig(), renderer=PoseRenderer())


def steady(stack: TestStack, stamp_ns: int, number: int) -> None:
    stack.send(stamp_ns)


class TestStack:
    """Answers frame sets in a thread of its own."""

    __test__ = False

    def __init__(self, answer: Answer = steady) -> None:
        self._context = Context()
        rclpy.init(args=[], context=self._context)
        self.node = Node("test_stack", context=self._context)
        self.frame_sets: list[FrameSet] = []
        self.odometry: list[Odometry] = []
        self._answer = answer
        self.commands = self.node.create_publisher(VehicleCommand, "/closed_loop_node/input/command", reliable(100))
        self.node.create_subscription(FrameSet, "/closed_loop_node/frame_set", self._on_frame_set, reliable(100))
        self.node.create_subscription(Odometry, "/closed_loop_node/odometry", self.odometry.append, reliable(1000))
        self._executor = LastingSingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=spin_until_shutdown, args=(self._executor,), daemon=True)

    def __enter__(self) -> TestStack:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(5.0)
        self.node.destroy_node()
        self._context.try_shutdown()

    def send(self, stamp_ns: int, acceleration: float = 0.0, steering: float = 0.0) -> None:
        message = VehicleCommand(acceleration=acceleration, steering_angle=steering)
        message.header.stamp = ns_to_stamp(stamp_ns)
        self.commands.publish(message)

    def _on_frame_set(self, message: FrameSet) -> None:
        self.frame_sets.append(message)
        self._answer(self, stamp_to_ns(message.header.stamp), message.index)


class Run:
    """A ClosedLoopNode driven in a thread; `outcome` once it has ended."""

    def __init__(self, path: Path, planned: RunPlan, **arguments: Any) -> None:
        self.path, self._plan = path, planned
        self.control = RunControl()
        self._context = Context()
        rclpy.init(args=[], context=self._context)
        self.simulator = arguments.pop("simulator", None) or pose_simulator()
        self.node = ClosedLoopNode(planned, self.simulator, self.control, context=self._context, **arguments)
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Run:
        self.node.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.control.stop("the test's end")
        self._thread.join(20.0)
        self.node.__exit__(*error)
        self._context.try_shutdown()

    def wait(self, timeout_s: float = 60.0) -> Outcome:
        """The outcome; fails when the run does not end or ended with an error."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"the run did not end within {timeout_s} s"
        if self.error is not None:
            raise self.error
        assert self.outcome is not None
        return self.outcome

    @property
    def phase(self) -> str:
        loop = self.node.loop
        return "" if loop is None else loop.phase

    def read(self) -> RunLog:
        return read_log(self.path)

    def _make_log(self) -> LogWriter:
        log = LogWriter(self.path)
        log.write("header", **header(self._plan, controller="test", renderer="pose"))
        return log

    def _run(self) -> None:
        try:
            self.outcome = self.node.run(self._make_log)
        except Stopped as error:
            self.error = error
        except Exception as error:
            self.error = error


def drive(path: Path, answer: Answer = steady, **keys: Any) -> tuple[Outcome, RunLog]:
    """A whole run with a stack that answers as `answer` says."""
    with TestStack(answer), Run(path, tiny_plan(**keys)) as run:
        outcome = run.wait()
    return outcome, run.read()
