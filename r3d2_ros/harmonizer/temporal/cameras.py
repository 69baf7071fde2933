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
from torch import Tensor

from r3d2_ros.cameras import CameraView
from r3d2_ros.harmonizer.settings import TemporalConfig
from r3d2_ros.harmonizer.temporal.guard import spread
from r3d2_ros.harmonizer.temporal.overlap import seen_by
from r3d2_ros.harmonizer.temporal.patch import Patch, block_px_of, bounds_of
from r3d2_ros.harmonizer.temporal.reprojection import LookUp, PixelMotion, Taps, positions, taps_at
from r3d2_ros.harmonizer.windows import Window
from r3d2_ros.rendering.cuda_copies import to_device

PASSES = 2
"""Sampling takes the finest detail from a residual; a second pass brings what that leaves apart closer together."""


@dataclass(frozen=True, eq=False)
class _Overlap:
    """Where another camera sees what is in a part of a camera's patch: pixels of its picture, and its say [h, w]."""

    other: int
    part: Window
    taps: Taps
    say: Tensor


def bring_together(
    patches: Sequence[Patch], pictures: Sequence[LookUp], views: Sequence[CameraView], config: TemporalConfig
) -> list[Tensor]:
    """The residuals [3, h, w] of the patches of one moment, brought together where they show the same surface.

    pictures  of the patches, showing their residuals
    """
    residuals = [patch.residual for patch in patches]
    overlaps = _overlaps(patches, pictures, views, config)
    if not overlaps:
        return residuals
    own_says = _own_says(patches, views, config)
    involved = sorted({overlap.other for group in overlaps.values() for overlap in group})
    looks = {j: pictures[j] for j in involved}
    for left in reversed(range(PASSES)):
        # All from the residuals of the pass before: the order of the cameras does not matter.
        residuals = [
            _mean(patches[i], residuals[i], own_says[i], looks, overlaps.get(i, ()), views[i])
            for i in range(len(patches))
        ]
        if left:
            looks = {j: pictures[j].showing(residuals[j]) for j in involved}
    return residuals


def _overlaps(
    patches: Sequence[Patch], pictures: Sequence[LookUp], views: Sequence[CameraView], config: TemporalConfig
) -> dict[int, list[_Overlap]]:
    """Of each camera, where which others see the same; cameras that share nothing are not there."""
    pairs = [(i, j) for i in range(len(patches)) for j in range(len(patches)) if i != j]
    T_world_cameras = [view.T_camera_world.inverse() for view in views]
    motions = [
        PixelMotion.between(views[j].T_camera_world @ T_world_cameras[i], src=views[i], dst=views[j]) for i, j in pairs
    ]
    parts = seen_by(motions, [patches[i].window for i, _ in pairs], [views[j] for _, j in pairs])
    found = [k for k, part in enumerate(parts) if not part.is_empty]
    if not found:
        return {}
    edges = [[views[j].width_px - 0.5, views[j].height_px - 0.5] for _, j in pairs]
    table = np.array([[*motions[k].factors(), *edges[k]] for k in found], np.float32)
    overlaps: dict[int, list[_Overlap]] = {}
    for k, row in zip(found, to_device(table, patches[0].residual.device), strict=True):
        i, j = pairs[k]
        patch, side_px = patches[i], block_px_of(views[i].height_px)
        part = parts[k].seen_from(patch.window).with_blocks_around(side_px, patch.window.shape)
        at = positions(patch.pixels[:, *part.slices], patch.inverse_depth[part.slices], row[:12])
        say = _smoothstep(at[:2], row[12:, None, None], config.taper * views[j].height_px).prod(0)
        exact = bounds_of(say)
        if exact.is_empty:
            continue
        exact = exact.with_blocks_around(side_px, part.shape)
        at, say, part = at[:, *exact.slices], say[exact.slices], exact.moved(part.top, part.left)
        taps = taps_at(pictures[j], at, patch.identity[part.slices], config.depth_tolerance)
        overlaps.setdefault(i, []).append(_Overlap(j, part, taps, say))
    return overlaps


def _mean(
    patch: Patch,
    residual: Tensor,
    own_say: Tensor,
    looks: Mapping[int, LookUp],
    overlaps: Sequence[_Overlap],
    view: CameraView,
) -> Tensor:
    """The mean [3, h, w] of a camera's residual and those of the others, weighted by their say."""
    if not overlaps:
        return residual
    change_total = torch.cat([torch.zeros_like(residual), own_say[None]])
    for overlap in overlaps:
        cut = overlap.part.slices
        seen = overlap.taps.sums(looks[overlap.other].values).unflatten(1, overlap.part.shape)
        seen[:3].addcmul_(seen[3], residual[:, *cut], value=-1.0)
        beside = spread(seen, inside=patch.inside[cut], block_px=block_px_of(view.height_px))
        change_total[:, *cut].add_(seen.add_(beside).mul_(overlap.say))
    return residual + change_total[:3] / change_total[3]


def _own_says(patches: Sequence[Patch], views: Sequence[CameraView], config: TemporalConfig) -> list[Tensor]:
    """Each camera's say [h, w] in its own patch; of one row and one column each, computed on the host."""
    places, edges, tapers = [], [], []
    for patch, view in zip(patches, views, strict=True):
        window = patch.window
        sides = ((window.left, window.right, view.width_px), (window.top, window.bottom, view.height_px))
        for first, last, size in sides:
            places.append(torch.arange(first, last, dtype=torch.float32))
            edges.append(torch.full((last - first,), size - 0.5))
            tapers.append(torch.full((last - first,), config.taper * view.height_px))
    rises = _smoothstep(torch.cat(places), torch.cat(edges), torch.cat(tapers))
    parts = to_device(rises.numpy(), patches[0].residual.device).split([len(place) for place in places])
    return [columns * rows[:, None] for columns, rows in zip(parts[::2], parts[1::2], strict=True)]


def _smoothstep(place: Tensor, edge: Tensor, taper_px: Tensor | float) -> Tensor:
    """1 in the middle of an image, 0 outside, between them 3 t^2 - 2 t^3 over `taper_px` at its edges; along one axis.

    place  of pixels; the first pixel's centre is at 0, and `edge` is the image's end there

    A camera's say is the product over both axes: beside a common edge, where both cameras have little to say, the other
    edges still decide.
    """
    inwards = torch.minimum(place + 0.5, edge - place) / taper_px
    inwards = inwards.clamp_(0.0, 1.0)
    return inwards * inwards * (3.0 - 2.0 * inwards)
