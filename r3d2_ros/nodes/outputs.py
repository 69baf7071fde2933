"""What the node publishes for each camera and for the rig, in the order camera_info, images, frame_set."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.lifecycle import LifecycleNodeMixin
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from r3d2_ros.cameras import Camera
from r3d2_ros.config import OutputConfig, SimConfig
from r3d2_ros.jpeg import JpegEncoder
from r3d2_ros.msg import CameraStatus
from r3d2_ros.msg import FrameSet as FrameSetMessage
from r3d2_ros.nodes.conversions import camera_info_message, ns_to_stamp
from r3d2_ros.nodes.images import ImageWriter, JpegWriter, load_cv_bridge
from r3d2_ros.nodes.qos import explained, overridable, reliable
from r3d2_ros.published import COMPRESSED_TOPIC, IMAGE_TOPICS, INFO_TOPIC, camera_topic, pixels
from r3d2_ros.simulator import CameraFrame, FrameSet

IMAGE_DEPTH = 5
FRAME_SET_DEPTH = 100


@dataclass
class _Topic:
    """One publisher and what fills its message."""

    publisher: Any
    writer: Any


class Publishers:
    """Makes publishers whose QoS can be overridden (managed ones of a managed node), and takes them down together."""

    def __init__(self, node: Node) -> None:
        managed = isinstance(node, LifecycleNodeMixin)
        self._create = node.create_lifecycle_publisher if managed else node.create_publisher
        self._destroy = node.destroy_lifecycle_publisher if managed else node.destroy_publisher
        self._made: list[Any] = []

    def make(self, kind: type, topic: str, depth: int) -> Any:
        """A reliable publisher; InputError for a topic name or an override that cannot be used."""
        with explained(topic):
            publisher = self._create(kind, topic, reliable(depth), qos_overriding_options=overridable())
        self._made.append(publisher)
        return publisher

    def readers(self) -> int:
        return sum(publisher.get_subscription_count() for publisher in self._made)

    def destroy(self) -> None:
        while self._made:
            self._destroy(self._made.pop())


class CameraOutput:
    """The topics of one camera."""

    def __init__(self, publishers: Publishers, camera: Camera, config: OutputConfig, bridge: Any | None) -> None:
        self.camera = camera
        base = camera_topic(camera, config)
        frame_id = camera.frame_id
        self._info_message = camera_info_message(camera)
        self._info = publishers.make(CameraInfo, f"{base}/{INFO_TOPIC}", IMAGE_DEPTH)
        self._images: dict[str, _Topic] = {}
        for name, (encoding, topic) in IMAGE_TOPICS.items():
            if getattr(config, name):
                writer = ImageWriter(frame_id=frame_id, encoding=encoding, bridge=bridge)
                self._images[name] = _Topic(publishers.make(Image, f"{base}/{topic}", IMAGE_DEPTH), writer)
        self._compressed: _Topic | None = None
        if config.compressed:
            publisher = publishers.make(CompressedImage, f"{base}/{COMPRESSED_TOPIC}", IMAGE_DEPTH)
            self._compressed = _Topic(publisher, JpegWriter(frame_id=frame_id))

    def subscribers(self) -> int:
        """Matched readers of the camera's first kind of picture: raw, else compressed, else depth, else instance."""
        kinds = [self._images.get("raw"), self._compressed, self._images.get("depth"), self._images.get("instance")]
        first = next((topic for topic in kinds if topic is not None), None)
        return first.publisher.get_subscription_count() if first else self._info.get_subscription_count()

    def publish_info(self, stamp_ns: int) -> None:
        self._info_message.header.stamp = ns_to_stamp(stamp_ns)
        self._info.publish(self._info_message)

    @property
    def compresses(self) -> bool:
        """Whether somebody wants JPEG."""
        return self._compressed is not None and self._compressed.publisher.get_subscription_count() > 0

    def publish_images(
        self, frame: CameraFrame, stamp_ns: int, jpeg: Callable[[], bytes] | None
    ) -> tuple[float, float]:
        """Publish the pictures; returns milliseconds spent on encoding, or on waiting for that, and on publishing."""
        stamp = ns_to_stamp(stamp_ns)
        spent = _Spent()
        for name, topic in self._images.items():
            start = time.perf_counter()
            spent.send(topic.publisher, topic.writer.fill(pixels(frame, name), stamp), start)
        if self._compressed is not None and jpeg is not None:
            start = time.perf_counter()
            spent.send(self._compressed.publisher, self._compressed.writer.fill(jpeg(), stamp), start)
        return spent.encode_ms, spent.publish_ms


@dataclass
class _Spent:
    """Adds up what the messages of one camera took."""

    encode_ms: float = 0.0
    publish_ms: float = 0.0

    def send(self, publisher: Any, message: Any, start: float) -> None:
        """Publish a message whose filling began at `start`."""
        filled = time.perf_counter()
        publisher.publish(message)
        self.encode_ms += (filled - start) * 1e3
        self.publish_ms += (time.perf_counter() - filled) * 1e3


class Outputs:
    """All cameras of the rig and the frame set."""

    def __init__(self, node: Node, config: SimConfig, cameras: tuple[Camera, ...]) -> None:
        self._base_link = config.frames.vehicle
        self._publishers = Publishers(node)
        self._next_index = 0
        self._encoder = JpegEncoder() if config.output.compressed else None
        bridge = load_cv_bridge()
        try:
            self.cameras = {c.name: CameraOutput(self._publishers, c, config.output, bridge) for c in cameras}
            self._frame_set = self._publishers.make(FrameSetMessage, "~/frame_set", FRAME_SET_DEPTH)
        except Exception:
            self.destroy()
            raise

    def destroy(self) -> None:
        self._publishers.destroy()
        if self._encoder is not None:
            self._encoder.close()

    def begin_run(self) -> None:
        """Frame sets are counted from 0 in each run."""
        self._next_index = 0

    def readers(self) -> int:
        """Matched readers of all topics."""
        return self._publishers.readers()

    def missing_subscribers(self, wanted: int) -> list[str]:
        """Cameras whose pictures have fewer than `wanted` matched readers."""
        return [name for name, output in self.cameras.items() if output.subscribers() < wanted]

    def publish(self, frame_set: FrameSet, *, jpeg_quality: int) -> FrameSetMessage:
        """Publish the pictures of a frame set, and then the message that lists them, which is returned."""
        for frame in frame_set.frames:
            self.cameras[frame.camera.name].publish_info(frame_set.stamp_ns)
        statuses = {
            failure.camera.name: CameraStatus(camera=failure.camera.name, published=False, reason=failure.reason)
            for failure in frame_set.failures
        }
        jpegs = self._begin_encoding(frame_set.frames, jpeg_quality)
        for frame in frame_set.frames:
            output, jpeg = self.cameras[frame.camera.name], jpegs.get(frame.camera.name)
            encode_ms, publish_ms = output.publish_images(frame, frame_set.stamp_ns, jpeg)
            statuses[frame.camera.name] = CameraStatus(
                camera=frame.camera.name,
                published=True,
                raw=bool(frame.raw),
                reason=frame.raw,
                content_hash=frame.content_hash,
                render_ms=frame.render_ms,
                harmonize_ms=frame.harmonize_ms,
                encode_ms=encode_ms,
                publish_ms=publish_ms,
            )
        in_rig_order = [statuses[name] for name in self.cameras if name in statuses]
        message = self._message(frame_set.stamp_ns, in_rig_order)
        message.instance_ids = list(frame_set.instance_ids)
        message.off_path_m, message.off_path_deg = frame_set.off_path_m, frame_set.off_path_deg
        message.out_of_bounds_m = frame_set.out_of_bounds_m
        self._frame_set.publish(message)
        return message

    def _begin_encoding(self, frames: Sequence[CameraFrame], quality: int) -> dict[str, Callable[[], bytes]]:
        """JPEG of the cameras that somebody wants it of, by name: encoded all at once, each to be waited for."""
        if self._encoder is None:
            return {}
        wanted = [frame for frame in frames if self.cameras[frame.camera.name].compresses]
        encoded = self._encoder.encode([frame.rgb for frame in wanted], quality)
        return {frame.camera.name: jpeg for frame, jpeg in zip(wanted, encoded, strict=True)}

    def publish_failure(self, stamp_ns: int, cameras: tuple[Camera, ...], reason: str) -> None:
        """A due frame set without pictures: every camera with the reason."""
        nan = float("nan")
        message = self._message(
            stamp_ns, [CameraStatus(camera=c.name, published=False, reason=reason) for c in cameras]
        )
        message.off_path_m = message.off_path_deg = message.out_of_bounds_m = nan
        self._frame_set.publish(message)

    def _message(self, stamp_ns: int, statuses: list[CameraStatus]) -> FrameSetMessage:
        message = FrameSetMessage(index=self._next_index, cameras=statuses)
        self._next_index += 1
        message.header.frame_id, message.header.stamp = self._base_link, ns_to_stamp(stamp_ns)
        return message
