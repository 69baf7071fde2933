"""`r3d2 sim`: the simulator node, where no launch tools are installed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from r3d2_ros.cli.ros import ros_needed
from r3d2_ros.config import load_config

EXAMPLES = """examples:
  r3d2 sim                                    the embedded street with the rig demo3
  r3d2 sim --config my_sim.yaml
  r3d2 sim --ros-args -p rig.source:=surround6 -p output.depth:=true -r __ns:=/sim
  r3d2 sim --config my_sim.yaml --ros-args --params-file overrides.yaml

Every key of the configuration is a parameter of the same dotted name, and a parameter beats the file. From --ros-args
on, everything goes to ROS. It runs until it is interrupted.
Exit status: 0 stopped, 1 the configuration cannot be used or ROS 2 is missing, 2 wrong arguments."""


def add_parser(subparsers: Any) -> None:
    """Add `sim` to the result of `ArgumentParser.add_subparsers`."""
    parser = subparsers.add_parser(
        "sim",
        help="start the simulator node",
        description="Start sim_node, the node that `ros2 launch r3d2_ros sim.launch.py` starts.",
        usage="r3d2 sim [-h] [--config FILE] [--ros-args ...]",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration (YAML); without it, the defaults")


def run(args: argparse.Namespace) -> int:
    """Run the node and return its exit status."""
    words: list[str] = args.ros_args
    if args.config is not None:
        load_config(args.config)
        # A JSON string is a YAML string too, whatever characters the path has.
        value = json.dumps(str(args.config.absolute()), ensure_ascii=False)
        words = ["--ros-args", "-p", f"config:={value}", *words]
    with ros_needed("r3d2 sim"):
        from r3d2_ros.nodes.sim_node import main  # noqa: TID251
    return main(words)
