"""What the client of the transport benchmark counts."""

from __future__ import annotations

import rclpy
from sensor_msgs.msg import Image

from r3d2_ros.nodes.bench_client import BenchClient
from r3d2_ros.nodes.qos import reliable
from tests.nodes.harness import wait_for


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


def test_a_picture_that_another_client_asked_for_does_not_count() -> None:
    rclpy.init()
    client, seen = BenchClient(cameras=("front",), rate_hz=1.0, ticks=3), rclpy.create_node("other")
    try:
        pictures = seen.create_publisher(Image, "/camera/front/image_raw", reliable(5))
        arrived: list[Image] = []
        seen.create_subscription(Image, "/camera/front/image_raw", arrived.append, reliable(5))

        def both_have_it() -> bool:
            if pictures.get_subscription_count() >= 2 and not arrived:
                pictures.publish(Image())
            rclpy.spin_once(client, timeout_sec=0.05)
            rclpy.spin_once(seen, timeout_sec=0.05)
            return bool(arrived)

        wait_for(both_have_it, "the picture")
        for _ in range(5):
            rclpy.spin_once(client, timeout_sec=0.05)
        assert client.result()["images"] == 0 and client.result()["first_image_s"] is None
    finally:
        seen.destroy_node()
        client.destroy_node()
        rclpy.shutdown()
