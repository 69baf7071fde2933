"""Moving sequences of real renders, and a model that draws shadows and light and flickers.

A street of flat Gaussians, cars of the embedded library, 10 frames per second, rendered by the CPU renderer. The model
is computed from the geometry, so that what it changes is known without its noise: a soft shadow that each car throws
and carries along, another light on the cars, and a little sharpening.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera
from r3d2_ros.gaussians import Gaussians, rgb_to_sh
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.harmonizer.compositing.region import ActorBox
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RegionConfig
from r3d2_ros.harmonizer.temporal.blend import TemporalHistory, blend
from r3d2_ros.harmonizer.temporal.patch import CameraResidual
from r3d2_ros.rendering.base import RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from r3d2_ros.scene import AssetLibrary, Scene
from r3d2_ros.street import Sun
from r3d2_ros.street.assets import make_library
from r3d2_ros.world import ActorState

WIDTH, HEIGHT = 320, 180
FRAMES = 16
STEP_S = 0.1

_K = np.array([[240.0, 0, WIDTH / 2 - 0.5], [0, 240.0, HEIGHT / 2 - 0.5], [0, 0, 1]])
_RIGHT = Rigid.from_xyz_yaw(0, 0, 0, math.radians(-45)).rotation @ R_BODY_OPTICAL
FRONT = Camera("front", WIDTH, HEIGHT, _K, Rigid(R_BODY_OPTICAL, np.array([1.5, 0.0, 1.5])))
_WIDE_K = np.array([[192.0, 0, WIDTH / 2 - 0.5], [0, 192.0, HEIGHT / 2 - 0.5], [0, 0, 1]])
RIGHT = Camera("right", WIDTH, HEIGHT, _WIDE_K, Rigid(_RIGHT, np.array([1.2, -0.6, 1.6])))

Image = NDArray[np.float32]
Cars = Sequence[tuple[str, str, Rigid]]
"""Id, asset and pose."""


def drive(k: int, x_m: float, y_m: float, yaw_rad: float = 0.0, *, mps: float = 0.0, yaw_rate: float = 1e-9) -> Rigid:
    """Where a car is in frame k that starts at (x_m, y_m) and drives a circle, or as good as straight on."""
    radius, yaw = mps / yaw_rate, yaw_rad + yaw_rate * k * STEP_S
    x = x_m + radius * (math.sin(yaw) - math.sin(yaw_rad))
    return Rigid.from_xyz_yaw(x, y_m - radius * (math.cos(yaw) - math.cos(yaw_rad)), 0, yaw)


PARKED, CROSSING, AHEAD, TURNING = "parked car", "crossing car", "driving behind a car", "driving past cars"
SEQUENCES: dict[str, Callable[[int], tuple[Rigid, Cars]]] = {
    PARKED: lambda k: (drive(k, 0, 0), [("parked", "car_red", drive(k, 10, -2))]),
    CROSSING: lambda k: (drive(k, 0, 0), [("crossing", "car_blue", drive(k, 12, -5, math.pi / 2, mps=5))]),
    AHEAD: lambda k: (
        drive(k, 0, 0, mps=8),
        [("ahead", "car_blue", drive(k, 10, 0, mps=8.5)), ("parked", "car_red", drive(k, 26, -3.4))],
    ),
    TURNING: lambda k: (
        drive(k, 0, 0, mps=5),
        [
            ("parked", "car_red", drive(k, 18, -3.6)),
            ("turning", "car_white", drive(k, 25, 3, math.pi, mps=6, yaw_rate=0.6)),
        ],
    ),
}
"""Pose of the ego vehicle and the cars in frame k."""


@dataclass(frozen=True, eq=False)
class Shot:
    """One camera's picture: the render [H, W, 3] in [0, 1], what it shows, and what the model changes [H, W, 3]."""

    camera: CameraResidual
    render: Image
    change: Image

    @property
    def mask(self) -> Image:
        assert self.camera.mask is not None
        return self.camera.mask.numpy()

    @property
    def insert(self) -> NDArray[np.bool_]:
        return self.camera.instance.numpy() > 0


@dataclass(frozen=True, eq=False)
class Moment:
    stamp_ns: int
    actors: tuple[ActorBox, ...]
    shots: tuple[Shot, ...]


@cache
def library() -> AssetLibrary:
    return make_library(Sun())


@cache
def street() -> Scene:
    """A road 60 m long with patches and a white line, a pavement and a wall."""
    random = np.random.default_rng(0)
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(-2, 60, 0.2), np.arange(-6, 9, 0.2)))
    grey = 0.35 + 0.05 * np.sin(1.7 * x) * np.sin(2.3 * y) + 0.03 * random.normal(size=len(x))
    grey += 0.3 * ((np.abs(y - 1.8) < 0.15) & (x % 4 < 2)) + 0.15 * (y < -4.5)
    ground = np.stack([x, y, 0.0 * x], axis=1)
    wx, wz = (grid.ravel() for grid in np.meshgrid(np.arange(-2, 60, 0.2), np.arange(0, 4, 0.2)))
    wall = np.stack([wx, -6.0 + 0.0 * wx, wz], axis=1)
    wall_grey = 0.6 + 0.1 * np.sign(np.sin(2 * wx)) * np.sign(np.sin(3 * wz))
    tint = np.repeat(np.array([[1.0, 0.98, 0.95], [0.9, 0.75, 0.65]]), [len(x), len(wx)], axis=0)
    count = len(x) + len(wx)
    flat = np.array([[0.13, 0.13, 0.005], [0.13, 0.005, 0.13]])
    return Scene(
        "street",
        Gaussians(
            means=np.concatenate([ground, wall]),
            quats=np.tile([1.0, 0, 0, 0], (count, 1)),
            scales=np.repeat(flat, [len(x), len(wx)], axis=0),
            opacities=np.full(count, 0.95),
            sh=rgb_to_sh(np.concatenate([grey, wall_grey])[:, None] * tint),
        ),
    )


@cache
def sequence(
    name: str, cameras: tuple[Camera, ...] = (FRONT,), frames: Sequence[int] = range(FRAMES)
) -> tuple[Moment, ...]:
    """Moments of one of SEQUENCES, rendered once."""
    renderer = CpuRenderer(RenderSettings())
    return tuple(_moment(k, *SEQUENCES[name](k), cameras, renderer) for k in frames)


def _moment(k: int, T_world_ego: Rigid, cars: Cars, cameras: Sequence[Camera], renderer: CpuRenderer) -> Moment:
    states = [ActorState(id, asset, T, instance=n + 1) for n, (id, asset, T) in enumerate(cars)]
    actors = tuple(ActorBox(s.T_world_actor, library()[s.asset].size_m, s.id, s.instance) for s in states)
    views = [camera.view(T_world_ego) for camera in cameras]
    images = renderer.render(street().compose(states, library()), views, instances=True)
    shots = []
    for camera, view, image in zip(cameras, views, images, strict=True):
        assert image.instance is not None
        instance, render = image.instance.astype(np.int32), np.clip(image.rgb, 0, 1)
        points = _world_points(view.K, view.T_camera_world, image.depth)
        mask = _mask(points, instance, actors)
        residual = CameraResidual(
            camera.name,
            view,
            residual=None,
            mask=torch.from_numpy(mask) if instance.any() else None,
            depth=torch.from_numpy(image.depth),
            instance=torch.from_numpy(instance),
        )
        shots.append(Shot(residual, render, _change(render, points, instance, mask, actors)))
    return Moment(round(k * STEP_S * 1e9), actors, tuple(shots))


def _world_points(K: Array, T_camera_world: Rigid, depth: Image) -> Array:
    """[H, W, 3]; NaN in the sky."""
    v, u = np.mgrid[0 : depth.shape[0], 0 : depth.shape[1]] + 0.5
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(K).T
    return T_camera_world.inverse().apply(rays * depth[..., None])


def _mask(points: Array, instance: NDArray[np.int32], actors: Sequence[ActorBox]) -> Image:
    """1 on the cars and where their shadows can fall, with an edge 4 pixels wide."""
    region = instance > 0
    for actor in actors:
        low, high = actor.shadow_bounds(RegionConfig())
        at = actor.T_world_actor.inverse().apply(points)
        region |= ((at >= low) & (at <= high)).all(axis=-1)
    distance = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_C, 3)
    return np.minimum(distance / np.float32(5), np.float32(1)).astype(np.float32)


def _change(
    render: Image, points: Array, instance: NDArray[np.int32], mask: Image, actors: Sequence[ActorBox]
) -> Image:
    """What the model changes without its noise, output minus render, where the mask is not 0."""
    output = render + 0.08 * (render - cv2.GaussianBlur(render, (0, 0), 1.5))
    where = mask > 0
    light = np.ones((np.count_nonzero(where), 3))
    for actor in actors:
        at, own = actor.T_world_actor.inverse().apply(points[where]), instance[where] == actor.instance
        shade = np.where(own | np.isnan(at[:, 2]), 0.0, _shadow(at, actor))
        light *= 1 - 0.5 * shade[:, None]
        light[own] = (0.85 + 0.3 * np.clip(at[own, 2:] / actor.size_m[2], 0, 1)) * [1.02, 1.0, 0.97]
    output[where] *= light
    return ((np.clip(output, 0, 1) - render) * where[..., None]).astype(np.float32)


def _shadow(at: Array, actor: ActorBox) -> Array:
    """How much of a wide sun the car's box hides from points [N, 3] in its frame, and the dark below it: 0 to 1."""
    length, width, height = actor.size_m
    low, high = np.array([-length / 2, -width / 2, 0.2]), np.array([length / 2, width / 2, height])
    sun = actor.T_world_actor.rotation.T @ Sun().direction
    directions = sun + 0.06 * np.random.default_rng(0).normal(size=(16, 1, 3))
    with np.errstate(invalid="ignore"):
        enter, leave = np.sort([(low - at) / directions, (high - at) / directions], axis=0)
        hidden = (leave.min(axis=-1) > np.maximum(enter.max(axis=-1), 0)).mean(axis=0)
        beside = np.linalg.norm(np.maximum(np.abs(at[:, :2]) - [length / 2, width / 2], 0), axis=-1)
        contact = 0.5 * np.exp(-((beside / 0.35) ** 2)) * (at[:, 2] < 0.4)
    return 1 - (1 - hidden) * (1 - contact)


NOISES = ("brightness", "smooth", "latent", "pixel")
"""The whole picture brighter or darker; waves over a quarter of it; on the model's grid of 8 pixels; in each pixel."""


def noise(kind: str, random: np.random.Generator, level: float = 3.0) -> Image:
    """[H, W, 3] with a standard deviation of `level` grey levels.

    3 is 3.4 grey levels of mean absolute change from frame to frame; 2 to 3.5 are reported of the released weights.
    """
    # Enlarging takes some of the variance; the gains give it back.
    rows, columns, gain = {
        "brightness": (1, 1, 1.0),
        "smooth": (4, 6, 1.3),
        "latent": (HEIGHT // 8, WIDTH // 8, 1.25),
        "pixel": (HEIGHT, WIDTH, 1.0),
    }[kind]
    coarse = random.normal(size=(rows, columns, 3)).astype(np.float32)
    fine = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return fine * np.float32(level * gain / 255)


Residuals = list[list[Image]]
"""[H, W, 3] of each moment and camera."""


def clean(moments: Sequence[Moment]) -> Residuals:
    return [[shot.change for shot in moment.shots] for moment in moments]


def noisy(moments: Sequence[Moment], kind: str, *, level: float = 3.0) -> Residuals:
    random = np.random.default_rng(1)
    return [[shot.change + noise(kind, random, level) for shot in moment.shots] for moment in moments]


def as_tensor(residual: Image) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(residual, -1, 0)))


def run(
    moments: Sequence[Moment], residuals: Residuals, config: HarmonizerConfig, history: TemporalHistory | None = None
) -> Residuals:
    """What `blend` makes of them, one moment after the other; zeros for a camera that sees no car."""
    return list(_run(moments, residuals, config, history))


def _run(
    moments: Sequence[Moment], residuals: Residuals, config: HarmonizerConfig, history: TemporalHistory | None
) -> Iterator[list[Image]]:
    nothing = torch.zeros(3, HEIGHT, WIDTH)
    for moment, given in zip(moments, residuals, strict=True):
        cameras = [
            replace(shot.camera, residual=None if shot.camera.mask is None else as_tensor(residual))
            for shot, residual in zip(moment.shots, given, strict=True)
        ]
        blended, history = blend(
            cameras, actors=moment.actors, stamp_ns=moment.stamp_ns, history=history, config=config
        )
        yield [np.moveaxis((nothing if b is None else b).numpy(), 0, -1) for b in blended]


def shown(shot: Shot, residual: Image) -> Image:
    """The picture [H, W, 3] in grey levels, 0 to 255, not rounded."""
    return np.clip(shot.render + residual * shot.mask[..., None], 0, 1) * np.float32(255)


def psnr_db(moments: Sequence[Moment], a: Residuals, b: Residuals) -> float:
    """The lowest of all pictures, within the masks."""
    values = []
    for moment, mine, theirs in zip(moments, a, b, strict=True):
        for shot, x, y in zip(moment.shots, mine, theirs, strict=True):
            if shot.camera.mask is not None:
                error = (shown(shot, x) - shown(shot, y))[shot.mask > 0]
                values.append(10 * math.log10(255**2 / max(float(np.mean(error**2)), 1e-12)))
    return min(values)


def flicker(moments: Sequence[Moment], residuals: Residuals, base: Residuals | None = None) -> float:
    """Mean absolute change from frame to frame beyond the base's (the render's), around the cars, in grey levels."""
    values = []
    for k in range(1, len(moments)):
        for c, (last, now) in enumerate(zip(moments[k - 1].shots, moments[k].shots, strict=True)):
            if last.camera.mask is None or now.camera.mask is None:
                continue
            nothing = np.zeros_like(now.render)
            of_base = [nothing, nothing] if base is None else [base[k - 1][c], base[k][c]]
            change = shown(now, residuals[k][c]) - shown(last, residuals[k - 1][c])
            change -= shown(now, of_base[1]) - shown(last, of_base[0])
            around = (last.mask == 1) & (now.mask == 1) & ~last.insert & ~now.insert
            values.append(np.abs(change[around]).mean())
    return float(np.mean(values))
