"""What an output of a replay is, and pictures as bytes."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from r3d2_ros.config import OutputConfig
from r3d2_ros.jpeg import jpeg
from r3d2_ros.replay.bag import Bag
from r3d2_ros.replay.frames import Entry
from r3d2_ros.replay.ticks import PlannedTick
from r3d2_ros.simulator import CameraFrame, FrameSet, mask_bytes


class Store(Protocol):
    """The place where a replay writes. It can be sent to another process, which then writes a part.

    path  what the user named
    """

    path: Path

    def begin(self, manifest: Mapping[str, Any], *, overwrite: bool) -> dict[int, Entry]:
        """Keep the place from others; returns lines for the frame sets of earlier runs that are not made again, by
        index. What is there stays as it is.

        InputError for a place that holds something else, and while another run writes it.
        """

    def take(self) -> None:
        """The replay can be made: from here on the place is its own, without what an earlier one left that is not kept.
        Before `finish`; an `output` writes behind it."""

    def output(self, part: int | None) -> Output:
        """Where a part of the frame sets goes; None: all of them in one."""

    def finish(self, bag: Bag, *, complete: bool) -> None:
        """Put together what was written; `complete` when every frame set has had its turn."""

    def state(self) -> dict[int, Entry]:
        """Lines for the frame sets that are there, by index."""

    def release(self) -> None:
        """Let other runs have the place."""


class Output(Protocol):
    """Takes frame sets. `prepare` may run in any thread and beside others, `write` and `close` in one, in order."""

    def prepare(self, planned: PlannedTick, frame_set: FrameSet) -> Any:
        """Work on one frame set that needs no other: encoding."""

    def write(self, planned: PlannedTick, frame_set: FrameSet, prepared: Any) -> None:
        """Put a frame set where it belongs. InputError when that is not possible."""

    def write_missing(self, planned: PlannedTick, reason: str, cause: str) -> None:
        """Note that a frame set has no pictures."""

    def close(self) -> None:
        """Finish what was written, also after a fault. InputError when that is not possible."""


@dataclass(frozen=True)
class Picture:
    """An encoded picture of one camera; `kind` is empty for the picture itself."""

    camera: str
    kind: str
    suffix: str
    data: bytes
    encode_ms: float


ALSO = {
    "rendered": "image_rendered",
    "mask": "harmonizer_mask",
    "depth": "depth",
    "instance": "instance",
}
"""Further pictures by the name that the command line and folders use -> key of the `output` section."""


def also_wanted(config: OutputConfig) -> tuple[str, ...]:
    return tuple(kind for kind, key in ALSO.items() if getattr(config, key))


def encode(frame: CameraFrame, *, kind: str, image_format: str, jpeg_quality: int) -> Picture:
    """One picture of a camera as a file: JPEG or PNG; masks and actor numbers as PNG, depth as .npy (float32)."""
    start = time.perf_counter()
    suffix, data = _encoded(frame, kind, image_format, jpeg_quality)
    return Picture(frame.camera.name, kind, suffix, data, (time.perf_counter() - start) * 1e3)


def _encoded(frame: CameraFrame, kind: str, image_format: str, jpeg_quality: int) -> tuple[str, bytes]:
    if kind == "depth":
        buffer = io.BytesIO()
        np.save(buffer, frame.depth, allow_pickle=False)
        return ".npy", buffer.getvalue()
    if kind == "mask":
        return ".png", png(mask_bytes(frame))
    if kind == "instance":
        assert frame.instance is not None
        return ".png", png(frame.instance)
    rgb = frame.rendered if kind == "rendered" else frame.rgb
    if image_format == "png":
        return ".png", png(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return ".jpg", jpeg(rgb, jpeg_quality)


def png(pixels: NDArray) -> bytes:
    """[H, W] or [H, W, 3] (blue, green, red), 8 or 16 bit."""
    _, encoded = cv2.imencode(".png", pixels)
    return encoded.tobytes()
