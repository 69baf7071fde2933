"""H.264 videos that every player shows."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from numpy.typing import NDArray

from r3d2_ros.errors import MissingPackageError

CODEC = "libx264"
OPTIONS = {"preset": "veryfast", "crf": "19"}
TICKS_PER_S = 90_000
"""Unit of time of pictures with times of their own; that of MPEG, in which 24, 25, 29.97 and 30 Hz are whole."""


class VideoWriter:
    """One MP4 of equal pictures, in the colours of BT.709 and limited range, and so marked: a player that is told
    nothing guesses the matrix by the picture's height. yuv420p needs even sizes: an odd row or column is repeated once.

    fps    pictures per second, unless `write` is told when each is shown
    alone  False: for videos that are joined later, whose pictures are stored in the order in which they are shown
    """

    def __init__(self, path: Path, *, width_px: int, height_px: int, fps: float, alone: bool = True) -> None:
        if CODEC not in av.codecs_available:
            raise MissingPackageError("av", "writing H.264 videos", "pip install av, whose wheels bring libx264")
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        rate = Fraction(fps).limit_denominator(1000)
        options = OPTIONS if alone else OPTIONS | {"bf": "0"}
        stream = self._container.add_stream(CODEC, rate=rate, options=options)
        if not isinstance(stream, av.VideoStream):
            raise TypeError(f"expected a video stream, got {type(stream).__name__}")
        self._stream = stream
        self._stream.width, self._stream.height = width_px + width_px % 2, height_px + height_px % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.thread_count = 1  # the cores belong to the renderer, also below
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        self._reformatter = VideoReformatter()
        self._padding = ((0, height_px % 2), (0, width_px % 2), (0, 0))

    def write(self, rgb: NDArray[np.uint8], *, at_s: float | None = None) -> None:
        """Append a picture [H, W, 3], shown from `at_s` seconds on; either all pictures have such a time or none."""
        if any(after for _, after in self._padding):
            rgb = np.pad(rgb, self._padding, mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame = self._reformatter.reformat(
            picture,
            format=self._stream.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            dst_color_primaries=ColorPrimaries.BT709,
            dst_color_trc=ColorTrc.BT709,
            threads=1,
        )
        if at_s is not None:
            self._stream.codec_context.time_base = frame.time_base = Fraction(1, TICKS_PER_S)
            frame.pts = round(at_s * TICKS_PER_S)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()


def join_videos(parts: Sequence[tuple[Path, float]], path: Path) -> None:
    """Put videos that were written with `alone=False` behind each other, each beginning at its time in seconds.

    Nothing is encoded again. The times rise by more than the length of the video before.
    """
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as target:
        out = None
        for part, begin_s in parts:
            with av.open(str(part)) as source:
                stream = source.streams.video[0]
                if out is None:
                    out = target.add_stream_from_template(stream)
                assert stream.time_base is not None
                shift = round(Fraction(begin_s).limit_denominator(TICKS_PER_S) / stream.time_base)
                for packet in source.demux(stream):
                    if packet.dts is None or packet.pts is None:  # the empty one at the end
                        continue
                    packet.pts += shift
                    packet.dts += shift
                    packet.stream = out
                    target.mux(packet)
