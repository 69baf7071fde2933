"""Seeded scenes for the tests and measurements of the gsplat renderer; numpy only.

World axes: x forward, y left, z up. The scenes lie around the origin unless they say otherwise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import R_BODY_OPTICAL, CameraView
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import Affine, Rigid, rotation_from_rpy
from r3d2_ros.rendering.base import PlacedGaussians, PlacedScene
from r3d2_ros.sky import Sky

UTM = np.array([500_000.0, 4_600_000.0, 120.0])


def gaussians(
    rng: np.random.Generator, means: NDArray[np.float64], scales: NDArray[np.float64], *, sh_degree: int = 0
) -> Gaussians:
    """Random orientations, opacities and colours at means [n, 3] with standard deviations [n, 3]."""
    n = len(means)
    quats = rng.normal(size=(n, 4))
    sh = rng.normal(scale=0.15, size=(n, (sh_degree + 1) ** 2, 3))
    sh[:, 0] = rng.normal(scale=0.8, size=(n, 3))
    return Gaussians(
        means=means.astype(np.float32),
        quats=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales=scales.astype(np.float32),
        opacities=(1 / (1 + np.exp(-rng.normal(scale=2.0, size=n)))).astype(np.float32),
        sh=sh.astype(np.float32),
    )


def frustum(n: int, *, seed: int, sh_degree: int = 0, nearest_m: float = 2.0) -> Gaussians:
    """n Gaussians in front of the origin, sized like a reconstruction's: depth up to 80 m, log-uniform."""
    rng = np.random.default_rng(seed)
    x = np.exp(rng.uniform(np.log(nearest_m), np.log(80.0), n))
    means = np.stack([x, 0.9 * x * rng.uniform(-1, 1, n), 0.9 * x * rng.uniform(-0.55, 0.55, n)], axis=1)
    scales = 0.012 * x[:, None] ** 0.8 * np.exp(rng.normal(0, 0.6, (n, 3)))
    return gaussians(rng, means, scales, sh_degree=sh_degree)


def ring(n: int, *, seed: int, sh_degree: int = 0) -> Gaussians:
    """`frustum` turned about z by a random angle each: the same density in every direction."""
    g = frustum(n, seed=seed, sh_degree=sh_degree)
    angle = np.random.default_rng(seed + 1).uniform(0, 2 * np.pi, n)
    x, y, z = g.means.T
    means = np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle), z], axis=1)
    return replace(g, means=means.astype(np.float32))


def box(n: int, *, seed: int, size_m: tuple[float, float, float] = (4.5, 1.9, 1.6), sh_degree: int = 0) -> Gaussians:
    """An asset: n Gaussians on the surface of a box that stands on the ground around the origin."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.5, 0.5, (n, 3))
    axis = rng.integers(0, 3, n)
    points[np.arange(n), axis] = np.where(rng.random(n) < 0.5, -0.5, 0.5)
    means = points * np.array(size_m) + np.array([0.0, 0.0, size_m[2] / 2])
    g = gaussians(rng, means, np.exp(rng.normal(np.log(0.06), 0.4, (n, 3))), sh_degree=sh_degree)
    return replace(g, opacities=(0.5 + 0.49 * rng.random(n)).astype(np.float32))


def static(g: Gaussians, offset: NDArray[np.float64] | None = None) -> PlacedGaussians:
    """A background whose frame stands at `offset` in the world."""
    return PlacedGaussians(g, Affine(np.eye(3), np.zeros(3) if offset is None else offset), np.eye(3))


def actor(
    asset: Gaussians, x_m: float, y_m: float, yaw_deg: float, instance: int, *, z_m: float = -1.5,
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0), offset: NDArray[np.float64] | None = None,
) -> PlacedGaussians:  # fmt: skip
    """An asset at a pose, stretched along its own axes; the ground is 1.5 m below the cameras."""
    rotation = rotation_from_rpy(0.0, 0.0, np.deg2rad(yaw_deg))
    translation = np.array([x_m, y_m, z_m]) + (np.zeros(3) if offset is None else offset)
    return PlacedGaussians(asset, Affine(rotation * np.array(stretch), translation), rotation, instance)


def camera(
    width_px: int, height_px: int, *, yaw_deg: float = 0.0, fov_deg: float = 84.0,
    principal_offset_px: tuple[float, float] = (0.0, 0.0), position: NDArray[np.float64] | None = None,
) -> CameraView:  # fmt: skip
    """A pinhole camera that looks along x, turned about z by `yaw_deg`."""
    focal = 0.5 * width_px / np.tan(np.deg2rad(fov_deg) / 2)
    K = np.array([[focal, 0, width_px / 2], [0, focal, height_px / 2], [0, 0, 1]])
    K[:2, 2] += principal_offset_px
    rotation = rotation_from_rpy(0.0, 0.0, np.deg2rad(yaw_deg)) @ R_BODY_OPTICAL
    T_world_camera = Rigid(rotation, np.zeros(3) if position is None else position)
    return CameraView(K, width_px, height_px, T_world_camera.inverse())


def sky_image(*, seed: int = 5, height: int = 16, width: int = 32) -> Sky:
    """A coarse random equirectangular sky, turned about a slanted axis."""
    image = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    return Sky(image=image, R_sky_world=rotation_from_rpy(0.3, -0.2, 1.0))


def traffic(
    count: int, *, seed: int, asset: Gaussians, offset: NDArray[np.float64] | None = None
) -> tuple[PlacedGaussians, ...]:
    """Actors numbered from 1 on five lanes that lead up a hill, so that few hide others; every third is stretched."""
    rng = np.random.default_rng(seed)
    actors = []
    for i in range(count):
        row, lane = divmod(i, 5)
        stretch = (1.2, 0.9, 1.3) if i % 3 == 2 else (1.0, 1.0, 1.0)
        x, y, yaw_deg = 6.0 + 5.5 * row, 4.0 * (lane - 2) + rng.uniform(-0.5, 0.5), rng.uniform(-180, 180)
        actors.append(actor(asset, x, y, yaw_deg, i + 1, z_m=-1.5 + 0.1 * row**2, stretch=stretch, offset=offset))
    return tuple(actors)


def crossing(
    *,
    sh_degree: int = 3,
    background: int = 3000,
    actors: int = 4,
    asset: int = 300,
    offset: NDArray[np.float64] | None = None,
    nearest_m: float = 2.0,
) -> PlacedScene:
    """A background, some actors among it and a sky image: a bit of everything, small enough for a CPU."""
    cars = traffic(actors, seed=2, asset=box(asset, seed=1, sh_degree=sh_degree), offset=offset)
    behind = frustum(background, seed=0, sh_degree=sh_degree, nearest_m=nearest_m)
    return PlacedScene(static(behind, offset), cars, sky_image())


def psnr_db(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio of two images with peak 1."""
    error = float(np.mean((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2))
    return float("inf") if error == 0 else -10.0 * float(np.log10(error))
