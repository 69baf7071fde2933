"""The middleware of the other side does not matter: a Cyclone DDS program reads the node's images."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy

from tests.nodes.harness import HEIGHT, MS, WIDTH, Client, Running, wait_for

READER = Path(__file__).with_name("cyclone_reader.py")


@pytest.fixture(autouse=True)
def ros() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.try_shutdown()


def test_a_cyclone_subscriber_receives_the_images() -> None:
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    command = [sys.executable, str(READER), domain, "rt/camera/front/image_raw", "10", "20"]
    with Running({"sync.actors": "static"}) as node, Client(("left",)) as client:
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
            # The two vendors match at different moments, so the first images may pass before the reader listens.
            for i in range(250):
                client.publish_ego(i * 100 * MS, x_m=i)
                time.sleep(0.05)
                if reader.poll() is not None:
                    break
            output, errors = reader.communicate(timeout=30)
    lines = output.splitlines()
    assert len(lines) == 11, errors
    first = int(lines[1].split()[1]) // 100
    size = WIDTH * HEIGHT * 3
    assert lines[1:] == [
        f"front_optical_frame {i * 100} {WIDTH}x{HEIGHT} rgb8 {size} {i}" for i in range(first, first + 10)
    ]
