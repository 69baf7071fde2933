"""The example stacks that are ROS nodes: where they are, and what they want of the simulator's configuration."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from r3d2_ros.config import Scalar
from r3d2_ros.demo.children import module_command
from r3d2_ros.errors import InputError


@dataclass(frozen=True)
class ExampleStack:
    """module: its `main(args)` runs it; overrides: keys of the simulator's configuration without which it is blind.

    max_age_s  how old its commands are when they act on timers instead of frame sets
    """

    module: str
    description: str
    overrides: Mapping[str, Scalar] = field(default_factory=dict)
    max_age_s: float = 0.0


STACKS = {
    "constant_velocity": ExampleStack(
        "r3d2_ros.nodes.stacks.constant_velocity", "straight on at the speed of the warm-up; brakes for nobody"
    ),
    "depth_aeb": ExampleStack(
        "r3d2_ros.nodes.stacks.depth_aeb",
        "straight on, and an emergency brake on the depth images of the front camera",
        {"output.depth": True},
    ),
    "timer_driver": ExampleStack(
        "r3d2_ros.nodes.stacks.timer_driver",
        "follows the reference path on timers of the simulation's time; sees nothing",
        max_age_s=0.1,
    ),
}


@dataclass(frozen=True)
class StackCommand:
    """A stack as a process: what it is called in results, its command line, what it wants of the configuration."""

    name: str
    argv: tuple[str, ...]
    overrides: Mapping[str, Scalar] = field(default_factory=dict)
    max_age_s: float = 0.0


def example_stack(name: str) -> StackCommand:
    """An example stack by name. InputError for another one."""
    if name not in STACKS:
        hint = 'another program: --stack-command "..."'
        raise InputError("--stack", f"one of {', '.join(STACKS)}", f"'{name}'", hint)
    stack = STACKS[name]
    return StackCommand(name, tuple(module_command(stack.module, ())), stack.overrides, stack.max_age_s)


def stack_command(text: str) -> StackCommand:
    """A command line as a shell would split it; no shell runs. InputError when there is no such program."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError("--stack-command", "a command line", f"{text!r}: {error}") from error
    if not words or shutil.which(words[0]) is None:
        raise InputError("--stack-command", "a program that can be started", repr(words[0] if words else text))
    return StackCommand(text, tuple(words))
