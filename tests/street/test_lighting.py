"""Light: shadows have the length that the sun's height gives them, and shade is darker."""

from __future__ import annotations

import numpy as np
import pytest

from r3d2_ros.street.lighting import ShadowMap, SkyView, display, linear, shade
from r3d2_ros.street.meshes import Patches, cell_surfels, cut
from r3d2_ros.street.options import Sun
from r3d2_ros.street.surfels import surfels


def wall(height_m: float = 3.0):
    """A wall along y at x = 0, 20 m long."""
    patches = Patches()
    patches.box((-0.1, -10, 0), (0.1, 10, height_m), cell=(0.2, 0.2), albedo=(0.5, 0.5, 0.5), faces="xXZ")
    cells = cut(patches)
    return cell_surfels(cells, cells.albedo)


@pytest.mark.parametrize(("elevation_deg", "length_m"), [(45.0, 3.0), (26.565, 6.0)])
def test_shadow_of_a_wall_is_as_long_as_the_sun_is_low(elevation_deg: float, length_m: float) -> None:
    """Sun in the west (-x): a 3 m wall throws a shadow of 3 / tan(elevation) towards +x."""
    shadows = ShadowMap.of(wall(), Sun(azimuth_deg=180.0, elevation_deg=elevation_deg))
    x = np.array([-3.0, 1.0, length_m - 0.5, length_m + 0.8])
    ground = np.stack([x, np.zeros(4), np.zeros(4)], axis=1)
    lit = shadows.lit(ground, np.tile([0.0, 0.0, 1.0], (4, 1)))
    np.testing.assert_allclose(lit, [1.0, 0.0, 0.0, 1.0], atol=0.02)


def test_a_wall_does_not_shade_its_own_sunny_side() -> None:
    samples = wall()
    sunny = samples.select(samples.normal[:, 0] < -0.9)
    lit = ShadowMap.of(samples, Sun(azimuth_deg=180.0, elevation_deg=45.0)).lit(sunny.position, sunny.normal)
    assert lit.mean() > 0.97


def test_less_sky_at_the_foot_of_a_wall() -> None:
    sky = SkyView.of(wall(8.0))
    points = np.array([[1.0, 0.0, 0.0], [8.0, 0.0, 0.0]])
    near, far = sky.openness(points, np.tile([0.0, 0.0, 1.0], (2, 1)))
    assert near < 0.8 * far and far > 0.75


def test_shaded_asphalt_is_darker_and_bluer() -> None:
    grey = surfels(np.zeros((1, 3)), [1.0, 0, 0], [0, 1.0, 0], [0.1, 0.1, 0.01], [0.2, 0.2, 0.2])
    bright, dark = (shade(grey, Sun(), sunlit=lit)[0] for lit in (1.0, 0.0))
    assert np.all(dark < 0.8 * bright)
    assert dark[2] / dark[0] > 1.1 * bright[2] / bright[0]


def test_facing_the_sun_is_brighter() -> None:
    """Faces towards and away from a sun at azimuth 0: u x v is +x for the first and -x for the second."""
    pair = surfels(np.zeros((2, 3)), [[0, 1.0, 0], [0, -1.0, 0]], [0, 0, 1.0], [0.1, 0.1, 0.01], [0.4, 0.4, 0.4])
    toward, away = shade(pair, Sun(azimuth_deg=0.0, elevation_deg=30.0)).mean(axis=1)
    assert toward > 1.3 * away


def test_display_is_monotone_and_bounded() -> None:
    values = display(np.linspace(0, 50, 500))
    assert values[0] == pytest.approx(0.0, abs=1e-9) and np.all(np.diff(values) >= 0) and values[-1] <= 1.0
    assert linear(0.5) == pytest.approx(0.2140, abs=1e-4)  # IEC 61966-2-1
