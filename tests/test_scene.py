"""Composition: where actors go, what is not copied, and how far the ego is from what was captured."""

from __future__ import annotations

import math

import numpy as np
import pytest

from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import Rigid, Similarity, rotation_from_rpy
from r3d2_ros.scene import Asset, AssetLibrary, Scene
from r3d2_ros.world import ActorState


def gaussians(*means: tuple[float, float, float]) -> Gaussians:
    n = len(means)
    return Gaussians(
        means=np.array(means),
        quats=np.tile([1.0, 0, 0, 0], (n, 1)),
        scales=np.full((n, 3), 0.1),
        opacities=np.full(n, 0.9),
        sh=np.zeros((n, 1, 3)),
    )


LIBRARY = AssetLibrary({"car": Asset("car", gaussians((2.0, 1.0, 1.5)), (4.0, 2.0, 1.5))})


def test_an_actor_stands_where_its_pose_says() -> None:
    # 90 degrees to the left at (10, 20): the front right corner of the roof points along +y.
    actor = ActorState("a", "car", Rigid.from_xyz_yaw(10.0, 20.0, 0.5, math.pi / 2), instance=3)
    placed = Scene("s", gaussians((0, 0, 0))).compose([actor], LIBRARY).actors[0]
    np.testing.assert_allclose(placed.T_world_node.apply([2.0, 1.0, 1.5]), [9.0, 22.0, 2.0], atol=1e-12)
    assert placed.instance == 3


def test_a_size_override_stretches_each_axis() -> None:
    actor = ActorState("a", "car", Rigid.identity(), size_m=(8.0, 2.0, 3.0))
    placed = Scene("s", gaussians((0, 0, 0))).compose([actor], LIBRARY).actors[0]
    np.testing.assert_allclose(placed.T_world_node.apply([2.0, 1.0, 1.5]), [4.0, 1.0, 3.0])


def test_composition_refers_to_the_loaded_arrays() -> None:
    scene = Scene("s", gaussians((0, 0, 0)))
    actors = [ActorState(str(i), "car", Rigid.from_xyz_yaw(i, 0, 0, 0), instance=i + 1) for i in range(100)]
    placed = scene.compose(actors, LIBRARY)
    assert placed.background.gaussians is scene.background
    assert all(node.gaussians is LIBRARY["car"].gaussians for node in placed.actors)


def test_an_unknown_asset_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"unknown asset 'tank', known: car"):
        Scene("s", gaussians((0, 0, 0))).compose([ActorState("a", "tank", Rigid.identity())], LIBRARY)


# The capture drove 100 m along its own x axis; in the map that is north (y) from (500, 800), 2 m a unit.
CAPTURED = Scene(
    "s",
    gaussians((0, 0, 0)),
    T_map_scene=Similarity(rotation_from_rpy(0, 0, math.pi / 2), np.array([500.0, 800.0, 0.0]), 2.0),
    trajectory=(Rigid.identity(), Rigid(np.eye(3), np.array([50.0, 0, 0]))),
    bounds=np.array([[-10.0, -10, -1], [60, 10, 9]]),
)


@pytest.mark.parametrize(
    ("x", "y", "yaw_deg", "distance_m", "angle_deg"),
    [
        (500.0, 850.0, 90.0, 0.0, 0.0),
        (503.0, 850.0, 90.0, 3.0, 0.0),
        (500.0, 850.0, 100.0, 0.0, 10.0),
        (500.0, 850.0, -90.0, 0.0, 180.0),
        (504.0, 903.0, 90.0, 5.0, 0.0),
    ],
)
def test_deviation_from_the_capture_path(
    x: float, y: float, yaw_deg: float, distance_m: float, angle_deg: float
) -> None:
    assert CAPTURED.path is not None
    deviation = CAPTURED.path.deviation(Rigid.from_xyz_yaw(x, y, 0.0, math.radians(yaw_deg)))
    assert deviation == pytest.approx((distance_m, angle_deg), abs=1e-6)


def test_distance_outside_the_bounds_is_in_metres_of_the_map() -> None:
    # Bounds reach 10 units = 20 m to the side of the path and 20 m before its start.
    assert CAPTURED.distance_outside_bounds_m(np.array([500.0, 850.0, 0.0])) == 0.0
    assert CAPTURED.distance_outside_bounds_m(np.array([527.0, 850.0, 0.0])) == pytest.approx(7.0)
    assert CAPTURED.distance_outside_bounds_m(np.array([523.0, 776.0, 0.0])) == pytest.approx(5.0)
    assert math.isnan(Scene("s", gaussians((0, 0, 0))).distance_outside_bounds_m(np.zeros(3)))
