"""Straight on at the speed that it was handed over with: nobody brakes."""

from __future__ import annotations

import sys
from typing import Any

from r3d2_ros.closed_loop.stacks.constant_velocity import ConstantVelocity
from r3d2_ros.closed_loop.vehicle import Actuation
from r3d2_ros.nodes.stacks.base import FrameStack, run_stack


class ConstantVelocityStack(FrameStack):
    """Looks at the odometry alone."""

    def __init__(self) -> None:
        super().__init__("constant_velocity")

    def begin(self) -> None:
        self._stack = ConstantVelocity()

    def answer(self, parts: dict[str, Any]) -> Actuation:
        return self._stack.actuation(parts["odometry"].twist.twist.linear.x)


def main(args: list[str] | None = None) -> int:
    return run_stack(ConstantVelocityStack, args)


if __name__ == "__main__":
    sys.exit(main())
