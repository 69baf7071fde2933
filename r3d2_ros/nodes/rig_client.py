"""The other side of the rig benchmark: a drive's ticks at a rate that does not wait, and when the last image came back.

    python -m r3d2_ros.nodes.rig_client DRIVE.json --config SIM.yaml --out RESULT.json --rate 10 --deadline-ms 100

RESULT.json: due, latencies_ms of the ticks whose images all came, stages (ms per tick, as the node states
them), seconds, and failed: reasons of cameras that were not published.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import rclpy
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

from r3d2_ros.config import load_config
from r3d2_ros.demo.drive import Drive, DriveTick, read_drive
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.message_fields import stamp_to_ns
from r3d2_ros.msg import ActorArray, FrameSet
from r3d2_ros.nodes.drive_messages import tick_messages
from r3d2_ros.nodes.executor import LastingSingleThreadedExecutor, spin_until_shutdown
from r3d2_ros.nodes.qos import reliable
from r3d2_ros.rigs import load_rig

SIMULATOR = "/sim_node"
WARM_UP_TICKS = 3
DEPTH = 1000
POLL_S = 0.01
STAGES = ("render", "harmonize", "encode", "publish")


class RigClient(Node):
    """Publishes ticks; knows for each when it went out and when its last image came."""

    def __init__(self, cameras: tuple[str, ...], namespace: str) -> None:
        super().__init__("rig_client")
        self._cameras = len(cameras)
        self._sent_s: dict[int, float] = {}
        self._images: dict[int, int] = {}
        self.came_s: dict[int, float] = {}
        self.stages: dict[int, dict[str, float]] = {}
        self.failed: dict[str, int] = {}
        self._odometry = self.create_publisher(Odometry, f"{SIMULATOR}/input/odometry", reliable(DEPTH))
        self._actors = self.create_publisher(ActorArray, f"{SIMULATOR}/input/actors", reliable(DEPTH))
        self._sources = [
            self.create_subscription(FrameSet, f"{SIMULATOR}/frame_set", self._on_frame_set, reliable(DEPTH))
        ]
        for name in cameras:
            topic = f"/{namespace}/{name}/image_raw/compressed"
            self._sources.append(self.create_subscription(CompressedImage, topic, self._on_image, reliable(20)))

    @property
    def matched(self) -> bool:
        """Whether the node listens and everything that it publishes will be heard."""
        heard = (self._odometry.get_subscription_count(), self._actors.get_subscription_count())
        return all(heard) and all(source.get_publisher_count() for source in self._sources)

    def send(self, tick: DriveTick) -> None:
        actors, odometry = tick_messages(tick)
        self._actors.publish(actors)
        self._sent_s[tick.stamp_ns] = time.perf_counter()
        self._odometry.publish(odometry)

    def answered(self, tick: DriveTick) -> bool:
        """Whether the tick's frame set and all its images, or the reasons why not, have come."""
        return tick.stamp_ns in self.stages and (tick.stamp_ns in self.came_s or bool(self.failed))

    def latency_ms(self, tick: DriveTick) -> float:
        return (self.came_s[tick.stamp_ns] - self._sent_s[tick.stamp_ns]) * 1e3

    def _on_image(self, message: CompressedImage) -> None:
        now_s, stamp_ns = time.perf_counter(), stamp_to_ns(message.header.stamp)
        self._images[stamp_ns] = self._images.get(stamp_ns, 0) + 1
        if self._images[stamp_ns] == self._cameras:
            self.came_s[stamp_ns] = now_s

    def _on_frame_set(self, message: FrameSet) -> None:
        times = {stage: sum(getattr(camera, f"{stage}_ms") for camera in message.cameras) for stage in STAGES}
        self.stages[stamp_to_ns(message.header.stamp)] = times
        for camera in message.cameras:
            if not camera.published:
                self.failed[camera.reason] = self.failed.get(camera.reason, 0) + 1


def drive_through(client: RigClient, drive: Drive, *, rate_hz: float, deadline_ms: float, start_s: float) -> dict:
    """Wait for the node, let it answer the first pose a few times, then send every tick at its time."""
    _wait(lambda: client.matched, start_s, "the node did not come up")
    first = drive.ticks[0]
    for k in range(WARM_UP_TICKS, 0, -1):
        tick = replace(first, stamp_ns=first.stamp_ns - round(k * 1e9 / rate_hz))
        client.send(tick)
        _wait(lambda tick=tick: client.answered(tick), start_s, "no frame set came")  # type: ignore[misc]
    client.failed.clear()
    begin = time.perf_counter()
    for k, tick in enumerate(drive.ticks):
        time.sleep(max(0.0, begin + k / rate_hz - time.perf_counter()))
        client.send(tick)
    end = time.perf_counter() + deadline_ms * 1e-3
    while time.perf_counter() < end and not all(client.answered(tick) for tick in drive.ticks):
        time.sleep(POLL_S)
    made = [tick for tick in drive.ticks if tick.stamp_ns in client.came_s]
    return {
        "due": len(drive.ticks),
        "latencies_ms": [client.latency_ms(tick) for tick in made],
        "stages": [client.stages[tick.stamp_ns] for tick in made if tick.stamp_ns in client.stages],
        "seconds": max((client.came_s[tick.stamp_ns] for tick in made), default=begin) - begin,
        "failed": client.failed,
    }


def _wait(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{otherwise} within {seconds:g} s")
        time.sleep(POLL_S)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Drive the simulator at a rate and time the images.")
    parser.add_argument("drive", type=Path, metavar="DRIVE.json")
    parser.add_argument("--config", type=Path, required=True, metavar="SIM.yaml", help="the node's configuration")
    parser.add_argument("--out", type=Path, required=True, metavar="RESULT.json")
    parser.add_argument("--rate", type=float, default=10.0, help="ticks per second (%(default)g)")
    parser.add_argument("--deadline-ms", type=float, default=100.0, help="how long the last tick is waited for")
    parser.add_argument("--start-s", type=float, default=900.0, help="how long the node may take to come up")
    options = parser.parse_args(arguments)
    try:
        drive, config = read_drive(options.drive), load_config(options.config)
        cameras = tuple(camera.topic for camera in load_rig(config.rig.source).cameras)
    except (InputError, InputErrors) as error:
        print(f"rig_client: {error}", file=sys.stderr)
        return 1
    rclpy.init(args=[])
    client = RigClient(cameras, config.output.namespace)
    executor = LastingSingleThreadedExecutor()
    executor.add_node(client)
    thread = threading.Thread(target=spin_until_shutdown, args=(executor,), daemon=True)
    thread.start()
    try:
        result = drive_through(
            client, drive, rate_hz=options.rate, deadline_ms=options.deadline_ms, start_s=options.start_s
        )
        options.out.write_text(json.dumps(result))
        return 0
    except TimeoutError as error:
        print(f"rig_client: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        executor.shutdown(timeout_sec=2.0)
        thread.join(5.0)
        client.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
