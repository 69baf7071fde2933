"""`r3d2 play`: a bag over ROS 2, with /clock and the simulator's inputs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from r3d2_ros.cli.ros import ros_needed
from r3d2_ros.config import load_config
from r3d2_ros.replay.bag_files import find_files
from r3d2_ros.resources import user_path

EXAMPLES = """examples:
  r3d2 sim --config my_sim.yaml & r3d2 play drive.db3 --config my_sim.yaml
  r3d2 play drive.db3 --rate 0.5 --loop
  r3d2 play drive.db3 --simulator "" --topics /localization/kinematic_state,/tf

It waits until the simulator listens, then publishes the topics of the bag whose types are installed, /clock, and the
pose and the actors for the simulator, from whatever types they are recorded in. `ros2 launch r3d2_ros replay.launch.py`
starts both. From --ros-args on, everything goes to ROS.
Exit status: 0 played or stopped, 1 something cannot be used or ROS 2 is missing, 2 wrong arguments."""


def add_parser(subparsers: Any) -> None:
    """Add `play` to the result of `ArgumentParser.add_subparsers`."""
    parser = subparsers.add_parser(
        "play",
        help="play a recorded drive to a running simulator, over ROS 2",
        description="Start bag_player, which `ros2 launch r3d2_ros replay.launch.py` starts beside the simulator.",
        usage="r3d2 play [-h] [options] BAG [--ros-args ...]",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bag", type=Path, metavar="BAG", help="folder, .db3 or .mcap file of a rosbag2")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration of the simulator (YAML)")
    parser.add_argument("--ego", metavar="TOPIC", help="topic with the pose of the vehicle, or /tf")
    parser.add_argument("--actors", metavar="TOPIC", help="topic with the actors, or none")
    parser.add_argument("--simulator", metavar="NODE", help="node whose inputs are fed (/sim_node); empty: none")
    parser.add_argument("--topics", metavar="A,B", help="topics of the bag to publish: all (default), none, or a list")
    parser.add_argument("--rate", type=float, metavar="X", help="seconds of the bag per second (1)")
    parser.add_argument("--start", dest="start_s", type=float, metavar="S", help="seconds after its beginning (0)")
    parser.add_argument("--clock", dest="clock_hz", type=float, metavar="HZ", help="of /clock (100); 0: none")
    parser.add_argument(
        "--max-lag",
        dest="max_lag_s",
        type=float,
        metavar="S",
        help="hold the bag while the simulator is later",
    )
    parser.add_argument("--loop", action="store_true", default=None, help="begin again at the end")


def run(args: argparse.Namespace) -> int:
    """Run the node and return its exit status."""
    if args.config is not None:
        load_config(args.config)
    find_files(user_path(args.bag, "bag"))  # not opened, which would unpack a compressed one twice
    words = ["--ros-args", *_parameter("bag", str(args.bag.absolute()))]
    if args.config is not None:
        words += _parameter("config", str(args.config.absolute()))
    for name in ("ego", "actors", "simulator", "topics", "rate", "start_s", "clock_hz", "max_lag_s", "loop"):
        value = getattr(args, name)
        if value is not None:
            words += _parameter(name, value)
    with ros_needed("r3d2 play"):
        from r3d2_ros.nodes.bag_player import main  # noqa: TID251
    return main([*words, *args.ros_args])


def _parameter(name: str, value: Any) -> list[str]:
    # A JSON value is a YAML value too, whatever characters a path has.
    return ["-p", f"{name}:={json.dumps(value, ensure_ascii=False)}"]
