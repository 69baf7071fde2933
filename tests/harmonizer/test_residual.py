"""Reduced resolution: sizes, nothing changed by a network that changes nothing, smooth changes carried over."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from r3d2_ros.harmonizer.residual import Images, Resolution, run_reduced, scale_of
from r3d2_ros.rendering.rgb8 import to_rgb8
from tests.test_simulator import simulator, state


@pytest.mark.parametrize(
    ("resolution", "height_px", "scale"),
    [("full", 1080, 1.0), ("half", 1080, 0.5), ("720p", 1080, 2 / 3), ("720p", 720, 1.0), ("720p", 480, 1.0)],
)
def test_scales(resolution: Resolution, height_px: int, scale: float) -> None:
    assert scale_of(resolution, height_px) == pytest.approx(scale)


@pytest.mark.parametrize(
    ("shape", "scale", "small"),
    [((54, 96), 0.5, (27, 48)), ((54, 96), 2 / 3, (36, 64)), ((7, 5), 0.5, (4, 2)), ((1, 1), 0.5, (1, 1))],
)
def test_the_network_sees_the_reduced_size_and_nothing_else(
    shape: tuple[int, int], scale: float, small: tuple[int, int]
) -> None:
    images = np.random.default_rng(0).random((2, *shape, 3), np.float32)
    seen = []

    def identity(batch: Images) -> Images:
        seen.append(batch.shape)
        return batch.copy()

    out = run_reduced(images, identity, scale)
    assert seen == [(2, *small, 3)]
    np.testing.assert_array_equal(out, images)


def test_the_small_image_is_the_mean_of_the_pixels_it_covers() -> None:
    image = np.array([[0.0, 0.2, 0.4, 0.6], [0.2, 0.4, 0.6, 0.8]], np.float32)[None, ..., None].repeat(3, axis=3)

    def check(batch: Images) -> Images:
        np.testing.assert_allclose(batch[0, ..., 0], [[0.2, 0.6]], atol=1e-6)
        return batch

    run_reduced(image, check, 0.5)


def brightness(height: int, width: int) -> NDArray[np.float32]:
    """[H, W, 1]: a soft shadow over the image's middle, the same whatever the resolution."""
    v, u = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None]
    field = 1 - 0.5 * np.exp(-((u - 0.5) ** 2 + (v - 0.5) ** 2) / 0.1)
    return field[..., None].astype(np.float32)


def darken(batch: Images) -> Images:
    return batch * brightness(*batch.shape[1:3])


@pytest.mark.parametrize("scale", [0.5, 2 / 3])
def test_a_smooth_change_is_that_of_the_full_resolution_within_one_grey_level(scale: float) -> None:
    v, u = np.mgrid[:180, :320] / 320
    smooth = np.stack([0.5 + 0.4 * np.sin(6 * u), 0.3 + v, 0.8 - 0.5 * u * v], axis=-1).astype(np.float32)
    out = run_reduced(smooth[None], darken, scale)
    assert np.abs(out - darken(smooth[None])).max() <= 1 / 255
    assert np.abs(out - smooth).max() > 100 / 255 / 2


def test_the_texture_of_the_render_stays_where_light_is_added() -> None:
    texture = np.indices((64, 64)).sum(axis=0) % 2 * 0.2 + 0.3
    image = texture.astype(np.float32)[None, ..., None].repeat(3, axis=3)
    out = run_reduced(image, lambda batch: batch + np.float32(0.1), 0.5)
    np.testing.assert_allclose(out, image + 0.1, atol=1e-6)


def test_the_result_is_clamped_and_a_render_that_is_not_changed_gives_the_same_bytes() -> None:
    white = np.full((1, 8, 8, 3), 0.9, np.float32)
    assert run_reduced(white, lambda batch: batch + 0.5, 0.5).max() == 1
    assert run_reduced(white, lambda batch: batch - 2, 0.5).min() == 0
    image = simulator().renderer.render(simulator().scene.compose((), simulator().library), [
        simulator().rig["front"].view(state().ego.T_world_ego)
    ])[0].rgb  # fmt: skip
    out = run_reduced(image[None], lambda batch: batch, 0.5)
    np.testing.assert_array_equal(to_rgb8(out[0]), to_rgb8(image))
