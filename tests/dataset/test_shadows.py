"""Shadows in images: their place, their length in pixels, and where there is none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from r3d2_ros.cameras import CameraView
from r3d2_ros.dataset.garage import Thing
from r3d2_ros.dataset.light import Insert
from r3d2_ros.dataset.occupancy import ContactShade, Occupancy
from r3d2_ros.dataset.shadows import Taken, light_taken, on_the_ground, solid_depth, surface_points
from r3d2_ros.geometry import Rigid
from r3d2_ros.street.options import Sun
from tests.dataset.test_occupancy import box

HEIGHT_M = 20.0
PIXEL_M = 0.05
SIDE = 161
LOOKING_DOWN = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])
"""Image x is east (+x), image y is south (-y)."""


def from_above() -> CameraView:
    """A camera 20 m above the origin; on the ground a pixel is 5 cm wide, and pixel (80, 80) is the origin."""
    focal = HEIGHT_M / PIXEL_M
    K = np.array([[focal, 0, SIDE / 2], [0, focal, SIDE / 2], [0, 0, 1]])
    return CameraView(K, SIDE, SIDE, Rigid(LOOKING_DOWN, -LOOKING_DOWN @ [0, 0, HEIGHT_M]))


def street(sun: Sun, sunlit: float = 1.0) -> Any:
    """Level ground at z = 0 on which nothing stands."""
    return SimpleNamespace(
        sun=sun,
        shadows=SimpleNamespace(lit=lambda position, normal: np.full(len(position), sunlit)),
        ground_height=lambda xy: np.zeros(len(xy)),
    )


@pytest.fixture(scope="module")
def crate() -> Insert:
    """1 m wide and high, 2 m long in y."""
    samples = box((1.0, 2.0, 1.0))
    occupancy = Occupancy.of(samples)
    thing = Thing("crate", samples, (1.0, 2.0, 1.0), occupancy, ContactShade.of(occupancy))
    return Insert(thing, Rigid.identity(), "crate", 1)


def taken(crate: Insert, sun: Sun, sunlit: float = 1.0) -> Taken:
    """Of a render of the ground in which the crate has no pixels."""
    size = (SIDE, SIDE)
    return light_taken(
        inserts=[crate],
        depth=np.full(size, HEIGHT_M, np.float32),
        actor_weight=np.zeros(size, np.float32),
        view=from_above(),
        lit=street(sun, sunlit),
        sun_radius_rad=np.radians(0.27),
    )


def test_a_crate_under_a_sun_in_the_west_shades_one_metre_in_the_east(crate: Insert) -> None:
    """At 45 degrees the shadow is as long as the crate is high: from its side, 10 pixels from the middle, to 30."""
    row = taken(crate, Sun(azimuth_deg=180.0, elevation_deg=45.0)).cast[80]
    assert np.all(row[80 : 80 + 29] > 0.99)
    edge = np.flatnonzero(row > 0.5).max() - 80
    assert edge == pytest.approx(30, abs=1)
    assert not row[: 80 - 12].any()


def test_a_mirrored_sun_mirrors_the_shadow_in_the_image(crate: Insert) -> None:
    west, east = (taken(crate, Sun(azimuth_deg=az, elevation_deg=35.0)).cast for az in (150.0, 30.0))
    assert west.sum() > 500
    assert np.abs(west - east[:, ::-1]).mean() < 0.05 * west.mean()
    assert np.abs(west - east).mean() > 0.5 * west.mean()


def test_where_no_sun_arrives_none_is_taken(crate: Insert) -> None:
    sun = Sun(azimuth_deg=180.0, elevation_deg=45.0)
    assert taken(crate, sun).sun.sum() > 500
    assert not taken(crate, sun, sunlit=0.0).sun.any()


def test_sky_is_hidden_at_the_foot_and_not_far_away(crate: Insert) -> None:
    sky = taken(crate, Sun()).sky
    beneath, beside, far = sky[80, 80], sky[80, 80 + 14], sky[80, 80 + 45]
    assert beneath > 0.8 > beside > 0.15 > far
    assert sky[0, 0] == 0


def test_points_lie_where_pixels_look() -> None:
    points = surface_points(np.full((SIDE, SIDE), HEIGHT_M, np.float32), from_above())
    np.testing.assert_allclose(points[80, 80], [0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(points[60, 100], [1.0, 1.0, 0], atol=1e-9)


def test_blurred_outlines_get_the_depth_of_a_surface() -> None:
    """A post 5 m before the camera in front of a wall at 10 m; between them three columns of mixtures."""
    depth = np.full((20, 30), 10.0, np.float32)
    depth[:, :10] = 5.0
    depth[:, 10:13] = [6.0, 7.5, 9.0]
    level = Rigid(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), np.zeros(3))
    view = CameraView(np.array([[100.0, 0, 15], [0, 100, 10], [0, 0, 1]]), 30, 20, level)
    nowhere = SimpleNamespace(ground_height=lambda xy: np.full(len(xy), np.nan))
    solid = solid_depth(depth, np.zeros(depth.shape, np.float32), view, nowhere)
    assert set(np.unique(solid)) == {5.0, 10.0}
    np.testing.assert_array_equal(solid[:, :10], 5.0)
    np.testing.assert_array_equal(solid[:, 14:], 10.0)


def test_depth_of_the_road_stays_as_steep_as_it_is() -> None:
    """Seen at a low angle the road's depth grows fast from row to row, and is still right."""
    level = Rigid(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), np.zeros(3))
    view = CameraView(np.array([[100.0, 0, 15], [0, 100, 0], [0, 0, 1]]), 30, 20, level)
    rows = np.arange(20) + 0.5
    depth = np.repeat((100 * 1.5 / rows).astype(np.float32)[:, None], 30, axis=1)
    road = SimpleNamespace(ground_height=lambda xy: np.full(len(xy), -1.5))
    weight = np.zeros(depth.shape, np.float32)
    np.testing.assert_array_equal(solid_depth(depth, weight, view, road), depth)
    weight[5:8, 5:8] = 0.5
    assert np.all(solid_depth(np.where(weight > 0, 2.0, depth).astype(np.float32), weight, view, road) >= depth[-1, 0])


def test_points_beside_a_kerb_come_to_lie_on_road_face_or_footway() -> None:
    """A kerb of 12 cm, 4 m before an eye at 1.5 m: depth that is wrong by up to 8 cm ends on the surface seen there."""
    eye, kerb_x, kerb_m = np.array([0.0, 0.0, 1.5]), 4.0, 0.12
    kerbed = SimpleNamespace(ground_height=lambda xy: np.where(xy[:, 0] < kerb_x, 0.0, kerb_m))
    road = np.array([[x, 0.0, 0.0] for x in np.linspace(3.7, 3.99, 12)])
    face = np.array([[kerb_x, 0.0, z] for z in np.linspace(0.01, 0.11, 12)])
    footway = np.array([[x, 0.0, kerb_m] for x in np.linspace(4.01, 4.3, 12)])
    seen = np.concatenate([road, face, footway])
    ray = (seen - eye) / np.linalg.norm(seen - eye, axis=1, keepdims=True)
    for wrong_m in (-0.08, -0.03, 0.03, 0.08):
        on_it = on_the_ground(seen + wrong_m * ray, eye, kerbed)
        np.testing.assert_allclose(on_it, seen, atol=2e-3)


def test_what_stands_near_the_ground_without_a_kerb_is_not_moved() -> None:
    eye = np.array([0.0, 0.0, 1.5])
    level = SimpleNamespace(ground_height=lambda xy: np.zeros(len(xy)))
    foot_of_a_post = np.array([[4.0, 0.0, z] for z in (0.07, 0.1, 0.15)])
    np.testing.assert_array_equal(on_the_ground(foot_of_a_post, eye, level), foot_of_a_post)
