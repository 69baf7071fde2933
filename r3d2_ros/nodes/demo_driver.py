"""The demo's driver: publishes a drive, actors and ego with equal stamps, a few poses ahead of the frame sets.

    python -m r3d2_ros.nodes.demo_driver DRIVE.json --log POSES.csv [--in-flight N]

Message time is the drive's own: however long a frame set takes, the next pose is a tick later. POSES.csv has a line
`stamp_ns,monotonic_ns` for each pose, with the clock's value just before it was published.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TextIO

import rclpy
from nav_msgs.msg import Odometry
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from r3d2_ros.demo.drive import Drive, DriveTick, read_drive
from r3d2_ros.errors import InputError
from r3d2_ros.msg import ActorArray, FrameSet
from r3d2_ros.nodes.drive_messages import tick_messages
from r3d2_ros.nodes.qos import reliable

SIMULATOR = "/sim_node"
DEPTH = 1000
SETTLE_S = 0.5
"""The other side matches a moment after this one: what is published before would be lost to it."""


class Driver(Node):
    """Publishes the ticks of a drive, at most `in_flight` of them without a frame set that answers."""

    def __init__(self, drive: Drive, *, in_flight: int, log: TextIO) -> None:
        super().__init__("demo_driver")
        self._drive, self._in_flight, self._log = drive, in_flight, log
        self._sent = self.answered = 0
        self._odometry = self.create_publisher(Odometry, f"{SIMULATOR}/input/odometry", reliable(DEPTH))
        self._actors = self.create_publisher(ActorArray, f"{SIMULATOR}/input/actors", reliable(DEPTH))
        self._frame_sets = self.create_subscription(
            FrameSet, f"{SIMULATOR}/frame_set", self._on_frame_set, reliable(DEPTH)
        )

    @property
    def matched(self) -> bool:
        """Whether the simulator listens and will be heard."""
        publishers = (self._odometry, self._actors)
        return all(p.get_subscription_count() for p in publishers) and self._frame_sets.get_publisher_count() > 0

    @property
    def finished(self) -> bool:
        return self.answered >= len(self._drive.ticks)

    def drive_on(self) -> None:
        """Publish what may be published now."""
        while self._sent < min(len(self._drive.ticks), self.answered + self._in_flight):
            self._publish(self._drive.ticks[self._sent])
            self._sent += 1

    def _on_frame_set(self, message: FrameSet) -> None:
        self.answered += 1

    def _publish(self, tick: DriveTick) -> None:
        actors, odometry = tick_messages(tick)
        self._actors.publish(actors)
        print(f"{tick.stamp_ns},{time.monotonic_ns()}", file=self._log, flush=True)
        self._odometry.publish(odometry)


def main(arguments: list[str] | None = None) -> int:
    """Drive until every tick has been answered. Exit code 1 for a drive that cannot be read."""
    parser = argparse.ArgumentParser(description="Publish a drive to the simulator.")
    parser.add_argument("drive", type=Path, metavar="DRIVE.json")
    parser.add_argument("--log", type=Path, required=True, metavar="POSES.csv", help="when each pose was published")
    parser.add_argument("--in-flight", type=int, default=1, help="poses without an answer (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        drive = read_drive(options.drive)
    except InputError as error:
        print(f"demo_driver: {error}", file=sys.stderr)
        return 1
    rclpy.init(args=[])
    executor = SingleThreadedExecutor()
    with options.log.open("w") as log:
        driver = Driver(drive, in_flight=max(1, options.in_flight), log=log)
        executor.add_node(driver)
        try:
            while not driver.matched:
                executor.spin_once(timeout_sec=0.05)
            time.sleep(SETTLE_S)
            driver.get_logger().info(f"{drive.name}: {len(drive.ticks)} ticks, {drive.duration_s:.1f} s")
            while not driver.finished:
                driver.drive_on()
                executor.spin_once(timeout_sec=0.5)
        except (KeyboardInterrupt, ExternalShutdownException):
            pass
        finally:
            driver.destroy_node()
            rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
