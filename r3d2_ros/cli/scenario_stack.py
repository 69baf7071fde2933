"""`r3d2 scenario run` with a stack behind topics: over ROS 2, as a process of its own or started by somebody else."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from r3d2_ros.cli.ros import ros_needed
from r3d2_ros.closed_loop.actions import Snapshot
from r3d2_ros.closed_loop.commands import Result, Say, run_with
from r3d2_ros.closed_loop.example_stacks import StackCommand, example_stack, stack_command
from r3d2_ros.closed_loop.film import Film
from r3d2_ros.closed_loop.interrupts import Interrupts
from r3d2_ros.closed_loop.results import LOG
from r3d2_ros.closed_loop.runs import RunSpec
from r3d2_ros.closed_loop.session import Execute, Scenes
from r3d2_ros.errors import InputError
from r3d2_ros.simulator import FrameSet, Simulator


def run_over_ros(args: argparse.Namespace, say: Say, interrupts: Interrupts) -> Result:
    """Run the scenarios; each run has a node and, unless somebody else starts it, a stack of its own."""
    with ros_needed("r3d2 scenario run with a stack"):
        import r3d2_ros.nodes.ros_runs  # noqa: F401, TID251
    stack = _stack(args)
    if args.max_age is not None and not 0.0 <= args.max_age <= 60.0:
        raise InputError("--max-age", "0 to 60 seconds", f"{args.max_age:g}")
    if stack is not None:
        args.overrides = [*(f"{key}={value}" for key, value in stack.overrides.items()), *args.overrides]

    def adapt(spec: RunSpec) -> RunSpec:
        control = spec.scenario.control
        wanted = args.max_age
        if wanted is None and stack is not None:
            wanted = max(stack.max_age_s, control.max_age_s)
        if wanted is None or wanted == control.max_age_s:
            return spec
        return replace(spec, scenario=replace(spec.scenario, control=replace(control, max_age_s=wanted)))

    def connect(scenes: Scenes) -> AbstractContextManager[Execute]:
        return _connected(scenes, stack, args.ros_args, interrupts)

    return run_with(args, say, interrupts, connect=connect, adapt=adapt)


def _stack(args: argparse.Namespace) -> StackCommand | None:
    if args.stack is not None:
        return example_stack(args.stack)
    return None if args.no_stack else stack_command(args.stack_command)


@contextmanager
def _connected(
    scenes: Scenes, stack: StackCommand | None, ros_args: list[str], interrupts: Interrupts
) -> Iterator[Execute]:
    from r3d2_ros.nodes.ros_runs import RosRuns  # noqa: TID251

    def film(folder: Path, simulator: Simulator) -> Callable[[FrameSet, Snapshot], None]:
        return Film(folder, simulator.rig).add

    made: dict[str, Any] = {"stack": stack, "log_name": LOG, "on_frame": film, "ros_args": ros_args}
    made["interrupts"] = interrupts
    with RosRuns(lambda sim: scenes.simulator(sim).simulator, **made) as runs:
        yield runs
