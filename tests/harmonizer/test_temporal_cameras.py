"""Several cameras: one residual for a surface, no seam, whatever the order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera, CameraView
from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer.settings import HarmonizerConfig, TemporalConfig
from r3d2_ros.harmonizer.temporal.blend import blend
from r3d2_ros.harmonizer.temporal.patch import CameraResidual, patch_of
from r3d2_ros.harmonizer.temporal.reprojection import LookUp, PixelMotion, look_up, positions
from tests.harmonizer.moving import (
    FRONT,
    NOISES,
    RIGHT,
    TURNING,
    Image,
    Moment,
    as_tensor,
    clean,
    noisy,
    psnr_db,
    run,
    sequence,
)

CONFIG = HarmonizerConfig(temporal=TemporalConfig(enabled=True))
HEIGHT, WIDTH, DISTANCE_M = 60, 100, 10.0


def moments() -> tuple[Moment, ...]:
    """Both cameras see the turning car, and later the parked one."""
    return sequence(TURNING, (FRONT, RIGHT), range(8, 18, 2))


def difference(moment: Moment, residuals: Sequence[Image]) -> Tensor:
    """[N] grey levels between the two cameras' residuals, at the front camera's pixels of cars that both see."""
    front, right = (
        patch_of(replace(shot.camera, residual=as_tensor(residual)))
        for shot, residual in zip(moment.shots, residuals, strict=True)
    )
    assert front is not None and right is not None
    src, dst = moment.shots[0].camera.view, moment.shots[1].camera.view
    motion = PixelMotion.between(dst.T_camera_world @ src.T_camera_world.inverse(), src=src, dst=dst)
    at = positions(front.pixels, front.inverse_depth, torch.from_numpy(motion.factors().astype(np.float32)))
    found = look_up(LookUp.of(right, right.residual), at, front.identity, 0.1)
    both = (found[3] > 0.99) & (front.identity > 0)
    assert both.sum() > 300
    return ((found[:3] - front.residual).abs() * 255).mean(0)[both]


@pytest.mark.parametrize("kind", NOISES)
def test_what_two_cameras_change_of_a_car_agrees_within_a_grey_level(kind: str) -> None:
    given = noisy(moments(), kind, level=4.0)
    blended = run(moments(), given, CONFIG)
    for moment, before, after in zip(moments(), given, blended, strict=True):
        assert difference(moment, before).mean() > 1.5
        left = difference(moment, after)
        # What is finer than the other camera's pixels is lost in sampling it.
        assert left.mean() <= 1.0 and left.quantile(0.75) <= 1.0


def test_it_can_be_switched_off() -> None:
    config = HarmonizerConfig(temporal=TemporalConfig(enabled=True, cross_camera=False))
    given = noisy(moments(), "smooth", level=4.0)[:1]
    blended = run(moments()[:1], given, config)
    for shot, before, after in zip(moments()[0].shots, given[0], blended[0], strict=True):
        np.testing.assert_array_equal(after, before * (shot.mask[..., None] > 0))


def camera(x_m: float = 0.0, y_m: float = 0.0, yaw_deg: float = 0.0, *, name: str = "camera") -> Camera:
    """90 degrees wide, looking along +x, or to the left by yaw_deg."""
    K = np.array([[WIDTH / 2, 0, WIDTH / 2 - 0.5], [0, WIDTH / 2, HEIGHT / 2 - 0.5], [0, 0, 1.0]])
    T = Rigid.from_xyz_yaw(x_m, y_m, 0, math.radians(yaw_deg))
    return Camera(name, WIDTH, HEIGHT, K, Rigid(T.rotation @ R_BODY_OPTICAL, T.translation))


def before_wall(placed: Camera, value: float) -> CameraResidual:
    """What a camera sees that looks along +x at a wall 10 m before the origin; the same change everywhere."""
    view: CameraView = placed.view(Rigid.identity())
    depth = DISTANCE_M - placed.T_ego_camera.translation[0]
    return CameraResidual(
        placed.name,
        view,
        residual=torch.full((3, HEIGHT, WIDTH), value),
        mask=None,
        depth=torch.full((HEIGHT, WIDTH), depth),
        instance=torch.zeros((HEIGHT, WIDTH), dtype=torch.int32),
    )


def together(cameras: Sequence[CameraResidual]) -> list[Tensor]:
    residuals, _ = blend(cameras, actors=[], stamp_ns=0, history=None, config=CONFIG)
    return [residual for residual in residuals if residual is not None]


def test_each_says_most_in_the_middle_of_its_image() -> None:
    # 10 m apart and 10 m before the wall, 5 px per metre: the left half of the right camera's image is the right half
    # of the left one's.
    left, right = before_wall(camera(y_m=5, name="left"), 0.1), before_wall(camera(y_m=-5, name="right"), 0.2)
    a, b = together([left, right])
    middle = a[0, HEIGHT // 2]
    np.testing.assert_allclose(middle[:40], 0.1, atol=1e-6)
    # Column 75 of the left camera is column 25 of the right one; both say the same there.
    assert middle[75].item() == pytest.approx(0.15, abs=1e-3)
    assert middle[99].item() == pytest.approx(0.2, abs=1e-3)
    np.testing.assert_allclose(a[:, :, 50:], b[:, :, :50], atol=2e-3)
    # No seam: from one pixel to the next at most a fifth of what they differ by, over 9 pixels at each edge.
    assert (a[:, :, 1:] - a[:, :, :-1]).abs().max() < 0.1 / 5


def test_the_order_of_the_cameras_does_not_matter() -> None:
    cameras = [before_wall(camera(y_m=y, name=f"at {y}"), 0.1 + 0.02 * y) for y in (-4, 0, 3)]
    generator = torch.Generator().manual_seed(0)
    cameras = [
        replace(c, residual=c.residual + 0.01 * torch.randn(3, HEIGHT, WIDTH, generator=generator)) for c in cameras
    ]
    forwards = together(cameras)
    for order in ((2, 1, 0), (1, 2, 0)):
        shuffled = together([cameras[k] for k in order])
        for place, k in enumerate(order):
            np.testing.assert_allclose(shuffled[place], forwards[k], atol=1e-6)


def test_three_cameras_agree() -> None:
    cameras = [before_wall(camera(y_m=y, name=f"at {y}"), value) for y, value in ((-2, 0.1), (0, 0.2), (2, 0.0))]
    right, middle, left = together(cameras)
    # 2 m at the wall are 10 pixels.
    np.testing.assert_allclose(left[:, :, 20:], right[:, :, :-20], atol=1e-3)
    np.testing.assert_allclose(left[:, :, 10:], middle[:, :, :-10], atol=1e-3)
    assert middle[0, 30, 50].item() == pytest.approx(0.1, abs=1e-3)


def test_cameras_that_look_elsewhere_change_nothing() -> None:
    ahead, behind = before_wall(camera(name="ahead"), 0.1), before_wall(camera(yaw_deg=180, name="behind"), 0.3)
    a, b = together([ahead, behind])
    assert torch.equal(a, ahead.residual) and torch.equal(b, behind.residual)


def test_what_stands_before_one_camera_leaves_no_outline_in_the_other() -> None:
    left, right = before_wall(camera(y_m=1, name="left"), 0.1), before_wall(camera(y_m=-1, name="right"), 0.2)
    # A pole 2 m before the right camera, which the left one does not see at all, hides 12 columns of the wall.
    right.depth[:, 44:56] = 2.0
    a, _ = together([left, right])
    row = a[0, HEIGHT // 2]
    assert (row[1:] - row[:-1]).abs().max() < 0.1 / 5
    without, _ = together([left, before_wall(camera(y_m=-1, name="right"), 0.2)])
    assert (a - without).abs().max() < 0.03


def test_what_both_agree_on_stays_as_it_is() -> None:
    given = clean(moments())
    apart = [run([moment], [residuals], CONFIG)[0] for moment, residuals in zip(moments(), given, strict=True)]
    assert psnr_db(moments(), apart, given) > 44
