"""JPEG in stripes: the pixels of one that was encoded in one piece, in every decoder."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from r3d2_ros.jpeg import JpegEncoder, jpeg, stripe_rows


def picture(height: int, width: int) -> np.ndarray:
    """Ramps, edges and noise, so that every block is another."""
    rng = np.random.default_rng(height)
    rows, columns = np.mgrid[:height, :width]
    rgb = np.stack([rows * 255 // height, columns * 255 // width, (rows // 9 + columns // 7) % 2 * 200], axis=-1)
    return np.clip(rgb + rng.integers(-20, 20, rgb.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(1080, 1920), (1079, 1921), (257, 40), (1500, 33)])
@pytest.mark.parametrize("cores", [2, 3, 16])
def test_stripes_decode_to_the_pixels_of_the_whole(size: tuple[int, int], cores: int) -> None:
    """By libjpeg-turbo, OpenCV and Pillow; sixteen stripes count their markers from 0 to 7 and again."""
    rgb = picture(*size)
    encoder = JpegEncoder(cores)
    [encoded] = encoder.encode([rgb], 90)
    file, whole = encoded(), jpeg(rgb, 90)
    encoder.close()
    rows = stripe_rows(*size, cores)
    markers = sum(file.count(bytes([0xFF, 0xD0 + k])) for k in range(8))
    assert markers == -(-size[0] // rows) - 1 and (markers > 0) == (rows < size[0])
    assert len(file) < 1.02 * len(whole) + 100
    np.testing.assert_array_equal(simplejpeg.decode_jpeg(file), simplejpeg.decode_jpeg(whole))
    decoded = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in (file, whole)]
    np.testing.assert_array_equal(*decoded)
    np.testing.assert_array_equal(*(np.asarray(Image.open(io.BytesIO(data))) for data in (file, whole)))


def test_pictures_of_a_frame_set_share_the_cores() -> None:
    """Six on eight cores are encoded in one piece each, two of them in four stripes."""
    pictures = [picture(600, 80 + 16 * k) for k in range(6)]
    encoder = JpegEncoder(8)
    assert [encoded() for encoded in encoder.encode(pictures, 80)] == [jpeg(rgb, 80) for rgb in pictures]
    for encoded, rgb in zip(encoder.encode(pictures[:2], 80), pictures, strict=False):
        assert sum(encoded().count(bytes([0xFF, 0xD0 + k])) for k in range(8)) == 3
        np.testing.assert_array_equal(simplejpeg.decode_jpeg(encoded()), simplejpeg.decode_jpeg(jpeg(rgb, 80)))
    assert encoder.encode([], 80) == []
    encoder.close()


@pytest.mark.parametrize(
    ("height", "width", "wanted", "rows"),
    [(1080, 1920, 1, 1080), (1080, 1920, 2, 544), (1080, 1920, 99, 128), (100, 1920, 4, 100), (65000, 65000, 2, 65000)],
)
def test_stripes_end_with_whole_blocks_and_are_not_too_thin(height: int, width: int, wanted: int, rows: int) -> None:
    """A picture of more blocks between two markers than 16 bits can count stays in one piece."""
    assert stripe_rows(height, width, wanted) == rows
