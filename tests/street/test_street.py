"""The street as a whole: what is in it, that it is closed, repeatable, and follows the path it is given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Rigid, rotation_from_rpy
from r3d2_ros.rendering.base import PlacedGaussians, PlacedScene, RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from r3d2_ros.street.build import Street, build_street
from r3d2_ros.street.options import StreetOptions

BENT_PATH = ((0.0, 0.0, 3.0), (30.0, 0.0, 3.0), (36.0, 3.0, 3.0), (39.0, 9.0, 3.0), (39.0, 40.0, 4.0))
BENT = StreetOptions(path=BENT_PATH, detail=0.5)


@pytest.fixture(scope="module")
def default_street() -> Street:
    return build_street()


@pytest.fixture(scope="module")
def bent_street() -> Street:
    return build_street(BENT)


def arrays(street: Street) -> list[bytes]:
    g = street.scene.background
    parts = [g.means, g.quats, g.scales, g.opacities, g.sh, street.scene.sky.image]
    parts += [a.gaussians.sh for a in street.library.assets.values()]
    return [part.tobytes() for part in parts]


def camera(yaw_deg: float = 0.0, *, width: int = 320, height: int = 180) -> Camera:
    """1.55 m above the ground and 1.5 m before base_link, 90 degrees wide."""
    K = np.array([[width / 2, 0, width / 2 - 0.5], [0, width / 2, height / 2 - 0.5], [0, 0, 1.0]])
    rotation = rotation_from_rpy(0.0, 0.0, np.deg2rad(yaw_deg)) @ R_BODY_OPTICAL
    return Camera("front", width, height, K, Rigid(rotation, np.array([1.5, 0.0, 1.55])))


def render(street: Street, T_map_ego: Rigid, view: Camera):
    T = street.scene.T_map_scene
    node = PlacedGaussians(street.scene.background, T.affine(), T.rotation)
    return CpuRenderer(RenderSettings()).render(PlacedScene(node, (), street.scene.sky), [view.view(T_map_ego)])[0]


@pytest.mark.slow
def test_another_seed_gives_another_street_and_progress_is_told(bent_street: Street) -> None:
    seen: list[float] = []
    street = build_street(replace(BENT, seed=8), lambda _stage, done: seen.append(done))
    assert arrays(street)[0] != arrays(bent_street)[0]
    assert seen == sorted(seen) and seen[0] == 0.0 and len(seen) >= 5


@pytest.mark.slow
def test_default_street_has_the_promised_size(default_street: Street) -> None:
    gaussians = default_street.scene.background
    assert 300_000 <= len(gaussians) <= 1_000_000
    assert gaussians.sh_degree == 0
    for array in (gaussians.means, gaussians.quats, gaussians.scales, gaussians.sh):
        assert np.all(np.isfinite(array))
    ego = default_street.lanes.ego
    assert np.linalg.norm(ego[-1] - ego[0]) == pytest.approx(240.0)
    # Houses stand on both sides all along: tall things left and right of the road in every 40 m.
    tall = gaussians.means[gaussians.means[:, 2] > 5.0]
    for x in range(0, 240, 40):
        here = tall[(tall[:, 0] > x) & (tall[:, 0] < x + 40)]
        assert np.any(here[:, 1] > 8.4) and np.any(here[:, 1] < -4.9)


@pytest.mark.slow
@pytest.mark.parametrize("yaw_deg", [0.0, 60.0, -60.0, 180.0])
def test_nothing_shines_through_below_the_horizon(default_street: Street, yaw_deg: float) -> None:
    for x in (5.0, 100.0, 190.0):
        image = render(default_street, Rigid.from_xyz_yaw(x, 0.0, 0.0, 0.0), camera(yaw_deg))
        ground = image.alpha[100:]  # the horizon is at row 90
        assert ground.mean() > 0.99
        assert np.quantile(ground, 0.01) > 0.95


@pytest.mark.slow
def test_road_ahead_is_closed_and_lies_where_it_should(default_street: Street) -> None:
    image = render(default_street, Rigid.from_xyz_yaw(60.0, 0.0, 0.0, 0.0), camera())
    # Straight down 45 degrees the pixel ray meets the plane 1.55 m below at a z-depth of 1.55 * 160 / 80 = 3.1 m.
    row = round(89.5 + 80)
    assert image.depth[row, 160] == pytest.approx(3.1, abs=0.12)
    assert image.alpha[95:, 130:190].min() > 0.97


@pytest.mark.slow
def test_light_and_shade(default_street: Street) -> None:
    """The sun stands behind on the left: right-hand facades are brighter than left-hand ones."""
    ego = Rigid.from_xyz_yaw(100.0, 0.0, 0.0, 0.0)
    left, right = (render(default_street, ego, camera(yaw)).rgb[20:80].mean() for yaw in (75.0, -75.0))
    assert right > 1.15 * left


@pytest.mark.slow
def test_lanes_of_the_straight_street(default_street: Street) -> None:
    lanes = default_street.lanes
    np.testing.assert_allclose(lanes.ego[0], [0, 0, 0], atol=1e-9)
    assert np.all(np.diff(lanes.ego[:, 0]) > 0) and np.all(np.diff(lanes.oncoming[:, 0]) < 0)
    np.testing.assert_allclose(lanes.oncoming[:, 1], 3.5, atol=1e-6)
    np.testing.assert_allclose(lanes.crossing[:, 0], lanes.crossing[0, 0])
    assert lanes.crossing[0, 1] < -3 and lanes.crossing[1, 1] > 6
    right, left = lanes.pavements
    assert np.all(right[:, 1] < -2) and np.all(left[:, 1] > 5.5)


def test_street_follows_a_path_with_its_height(bent_street: Street) -> None:
    T = bent_street.scene.T_map_scene
    means = T.apply(bent_street.scene.background.means)
    ego = bent_street.lanes.ego
    assert ego[0] == pytest.approx((0, 0, 3.0)) and ego[-1] == pytest.approx((39, 40, 4.0), abs=0.3)
    for point in ego[::6]:
        near = np.linalg.norm(means[:, :2] - point[:2], axis=1) < 1.2
        height = means[near, 2] - point[2]
        road = height[np.abs(height) < 0.3]
        assert len(road) > 10 and np.median(road) == pytest.approx(0.0, abs=0.05)
        # Nothing stands in the lane: between the road and the crowns of trees there is air.
        assert not np.any((height > 0.3) & (height < 2.0))


def test_ego_sees_a_closed_road_in_the_bend(bent_street: Street) -> None:
    for pose in bent_street.scene.trajectory[28:44:5]:
        T = bent_street.scene.T_map_scene
        image = render(bent_street, Rigid(pose.rotation, T.apply(pose.translation)), camera())
        assert image.alpha[100:].mean() > 0.99


def test_same_options_give_the_same_bytes_also_far_from_the_origin(bent_street: Street) -> None:
    """A path moved by whole metres gives the same bytes; the offset is in T_map_scene alone."""
    far = tuple((x + 500_000.0, y + 4_600_000.0, z) for x, y, z in BENT_PATH)
    street = build_street(replace(BENT, path=far))
    shift = street.scene.T_map_scene.translation - bent_street.scene.T_map_scene.translation
    np.testing.assert_array_equal(shift, [500_000.0, 4_600_000.0, 0.0])
    assert arrays(street) == arrays(bent_street)


@pytest.mark.parametrize(
    "options",
    [
        {"length_m": 5.0},
        {"length_m": float("nan")},
        {"sun_elevation_deg": 2.0},
        {"detail": 0.0},
        {"path": ((0.0, 0.0, 0.0),)},
        {"path": ((0.0, 0.0, 0.0), (float("nan"), 1.0, 0.0))},
        {"path": ((0.0, 0.0, 0.0), (0.1, 0.0, 0.0))},
    ],
)
def test_bad_options_are_refused_with_the_reason(options: dict) -> None:
    with pytest.raises(InputError, match="street: "):
        StreetOptions(**options)
