"""Which part of a picture another camera can see: never too small, and not much too large."""

from __future__ import annotations

import math

import numpy as np
import pytest

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera, CameraView
from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer.temporal.overlap import NEAREST_M, seen_by
from r3d2_ros.harmonizer.temporal.reprojection import PixelMotion
from r3d2_ros.harmonizer.windows import Window

HEIGHT, WIDTH = 60, 100
WHOLE = Window(0, 0, HEIGHT, WIDTH)


def camera(x_m: float = 0.0, y_m: float = 0.0, yaw_deg: float = 0.0) -> Camera:
    """90 degrees wide, looking along +x, or to the left by yaw_deg."""
    K = np.array([[WIDTH / 2, 0, WIDTH / 2 - 0.5], [0, WIDTH / 2, HEIGHT / 2 - 0.5], [0, 0, 1.0]])
    T = Rigid.from_xyz_yaw(x_m, y_m, 0, math.radians(yaw_deg))
    return Camera("camera", WIDTH, HEIGHT, K, Rigid(T.rotation @ R_BODY_OPTICAL, T.translation))


def seen(a: CameraView, b: CameraView, window: Window = WHOLE) -> Window:
    """Where in a's picture there can be what b sees."""
    motion = PixelMotion.between(b.T_camera_world @ a.T_camera_world.inverse(), src=a, dst=b)
    (bounds,) = seen_by([motion], [window], [b])
    return bounds


@pytest.mark.parametrize(
    ("b", "overlap"),
    [
        (camera(), True),
        (camera(yaw_deg=89), True),
        # Both 90 degrees wide: at 91 degrees there is a gap of one between them.
        (camera(yaw_deg=91), False),
        (camera(yaw_deg=180), False),
        (camera(x_m=20, yaw_deg=180), True),
        (camera(y_m=1000), True),
        (camera(y_m=5, yaw_deg=91), False),
        (camera(y_m=-5, yaw_deg=91), True),
    ],
)
def test_which_cameras_can_see_the_same(b: Camera, overlap: bool) -> None:
    T = Rigid.from_xyz_yaw(566_000.0, 5_933_000.0, 10.0, 0.7)
    for world in (Rigid.identity(), T):
        assert seen(camera().view(world), b.view(world)).is_empty is not overlap
        assert seen(b.view(world), camera().view(world)).is_empty is not overlap


def test_bounds_by_hand() -> None:
    def bounds(b: Camera, window: Window = WHOLE) -> Window:
        return seen(camera().view(Rigid.identity()), b.view(Rigid.identity()), window)

    assert bounds(camera()) == WHOLE
    # Turned to the left by 45 degrees, its right edge is the direction straight ahead: column 50, and a pixel more.
    assert bounds(camera(yaw_deg=45)) == Window(0, 0, HEIGHT, 51)
    assert bounds(camera(yaw_deg=-45)) == Window(0, 49, HEIGHT, WIDTH)
    assert bounds(camera(yaw_deg=45), Window(10, 20, 30, 90)) == Window(10, 20, 30, 51)
    # Beside it to the right and turned to the right, it sees nothing left of the middle, however far away.
    assert bounds(camera(y_m=-5, yaw_deg=-45)) == Window(0, 49, HEIGHT, WIDTH)
    # Beside it to the right with the same direction, it sees whatever is far enough away, to the left as well.
    assert bounds(camera(y_m=-5)) == WHOLE


@pytest.mark.parametrize("seed", range(30))
def test_no_point_that_both_see_lies_outside(seed: int) -> None:
    random = np.random.default_rng(seed)
    yaw_deg, (x_m, y_m) = random.uniform(-180, 180), random.uniform(-3, 3, 2)
    tilt = Rigid.from_rpy(random.uniform(-0.3, 0.3, 3), (0.0, 0.0, 0.0))
    a, b = camera().view(Rigid.identity()), camera(x_m, y_m, yaw_deg).view(tilt)
    depths = np.concatenate([np.geomspace(NEAREST_M, 1000, 400), [np.inf]])[:, None, None]
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    rays = np.linalg.inv(a.K) @ np.stack([u.ravel(), v.ravel(), np.ones(u.size)])
    T_b_a = b.T_camera_world @ a.T_camera_world.inverse()
    # The points over their depth, so that those at infinity are directions.
    p, q, w = np.moveaxis(b.K @ (T_b_a.rotation @ rays + T_b_a.translation[:, None] / depths), 1, 0)
    both = ((w > 0) & (p > 0) & (p < WIDTH * w) & (q > 0) & (q < HEIGHT * w)).any(axis=0).reshape(HEIGHT, WIDTH)
    bounds = seen(a, b)
    outside = both.copy()
    outside[bounds.slices] = False
    assert not outside.any()
    if both.sum() > 100:
        rows, columns = both.any(axis=1).nonzero()[0], both.any(axis=0).nonzero()[0]
        tight = Window(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        # Of what lies between the depths there may be a little more.
        assert bounds.top >= tight.top - 4 and bounds.left >= tight.left - 4
        assert bounds.bottom <= tight.bottom + 4 and bounds.right <= tight.right + 4
