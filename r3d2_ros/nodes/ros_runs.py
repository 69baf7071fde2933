"""Runs whose stack is another process and talks over ROS: the node in this process, the stack beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import rclpy
from rclpy.context import Context
from rclpy.exceptions import ParameterException
from rclpy.signals import SignalHandlerOptions

from r3d2_ros.closed_loop.actions import Outcome
from r3d2_ros.closed_loop.example_stacks import StackCommand
from r3d2_ros.closed_loop.header import header
from r3d2_ros.closed_loop.interrupts import Interrupts
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.run_control import RunControl, Stopped
from r3d2_ros.closed_loop.run_log import LogWriter
from r3d2_ros.config import SimConfig
from r3d2_ros.demo.children import Child, Children
from r3d2_ros.demo.domain import demo_environment
from r3d2_ros.errors import InputError
from r3d2_ros.nodes.closed_loop_node import ClosedLoopNode
from r3d2_ros.nodes.loop_driver import OnFrame
from r3d2_ros.nodes.transport import PROFILE_VARIABLES, prepare_transport
from r3d2_ros.simulator import Simulator

STACK_LOG = "stack.log"


class RosRuns:
    """Does one run after the other in one ROS context, each with a node and a stack of its own.

    stack      started anew for each run, in a DDS domain of its own unless the user has set one;
               None: somebody else starts it, in the user's domain
    simulator  makes, or finds, the simulator of a configuration
    on_frame   makes what sees the frame sets of a run into a folder
    interrupts the first signal ends the run that goes on, with its log whole, and then raises KeyboardInterrupt; while
               node and stack are ended signals are held
    """

    def __init__(
        self,
        simulator: Callable[[SimConfig], Simulator],
        *,
        stack: StackCommand | None,
        log_name: str,
        interrupts: Interrupts | None = None,
        on_frame: Callable[[Path, Simulator], OnFrame] | None = None,
        ros_args: list[str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> None:
        self._simulator, self._stack, self._log_name = simulator, stack, log_name
        self._on_frame, self._ros_args, self._parameters = on_frame, ros_args or [], parameters
        self._interrupts = interrupts or Interrupts()
        self._context = Context()
        self._opened = ExitStack()
        self._children_environment: dict[str, str | None] = {}

    @property
    def name(self) -> str:
        """What drives, as the log has it."""
        return "external stack" if self._stack is None else f"stack {self._stack.name}"

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            if self._stack is not None:
                opened.enter_context(_environment(demo_environment()))
            opened.enter_context(_environment({}))  # what prepare_transport sets is taken back
            self._transport = prepare_transport()
            if self._transport.segment_bytes:
                # A stack publishes small messages: it needs no segment of that size.
                self._children_environment = dict.fromkeys(PROFILE_VARIABLES)
            try:
                rclpy.init(args=self._ros_args, context=self._context, signal_handler_options=SignalHandlerOptions.NO)
            except RuntimeError as error:
                raise InputError("--ros-args", "arguments that ROS 2 can use", " ".join(str(error).split())) from error
            opened.callback(self._context.try_shutdown)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def __call__(self, plan: RunPlan, folder: Path) -> Outcome:
        """Run into `folder`. KeyboardInterrupt when a signal ended it."""
        with self._interrupts.ready():
            simulator = self._simulator(plan.spec.sim)
        control = RunControl()
        started: list[Child] = []

        def make_log() -> LogWriter:
            log = LogWriter(folder / self._log_name)
            log.write("header", **header(plan, controller=self.name, renderer=simulator.renderer.name))
            return log

        with self._interrupts.held(), Children(self._children_environment) as children:
            node = self._node(plan, simulator, control, folder=folder, started=started)
            with node:
                if self._stack is not None:
                    started.append(self._start(children, self._stack, folder))
                try:
                    with self._interrupts.ready(control.stop):
                        return node.run(make_log)
                except Stopped as error:
                    raise KeyboardInterrupt(str(error)) from error

    def _node(
        self, plan: RunPlan, simulator: Simulator, control: RunControl, *, folder: Path, started: list[Child]
    ) -> ClosedLoopNode:
        watched: dict[str, Any] = {}
        if self._on_frame is not None:
            watched["on_frame"] = self._on_frame(folder, simulator)
        try:
            return ClosedLoopNode(
                plan,
                simulator,
                control,
                context=self._context,
                transport=self._transport,
                stack_fault=lambda: _ended(started),
                parameters=self._parameters,
                **watched,
            )
        except (ParameterException, RuntimeError) as error:
            got = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise InputError("ROS 2", "a node that can join", got) from error

    def _start(self, children: Children, stack: StackCommand, folder: Path) -> Child:
        try:
            return children.start_command("stack", stack.argv, log=folder / STACK_LOG)
        except OSError as error:
            raise InputError("stack", "a program that can be started", f"{stack.name}: {error.strerror}") from error


def _ended(started: list[Child]) -> str:
    """Says that the stack's process has ended, and its last words."""
    for child in started:
        if child.exit_code is not None:
            last = child.tail().splitlines()[-1]
            return f"the stack's process ended with exit code {child.exit_code}; its last line in {child.log}: {last}"
    return ""


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """These variables inside the block; afterwards everything is as it was."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
