"""One residual for a surface that several cameras see.

For a surface point X, camera j has the residual r_j(X) and a say a_j(X) in it. Every camera that sees X shows

    sum_j a_j(X) r_j(X) / sum_j a_j(X)

over the cameras in which X is visible, itself included. So they agree wherever their views overlap, in whatever order
they come, but for what is lost in sampling one picture at the pixels of another. The say falls to 0 towards the edges
of a camera's image, so that these do not show as seams in the image of another camera.

Where camera j has nothing to say, because something hides X from it or because X lies outside its mask, the difference
between the two cameras is taken from beside there, fading out; else the outline of that place would show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from r3d2_ros.cameras import CameraView
from r3d2_ros.geometry import Array
from r3d2_ros.harmonizer.settings import TemporalConfig
from r3d2_ros.harmonizer.temporal.guard import Carried, block_px_of, spread
from r3d2_ros.harmonizer.temporal.patch import Patch, Window, bounds_of
from r3d2_ros.harmonizer.temporal.reprojection import (
    NEAR_PLANE_M,
    LookUp,
    PixelMotion,
    Positions,
    look_up,
    positions,
)

PASSES = 2
"""Sampling takes the finest detail from a residual; a second pass brings what that leaves apart closer together."""


@dataclass(frozen=True, eq=False)
class _Overlap:
    """Where another camera sees what is in a part of a camera's patch: positions in its image, and its say [h, w]."""

    other: int
    part: Window
    at: Positions
    say: Tensor


def bring_together(
    patches: Sequence[Patch], views: Sequence[CameraView], config: TemporalConfig
) -> list[Tensor]:
    """The residuals [3, h, w] of the patches of one moment, brought together where they show the same surface."""
    count = range(len(patches))
    pairs = {(i, j) for i in count for j in range(i) if frusta_overlap(views[i], views[j])}
    overlaps = [
        [_overlap(j, patches[i], views[i], views[j], config) for j in count if (i, j) in pairs or (j, i) in pairs]
        for i in count
    ]
    residuals = [patch.residual for patch in patches]
    own_says = [_own_say(patches[i], views[i], config) for i in count]
    involved = sorted({overlap.other for group in overlaps for overlap in group})
    for _ in range(PASSES):
        # All from the residuals of the pass before: the order of the cameras does not matter.
        looks = {j: LookUp.of(patches[j], residuals[j]) for j in involved}
        residuals = [
            _mean(patches[i], residuals[i], own_says[i], looks, overlaps[i], views[i], config) for i in count
        ]
    return residuals


def _overlap(other: int, patch: Patch, view: CameraView, other_view: CameraView, config: TemporalConfig) -> _Overlap:
    motion = PixelMotion.between(other_view.T_camera_world @ view.T_camera_world.inverse(), src=view, dst=other_view)
    at = positions(patch.window, patch.inverse_depth, motion)
    say = _say(at.column, at.row, other_view, config.taper)
    part = bounds_of(say)
    return _Overlap(other, part, at.crop(part), say[part.slices])


def _mean(
    patch: Patch,
    residual: Tensor,
    own_say: Tensor,
    looks: Mapping[int, LookUp],
    overlaps: Sequence[_Overlap],
    view: CameraView,
    config: TemporalConfig,
) -> Tensor:
    """The mean [3, h, w] of a camera's residual and those of the others, weighted by their say."""
    if not overlaps:
        return residual
    change, total = torch.zeros_like(residual), own_say.clone()
    for overlap in overlaps:
        if overlap.part.is_empty:
            continue
        cut = overlap.part.slices
        values, weight = look_up(looks[overlap.other], overlap.at, patch.identity[cut], config.depth_tolerance)
        seen = Carried(values - weight * residual[:, *cut], weight)
        beside = spread(seen, inside=patch.inside[cut], block_px=block_px_of(view.height_px))
        change[:, *cut] += overlap.say * (seen.difference + beside.difference)
        total[cut] += overlap.say * (seen.weight + beside.weight)
    return residual + change / total


def _own_say(patch: Patch, view: CameraView, config: TemporalConfig) -> Tensor:
    window, device = patch.window, patch.residual.device
    columns = torch.arange(window.left, window.right, device=device, dtype=torch.float32)
    rows = torch.arange(window.top, window.bottom, device=device, dtype=torch.float32)[:, None]
    return _say(columns, rows, view, config.taper)


def _say(column: Tensor, row: Tensor, view: CameraView, taper: float) -> Tensor:
    """1 in the middle of an image, falling smoothly to 0 at its edges over `taper` times its height, 0 outside.

    column, row  of pixels; the first pixel's centre is at 0
    """

    def rise(position: Tensor, size: int) -> Tensor:
        inwards = torch.minimum(position + 0.5, size - 0.5 - position) / (taper * view.height_px)
        inwards = inwards.clamp(0.0, 1.0)
        return inwards * inwards * (3.0 - 2.0 * inwards)

    # A product: beside a common edge, where both cameras have little to say, the other edges still decide.
    return rise(column, view.width_px) * rise(row, view.height_px)


def frusta_overlap(a: CameraView, b: CameraView) -> bool:
    """Whether any point before both cameras is in both images."""
    T_a_b = a.T_camera_world @ b.T_camera_world.inverse()
    # A point in both is a sum of a's corner rays and, from b's position, of b's, none of them backwards; the rays are
    # 1 long in z, so the sums of their factors are the depths, which are at least the near plane's.
    rays = np.concatenate([_corner_rays(a), -T_a_b.rotation @ _corner_rays(b)], axis=1)
    depths = np.zeros((2, 10))
    depths[0, :4] = depths[1, 4:8] = 1.0
    depths[0, 8] = depths[1, 9] = -1.0
    A = np.concatenate([np.concatenate([rays, np.zeros((3, 2))], axis=1), depths])
    target = np.array([*T_a_b.translation, NEAR_PLANE_M, NEAR_PLANE_M])
    _, distance = nnls(A, target)
    return bool(distance <= 1e-6 * (1.0 + np.linalg.norm(target)))


def _corner_rays(view: CameraView) -> Array:
    """[3, 4] directions of the corners of the image, 1 in z."""
    w, h = float(view.width_px), float(view.height_px)
    return np.linalg.inv(view.K) @ np.array([[0.0, w, w, 0.0], [0.0, 0.0, h, h], [1.0, 1.0, 1.0, 1.0]])
