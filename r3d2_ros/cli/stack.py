"""`r3d2 stack`: an example driving stack as a ROS node."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from r3d2_ros.cli.ros import ros_needed
from r3d2_ros.closed_loop.example_stacks import STACKS

EXAMPLES = """examples:
  r3d2 stack depth_aeb
  r3d2 stack depth_aeb --ros-args -p camera:=/camera/front -p simulator:=/closed_loop_node
  r3d2 stack timer_driver --ros-args -p rate_hz:=50.0

From --ros-args on, everything goes to ROS. It runs until it is interrupted.
Exit status: 0 stopped, 1 a parameter cannot be used or ROS 2 is missing, 2 wrong arguments."""


def add_parser(subparsers: Any) -> None:
    """Add `stack` to the result of `ArgumentParser.add_subparsers`."""
    listing = "\n".join(f"  {name:<18} {stack.description}" for name, stack in STACKS.items())
    parser = subparsers.add_parser(
        "stack",
        help="an example driving stack as a ROS node",
        description=f"Start an example stack, which drives a closed-loop run through its topics:\n\n{listing}",
        usage="r3d2 stack [-h] NAME [--ros-args ...]",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=list(STACKS), metavar="NAME", help=", ".join(STACKS))


def run(args: argparse.Namespace) -> int:
    """Run the stack and return its exit status."""
    with ros_needed("r3d2 stack"):
        module = import_module(STACKS[args.name].module)
    return module.main(args.ros_args)
