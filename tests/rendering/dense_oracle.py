"""An independent float64 renderer on gsplat's own CPU projection functions, to check the project's renderers with.

gsplat's compositor needs CUDA; this one evaluates every Gaussian at every pixel of its 16 px tiles, as gsplat's
kernels do. The Python projection uses 3.33 sigma as radius; the CUDA one shrinks it with the opacity, as done here.
"""

from __future__ import annotations

import numpy as np
import torch
from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci, _spherical_harmonics

from r3d2_ros.cameras import CameraView
from r3d2_ros.rendering.base import PlacedGaussians, PlacedScene, RenderSettings

TILE = 16


def oracle_rgb_alpha(scene: PlacedScene, view: CameraView, settings: RenderSettings) -> tuple[np.ndarray, np.ndarray]:
    """rgb [H, W, 3] without sky and alpha [H, W], float64."""
    parts = [_project(node, view, settings) for node in scene.nodes if len(node.gaussians)]
    means2d, conics, radii, opacities, depths, colours = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    rgb, light = np.zeros((view.height_px, view.width_px, 3)), np.ones((view.height_px, view.width_px))
    stopped = np.zeros(light.shape, bool)
    for i in np.argsort(depths.astype(np.float32), kind="stable"):
        if not np.all(radii[i] > 0):
            continue
        first = np.maximum(np.floor((means2d[i] - radii[i]) / TILE), 0).astype(int) * TILE
        end = np.maximum(np.ceil((means2d[i] + radii[i]) / TILE), 0).astype(int) * TILE
        box = np.s_[first[1] : end[1], first[0] : end[0]]
        rows, columns = np.mgrid[: view.height_px, : view.width_px][:, *box] + 0.5
        dx, dy = means2d[i, 0] - columns, means2d[i, 1] - rows
        a, b, c = conics[i]
        sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
        alpha = np.minimum(0.999, opacities[i] * np.exp(-sigma))
        valid = (sigma >= 0) & (alpha >= 1 / 255) & ~stopped[box]
        behind = light[box] * (1 - alpha)
        stopped[box] |= valid & (behind <= 1e-4)
        valid &= ~stopped[box]
        rgb[box] += np.where(valid, alpha * light[box], 0.0)[..., None] * colours[i]
        light[box] = np.where(valid, behind, light[box])
    return rgb, 1.0 - light


def _project(node: PlacedGaussians, view: CameraView, settings: RenderSettings) -> tuple[np.ndarray, ...]:
    """means2d [n, 2], conics [n, 3], radii [n, 2], opacities [n], depths [n], colours [n, 3] of one node."""
    g = node.gaussians
    means = torch.from_numpy(node.T_world_node.apply(g.origin + g.means.astype(np.float64)))
    linear = torch.from_numpy(np.array(node.T_world_node.linear))
    covars, _ = _quat_scale_to_covar_preci(_double(g.quats), _double(g.scales), True, False, False)
    covars = linear @ covars @ linear.T
    viewmat, K = torch.from_numpy(view.T_camera_world.matrix()), torch.from_numpy(np.array(view.K))
    projected = _fully_fused_projection(
        means, covars, viewmat[None], K[None], view.width_px, view.height_px,
        eps2d=settings.eps2d, near_plane=settings.near_plane_m, far_plane=settings.far_plane_m,
        calc_compensations=True,
    )  # fmt: skip
    radii, means2d, depths, conics, compensations = (array[0] for array in projected)
    opacities = _double(g.opacities) * (compensations if settings.antialiased else 1.0)

    camera_position = torch.from_numpy(view.T_camera_world.inverse().translation.copy())
    directions = (means - camera_position) @ torch.from_numpy(np.array(node.R_world_node))
    colours = torch.clamp_min(_spherical_harmonics(g.sh_degree, directions, _double(g.sh)) + 0.5, 0.0)

    # The conic is the inverse of the blurred covariance, whose diagonal gives the radius.
    determinant = conics[:, 0] * conics[:, 2] - conics[:, 1] ** 2
    variances = torch.stack([conics[:, 2], conics[:, 0]], dim=-1) / determinant[:, None]
    extent = torch.clamp_max(torch.sqrt(2 * torch.log((opacities * 255).clamp_min(1.0))), 3.33)
    visible = (radii > 0).all(dim=-1) & (opacities >= 1 / 255)
    radii = torch.ceil(extent[:, None] * variances.sqrt()) * visible[:, None]
    return tuple(array.numpy() for array in (means2d, conics, radii, opacities, depths, colours))


def _double(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float64))
