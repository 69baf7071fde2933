"""The example stacks' logic: distances in depth images and steering, worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera
from r3d2_ros.closed_loop.controllers import DepthAebController, straight_plan
from r3d2_ros.closed_loop.stacks.constant_velocity import ConstantVelocity
from r3d2_ros.closed_loop.stacks.depth_aeb import BRAKES_FROM_MPS2, BRAKING_MPS2, DepthAeb, DepthView, obstacle_m
from r3d2_ros.closed_loop.stacks.path_follower import PathFollower
from r3d2_ros.closed_loop.vehicle import Actuation, VehicleState
from r3d2_ros.geometry import Rigid
from r3d2_ros.lenses import LensModel

K = np.array([[100.0, 0, 79.5], [0, 100.0, 59.5], [0, 0, 1]])
CAMERA = Rigid(R_BODY_OPTICAL, np.array([1.5, 0.0, 1.4]))
FRONT_M = 3.5


def view(depth: np.ndarray) -> DepthView:
    return DepthView(depth.astype(np.float32), K, CAMERA)


def wall(z_m: float, *, columns: slice = slice(None), rows: slice = slice(None)) -> np.ndarray:
    """An upright surface `z_m` ahead of the camera, in some pixels; nothing elsewhere."""
    depth = np.full((120, 160), np.nan)
    depth[rows, columns] = z_m
    return depth


def ahead(depth: np.ndarray) -> float:
    return obstacle_m(view(depth), front_m=FRONT_M, half_width_m=1.25)


def test_distance_of_a_wall() -> None:
    """20 m from the camera, which is 1.5 m ahead of base_link: 21.5 - 3.5 = 18 m from the bumper."""
    assert ahead(wall(20.0)) == pytest.approx(18.0)


def test_what_is_beside_the_corridor_does_not_count() -> None:
    """At 20 m the corridor of 1.25 m to either side is 6.25 pixels to either side of column 79.5."""
    assert ahead(wall(20.0, columns=slice(0, 73))) == math.inf
    assert ahead(wall(20.0, columns=slice(0, 75))) == pytest.approx(18.0)


def test_the_road_and_bridges_are_no_obstacle() -> None:
    """The camera is 1.4 m high: at 20 m, 0.35 m above the ground is row 64.75, and 2.2 m is row 55.5."""
    assert ahead(wall(20.0, rows=slice(65, 120))) == math.inf
    assert ahead(wall(20.0, rows=slice(0, 55))) == math.inf
    assert ahead(wall(20.0, rows=slice(60, 62))) == pytest.approx(18.0)


def test_single_pixels_are_noise() -> None:
    """Of 19 200 pixels at least 4 must agree."""
    depth = wall(40.0)
    depth[60, 79:82] = 5.0
    assert ahead(depth) == pytest.approx(38.0)
    depth[60, 79:83] = 5.0
    assert ahead(depth) == pytest.approx(3.0)


def test_nothing_in_sight() -> None:
    assert ahead(np.full((120, 160), np.nan)) == math.inf
    assert ahead(wall(80.0)) == math.inf


def test_a_large_image_gives_the_same_distance() -> None:
    large = DepthView(np.full((960, 1280), 20.0, np.float32), K * np.array([[8], [8], [1]]), CAMERA)
    assert obstacle_m(large, front_m=FRONT_M, half_width_m=1.25) == pytest.approx(18.0)


@pytest.mark.parametrize(
    "lens", [LensModel("plumb_bob", (-0.2, 0.05, 0.0, 0.0, 0.0)), LensModel("equidistant", (0.0,) * 4)], ids=str
)
def test_a_lens_moves_the_edge_of_the_corridor(lens: LensModel) -> None:
    """Something 0.2 m before the bumper, from 1.3 m to the left on, is beside the corridor of 1.25 m."""
    rows, columns = np.mgrid[:120, :160]
    rays = lens.rays((np.stack([columns, rows], axis=-1) - K[:2, 2]) / K[[0, 1], [0, 1]])
    x = 2.2 * rays[..., 0] / rays[..., 2]
    for nearest, distance in ((-1.3, math.inf), (-1.2, 0.2)):
        depth = np.where(x < nearest, 2.2, np.nan).astype(np.float32)
        seen = obstacle_m(DepthView(depth, K, CAMERA, lens), front_m=FRONT_M, half_width_m=1.25)
        assert seen == pytest.approx(distance)
    # A pinhole's arithmetic would take the first for something in the way.
    beside = np.where(x < -1.3, 2.2, np.nan).astype(np.float32)
    assert obstacle_m(DepthView(beside, K, CAMERA), front_m=FRONT_M, half_width_m=1.25) == pytest.approx(0.2)


def test_the_controller_gives_the_brake_its_cameras_lens() -> None:
    seen: list[DepthView] = []

    def actuation(views: list[DepthView], speed_mps: float) -> Actuation:
        seen.extend(views)
        return Actuation(0.0, 0.0)

    camera = Camera("front", 160, 120, K, CAMERA, D=(0.0,) * 4, distortion_model="equidistant")
    frame = SimpleNamespace(camera=camera, depth=wall(20.0))
    observation: Any = SimpleNamespace(
        frame_set=SimpleNamespace(frames=[frame]), snapshot=SimpleNamespace(ego=SimpleNamespace(speed_mps=1.0))
    )
    controller = DepthAebController(SimpleNamespace(vehicle=SimpleNamespace(front_m=FRONT_M, width_m=2.0)))  # type: ignore[arg-type]
    controller._stack = SimpleNamespace(actuation=actuation)  # type: ignore[assignment]
    controller.actuation(observation)
    assert [view.lens for view in seen] == [camera.lens]


def braking(aeb: DepthAeb, z_m: float, speed_mps: float) -> float:
    return -aeb.actuation([view(wall(z_m))], speed_mps).acceleration_mps2


def test_it_brakes_when_stopping_takes_more_than_its_threshold() -> None:
    """Of a wall at z the bumper is z - 2 m away, and it wants to stop 2 m before it.

    10 m/s: 16 m are left at z = 20, 100 / 32 = 3.1 m/s2, not yet. 14 m: 3.57 m/s2, and 20 % more. 5 m: 10 m/s2, which
    is more than it has.
    """
    aeb = DepthAeb(front_m=FRONT_M, width_m=2.0)
    assert braking(aeb, 20.0, 10.0) == 0.0
    assert braking(aeb, 18.0, 10.0) == pytest.approx(1.2 * 100 / 28)
    assert braking(aeb, 9.0, 10.0) == BRAKING_MPS2
    # Once it brakes it brakes to a stop, and stays while something is near.
    assert braking(aeb, 18.0, 2.0) == BRAKES_FROM_MPS2
    assert braking(aeb, 9.0, 0.0) == BRAKES_FROM_MPS2
    assert braking(aeb, 70.0, 0.0) < 0.0


def test_constant_velocity_comes_back_to_its_speed() -> None:
    stack = ConstantVelocity()
    assert stack.actuation(8.0) == Actuation(0.0, 0.0)
    assert stack.actuation(7.5) == Actuation(1.0, 0.0)


def test_pure_pursuit() -> None:
    """8 m/s look 8 m ahead. From 2 m to the right of a straight path: y = 2 at 8.25 m, tan(steer) = 2 L y / d^2."""
    stack = PathFollower(np.array([[0.0, 0, 0], [100, 0, 0]]), speed_mps=9.0, wheelbase_m=2.5)
    asked = stack.actuation(10.0, -2.0, 0.0, 8.0)
    assert asked.acceleration_mps2 == pytest.approx(1.0)
    assert math.tan(asked.steer_rad) == pytest.approx(2 * 2.5 * 2.0 / (8.0**2 + 2.0**2))
    xy, yaw = stack.plan(10.0, -2.0, steps=2, step_s=0.5)
    np.testing.assert_allclose(xy, [[14.5, 0.0], [19.0, 0.0]])
    np.testing.assert_allclose(yaw, 0.0)


def test_pure_pursuit_of_a_lap() -> None:
    """The path bends to the right where the line beyond its end goes straight on: it is the bend that is followed."""
    lap = np.array([[0, 0, 0], [20, 0, 0], [60, -4, 0], [60, 30, 0], [-50, 30, 0], [-50, 0, 0], [-20, 0, 0]])
    follower = PathFollower(lap, speed_mps=8.0, wheelbase_m=2.5)
    assert follower.actuation(5.0, 0.0, 0.0, 8.0).steer_rad == 0.0
    assert follower.actuation(22.0, 0.0, 0.0, 8.0).steer_rad < -0.03
    xy, _ = follower.plan(22.0, 0.0, steps=2, step_s=0.5)
    assert np.all(xy[:, 1] < -0.5)


def test_plan_of_a_stop() -> None:
    """From 4 m/s with 4 m/s2: 1.5 m after 0.5 s, 2 m after 1 s, and there it stays."""
    xy, _ = straight_plan(VehicleState(0.0, 0.0, 0.0, 4.0), -4.0)
    np.testing.assert_allclose(xy[:, 0], [1.5, 2.0, 2.0, 2.0, 2.0, 2.0])
