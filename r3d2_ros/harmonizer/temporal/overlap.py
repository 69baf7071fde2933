"""Which part of a camera's picture another camera can see, from where they stand alone: whatever the depths are.

Where a pixel (u, v) of inverse depth d is in the other picture, times its depth there, is linear in u, v and d. So the
points that both cameras see are a box of u, v and d, cut by the four planes that are the edges of the other picture,
and the part of the picture is bounded by the corners of what is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from r3d2_ros.cameras import CameraView
from r3d2_ros.geometry import Array
from r3d2_ros.harmonizer.temporal.reprojection import PixelMotion
from r3d2_ros.harmonizer.windows import Window

NEAREST_M = 0.01
"""Nothing is seen nearer to a camera than this."""

_MARGIN_PX = 0.01
"""For rounding, which is coarser where single pixels are moved."""

_TRIPLES = np.array([t for t in combinations(range(10), 3) if not any({k, k + 3} <= set(t) for k in range(3))])
"""Of the ten planes, of which the first three face the next three: each corner lies in three of them."""
_TOLERANCE = 1e-9


def seen_by(motions: Sequence[PixelMotion], windows: Sequence[Window], others: Sequence[CameraView]) -> list[Window]:
    """Bounds of where in each of the windows there can be what the other camera sees, behind which motion takes it.

    Never too small, by a pixel at most too large; empty where both see nothing in common.
    """
    if not motions:
        return []
    planes = _planes(motions, windows, others)
    normals, offsets = planes[:, _TRIPLES, :3], planes[:, _TRIPLES, 3]
    a, b, c = np.moveaxis(normals, 2, 0)
    bc, ca, ab = np.cross(b, c), np.cross(c, a), np.cross(a, b)
    volume = (a * bc).sum(-1)
    crossing = np.abs(volume) > 1e-12
    sums = offsets[..., :1] * bc + offsets[..., 1:2] * ca + offsets[..., 2:] * ab
    corners = -sums / np.where(crossing, volume, 1.0)[..., None]
    inside = corners @ np.swapaxes(planes[:, :, :3], 1, 2) + planes[:, None, :, 3] >= -_TOLERANCE
    real = crossing & inside.all(-1)
    return [_bounds(corners[k, real[k], :2], window) for k, window in enumerate(windows)]


def _planes(motions: Sequence[PixelMotion], windows: Sequence[Window], others: Sequence[CameraView]) -> Array:
    """[N, 10, 4]: normals and offsets, both positive inside, in coordinates in which u, v and d go from 0 to 1."""
    corners = np.array([[window.left, window.top, 1.0] for window in windows])[:, :, None]
    heights, widths = np.array([window.shape for window in windows], np.float64).T[:, :, None]
    # What u, v, d and 1 contribute to the point in the other picture, times its depth there over that here: [N, 3, 4].
    of_p = np.eye(3) + np.array([motion.turn for motion in motions])
    of_d = np.array([motion.shift for motion in motions])[:, :, None] / NEAREST_M
    of_u, of_v = of_p[:, :, :1] * widths[:, None], of_p[:, :, 1:2] * heights[:, None]
    x, y, z = np.moveaxis(np.concatenate([of_u, of_v, of_d, of_p @ corners], axis=2), 1, 0)
    width, height = np.array([[other.width_px, other.height_px] for other in others]).T[:, :, None]
    edges = np.stack([x, width * z - x, y, height * z - y], axis=1)
    edges /= np.linalg.norm(edges[:, :, :3], axis=2, keepdims=True)
    box = np.concatenate([np.eye(3, 4), -np.eye(3, 4) + [0, 0, 0, 1]])
    return np.concatenate([np.broadcast_to(box, (len(edges), 6, 4)), edges], axis=1)


def _bounds(corners: Array, window: Window) -> Window:
    """In pixels, of corners [N, 2] in which the window is from 0 to 1."""
    if not len(corners):
        return Window(0, 0, 0, 0)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    height, width = window.shape
    return Window(
        window.top + math.floor(top * height - _MARGIN_PX),
        window.left + math.floor(left * width - _MARGIN_PX),
        window.top + math.ceil(bottom * height + _MARGIN_PX),
        window.left + math.ceil(right * width + _MARGIN_PX),
    ).cut(window)
