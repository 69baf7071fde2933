"""The demo's subscriber: what anybody would write who wants the pictures of the rig."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image

from r3d2_ros.demo.collector import Collector
from r3d2_ros.message_fields import stamp_to_ns
from r3d2_ros.msg import FrameSet
from r3d2_ros.nodes.executor import LastingSingleThreadedExecutor, spin_until_shutdown
from r3d2_ros.nodes.qos import reliable

DEPTH = 50
FRAME_SETS = "/sim_node/frame_set"


class DemoClient:
    """Hands every image, camera info and frame set to a Collector, from a thread of its own.

    topics  camera -> its topic without `/image_raw`
    """

    def __init__(self, topics: dict[str, str], collector: Collector) -> None:
        self._collector = collector
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("demo_client", context=self._context)
        self._subscriptions = [
            self._node.create_subscription(FrameSet, FRAME_SETS, self._on_frame_set, reliable(DEPTH))
        ]
        # Discovered in this order: when the simulator knows the readers of image_raw, it knows the others.
        readers: list[tuple[type, str, Callable[..., None]]] = [
            (CameraInfo, "camera_info", self._on_info),
            (Image, "image_raw", self._on_image),
        ]
        if collector.rendered:
            readers.insert(0, (Image, "image_rendered", self._on_rendered))
        for camera, topic in topics.items():
            for kind, name, callback in readers:
                self._subscriptions.append(
                    self._node.create_subscription(kind, f"{topic}/{name}", partial(callback, camera), reliable(DEPTH))
                )
        self._executor = LastingSingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="demo_client", daemon=True)
        self.fault: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._context.try_shutdown()
        self._thread.join(5.0)
        self._node.destroy_node()

    def publishers(self) -> int:
        """Publishers of frame sets that this process has found."""
        return self._node.count_publishers(FRAME_SETS)

    @property
    def matched(self) -> bool:
        """Whether every topic has a publisher."""
        return all(subscription.get_publisher_count() for subscription in self._subscriptions)

    def _spin(self) -> None:
        try:
            spin_until_shutdown(self._executor)
        except Exception as error:  # seen by the main thread, which ends the run
            self.fault = error

    def _on_image(self, camera: str, message: Image) -> None:
        now_ns = time.monotonic_ns()
        self._collector.add_image(camera, stamp_to_ns(message.header.stamp), _pixels(message), now_ns)

    def _on_rendered(self, camera: str, message: Image) -> None:
        now_ns = time.monotonic_ns()
        self._collector.add_rendered(camera, stamp_to_ns(message.header.stamp), _pixels(message), now_ns)

    def _on_info(self, camera: str, message: CameraInfo) -> None:
        self._collector.add_info(camera, stamp_to_ns(message.header.stamp), time.monotonic_ns())

    def _on_frame_set(self, message: FrameSet) -> None:
        due: Sequence[Any] = message.cameras
        self._collector.add_frame_set(
            stamp_to_ns(message.header.stamp),
            {status.camera: status.reason for status in due if not status.published},
            [status.camera for status in due],
            time.monotonic_ns(),
        )


def _pixels(message: Image) -> NDArray[np.uint8]:
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return rows[:, : 3 * message.width].reshape(message.height, message.width, 3)
