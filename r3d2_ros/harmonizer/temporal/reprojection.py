"""Reprojection: where the surface that a pixel shows lies in another picture, and what that picture has there.

Pictures differ by camera, by moment, or both. Coordinates are the renderer's: the first pixel's centre is (0.5, 0.5).
Depth is there as inverse depth, 1 / z, which makes the sky no special case: it is 0, and no translation moves it.
Nothing here waits for a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from r3d2_ros.cameras import CameraView
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.harmonizer.temporal.patch import NOTHING, Patch, Window

NEAR_PLANE_M = 0.1
"""What reaches nearer to a camera than this has no bounds in its image."""

_UNUSED = NOTHING - 1
"""Identity of what nothing may find, not even a pixel whose own is NOTHING."""

_NEAREST = 1e-3
"""A point nearer to the other camera than this share of its distance from its own counts as behind it."""


@dataclass(frozen=True, eq=False)
class LookUp:
    """A window of a picture, made ready to be looked up: flat, with a border around it in which nothing is found.

    values  [C, n] float32; inverse_depth [n] float32; identity [n] int32; n = (h + 3) * (w + 3)
    """

    window: Window
    values: Tensor
    inverse_depth: Tensor
    identity: Tensor

    @classmethod
    def of(cls, patch: Patch, values: Tensor) -> LookUp:
        """`values` [C, h, w] over the window of a patch."""
        # One row and column before the window and two behind it: what lies outside is clamped to there.
        border = (1, 2, 1, 2)
        identity = patch.identity.masked_fill(patch.identity == NOTHING, _UNUSED)
        return cls(
            window=patch.window,
            values=F.pad(values, border).flatten(1),
            inverse_depth=F.pad(patch.inverse_depth, border).flatten(),
            identity=F.pad(identity, border, value=_UNUSED).flatten(),
        )


@dataclass(frozen=True, eq=False)
class PixelMotion:
    """Where pixels of one picture are in another: p = (u, v, 1) of a point at depth z goes to p + turn @ p + shift / z.

    turn [3, 3] and shift [3] are float64. Without any motion both are 0, so that pixels stay exactly where they are.
    """

    turn: Array
    shift: Array

    @classmethod
    def between(cls, T_dst_src: Rigid, *, src: CameraView, dst: CameraView) -> PixelMotion:
        """T_dst_src takes points from the coordinates of camera `src` to those of camera `dst`."""
        turn = dst.K @ T_dst_src.rotation @ np.linalg.inv(src.K) - np.eye(3)
        return cls(turn, dst.K @ T_dst_src.translation)


@dataclass(frozen=True, eq=False)
class Positions:
    """Of each pixel of a window, in the other picture: column, row (first pixel's centre at 0) and inverse depth."""

    column: Tensor
    row: Tensor
    inverse_depth: Tensor

    def crop(self, part: Window) -> Positions:
        """A copy of a part."""
        return Positions(*(tensor[part.slices].clone() for tensor in (self.column, self.row, self.inverse_depth)))

    def put(self, part: Window, where: Tensor, other: Positions) -> None:
        """Take `other` where `where` is true, both [h, w] over the window `part` of this one."""
        for name in ("column", "row", "inverse_depth"):
            mine = getattr(self, name)
            mine[part.slices] = torch.where(where, getattr(other, name), mine[part.slices])


def positions(window: Window, inverse_depth: Tensor, motion: PixelMotion) -> Positions:
    """Where the pixels of a window, [h, w] of inverse depth, are after `motion`; far outside when behind the camera."""
    device = inverse_depth.device
    u = torch.arange(window.left, window.right, device=device, dtype=torch.float32) + 0.5
    v = torch.arange(window.top, window.bottom, device=device, dtype=torch.float32)[:, None] + 0.5

    def offset(axis: int) -> Tensor:
        a, b, c = (float(x) for x in motion.turn[axis])
        return (a * u) + (b * v + c) + float(motion.shift[axis]) * inverse_depth

    farther = offset(2)
    scale = 1.0 / (farther + 1.0).clamp(min=_NEAREST)
    # Offsets are added to the pixel, so that one that does not move stays where it is to the last bit.
    column = u + (offset(0) - u * farther) * scale - 0.5
    row = v + (offset(1) - v * farther) * scale - 0.5
    behind = (farther + 1.0 < _NEAREST).to(torch.float32)
    return Positions(column + 1e9 * behind, row, inverse_depth * scale)


def look_up(picture: LookUp, at: Positions, identity: Tensor, depth_tolerance: float) -> tuple[Tensor, Tensor]:
    """What the picture has at `at`: the sum over the four nearest pixels of their bilinear weights times their values.

    Only those pixels count which show the same thing: the same `identity` [h, w] int32, and a depth that differs from
    the expected one by no more than the share `depth_tolerance`. Returns values [C, h, w] and the sum of the weights
    [h, w], 0 to 1; their quotient is the interpolated value.
    """
    height, width = picture.window.shape
    column = (at.column - picture.window.left).clamp(-1.0, float(width))
    row = (at.row - picture.window.top).clamp(-1.0, float(height))
    first_column, first_row = column.floor(), row.floor()
    right, below = column - first_column, row - first_row
    stride = width + 3
    index = ((first_row.to(torch.int64) + 1) * stride + (first_column.to(torch.int64) + 1)).flatten()
    expected, shown = at.inverse_depth.flatten(), identity.flatten()
    values = picture.values.new_zeros(len(picture.values), index.numel())
    weight = picture.values.new_zeros(index.numel())
    for down, vertical in ((0, 1.0 - below), (1, below)):
        for across, horizontal in ((0, 1.0 - right), (1, right)):
            tap = index + (down * stride + across)
            there = picture.inverse_depth.index_select(0, tap)
            near = (there - expected).abs() <= depth_tolerance * torch.maximum(there, expected)
            same = near & (picture.identity.index_select(0, tap) == shown)
            share = (vertical * horizontal).flatten() * same
            weight += share
            values.addcmul_(share, picture.values.index_select(1, tap))
    return values.view(-1, *identity.shape), weight.view(identity.shape)


def bounds_in_image(points: Array, view: CameraView) -> Window:
    """Bounds of the convex hull of `points` [N, 3] (camera coordinates); the whole image when some are behind it."""
    whole = Window(0, 0, view.height_px, view.width_px)
    behind = points[:, 2] < NEAR_PLANE_M
    if behind.any():
        return Window(0, 0, 0, 0) if behind.all() else whole
    u, v, w = view.K @ points.T
    u, v = u / w, v / w
    return Window(math.floor(v.min()), math.floor(u.min()), math.ceil(v.max()), math.ceil(u.max())).cut(whole)
