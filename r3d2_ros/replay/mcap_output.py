"""A bag of pictures: for each frame set camera infos, images and the frame set itself, as the live node publishes them.

A frame set counts when its own message is there: it is written after everything that it lists.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r3d2_ros.cameras import Camera
from r3d2_ros.config import SimConfig
from r3d2_ros.jpeg import jpeg
from r3d2_ros.published import COMPRESSED_TOPIC, IMAGE_TOPICS, INFO_TOPIC, camera_topic, pixels
from r3d2_ros.replay import messages
from r3d2_ros.replay.mcap_file import McapFile, qos
from r3d2_ros.replay.ticks import PlannedTick
from r3d2_ros.simulator import CameraFrame, FrameSet

FRAME_SET_TOPIC = "/sim_node/frame_set"
TF_STATIC = "/tf_static"
MANIFEST_RECORD, MISSING_RECORD = "r3d2_replay", "r3d2_missing"
"""Metadata records: what the replay is made of, and (index, cause, reason) of the frame sets without pictures."""


@dataclass(frozen=True)
class Prepared:
    """The messages of one frame set in their order, and what the encoding of each camera took."""

    messages: list[tuple[str, str, memoryview]]
    encode_ms: dict[str, float]


class McapOutput:
    """Writes one file from its beginning; an existing one is replaced. `manifest` says in the file what it is."""

    def __init__(self, path: Path, cameras: tuple[Camera, ...], config: SimConfig, manifest: Mapping[str, Any]) -> None:
        self._cameras, self._config = cameras, config
        self._missing: list[tuple[int, str, str]] = []
        self._file = McapFile(path)
        self._file.add_metadata(MANIFEST_RECORD, {"manifest": json.dumps(manifest)})
        self._tf_is_due = config.output.publish_tf

    def prepare(self, planned: PlannedTick, frame_set: FrameSet) -> Prepared:
        infos, images, encode_ms = [], [], {}
        for frame in frame_set.frames:
            start = time.perf_counter()
            topic = topic_of(frame.camera, self._config)
            info = messages.camera_info(frame.camera, frame_set.stamp_ns)
            infos.append((f"{topic}/{INFO_TOPIC}", messages.CAMERA_INFO, messages.serialised(info)))
            images += self._images(topic, frame, frame_set.stamp_ns)
            encode_ms[frame.camera.name] = (time.perf_counter() - start) * 1e3
        return Prepared([*infos, *images], encode_ms)

    def _images(self, topic: str, frame: CameraFrame, stamp_ns: int) -> list[tuple[str, str, memoryview]]:
        output, frame_id = self._config.output, frame.camera.frame_id
        made = []
        for name, (encoding, below) in IMAGE_TOPICS.items():
            if getattr(output, name):
                image = messages.image(pixels(frame, name), stamp_ns=stamp_ns, frame_id=frame_id, encoding=encoding)
                made.append((f"{topic}/{below}", messages.IMAGE, messages.serialised(image)))
        if output.compressed:
            data = jpeg(frame.rgb, output.jpeg_quality)
            packed = messages.compressed_image(data, stamp_ns=stamp_ns, frame_id=frame_id)
            made.append((f"{topic}/{COMPRESSED_TOPIC}", messages.COMPRESSED_IMAGE, messages.serialised(packed)))
        return made

    def write(self, planned: PlannedTick, frame_set: FrameSet, prepared: Prepared) -> None:
        self._begin(planned)
        for topic, msgtype, data in prepared.messages:
            self._put(topic, msgtype, planned.log_ns, data)
        statement = messages.frame_set_message(
            planned.index, planned.tick, frame_set,
            base_link=self._config.frames.vehicle, encode_ms=prepared.encode_ms,
        )  # fmt: skip
        self._put(FRAME_SET_TOPIC, messages.FRAME_SET, planned.log_ns, messages.serialised(statement))

    def write_missing(self, planned: PlannedTick, reason: str, cause: str) -> None:
        self._begin(planned)
        statement = messages.missing_frame_set(
            planned.index, planned.tick, reason, base_link=self._config.frames.vehicle
        )
        self._put(FRAME_SET_TOPIC, messages.FRAME_SET, planned.log_ns, messages.serialised(statement))
        self._missing.append((planned.index, cause, reason))

    def close(self) -> None:
        try:
            self._file.add_metadata(MISSING_RECORD, {"missing": json.dumps(self._missing)})
            self._file.close()
        except BaseException:
            self._file.abandon()
            raise

    def _begin(self, planned: PlannedTick) -> None:
        """Where the cameras are, once, before everything else."""
        if not self._tf_is_due:
            return
        self._tf_is_due = False
        base_link = self._config.frames.vehicle
        transforms = messages.static_transforms(self._cameras, stamp_ns=planned.tick.stamp_ns, base_link=base_link)
        self._put(TF_STATIC, messages.TF_MESSAGE, planned.log_ns, messages.serialised(transforms))

    def _put(self, topic: str, msgtype: str, log_ns: int, data: memoryview) -> None:
        if topic not in self._file:
            self._file.add_topic(
                topic, msgtype, offered_qos=qos(transient_local=True, depth=1) if topic == TF_STATIC else qos()
            )
        self._file.write(topic, log_ns, data)


def topic_of(camera: Camera, config: SimConfig) -> str:
    """The absolute topic above a camera's."""
    return f"/{camera_topic(camera, config.output).lstrip('/')}"
