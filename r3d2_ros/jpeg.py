"""JPEG by libjpeg-turbo: one picture at a time, or all of a frame set by as many threads as there are cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np
import simplejpeg
from numpy.typing import NDArray

MCU_PX = 16
"""Side of the blocks that are encoded together where colour has half the resolution."""

LEAST_STRIPE_PX = 8 * MCU_PX
MOST_INTERVAL = 65_535
"""Blocks between two restart markers: what 16 bits hold."""

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
SOF0, SOS, DRI, RST0 = 0xC0, 0xDA, 0xDD, 0xD0
"""Markers of ITU-T T.81, table B.1."""


def jpeg(rgb: NDArray[np.uint8], quality: int) -> bytes:
    """Of [H, W, 3], colour at half the resolution."""
    return simplejpeg.encode_jpeg(rgb, quality=quality, colorspace="RGB", colorsubsampling="420")


class JpegEncoder:
    """Encodes several pictures at the same time, and each in stripes where there are more cores than pictures.

    A picture in stripes has the pixels of `jpeg`, to the bit. Its file has restart markers between them.
    """

    def __init__(self, cores: int | None = None) -> None:
        self._cores = cores or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._cores, thread_name_prefix="jpeg")

    def encode(self, pictures: Sequence[NDArray[np.uint8]], quality: int) -> list[Callable[[], bytes]]:
        """Begins; each result is waited for when it is called for."""
        wanted = max(1, self._cores // max(1, len(pictures)))
        return [self._begin(rgb, quality, wanted) for rgb in pictures]

    def close(self) -> None:
        self._pool.shutdown()

    def _begin(self, rgb: NDArray[np.uint8], quality: int, wanted: int) -> Callable[[], bytes]:
        height, width = rgb.shape[:2]
        rows = stripe_rows(height, width, wanted)
        parts = [self._pool.submit(jpeg, rgb[top : top + rows], quality) for top in range(0, height, rows)]
        if len(parts) == 1:
            return parts[0].result
        return partial(_joined, parts, height, rows // MCU_PX * -(-width // MCU_PX))


def stripe_rows(height_px: int, width_px: int, wanted: int) -> int:
    """Rows of a stripe for `wanted` of them or fewer; all rows where that is one."""
    rows = max(-(-height_px // wanted), LEAST_STRIPE_PX)
    rows = -(-rows // MCU_PX) * MCU_PX
    if rows >= height_px or rows // MCU_PX * -(-width_px // MCU_PX) > MOST_INTERVAL:
        return height_px
    return rows


def _joined(parts: Sequence[Future[bytes]], height_px: int, interval: int) -> bytes:
    """One file of the files of stripes that have `interval` blocks each, but for the last one."""
    segments, data = _split(parts[0].result())
    pieces = [SOI]
    for segment in segments:
        if segment[1] == SOF0:
            segment = segment[:5] + height_px.to_bytes(2, "big") + segment[7:]
        if segment[1] == SOS:
            pieces.append(bytes([0xFF, DRI, 0, 4]) + interval.to_bytes(2, "big"))
        pieces.append(segment)
    pieces.append(data)
    for number, part in enumerate(parts[1:]):
        pieces += [bytes([0xFF, RST0 + number % 8]), _split(part.result())[1]]
    return b"".join([*pieces, EOI])


def _split(file: bytes) -> tuple[list[bytes], bytes]:
    """The segments before the pixels, each from its marker on, and the pixels without the end's marker."""
    segments: list[bytes] = []
    begin = len(SOI)
    while not segments or segments[-1][1] != SOS:
        end = begin + 2 + int.from_bytes(file[begin + 2 : begin + 4], "big")
        segments.append(file[begin:end])
        begin = end
    return segments, file[begin : -len(EOI)]
