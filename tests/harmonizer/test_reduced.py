"""Reduced resolution: sizes, nothing changed by a network that changes nothing, smooth changes carried over."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from r3d2_ros.harmonizer.compositing.reduced import run_reduced, scale_of
from r3d2_ros.harmonizer.resampling import area_mean
from r3d2_ros.rendering.rgb8 import to_rgb8
from tests.harmonizer.small import picture
from tests.test_simulator import simulator, state


@pytest.mark.parametrize(
    ("resolution", "height_px", "scale"),
    [
        ("full", 1080, 1.0), ("half", 1080, 0.5), ("720p", 1080, 2 / 3), ("720p", 720, 1.0), ("720p", 480, 1.0),
        ("648p", 1080, 0.6), ("640p", 1080, 16 / 27), ("100p", 1000, 0.1), ("1080p", 2160, 0.5),
        # Rows of a camera's pinholes are any number: 721 of 1442, 720 of 886; but not 303 where 152 are asked for.
        ("720p", 1442, 1 / 2), ("720p", 886, 13 / 16), ("100p", 8000, 1 / 80), ("152p", 8192, 152 / 8192),
    ],
)
def test_scales(resolution: str, height_px: int, scale: float) -> None:
    assert scale_of(resolution, height_px) == pytest.approx(scale)


@pytest.mark.parametrize(
    ("shape", "scale", "small"),
    [((54, 96), 0.5, (27, 48)), ((54, 96), 2 / 3, (36, 64)), ((7, 5), 0.5, (4, 2)), ((1, 1), 0.5, (1, 1))],
)
def test_the_network_sees_the_reduced_size_and_nothing_else(
    shape: tuple[int, int], scale: float, small: tuple[int, int]
) -> None:
    images = picture(*shape, batch=2)
    seen = []

    def identity(batch: Tensor) -> Tensor:
        seen.append(tuple(batch.shape))
        return batch.clone()

    out = run_reduced(images, identity, scale)
    assert seen == [(2, 3, *small)]
    assert torch.equal(out, images)


def test_a_pixel_of_the_small_image_is_the_mean_of_the_area_that_it_covers() -> None:
    rows = torch.tensor([[0.0, 0.2, 0.4, 0.6], [0.2, 0.4, 0.6, 0.8]]).expand(1, 3, 2, 4)
    torch.testing.assert_close(area_mean(rows, (1, 2))[0, 0], torch.tensor([[0.2, 0.6]]))
    # 3 pixels become 2: (0 + 0.3 / 2) / 1.5 and (0.3 / 2 + 0.9) / 1.5.
    three = torch.tensor([0.0, 0.3, 0.9]).expand(1, 3, 1, 3)
    torch.testing.assert_close(area_mean(three, (1, 2))[0, 0], torch.tensor([[0.1, 0.7]]))


def test_gradients_pass_also_after_inference() -> None:
    """The weights are kept from call to call, and those of inference mode could not be multiplied with."""
    images = picture(18, 30)
    with torch.inference_mode():
        inferred = area_mean(images, (7, 11))
    images.requires_grad_()
    mean = area_mean(images, (7, 11))
    assert torch.equal(mean, inferred)
    mean.sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None and images.grad.sum() == pytest.approx(3 * 7 * 11, rel=1e-4)


@pytest.mark.parametrize("size", [(90, 160), (120, 213), (179, 319), (91, 320)])
def test_the_small_image_is_that_of_opencv(size: tuple[int, int]) -> None:
    image = picture(180, 320)
    expected = cv2.resize(image[0].movedim(0, -1).numpy(), size[::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(area_mean(image, size)[0].movedim(0, -1).numpy(), expected, atol=2e-6)


def brightness(height: int, width: int) -> Tensor:
    """[H, W]: a soft shadow over the image's middle, the same whatever the resolution."""
    v, u = (torch.arange(height)[:, None] + 0.5) / height, (torch.arange(width) + 0.5) / width
    return 1 - 0.5 * torch.exp(-((u - 0.5) ** 2 + (v - 0.5) ** 2) / 0.1)


def darken(batch: Tensor) -> Tensor:
    return batch * brightness(*batch.shape[-2:])


@pytest.mark.parametrize("scale", [0.5, 2 / 3])
def test_a_smooth_change_is_that_of_the_full_resolution_within_one_grey_level(scale: float) -> None:
    v, u = torch.meshgrid(torch.arange(180) / 320, torch.arange(320) / 320, indexing="ij")
    smooth = torch.stack([0.5 + 0.4 * torch.sin(6 * u), 0.3 + v, 0.8 - 0.5 * u * v])[None]
    out = run_reduced(smooth, darken, scale)
    assert (out - darken(smooth)).abs().max() <= 1 / 255
    assert (out - smooth).abs().max() > 100 / 255 / 2


def test_the_texture_of_the_render_stays_where_light_is_added() -> None:
    texture = torch.from_numpy(np.indices((64, 64)).sum(axis=0) % 2 * 0.2 + 0.3).float()
    image = texture.expand(1, 3, 64, 64)
    torch.testing.assert_close(run_reduced(image, lambda batch: batch + 0.1, 0.5), image + 0.1)


def test_the_result_is_clamped_and_a_render_that_is_not_changed_gives_the_same_bytes() -> None:
    white = torch.full((1, 3, 8, 8), 0.9)
    assert run_reduced(white, lambda batch: batch + 0.5, 0.5).max() == 1
    assert run_reduced(white, lambda batch: batch - 2, 0.5).min() == 0
    sim = simulator()
    rgb = sim.render(state(), cameras=[sim.rig["front"]]).frames[0].rgb
    assert isinstance(rgb, np.ndarray)
    out = run_reduced(torch.from_numpy(rgb).movedim(-1, 0)[None], lambda batch: batch, 0.5)
    np.testing.assert_array_equal(to_rgb8(out[0].movedim(0, -1).numpy()), to_rgb8(rgb))
