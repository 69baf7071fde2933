"""Videos: their colours are those of the pictures for whoever reads how they are stored."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from r3d2_ros.video import VideoWriter, join_videos

COLOURS = {"red": (200, 30, 30), "green": (40, 160, 60), "blue": (40, 70, 190), "grey": (128, 128, 128)}


def write(path: Path, rgb: tuple[int, int, int], *, alone: bool = True, size: tuple[int, int] = (66, 50)) -> Path:
    """Three pictures of one colour."""
    writer = VideoWriter(path, width_px=size[0], height_px=size[1], fps=10.0, alone=alone)
    for _ in range(3):
        writer.write(np.full((size[1], size[0], 3), rgb, np.uint8))
    writer.close()
    return path


def from_bt709(frame: av.VideoFrame) -> NDArray[np.float64]:
    """RGB [3] of the middle pixel, by the formulas of ITU-R BT.709-6, sections 3.3 and 3.4."""
    planes = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in frame.planes]
    y, cb, cr = (float(plane[plane.shape[0] // 2, 12]) for plane in planes)
    luma, blue, red = (y - 16) / 219, (cb - 128) / 224 * 1.8556, (cr - 128) / 224 * 1.5748
    r, b = luma + red, luma + blue
    return 255 * np.array([r, (luma - 0.2126 * r - 0.0722 * b) / 0.7152, b])


@pytest.mark.parametrize("size", [(66, 50), (1280, 720)])
@pytest.mark.parametrize("name", COLOURS)
def test_a_colour_is_what_the_marked_matrix_makes_of_it(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    with av.open(str(write(tmp_path / "a.mp4", COLOURS[name], size=size))) as video:
        for frame in video.decode(video=0):
            np.testing.assert_allclose(from_bt709(frame), COLOURS[name], atol=2.5)


@pytest.mark.parametrize("joined", [False, True])
def test_videos_say_how_their_colours_are_stored(tmp_path: Path, joined: bool) -> None:
    """Matrix, primaries and transfer of BT.709, whose number is 1 (ITU-T H.273, tables 2 to 4); limited range."""
    path = write(tmp_path / "a.mp4", COLOURS["red"], alone=not joined)
    if joined:
        parts = [(path, 0.0), (write(tmp_path / "b.mp4", COLOURS["blue"], alone=False), 0.5)]
        path = tmp_path / "ab.mp4"
        join_videos(parts, path)
    with av.open(str(path)) as video:
        context = video.streams.video[0].codec_context
        frame = next(video.decode(video=0))
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert (frame.colorspace, frame.color_range) == (1, 1)
    assert b"colrnclx\x00\x01\x00\x01\x00\x01\x00" in path.read_bytes()  # also for players that read the file's head
