"""Rays through occupied cells: against a slow reference, and against shadows that can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from r3d2_ros.dataset.occupancy import CELL_M, ContactShade, Occupancy, disc_directions, sky_directions
from r3d2_ros.street.meshes import Patches, cell_surfels, cut
from r3d2_ros.street.options import Sun
from r3d2_ros.street.surfels import Surfels


def blocked_reference(cells: np.ndarray, origin: np.ndarray, direction: np.ndarray, start: float) -> bool:
    """Whether the ray meets any occupied cell, each of them tried: the slab test of a box, from `start` on."""
    for cell in np.argwhere(cells):
        enter, leave = start, np.inf
        for axis in range(3):
            if direction[axis] == 0:
                if not cell[axis] <= origin[axis] < cell[axis] + 1:
                    leave = -np.inf
                continue
            a, b = sorted((np.array([cell[axis], cell[axis] + 1]) - origin[axis]) / direction[axis])
            enter, leave = max(enter, a), min(leave, b)
        if enter < leave:
            return True
    return False


def test_rays_agree_with_trying_every_cell() -> None:
    rng = np.random.default_rng(0)
    cells = (rng.random((7, 5, 6)) < 0.06).astype(np.uint8)
    thing = Occupancy(np.array([1.0, -2.0, 0.5]), cells, cell_m=0.5)
    points = thing.low + rng.uniform(-2, 8, (300, 3)) * 0.5
    directions = rng.normal(size=(5, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    expected = [
        np.mean([blocked_reference(cells, (p - thing.low) / 0.5, d, 0.2 / 0.5) for d in directions]) for p in points
    ]
    assert 0.1 < np.mean(expected) < 0.6, "some rays are blocked and some are not"
    np.testing.assert_allclose(thing.blocked(points, directions, start_m=0.2), expected, atol=1e-12)


@pytest.mark.parametrize("direction", [(1.0, 0, 0), (0, -1.0, 0), (0, 0, 1.0)])
def test_rays_along_the_axes(direction: tuple[float, float, float]) -> None:
    cells = np.zeros((3, 3, 3), np.uint8)
    cells[1, 1, 1] = 1
    thing = Occupancy(np.zeros(3), cells, cell_m=1.0)
    toward, away = (
        np.array([1.5, 1.5, 1.5]) - 3 * np.array(direction),
        np.array([1.5, 1.5, 1.5]) + 3 * np.array(direction),
    )
    beside = toward + np.roll(direction, 1) * 1.2
    np.testing.assert_array_equal(thing.blocked([toward, away, beside], [direction], start_m=0.0), [1, 0, 0])


def box(size: tuple[float, float, float]) -> Surfels:
    """A box on the ground about the origin."""
    x, y, z = size
    patches = Patches()
    patches.box((-x / 2, -y / 2, 0), (x / 2, y / 2, z), cell=(0.1, 0.1), albedo=(0.5, 0.5, 0.5), faces="xXyYZ")
    cells = cut(patches)
    return cell_surfels(cells, cells.albedo)


@pytest.mark.parametrize("elevation_deg", [26.565, 45.0, 60.0])
def test_shadow_of_a_box_is_as_long_as_the_sun_is_low(elevation_deg: float) -> None:
    """A box of height h throws a shadow of h / tan(elevation) beyond its far side."""
    height_m, half_m = 1.6, 0.5
    thing = Occupancy.of(box((2 * half_m, 2.0, height_m)))
    sun = Sun(azimuth_deg=180.0, elevation_deg=elevation_deg).direction
    x = np.arange(0.6, 6.0, 0.01)
    ground = np.stack([x, np.zeros_like(x), np.zeros_like(x)], axis=1)
    shaded = thing.blocked(ground, [sun]) > 0
    length_m = height_m / np.tan(np.radians(elevation_deg))
    assert x[shaded].max() == pytest.approx(half_m + length_m, abs=CELL_M + CELL_M / np.tan(np.radians(elevation_deg)))
    assert np.all(shaded[x < half_m + length_m - 0.1])
    assert not thing.blocked([[-0.7, 0, 0], [0.0, 1.2, 0]], [sun]).any(), "nothing on the sunny side or beside it"


def test_a_mirrored_sun_mirrors_the_shadow() -> None:
    thing = Occupancy.of(box((1.0, 2.0, 1.0)))
    grid = np.arange(-3.0, 3.01, 0.1)
    x, y = np.meshgrid(grid, grid, indexing="ij")
    ground = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    left, right = (
        thing.blocked(ground, [Sun(azimuth_deg=az, elevation_deg=40.0).direction]).reshape(x.shape) for az in (60, -60)
    )
    assert 0.02 < left.mean() < 0.5
    assert np.mean(left != right[:, ::-1]) < 0.02 < 0.05 < np.mean(left != right)


def test_the_edge_of_a_shadow_is_as_soft_as_the_sun_is_wide() -> None:
    """Light of a disc of radius 2 degrees over an edge 2 m away: the half-shade is 2 * 2 * tan(2 deg) = 14 cm wide.

    The sun stands overhead; the edge is that of a plate 2 m above the ground.
    """
    cells = np.zeros((100, 100, 1), np.uint8)
    cells[:] = 1
    plate = Occupancy(np.array([0.0, -2.0, 2.0]), cells)
    rays = disc_directions([0, 0, 1.0], np.radians(2.0), 400)
    x = np.arange(-0.2, 0.2, 0.005)
    share = plate.blocked(np.stack([x, np.zeros_like(x), np.zeros_like(x)], axis=1), rays)
    half_shade = x[(share > 0.001) & (share < 0.999)]
    assert np.ptp(half_shade) == pytest.approx(0.14, abs=0.02)
    assert share[np.argmin(np.abs(x))] == pytest.approx(0.5, abs=0.06)


def test_directions_of_disc_and_sky() -> None:
    toward = Sun(azimuth_deg=30.0, elevation_deg=50.0).direction
    rays = disc_directions(toward, np.radians(1.0), 64)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1)
    assert np.degrees(np.arccos(rays @ toward)).max() == pytest.approx(1.0, abs=0.02)
    np.testing.assert_allclose(rays.mean(axis=0), toward, atol=1e-3)
    sky = sky_directions(256)
    assert np.all(sky[:, 2] > 0)
    assert sky[:, 2].mean() == pytest.approx(2 / 3, abs=0.01), "the mean cosine of a cosine-weighted hemisphere"


def test_contact_shade_beneath_beside_and_far_from_a_box() -> None:
    """At the middle of the foot of a long, high wall half of the sky is gone."""
    wall = Occupancy.of(box((0.2, 40.0, 20.0)), cell_m=0.2)
    shade = ContactShade.of(wall, margin_m=3.0, rays=256)
    beside, beneath, far = shade.at(np.array([[0.5, 0, 0], [0.0, 0, 0.02], [2.5, 0, 0]]))
    assert beside == pytest.approx(0.5, abs=0.06)
    assert beneath > 0.85 and far < beside
    outside = shade.at(np.array([[9.0, 0, 0], [3.4, 0, 0], [0.35, 0, 2.0]]))
    np.testing.assert_array_equal(outside, [0, 0, 0])
    x = np.arange(0.5, 4.0, 0.02)
    falling = shade.at(np.stack([x, np.zeros_like(x), np.zeros_like(x)], axis=1))
    assert np.abs(np.diff(falling)).max() < 0.03, "it ends without an edge"
