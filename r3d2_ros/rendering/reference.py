"""The readable renderer: the same images as the fast ones, Gaussian by Gaussian in float64 numpy.

What the formulas mean is to be read here; `cpu.py` and its kernels must give these images, only sooner. The rules
are those of gsplat 1.5.3 (EWA splatting, Zwicker et al. 2001, with the constants of 3D Gaussian splatting).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.geometry import Array, quat_to_matrix
from r3d2_ros.rendering.base import MIN_DEPTH_ALPHA, PlacedGaussians, PlacedScene, RenderedImage, RenderSettings
from r3d2_ros.sky import Sky
from r3d2_ros.spherical_harmonics import sh_basis

ALPHA_MIN = 1 / 255
ALPHA_MAX = 0.999
TRANSMITTANCE_STOP = 1e-4


@dataclass(frozen=True, eq=False)
class Splats:
    """Gaussians on the image plane, n of them.

    centre [n, 2] pixels (corner of the first pixel at 0), cov [n, 2, 2] pixels^2, depth [n] metres, opacity [n],
    colour [n, 3], node [n] index of the node in the scene
    """

    centre: Array
    cov: Array
    depth: Array
    opacity: Array
    colour: Array
    node: NDArray[np.int64]

    def select(self, index: NDArray) -> Splats:
        return Splats(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence[Splats]) -> Splats:
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def depth_ordered(self) -> Splats:
        """Front to back by the float32 depth, as the fast renderers do; ties keep their order."""
        return self.select(np.argsort(self.depth.astype(np.float32), kind="stable"))


@dataclass(frozen=True, eq=False)
class Sums:
    """What the pixels add up: colour [H, W, 3], depth [H, W], weight [nodes, H, W], and the light left, [H, W]."""

    colour: Array
    depth: Array
    weight: Array
    light: Array


class ReferenceRenderer:
    """Same contract as the fast renderers; seconds where they take milliseconds."""

    name = "reference"

    def __init__(self, settings: RenderSettings) -> None:
        self.settings = settings

    def render(
        self, scene: PlacedScene, views: Sequence[CameraView], *, instances: bool = False
    ) -> list[RenderedImage]:
        """See `Renderer.render`. Memory: H * W * 8 bytes per node of the scene."""
        return [self._render_view(scene, view, instances) for view in views]

    def _render_view(self, scene: PlacedScene, view: CameraView, instances: bool) -> RenderedImage:
        parts = [project(node, view, self.settings, number=i) for i, node in enumerate(scene.nodes)]
        sums = composite(Splats.concatenate(parts).depth_ordered(), view, nodes=len(scene.nodes))
        alpha = 1.0 - sums.light
        depth = np.where(alpha >= MIN_DEPTH_ALPHA, sums.depth / np.maximum(alpha, MIN_DEPTH_ALPHA), np.nan)
        return RenderedImage(
            rgb=(sums.colour + sums.light[..., None] * sky_colours(scene.sky, view)).astype(np.float32),
            depth=depth.astype(np.float32),
            alpha=alpha.astype(np.float32),
            actor_weight=sums.weight[1:].sum(axis=0).astype(np.float32),
            instance=instance_image(sums, scene) if instances else None,
        )


def project(node: PlacedGaussians, view: CameraView, settings: RenderSettings, *, number: int) -> Splats:
    """The Gaussians of one node between the near and the far plane, on the image plane; `number` is their `node`."""
    T_camera_world, T_world_node = view.T_camera_world, node.T_world_node
    means = T_camera_world.apply(T_world_node.apply(node.gaussians.origin + node.gaussians.means.astype(np.float64)))
    in_range = (means[:, 2] >= settings.near_plane_m) & (means[:, 2] <= settings.far_plane_m)
    means, g = means[in_range], node.gaussians.select(in_range)

    # Covariance: rotation and standard deviations, the map from the node to the camera, the projection.
    axes = quat_to_matrix(g.quats) * g.scales.astype(np.float64)[:, None, :]
    splat = projection_jacobian(means, view) @ T_camera_world.rotation @ T_world_node.linear @ axes
    cov_sharp = splat @ splat.transpose(0, 2, 1)
    cov = cov_sharp + settings.eps2d * np.eye(2)
    opacity = g.opacities.astype(np.float64)
    if settings.antialiased:
        opacity = opacity * np.sqrt(np.clip(np.linalg.det(cov_sharp), 0.0, None) / np.linalg.det(cov))

    directions = means @ T_camera_world.rotation @ node.R_world_node
    splats = Splats(
        centre=means @ view.K[:2].T / means[:, 2:],
        cov=cov,
        depth=means[:, 2],
        opacity=opacity,
        colour=sh_colours(g.sh.astype(np.float64), directions),
        node=np.full(len(means), number),
    )
    return splats.select((opacity >= ALPHA_MIN) & (np.linalg.det(cov) > 0))


def projection_jacobian(points: Array, view: CameraView) -> Array:
    """Derivative [n, 2, 3] of the pinhole projection at points [n, 3] in the camera frame.

    Beside the image by more than 15 % of its size it is taken at that limit, where it is still sensible.
    """
    x, y, z = points.T
    fx, fy, cx, cy = view.K[0, 0], view.K[1, 1], view.K[0, 2], view.K[1, 2]
    margin_x, margin_y = 0.15 * view.width_px / fx, 0.15 * view.height_px / fy
    slope_x = np.clip(x / z, -cx / fx - margin_x, (view.width_px - cx) / fx + margin_x)
    slope_y = np.clip(y / z, -cy / fy - margin_y, (view.height_px - cy) / fy + margin_y)
    zero = np.zeros_like(z)
    rows = [[fx / z, zero, -fx * slope_x / z], [zero, fy / z, -fy * slope_y / z]]
    return np.moveaxis(np.array(rows), -1, 0)


def sh_colours(sh: Array, directions: Array) -> Array:
    """max(0, SH + 0.5), [n, 3], of coefficients [n, K, 3] along directions [n, 3] (normalised here)."""
    basis = sh_basis(directions / np.linalg.norm(directions, axis=1, keepdims=True))
    return np.maximum(0.0, np.einsum("nk,nkc->nc", basis[:, : sh.shape[1]], sh) + 0.5)


def composite(splats: Splats, view: CameraView, *, nodes: int) -> Sums:
    """Add the splats front to back: each pixel gives alpha of the light that is left to the splat's colour.

    A pixel ends before the splat that would leave TRANSMITTANCE_STOP or less.
    """
    height, width = view.height_px, view.width_px
    colour, depth = np.zeros((height, width, 3)), np.zeros((height, width))
    weight, light = np.zeros((nodes, height, width)), np.ones((height, width))
    going = np.ones((height, width), bool)
    sigmas = np.sqrt(2 * np.log(splats.opacity / ALPHA_MIN))
    reach = sigmas[:, None] * np.sqrt(np.diagonal(splats.cov, axis1=1, axis2=2))
    size = np.array([width, height])
    first = np.clip(np.floor(splats.centre - reach), 0, size).astype(int)
    end = np.clip(np.ceil(splats.centre + reach), 0, size).astype(int)
    conic = np.linalg.inv(splats.cov)
    for i in np.flatnonzero(np.all(first < end, axis=1)):
        box = np.s_[first[i, 1] : end[i, 1], first[i, 0] : end[i, 0]]
        dy = np.arange(first[i, 1], end[i, 1])[:, None] + 0.5 - splats.centre[i, 1]
        dx = np.arange(first[i, 0], end[i, 0])[None, :] + 0.5 - splats.centre[i, 0]
        (a, b), (_, c) = conic[i]
        alpha = np.minimum(ALPHA_MAX, splats.opacity[i] * np.exp(-0.5 * (a * dx**2 + c * dy**2) - b * dx * dy))
        behind = light[box] * (1.0 - alpha)
        touched = going[box] & (alpha >= ALPHA_MIN)
        going[box] &= ~(touched & (behind <= TRANSMITTANCE_STOP))
        added = touched & going[box]
        w = np.where(added, alpha * light[box], 0.0)
        colour[box] += w[..., None] * splats.colour[i]
        depth[box] += w * splats.depth[i]
        weight[splats.node[i]][box] += w
        light[box] = np.where(added, behind, light[box])
    return Sums(colour, depth, weight, light)


def instance_image(sums: Sums, scene: PlacedScene) -> NDArray[np.uint16]:
    """Per pixel the instance that outweighs every other one and the background with the sky, else 0."""
    instances = np.array([node.instance for node in scene.nodes])
    numbers = np.array([0, *sorted(set(instances[1:].tolist()) - {0})])
    totals = np.stack([sums.weight[instances == number].sum(axis=0) for number in numbers])
    totals[0] += sums.light
    ranked = np.sort(totals, axis=0)
    tied = (ranked[-1] == ranked[-2]) if len(numbers) > 1 else np.zeros(sums.light.shape, bool)
    return np.where(tied, 0, numbers[np.argmax(totals, axis=0)]).astype(np.uint16)


def sky_colours(sky: Sky, view: CameraView) -> Array:
    """The sky behind each pixel, [H, W, 3]."""
    if sky.image is None:
        return np.broadcast_to(np.asarray(sky.colour, np.float64), (view.height_px, view.width_px, 3))
    row, column = np.mgrid[: view.height_px, : view.width_px] + 0.5
    rays = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(view.K).T
    x, y, z = np.moveaxis(rays @ view.T_camera_world.rotation @ sky.R_sky_world.T, -1, 0)
    image = sky.image.astype(np.float64)
    rows, columns = image.shape[:2]
    u = (0.5 - np.arctan2(y, x) / (2 * np.pi)) * columns - 0.5
    v = (0.5 - np.arctan2(z, np.hypot(x, y)) / np.pi) * rows - 0.5
    u0, v0 = np.floor(u).astype(int), np.floor(v).astype(int)
    fu, fv = (u - u0)[..., None], (v - v0)[..., None]

    def texel(v: NDArray[np.int64], u: NDArray[np.int64]) -> Array:
        return image[np.clip(v, 0, rows - 1), u % columns]

    upper = (1 - fu) * texel(v0, u0) + fu * texel(v0, u0 + 1)
    lower = (1 - fu) * texel(v0 + 1, u0) + fu * texel(v0 + 1, u0 + 1)
    return (1 - fv) * upper + fv * lower
