"""Pasting back: the render's bytes outside the mask, the network's inside, their mean on the edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from r3d2_ros.harmonizer.compositing.composite import bad_pixels, composite_full, composite_region, composited
from r3d2_ros.harmonizer.compositing.region import actor_boxes, actor_region
from r3d2_ros.harmonizer.settings import RegionConfig
from r3d2_ros.rendering.rgb8 import to_rgb8
from tests.test_simulator import simulator, state


def pasted(render: NDArray[np.uint8], harmonized: NDArray[np.float32], mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """`composite_region` of arrays, `harmonized` as [H, W, 3]."""
    output = torch.from_numpy(harmonized).movedim(-1, 0)
    return composite_region(torch.from_numpy(render), output, torch.from_numpy(mask)).numpy()


def test_mask_0_half_and_1() -> None:
    render = np.array([[[10, 100, 255]] * 3], np.uint8)
    harmonized = np.full((1, 3, 3), 0.4, np.float32)  # 102
    out = pasted(render, harmonized, np.array([[0.0, 0.5, 1.0]], np.float32))
    # Half way: 56, 101, 178.5 rounded up.
    assert out.tolist() == [[[10, 100, 255], [56, 101, 179], [102, 102, 102]]]


def test_mask_1_rounds_as_to_rgb8_does_for_every_value() -> None:
    values = np.linspace(-0.2, 1.2, 300_000, dtype=np.float32).reshape(100, 1000, 3)
    render = np.full(values.shape, 77, np.uint8)
    out = pasted(render, values, np.ones((100, 1000), np.float32))
    np.testing.assert_array_equal(out, to_rgb8(values))
    full = composite_full(torch.from_numpy(values).movedim(-1, 0))
    np.testing.assert_array_equal(full.numpy(), to_rgb8(values))
    assert full.is_contiguous()


def test_every_byte_outside_the_region_of_a_real_render_is_the_render_s() -> None:
    sim, now = simulator(), state()
    view = sim.rig["front"].view(now.ego.T_world_ego)
    image = sim.renderer.render(sim.scene.compose(now.actors, sim.library), [view])[0]
    mask = actor_region(
        actor_weight=image.actor_weight,
        depth=image.depth,
        view=view,
        boxes=actor_boxes(now.actors, sim.library),
        config=RegionConfig(),
    )
    assert mask is not None
    render = to_rgb8(image.rgb)
    harmonized = 1 - np.clip(image.rgb, 0, 1)
    out = pasted(render, harmonized, mask)
    assert np.array_equal(out[mask == 0], render[mask == 0])
    assert np.array_equal(out[mask == 1], to_rgb8(harmonized)[mask == 1])
    inside = (mask > 0) & (mask < 1)
    assert inside.any() and (mask == 0).any()
    # Pixel by pixel: the weighted mean in 8-bit steps, rounded half up.
    before, after = render[inside].astype(np.float32), harmonized[inside] * np.float32(255)
    expected = np.floor(before + mask[inside][:, None] * (after - before) + np.float32(0.5))
    np.testing.assert_array_equal(out[inside], expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_counted_where_they_would_be_seen(bad: float) -> None:
    harmonized, mask = torch.zeros(3, 4, 4), torch.zeros(4, 4)
    harmonized[0, 1, 1:3] = bad
    mask[2:] = 1
    assert bad_pixels(harmonized, mask) == 0
    mask[1, 1] = 0.5
    assert bad_pixels(harmonized, mask) == 1
    assert bad_pixels(harmonized, None) == 2


def test_numbers_that_are_none_outside_the_mask_change_nothing() -> None:
    render, mask = np.full((4, 4, 3), 9, np.uint8), np.zeros((4, 4), np.float32)
    assert np.array_equal(pasted(render, np.full((4, 4, 3), np.nan, np.float32), mask), render)


def test_images_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected images of one size"):
        pasted(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.float32), np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match="expected images of one size"):
        composited(torch.zeros(4, 5, 3, dtype=torch.uint8), torch.zeros(3, 4, 4), None)
