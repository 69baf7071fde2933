"""Regions of interest: which crops are chosen."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.compositing.reduced import reduced_size, scale_of
from r3d2_ros.harmonizer.compositing.roi import (
    BLOCK_PX,
    MOST_CLUSTERS,
    Crop,
    Size,
    _clusters,
    _halved,
    choose_crops,
    crop_sizes,
    crops_cost,
    grid_of,
    occupied_blocks,
    parse_sizes,
)
from r3d2_ros.harmonizer.settings import RoiConfig

SIZES = parse_sizes("64x64, 64x128, 128x128")
MARGIN = 8


def region(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = (240, 400)) -> NDArray[np.float32]:
    """A mask that is 1 in boxes (top, left, bottom, right)."""
    mask = np.zeros(shape, np.float32)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = 1
    return mask


def crops_of(
    mask: NDArray[np.float32], *, sizes: Sequence[Size] = SIZES, margin_px: int = MARGIN, grid_px: int = BLOCK_PX
) -> tuple[Crop, ...]:
    """Those of the region where `mask` is above 0."""
    blocks = occupied_blocks(mask, 0, 0, *mask.shape)
    return choose_crops(blocks, mask.shape, sizes=sizes, margin_px=margin_px, grid_px=grid_px)


def chosen(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = (240, 400)) -> tuple[Crop, ...]:
    return crops_of(region(*boxes, shape=shape))


def test_sizes_are_parsed_sorted_by_pixels_and_checked() -> None:
    assert parse_sizes("512x960, 256x256,256 x 512") == ((256, 256), (256, 512), (512, 960))
    assert parse_sizes("") == ()
    assert len(parse_sizes(RoiConfig().sizes)) == 9
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


def test_bounds_of_the_region_change_nothing() -> None:
    mask = region((83, 41, 131, 97), (150, 305, 161, 333))
    rows, columns = np.nonzero(mask)
    bounds = (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
    blocks = occupied_blocks(mask, *bounds)
    np.testing.assert_array_equal(blocks, occupied_blocks(mask, 0, 0, *mask.shape))
    assert blocks.sum() == 7 * 8 + 3 * 4, "rows 80 to 136 and columns 40 to 104; rows 144 to 168 and 304 to 336"


def test_crops_are_moved_into_the_image() -> None:
    assert chosen((0, 0, 10, 10)) == (Crop(64, 64, 0, 0),)
    assert chosen((230, 390, 240, 400)) == (Crop(64, 64, 176, 336),)


def test_what_fits_in_no_size_gets_the_whole_frame() -> None:
    assert chosen((10, 10, 200, 300)) == (Crop(240, 400, 0, 0),)
    assert chosen((10, 10, 20, 20), shape=(40, 400)) == (Crop(40, 400, 0, 0),), "lower than every size"
    assert chosen((1, 1, 3, 3), shape=(5, 5)) == (Crop(5, 5, 0, 0),)


def test_no_actor_no_crop() -> None:
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
        crops = crops_of(mask)
        assert crops == crops_of(mask.copy(), sizes=SIZES[::-1])
        assert list(crops) == sorted(crops) and 0 < crops_cost(crops) <= 540 * 960
        assert all(c.top % 8 == 0 or c.top == 540 - c.height for c in crops) and all(c.left % 8 == 0 for c in crops)
        covered = np.zeros(mask.shape, bool)
        for crop in crops:
            inner = np.zeros(mask.shape, bool)
            inner[crop.slices] = True
            # Far enough from edges other than the image's for the network's full effect.
            covered |= cv2.erode(inner.astype(np.uint8), np.ones((2 * MARGIN + 1,) * 2, np.uint8)) > 0
        assert covered[mask > 0].all()


def test_a_region_of_a_thousand_parts_is_covered() -> None:
    """As leaves before the sky are. Parts near each other count as one then, and still everything is in a crop."""
    random = np.random.default_rng(2)
    mask = np.zeros((540, 960), np.float32)
    mask[random.integers(0, 20, 1000) * 9, random.integers(0, 100, 1000) * 9] = 1
    blocks = occupied_blocks(mask, 0, 0, *mask.shape)
    assert len(_clusters(blocks)) > MOST_CLUSTERS
    crops = choose_crops(blocks, mask.shape, sizes=[(256, 960), (64, 64)], margin_px=MARGIN, grid_px=8)
    assert crops == (Crop(256, 960, 0, 0),)
    assert fully_covered(crops, mask.shape, MARGIN)[mask > 0].all()


def test_blocks_of_twice_the_size() -> None:
    blocks = np.array([[0, 1, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], np.uint8)
    assert _halved(blocks).tolist() == [[1, 0, 1], [0, 0, 0]]


def fully_covered(crops: tuple[Crop, ...], shape: tuple[int, int], margin_px: int) -> NDArray[np.bool_]:
    """Pixels of an image that are `margin_px` inside a crop's edges, or inside those that are the image's."""
    covered = np.zeros(shape, bool)
    for crop in crops:
        rows, columns = (
            slice(0 if begin == 0 else begin + margin_px, end if end == limit else end - margin_px)
            for begin, end, limit in (
                (crop.top, crop.top + crop.height, shape[0]),
                (crop.left, crop.left + crop.width, shape[1]),
            )
        )
        covered[rows, columns] = True
    return covered


def touching_the_ends(shape: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Boxes of every height at the bottom, of every width at the right, in steps of 4 pixels, and of both."""
    height, width = shape
    tall = [(height - extent, 400, height, 440) for extent in range(4, 500, 4)]
    wide = [(300, width - extent, 340, width) for extent in range(4, 500, 4)]
    return [*tall, *wide, *((height - n, width - n, height, width) for n in range(4, 500, 20))]


@pytest.mark.parametrize("resolution", ["full", "half", "720p", "648p"])
@pytest.mark.parametrize("shape", [(540, 960), (900, 1600), (1080, 1910)])
def test_the_region_has_full_effect_up_to_the_last_row_and_column(shape: tuple[int, int], resolution: str) -> None:
    """In images that the grid does not divide too."""
    config, grid_px = RoiConfig(), grid_of(scale_of(resolution, shape[0]), 8)
    sizes = parse_sizes(config.sizes)
    in_crops = 0
    for box in touching_the_ends(shape):
        crops = crops_of(region(box, shape=shape), sizes=sizes, margin_px=config.margin_px, grid_px=grid_px)
        in_crops += len(crops) == 1 and crops[0].height < shape[0]
        assert all(c.top >= 0 and c.left >= 0 for c in crops)
        assert all(c.top + c.height <= shape[0] and c.left + c.width <= shape[1] for c in crops)
        assert all(c.top % grid_px == 0 or c.top + c.height == shape[0] for c in crops)
        assert all(c.left % grid_px == 0 or c.left + c.width == shape[1] for c in crops)
        full = fully_covered(crops, shape, config.margin_px)
        assert full[region(box, shape=shape) > 0].all(), f"{box}: {crops}"
    assert in_crops > 100


def test_the_grid_of_reduced_frames_has_whole_latent_pixels_there_and_here() -> None:
    # 16 pixels are 8 of the half; 2/3 of 24 are 16; 720 of 900 rows are 4/5, and 4/5 of 40 are 32.
    assert [grid_of(scale, 8) for scale in (1.0, 0.5, 2 / 3, 720 / 900, 720 / 1280)] == [8, 16, 24, 40, 128]
    assert grid_of(0.5, 16) == 32
    assert grid_of(720 / 886, 8) == 8 * 443, "beyond the frame, which would be run whole"
    assert crop_sizes(parse_sizes("256x256, 384x768"), (886, 1920), grid_px=8 * 443) == []
    assert crop_sizes(parse_sizes("256x256, 384x768"), (1080, 1920), grid_px=24) == [(264, 264), (384, 768)]
    for size in crop_sizes(parse_sizes(RoiConfig().sizes), (1080, 1920), grid_px=24):
        assert all(n % 8 == 0 for n in reduced_size(*size, 2 / 3))


def test_clusters_are_the_connected_parts_that_opencv_finds() -> None:
    """Of any number of rows and columns, from a few blocks to nearly all; those that touch at a corner are one."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        blocks = (rng.random(rng.integers(1, 30, 2)) < rng.random()).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(blocks, connectivity=8)
        expected = [[top, left, top + height, left + width] for left, top, width, height, _ in stats[1:].tolist()]
        assert sorted(_clusters(blocks).tolist()) == sorted(expected)
