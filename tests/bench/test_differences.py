"""How far pictures differ, with pictures whose differences can be counted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from r3d2_ros.bench.harmonizer.differences import Differences, edge_step, line_step, mean_change, psnr_db

H, W = 48, 64
REGION = np.zeros((H, W), bool)
REGION[8:40, 8:56] = True


def flat(grey: int) -> np.ndarray:
    return np.full((H, W, 3), grey, np.uint8)


def test_one_grey_level_in_the_whole_region_is_48_db() -> None:
    sums = Differences()
    mode = flat(100)
    mode[REGION] += 1
    sums.add(rendered=flat(90), exact=flat(100), mode=mode, region=REGION)
    facts = sums.facts()
    assert facts["psnr_db"] == pytest.approx(20 * math.log10(255))
    assert facts["identical"] is False


def test_what_differs_outside_the_region_does_not_count() -> None:
    sums = Differences()
    mode = flat(100)
    mode[~REGION] = 0
    sums.add(rendered=flat(100), exact=flat(100), mode=mode, region=REGION)
    facts = sums.facts()
    assert facts["identical"] is True and facts["psnr_db"] == math.inf and facts["line_step"] == 0.0


def test_the_worst_frame_has_its_own_number() -> None:
    sums = Differences()
    for step in (0, 10):
        mode = flat(100)
        mode[REGION] += step
        sums.add(rendered=flat(100), exact=flat(100), mode=mode, region=REGION)
    facts = sums.facts()
    assert facts["psnr_db_lowest"] == pytest.approx(psnr_db(100.0, 1))  # |10|^2
    assert facts["psnr_db"] == pytest.approx(psnr_db(50.0, 1))  # half of the pixels


def test_flicker_is_the_change_from_frame_to_frame_beyond_that_of_the_render() -> None:
    sums = Differences()
    # The render goes up by 2, the exact picture by 3, the mode up and down by 7 on top of the render.
    for k in range(3):
        sums.add(rendered=flat(50 + 2 * k), exact=flat(60 + 3 * k), mode=flat(50 + 2 * k + 7 * (k % 2)), region=REGION)
    facts = sums.facts()
    assert facts["flicker_exact"] == pytest.approx(1.0)
    assert facts["flicker_mode"] == pytest.approx(((9 - 2) + (5 - 2)) / 2)


def test_flicker_needs_the_region_in_both_frames() -> None:
    sums = Differences()
    elsewhere = np.zeros((H, W), bool)
    elsewhere[:4, :4] = True
    sums.add(rendered=flat(0), exact=flat(0), mode=flat(0), region=REGION)
    sums.add(rendered=flat(0), exact=flat(9), mode=flat(9), region=elsewhere)
    assert sums.facts()["flicker_mode"] is None


def test_the_edge_is_the_regions_outermost_pixels() -> None:
    picture = flat(100)
    picture[REGION] += 8  # up to the very edge
    assert edge_step(picture, flat(100), REGION) == pytest.approx(8.0)
    inner = np.zeros((H, W), bool)
    inner[9:39, 9:55] = True
    soft = flat(100)
    soft[inner] += 8  # fades out before the edge
    assert edge_step(soft, flat(100), REGION) == 0.0


def test_the_image_edge_is_no_edge_of_the_region() -> None:
    whole = np.ones((H, W), bool)
    assert edge_step(flat(50), flat(0), whole) == 0.0


def test_a_crop_edge_is_a_step_along_a_line_and_noise_is_none() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(-3, 4, (H, W, 1))
    noisy = (100 + np.repeat(noise, 3, axis=2)).astype(np.uint8)
    quiet = line_step(noisy, flat(100), REGION)
    seamed = noisy.astype(int)
    seamed[24:] += 6
    assert quiet < 2.0
    assert line_step(seamed.astype(np.uint8), flat(100), REGION) == pytest.approx(6.0, abs=2.0)
    column = flat(100)
    column[:, 30:] += 5
    assert line_step(column, flat(100), REGION) == pytest.approx(5.0)


def test_short_lines_do_not_count() -> None:
    small = np.zeros((H, W), bool)
    small[8:39, 8:39] = True  # 31 pixels
    column = flat(100)
    column[:, 20:] += 5
    assert line_step(column, flat(100), small) == 0.0


def test_without_a_region_there_are_no_numbers() -> None:
    sums = Differences()
    sums.add(rendered=flat(0), exact=flat(0), mode=flat(0), region=np.zeros((H, W), bool))
    facts = sums.facts()
    assert facts["frames"] == 1 and facts["frames_with_region"] == 0 and facts["psnr_db"] is None


def test_bytes_do_not_wrap() -> None:
    assert mean_change(flat(250), flat(5), REGION) == 245.0
