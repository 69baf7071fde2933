"""Reprojection: where the surface that a pixel shows lies in another picture, and what that picture has there.

Pictures differ by camera, by moment, or both. Coordinates are the renderer's: the first pixel's centre is (0.5, 0.5).
Depth is there as inverse depth, 1 / z, which makes the sky no special case: it is 0, and no translation moves it.
Nothing here waits for a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from r3d2_ros.cameras import CameraView
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.harmonizer.compositing.region import NEAR_PLANE_M
from r3d2_ros.harmonizer.temporal.patch import NOTHING, Patch
from r3d2_ros.harmonizer.windows import Window

CHUNK_PX = {"cpu": 2**16, "cuda": 2**22}
"""Of pixels that are worked on at once: what the caches hold, and what keeps a GPU busy with little memory."""

_UNUSED = NOTHING - 1
"""Identity of what nothing may find, not even a pixel whose own is NOTHING."""

_NEAREST = 1e-3
"""A point nearer to the other camera than this share of its distance from its own counts as behind it."""

_BORDER = (1, 2, 1, 2)
"""One row and column before the window and two behind it: what lies outside is clamped to there."""

_FAR_OUTSIDE = 1e9
"""Column of what is behind the other camera."""


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
        identity = patch.identity.masked_fill(patch.identity == NOTHING, _UNUSED)
        return cls(
            window=patch.window,
            values=F.pad(values, _BORDER).flatten(1),
            inverse_depth=F.pad(patch.inverse_depth, _BORDER).flatten(),
            identity=F.pad(identity, _BORDER, value=_UNUSED).flatten(),
        )

    def showing(self, values: Tensor) -> LookUp:
        """The same picture with other `values` [C, h, w]."""
        return replace(self, values=F.pad(values, _BORDER).flatten(1))


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

    def factors(self) -> Array:
        """[12] of u, of v, of 1 and of the inverse depth in the three coordinates, as `positions` takes them."""
        return np.concatenate([self.turn.T.ravel(), self.shift])


@dataclass(frozen=True, eq=False)
class Taps:
    """Of n positions in a picture: the four pixels around each, in the flat picture, and how much each counts.

    index [4 * n] int32; share [4, n] float32, the bilinear weight, 0 for pixels that show something else
    """

    index: Tensor
    share: Tensor

    def sums(self, values: Tensor, out: Tensor | None = None) -> Tensor:
        """Of flat `values` [C, ...]: the sums of share times value, and of the shares, [C + 1, n]."""
        if out is None:
            out = values.new_empty(len(values) + 1, self.share.shape[1])
        taps = values.index_select(1, self.index).unflatten(1, self.share.shape).mul_(self.share)
        torch.sum(taps, 1, out=out[:-1])
        torch.sum(self.share, 0, out=out[-1])
        return out


def positions(pixels: Tensor, inverse_depth: Tensor, motion: Tensor) -> Tensor:
    """Where pixels [2, ...] of inverse depth [...] are in the other picture: column, row and inverse depth [3, ...].

    motion  `PixelMotion.factors` in float32: [12], for pixels [2, h, w] of a window, or [12, ...] of each pixel

    The first pixel's centre is at column and row 0. What is behind the other camera is far outside.
    """
    u, v = pixels
    if motion.dim() == 1:
        # The same sums, most of them over a row and a column alone.
        motion, u, v = motion[:, None, None], u[:1], v[:, :1]
    of_u, of_v, of_1, of_inverse_depth = motion.unflatten(0, (4, 3))
    at = of_u * u + (of_v * v + of_1)
    at = at + of_inverse_depth * inverse_depth
    farther = at[2]
    scale = farther + 1.0
    behind = scale < _NEAREST
    scale = scale.clamp_(min=_NEAREST).reciprocal_()
    # Offsets are added to the pixel, so that one that does not move stays where it is to the last bit.
    at[:2].sub_(pixels * farther).mul_(scale).add_(pixels).sub_(0.5)
    at[0].masked_fill_(behind, _FAR_OUTSIDE)
    torch.mul(inverse_depth, scale, out=at[2])
    return at


def taps_at(picture: LookUp, at: Tensor, identity: Tensor, depth_tolerance: float) -> Taps:
    """The pixels of a picture around the positions `at` [3, ...], which see the surface `identity` [...] int32.

    Only those pixels count which show the same thing: the same identity, and a depth that differs from the expected one
    by no more than the share `depth_tolerance`.
    """
    column, row, expected = at.flatten(1)
    window, stride = picture.window, picture.window.shape[1] + len(_BORDER) - 1
    column = column.clamp(window.left - 1.0, float(window.right))
    row = row.clamp(window.top - 1.0, float(window.bottom))
    place = torch.stack([column, row])
    first = place.floor()
    after = place.sub_(first)
    before_after = torch.stack([1.0 - after, after])
    share = (before_after[:, None, 1] * before_after[None, :, 0]).flatten(0, 1)
    columns, rows = first.to(torch.int32)
    start = columns + rows * stride
    corner = (1 - window.top) * stride + 1 - window.left
    index = torch.cat([start + (corner + step) for step in (0, 1, stride, stride + 1)])
    there = picture.inverse_depth.index_select(0, index).view_as(share)
    other = (there - expected).abs_() > torch.maximum(there, expected).mul_(depth_tolerance)
    other |= picture.identity.index_select(0, index).view_as(share) != identity.flatten()
    return Taps(index, share.masked_fill_(other, 0.0))


def look_up(picture: LookUp, at: Tensor, identity: Tensor, depth_tolerance: float) -> Tensor:
    """What the picture has at `at` [3, ...]: the sum over the four nearest pixels of their bilinear weights times their
    values, as far as they count (see `taps_at`), and the sum of the weights, 0 to 1: [C + 1, ...].

    Their quotient is the interpolated value.
    """
    at, shown = at.flatten(1), identity.flatten()
    found = picture.values.new_empty(len(picture.values) + 1, len(shown))
    for part in chunks(len(shown), shown.device):
        taps_at(picture, at[:, part], shown[part], depth_tolerance).sums(picture.values, found[:, part])
    return found.view(-1, *identity.shape)


def chunks(count: int, device: torch.device, each: int = 1) -> list[slice]:
    """Parts of `count` things of `each` pixels that are to be worked on at once."""
    step = max(1, CHUNK_PX[device.type] // each)
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]


def bounds_in_image(points: Array, view: CameraView) -> Window:
    """Bounds of the convex hull of `points` [N, 3] (camera coordinates); the whole image when some are behind it."""
    whole = Window(0, 0, view.height_px, view.width_px)
    behind = points[:, 2] < NEAR_PLANE_M
    if behind.any():
        return Window(0, 0, 0, 0) if behind.all() else whole
    u, v, w = view.K @ points.T
    u, v = u / w, v / w
    return Window(math.floor(v.min()), math.floor(u.min()), math.ceil(v.max()), math.ceil(u.max())).cut(whole)
