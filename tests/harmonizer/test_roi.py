"""Regions of interest: which crops are chosen."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.roi import Crop, choose_crops, crops_cost, parse_sizes
from r3d2_ros.harmonizer.settings import RoiConfig

SIZES = parse_sizes("64x64, 64x128, 128x128")
MARGIN = 8


def region(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = (240, 400)) -> NDArray[np.float32]:
    """A mask that is 1 in boxes (top, left, bottom, right)."""
    mask = np.zeros(shape, np.float32)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = 1
    return mask


def chosen(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = (240, 400)) -> tuple[Crop, ...]:
    return choose_crops(region(*boxes, shape=shape), sizes=SIZES, margin_px=MARGIN)


def test_sizes_are_parsed_sorted_by_pixels_and_checked() -> None:
    assert parse_sizes("512x960, 256x256,256 x 512") == ((256, 256), (256, 512), (512, 960))
    assert parse_sizes("") == ()
    assert len(parse_sizes(RoiConfig().sizes)) == 8
    for bad in ("256", "256x", "100x256", "0x8", "-8x8", "8x8; 16x16"):
        with pytest.raises(InputError, match="roi.sizes: expected ROWSxCOLUMNS, multiples of 8"):
            parse_sizes(bad)


def test_one_actor_gets_the_smallest_crop_around_its_middle() -> None:
    # In blocks of 8, with a margin of 8: rows 88 to 144, columns 192 to 248; the middle would begin at 84 and 188.
    assert chosen((100, 200, 130, 240)) == (Crop(64, 64, 80, 184),)
    # 48 wide plus margins is exactly 64, 49 is more.
    assert chosen((104, 200, 152, 248)) == (Crop(64, 64, 96, 192),)
    assert chosen((104, 200, 152, 249)) == (Crop(64, 128, 96, 160),)
    assert chosen((104, 200, 153, 201)) == (Crop(128, 128, 64, 136),), "there is no 128 x 64"


def test_crops_are_moved_into_the_image() -> None:
    assert chosen((0, 0, 10, 10)) == (Crop(64, 64, 0, 0),)
    assert chosen((230, 390, 240, 400)) == (Crop(64, 64, 176, 336),)


def test_what_fits_in_no_size_gets_the_whole_frame() -> None:
    assert chosen((10, 10, 200, 300)) == (Crop(240, 400, 0, 0),)
    assert chosen((10, 10, 20, 20), shape=(40, 400)) == (Crop(40, 400, 0, 0),), "lower than every size"
    assert chosen((1, 1, 3, 3), shape=(5, 5)) == (Crop(5, 5, 0, 0),)


def test_no_actor_no_crop() -> None:
    assert choose_crops(None, sizes=SIZES, margin_px=MARGIN) == ()
    assert chosen() == ()


def test_neighbours_share_a_crop_where_that_costs_no_more() -> None:
    assert chosen((100, 100, 120, 120), (100, 140, 120, 160)) == (Crop(64, 128, 72, 64),), "as much as two 64 x 64"
    apart = chosen((100, 100, 120, 120), (20, 300, 40, 320), (200, 20, 220, 40))
    assert apart == (Crop(64, 64, 0, 272), Crop(64, 64, 72, 72), Crop(64, 64, 176, 0))
    assert crops_cost(apart) == 3 * 64 * 64


def test_many_actors_cost_at_most_a_whole_frame_and_are_all_covered_in_a_fixed_order() -> None:
    random = np.random.default_rng(1)
    for count in (1, 3, 10, 100):
        tops, lefts = random.integers(0, 500, count), random.integers(0, 900, count)
        mask = region(*((t, x, t + 20, x + 30) for t, x in zip(tops, lefts, strict=True)), shape=(540, 960))
        crops = choose_crops(mask, sizes=SIZES, margin_px=MARGIN)
        assert crops == choose_crops(mask.copy(), sizes=SIZES[::-1], margin_px=MARGIN)
        assert list(crops) == sorted(crops) and 0 < crops_cost(crops) <= 540 * 960
        assert all(c.top % 8 == 0 or c.top == 540 - c.height for c in crops) and all(c.left % 8 == 0 for c in crops)
        covered = np.zeros(mask.shape, bool)
        for crop in crops:
            inner = np.zeros(mask.shape, bool)
            inner[crop.slices] = True
            # Far enough from edges other than the image's for the network's full effect.
            covered |= cv2.erode(inner.astype(np.uint8), np.ones((2 * MARGIN + 1,) * 2, np.uint8)) > 0
        assert covered[mask > 0].all()
