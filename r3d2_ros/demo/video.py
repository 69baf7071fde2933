"""H.264 videos that every player shows."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from r3d2_ros.errors import MissingPackageError

CODEC = "libx264"
OPTIONS = {"preset": "veryfast", "crf": "19"}


class VideoWriter:
    """One MP4 of equal pictures. yuv420p needs even sizes: an odd row or column is repeated once."""

    def __init__(self, path: Path, *, width_px: int, height_px: int, fps: float) -> None:
        if CODEC not in av.codecs_available:
            raise MissingPackageError("av", "writing H.264 videos", "pip install av, whose wheels bring libx264")
        self._container = av.open(str(path), "w", options={"movflags": "faststart"})
        rate = Fraction(fps).limit_denominator(1000)
        stream = self._container.add_stream(CODEC, rate=rate, options=OPTIONS)
        if not isinstance(stream, av.VideoStream):
            raise TypeError(f"expected a video stream, got {type(stream).__name__}")
        self._stream = stream
        self._stream.width, self._stream.height = width_px + width_px % 2, height_px + height_px % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.thread_count = 1  # the cores belong to the renderer
        self._padding = ((0, height_px % 2), (0, width_px % 2), (0, 0))

    def write(self, rgb: NDArray[np.uint8]) -> None:
        """Append a picture [H, W, 3]."""
        if any(after for _, after in self._padding):
            rgb = np.pad(rgb, self._padding, mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
