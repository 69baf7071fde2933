"""Reprojection: whole pixels by hand, and a pixel-by-pixel reference."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from r3d2_ros.cameras import CameraView
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.harmonizer.temporal.patch import NOTHING, CameraResidual, Patch, patch_of
from r3d2_ros.harmonizer.temporal.reprojection import (
    LookUp,
    PixelMotion,
    bounds_in_image,
    look_up,
    positions,
)
from r3d2_ros.harmonizer.windows import Window

WIDTH, HEIGHT = 40, 24
K = np.array([[100.0, 0, 20.0], [0, 100.0, 12.0], [0, 0, 1]])
"""Corner of the first pixel at (0, 0), focal length 100 px: 0.1 m at a depth of 10 m is one pixel."""


def view(T_camera_world: Rigid | None = None, K: Array = K) -> CameraView:
    return CameraView(K, WIDTH, HEIGHT, T_camera_world or Rigid.identity())


def moved(x: float = 0.0, y: float = 0.0, z: float = 0.0, rpy: tuple[float, float, float] = (0, 0, 0)) -> Rigid:
    """T_dst_src of cameras: a point at p in the one is at R p + (x, y, z) in the other."""
    return Rigid.from_rpy(rpy, (x, y, z))


def patch(
    depth: float | NDArray[np.float32] = 10.0,
    *,
    instance: NDArray[np.int32] | None = None,
    mask: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> Patch:
    """Random values over the whole image, unless the mask covers less."""
    made = patch_of(
        CameraResidual(
            "camera",
            view(),
            residual=torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed)),
            mask=None if mask is None else torch.from_numpy(mask),
            depth=torch.from_numpy(np.broadcast_to(np.float32(depth), (HEIGHT, WIDTH)).copy()),
            instance=torch.from_numpy(np.zeros((HEIGHT, WIDTH), np.int32) if instance is None else instance),
        )
    )
    assert made is not None
    return made


def look(there: Patch, here: Patch, T: Rigid, *, tolerance: float = 0.1, K_there: Array = K) -> tuple[Tensor, Tensor]:
    motion = PixelMotion.between(T, src=view(), dst=view(K=K_there))
    at = positions(here.pixels, here.inverse_depth, factors(motion))
    *values, weight = look_up(LookUp.of(there, there.residual), at, here.identity, tolerance)
    return torch.stack(values), weight


def factors(motion: PixelMotion) -> Tensor:
    return torch.from_numpy(motion.factors().astype(np.float32))


def test_a_shift_by_whole_pixels_moves_the_values_by_exactly_that_many() -> None:
    there, here = patch(), patch()
    # 0.3 m to the right and 0.2 m up at 10 m: what is at column c, row r here, is at c + 3, r - 2 there.
    values, weight = look(there, here, moved(x=0.3, y=-0.2))
    np.testing.assert_allclose(values[:, 2:, :-3], there.residual[:, :-2, 3:], atol=1e-5)
    assert weight[2:, :-3].min() > 1 - 1e-5
    # Beyond the edges of the other picture there is nothing.
    assert weight[:2].max() < 1e-5 and weight[:, -3:].max() < 1e-5


def test_half_a_pixel_gives_the_mean_of_two_and_half_the_weight_at_the_edge() -> None:
    there = patch()
    values, weight = look(there, patch(), moved(x=0.05))
    expected = (there.residual[:, :, :-1] + there.residual[:, :, 1:]) / 2
    np.testing.assert_allclose(values[:, :, :-1], expected, atol=1e-5)
    np.testing.assert_allclose(weight[:, -1], 0.5, atol=1e-5)


def test_without_motion_every_bit_stays() -> None:
    there = patch(np.random.default_rng(0).uniform(2, 90, (HEIGHT, WIDTH)).astype(np.float32))
    values, weight = look(there, there, Rigid.identity())
    assert torch.equal(values, there.residual) and torch.equal(weight, torch.ones(HEIGHT, WIDTH))


def test_driving_towards_something_makes_it_larger() -> None:
    # At 10 m now and at 20 m before: a pixel 12 px right of the middle was 6 px right of it.
    motion = PixelMotion.between(moved(z=10.0), src=view(), dst=view())
    column, row, inverse_depth = positions(patch().pixels, torch.full((HEIGHT, WIDTH), 0.1), factors(motion))
    assert column[5, 31].item() == pytest.approx(20 + 11.5 / 2 - 0.5, abs=1e-5)
    assert row[5, 31].item() == pytest.approx(12 - 6.5 / 2 - 0.5, abs=1e-5)
    assert 1 / inverse_depth[5, 31].item() == pytest.approx(20.0, rel=1e-6)


def test_the_sky_turns_with_the_camera_and_does_not_shift() -> None:
    there, here = patch(np.float32("nan")), patch(np.float32("nan"))
    values, weight = look(there, here, moved(x=5.0, z=3.0))
    assert torch.equal(values, there.residual) and torch.equal(weight, torch.ones(HEIGHT, WIDTH))
    # A camera with its middle 4 pixels further right sees every direction 4 pixels further right.
    values, _ = look(there, here, moved(x=5.0), K_there=K + [[0, 0, 4], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(values[:, :, :-4], there.residual[:, :, 4:], atol=1e-5)


def test_only_the_same_surface_counts() -> None:
    instance = np.zeros((HEIGHT, WIDTH), np.int32)
    instance[:, :10] = 3
    depth = np.full((HEIGHT, WIDTH), 10, np.float32)
    depth[:, 10:20], depth[:, 20:30], depth[:, 30:] = 10.9, 11.2, np.nan
    mask = np.ones((HEIGHT, WIDTH), np.float32)
    mask[:5] = 0
    _, weight = look(patch(depth, instance=instance, mask=mask), patch(), Rigid.identity())
    # Rows 0 to 4 of the other picture have no residual; a car, 11.2 m instead of 10 m, and the sky are something else.
    expected = np.zeros((HEIGHT, WIDTH))
    expected[5:, 10:20] = 1
    np.testing.assert_array_equal(weight, expected)


def test_what_is_behind_the_other_camera_is_not_seen_by_it() -> None:
    _, weight = look(patch(), patch(), moved(z=-10.5))
    assert weight.max() == 0
    # Turned round by 180 degrees about the vertical axis, everything is behind it.
    _, weight = look(patch(), patch(), moved(rpy=(0, math.pi, 0)))
    assert weight.max() == 0


def reference(there: Patch, here: Patch, T: Rigid, K_there: Array, tolerance: float) -> tuple[Array, Array]:
    """`look_up` one pixel at a time, with 3D points; for patches that cover the whole image."""
    values, weights = np.zeros((3, HEIGHT, WIDTH)), np.zeros((HEIGHT, WIDTH))
    for row in range(HEIGHT):
        for column in range(WIDTH):
            ray = np.linalg.inv(K) @ [column + 0.5, row + 0.5, 1.0]
            is_sky = here.inverse_depth[row, column] == 0
            point = T.rotation @ ray if is_sky else T.apply(ray / here.inverse_depth[row, column].item())
            if point[2] <= 0:
                continue
            u, v, _ = K_there @ point / point[2] - 0.5
            for r in (math.floor(v), math.floor(v) + 1):
                for c in (math.floor(u), math.floor(u) + 1):
                    if not (0 <= r < HEIGHT and 0 <= c < WIDTH):
                        continue
                    if there.identity[r, c] != here.identity[row, column] or there.identity[r, c] == NOTHING:
                        continue
                    shown = there.inverse_depth[r, c].item()
                    expected = 0.0 if is_sky else 1 / point[2]
                    if abs(shown - expected) > tolerance * max(shown, expected):
                        continue
                    weight = (1 - abs(u - c)) * (1 - abs(v - r))
                    weights[row, column] += weight
                    values[:, row, column] += weight * there.residual[:, r, c].numpy()
    return values, weights


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_reference(seed: int) -> None:
    random = np.random.default_rng(seed)

    def scene(seed: int) -> Patch:
        depth = random.uniform(8, 10, (HEIGHT, WIDTH)).astype(np.float32)
        depth[:6] = np.nan
        depth[12:, 15:30] = 5
        instance = np.zeros((HEIGHT, WIDTH), np.int32)
        instance[8:16, 5:20] = 1
        mask = (random.uniform(size=(HEIGHT, WIDTH)) > 0.1).astype(np.float32)
        mask[0, 0] = mask[-1, -1] = 1  # the window is the whole image
        return patch(depth, instance=instance, mask=mask, seed=seed)

    T = Rigid.from_rpy(random.normal(size=3) * 0.02, random.normal(size=3) * [0.3, 0.2, 0.8])
    K_there = K * random.uniform(0.9, 1.1, (3, 3)) * (K != 0)
    K_there[2, 2] = 1
    there, here = scene(10 + seed), scene(20 + seed)
    values, weight = look(there, here, T, tolerance=0.15, K_there=K_there)
    expected_values, expected_weight = reference(there, here, T, K_there, 0.15)
    assert 0.2 < (expected_weight > 0).mean() < 0.9
    np.testing.assert_allclose(weight, expected_weight, atol=1e-4)
    np.testing.assert_allclose(values, expected_values, atol=1e-4)


def test_a_patch_of_part_of_the_image_gives_the_same() -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[7:20, 18:33] = 1
    there = patch(mask=mask)
    assert there.window == Window(4, 16, 22, 36), "whole blocks of 2 pixels, and one more on each side"
    values, weight = look(there, patch(), moved(x=0.23, y=0.11))
    whole_values, whole_weight = reference_of_part(there, moved(x=0.23, y=0.11))
    np.testing.assert_allclose(weight, whole_weight, atol=1e-4)
    np.testing.assert_allclose(values, whole_values, atol=1e-4)


def reference_of_part(there: Patch, T: Rigid) -> tuple[Array, Array]:
    """The reference, for a patch pasted into a picture that has NOTHING elsewhere."""
    whole = patch()
    identity = torch.full((HEIGHT, WIDTH), NOTHING, dtype=torch.int32)
    residual, part = torch.zeros(3, HEIGHT, WIDTH), there.window.slices
    identity[part], residual[:, *part] = there.identity, there.residual
    pasted = replace(whole, residual=residual, identity=identity)
    return reference(pasted, whole, T, K, 0.1)


def test_bounds_in_the_image() -> None:
    # 1 m to the right at 10 m is 10 px right of the middle (20, 12).
    points = np.array([[0.0, 0.0, 10.0], [1.0, 0.55, 10.0]])
    assert bounds_in_image(points, view()) == Window(12, 20, 18, 30)
    assert bounds_in_image(points * [-1, 1, -1], view()).is_empty
    assert bounds_in_image(np.concatenate([points, -points]), view()) == Window(0, 0, HEIGHT, WIDTH)
    assert bounds_in_image(points + [9.0, 0, 0], view()).is_empty
