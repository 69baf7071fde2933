"""What the client of the transport benchmark counts."""

from __future__ import annotations

import rclpy

from r3d2_ros.nodes.bench_client import BenchClient


def test_without_a_node_everything_is_lost() -> None:
    rclpy.init()
    client = BenchClient(cameras=("front",), rate_hz=100.0, ticks=3)
    try:
        for _ in range(5):
            rclpy.spin_once(client, timeout_sec=0.1)
        assert client.result() == {
            "frame_sets": 3, "lost": 3, "images": 0, "latencies_ms": [], "first_image_s": None,
        }  # fmt: skip
    finally:
        client.destroy_node()
        rclpy.shutdown()
