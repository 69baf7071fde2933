"""The harmonizer in the simulator: kept to the region, skipped where no actor is seen, never silent when it fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.config import load_config
from r3d2_ros.errors import InputErrors
from r3d2_ros.harmonizer.composite import NonFiniteOutputError
from r3d2_ros.harmonizer.pipeline import Harmonizer
from r3d2_ros.harmonizer.residual import Images
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RoiConfig
from r3d2_ros.rendering.rgb8 import to_rgb8
from r3d2_ros.simulator import FrameSet, History
from tests.test_simulator import hashes, simulator, state


class Darker:
    """Takes 0.1 off every value, and counts the images it was given."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, images: Images) -> Images:
        self.images += len(images)
        return images - np.float32(0.1)


def step(network: object, config: HarmonizerConfig | None = None) -> FrameSet:
    sim = simulator()
    sim.harmonizer = Harmonizer(config or HarmonizerConfig(), network)  # type: ignore[arg-type]
    return sim.step(state(), History())[0]


def test_outside_the_region_every_byte_is_the_render_and_inside_the_network_shows() -> None:
    front = step(Darker()).frames[0]
    assert front.mask is not None and 0 < (front.mask > 0).mean() < 0.6
    np.testing.assert_array_equal(front.rgb[front.mask == 0], front.rendered[front.mask == 0])
    full = front.mask == 1
    difference = front.rendered[full].astype(int) - front.rgb[full]
    # 0.1 of 255 is 25.5; a dark render ends at 0.
    assert np.all((difference >= 25) | (front.rgb[full] == 0)) and difference.max() <= 26


def test_a_camera_that_sees_no_actor_skips_the_network() -> None:
    network = Darker()
    front, left = step(network).frames
    assert network.images == 1
    assert left.mask is None and left.rgb is left.rendered
    assert front.rgb is not front.rendered


def test_without_a_harmonizer_the_pictures_are_the_renders() -> None:
    plain = simulator().step(state(), History())[0]
    same = step(lambda images: images)
    assert [f.content_hash for f in same.frames] == hashes(plain)
    assert all(f.harmonize_ms == 0 for f in plain.frames)


def test_full_shows_the_whole_output() -> None:
    network = Darker()
    frames = step(network, HarmonizerConfig(composite="full")).frames
    assert network.images == 2
    for frame in frames:
        expected = np.clip(frame.rendered.astype(float) - 25.5, 0, 255)
        assert np.abs(frame.rgb - expected).max() <= 1


def test_crops_give_the_same_picture_for_a_network_that_treats_all_pixels_alike() -> None:
    whole = step(Darker()).frames[0]
    roi = RoiConfig(enabled=True, sizes="64x64, 64x96, 96x96", margin_px=8)
    network = Darker()
    crops = step(network, HarmonizerConfig(roi=roi)).frames[0]
    assert np.abs(crops.rgb.astype(int) - whole.rgb).max() <= 1


def test_half_resolution_adds_the_change_to_the_full_render() -> None:
    half = step(Darker(), HarmonizerConfig(resolution="half")).frames[0]
    whole = step(Darker()).frames[0]
    assert np.abs(half.rgb.astype(int) - whole.rgb).max() <= 1


def test_an_output_that_is_not_a_number_is_an_error() -> None:
    with pytest.raises(NonFiniteOutputError, match="NaN or infinity in"):
        step(lambda images: images * np.float32("nan"))


def test_the_network_gets_the_float_render() -> None:
    seen: list[Images] = []

    def keep(images: Images) -> Images:
        seen.append(images)
        return images

    front = step(keep).frames[0]
    assert seen[0].shape == (1, 120, 160, 3) and seen[0].dtype == np.float32
    assert seen[0].min() >= 0 and seen[0].max() <= 1
    np.testing.assert_array_equal(to_rgb8(seen[0][0]), front.rendered)


def test_a_backend_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sim.yaml"
    path.write_text("harmonizer: {backend: r3d2}\n")
    with pytest.raises(InputErrors, match="harmonizer: expected the folder of a checkpoint"):
        load_config(path)
