"""The other side of the transport benchmark: publishes poses at a rate, receives every image, prints one JSON line.

python -m r3d2_ros.nodes.bench_client --rig surround6 --seconds 60 --rate 10
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import rclpy
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import Image

from r3d2_ros.message_fields import stamp_to_ns
from r3d2_ros.msg import FrameSet
from r3d2_ros.nodes.conversions import ns_to_stamp
from r3d2_ros.nodes.qos import reliable
from r3d2_ros.rigs import load_rig

GRACE_S = 5.0
"""How long the last images may take."""


class BenchClient(Node):
    """Counts complete frame sets and the time from publishing a pose to receiving each image."""

    def __init__(self, *, cameras: tuple[str, ...], rate_hz: float, ticks: int) -> None:
        super().__init__("bench_client")
        self.cameras, self.ticks = cameras, ticks
        self.sent_s: dict[int, float] = {}
        self.images: dict[int, int] = {}
        self.frame_sets: set[int] = set()
        self.latencies_ms: list[float] = []
        self.first_image_s: float | None = None
        self._odometry = self.create_publisher(Odometry, "/sim_node/input/odometry", reliable(1000))
        self.create_subscription(FrameSet, "/sim_node/frame_set", self._on_frame_set, reliable(100))
        for name in cameras:
            topic = f"/camera/{name}/image_raw"
            self.create_subscription(Image, topic, self._on_image, reliable(5))
        self.create_timer(1.0 / rate_hz, self._tick)

    @property
    def complete(self) -> int:
        """Frame sets of which the list and every image have arrived."""
        return sum(self.images.get(stamp, 0) == len(self.cameras) for stamp in self.frame_sets)

    def result(self) -> dict[str, Any]:
        """What is printed. Lost is also a frame set that was never asked for, because no node was there."""
        return {
            "frame_sets": self.ticks,
            "lost": self.ticks - self.complete,
            "images": len(self.latencies_ms),
            "latencies_ms": self.latencies_ms,
            "first_image_s": self.first_image_s,
        }

    @property
    def done(self) -> bool:
        return len(self.sent_s) == self.ticks and self.complete == self.ticks

    def _tick(self) -> None:
        if len(self.sent_s) >= self.ticks or self._odometry.get_subscription_count() == 0:
            return
        stamp_ns = time.time_ns()
        message = Odometry(child_frame_id="base_link")
        message.header.frame_id, message.header.stamp = "map", ns_to_stamp(stamp_ns)
        message.pose.pose.orientation.w = 1.0
        self.sent_s[stamp_ns] = time.perf_counter()
        self._odometry.publish(message)

    def _on_image(self, message: Image) -> None:
        now_s = time.perf_counter()
        stamp_ns = stamp_to_ns(message.header.stamp)
        if stamp_ns not in self.sent_s:
            return  # another client asked for it
        if self.first_image_s is None:
            self.first_image_s = now_s
        self.images[stamp_ns] = self.images.get(stamp_ns, 0) + 1
        self.latencies_ms.append((now_s - self.sent_s[stamp_ns]) * 1e3)

    def _on_frame_set(self, message: FrameSet) -> None:
        if all(camera.published for camera in message.cameras):
            self.frame_sets.add(stamp_to_ns(message.header.stamp))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rig", default="surround6")
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--ticks", type=int, default=600)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait beyond the ticks' own time")
    args = parser.parse_args()
    cameras = tuple(camera.name for camera in load_rig(args.rig).cameras)
    rclpy.init()
    client = BenchClient(cameras=cameras, rate_hz=args.rate, ticks=args.ticks)
    end = time.monotonic() + args.ticks / args.rate + args.timeout
    while not client.done and time.monotonic() < end:
        rclpy.spin_once(client, timeout_sec=0.1)
        if len(client.sent_s) == args.ticks and time.perf_counter() > max(client.sent_s.values()) + GRACE_S:
            break
    print(json.dumps(client.result()), flush=True)
    client.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
