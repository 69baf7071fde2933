"""Rectangles on the ground: who touches whom, how far apart they are, and when they will meet."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from r3d2_ros.geometry import Array, Rigid

Size = tuple[float, float, float]
"""Length, width, height in metres."""

UNIT_CORNERS = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) / 2


def box(T_world_body: Rigid, size_m: Size, centre_m: float = 0.0) -> Array:
    """Corners [4, 2] on the ground of a box of `size_m`, whose centre is `centre_m` along x from the body's origin."""
    corners = UNIT_CORNERS * size_m[:2] + [centre_m, 0.0]
    return T_world_body.apply(np.column_stack([corners, np.zeros(4)]))[:, :2]


def rectangle(
    x_m: float, y_m: float, yaw_rad: float, *, length_m: float, width_m: float, centre_m: float = 0.0
) -> Array:
    """Corners [4, 2], clockwise from the front left, of a rectangle whose centre is `centre_m` ahead of (x, y)."""
    along = UNIT_CORNERS[:, 0] * length_m + centre_m
    across = UNIT_CORNERS[:, 1] * width_m
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    return np.column_stack([x_m + c * along - s * across, y_m + s * along + c * across])


def touch(a: Array, b: Array) -> bool:
    """Whether two rectangles [4, 2] overlap or touch: no edge direction separates them."""
    reach = np.linalg.norm(a[0] - a[2]) + np.linalg.norm(b[0] - b[2])
    if np.linalg.norm(a.mean(axis=0) - b.mean(axis=0)) > reach / 2:
        return False
    for direction in _axes(a, b):
        p, q = a @ direction, b @ direction
        if p.max() < q.min() or q.max() < p.min():
            return False
    return True


def gap_m(a: Array, b: Array) -> float:
    """Distance between two rectangles [4, 2]; 0 when they touch. Exact: convex outlines are nearest at a corner."""
    if touch(a, b):
        return 0.0
    return min(_corners_to_edges(a, b), _corners_to_edges(b, a))


def time_to_touch(a: Array, b: Array, relative_velocity_mps: ArrayLike) -> float:
    """Seconds until `b` [4, 2], moving by `relative_velocity_mps` [2] against `a` without turning, first touches it.

    0 when they touch already, infinity when they never do. Exact: for every separating axis the time in which its
    shadows overlap is an interval, and the rectangles touch while all of them do.
    """
    velocity = np.asarray(relative_velocity_mps, np.float64)
    first, last = 0.0, math.inf
    for direction in _axes(a, b):
        p, q, speed = a @ direction, b @ direction, float(velocity @ direction)
        before, after = float(p.min() - q.max()), float(p.max() - q.min())
        if speed == 0.0:
            if before > 0.0 or after < 0.0:
                return math.inf
            continue
        enter, leave = sorted((before / speed, after / speed))
        first, last = max(first, enter), min(last, leave)
    return first if first <= last else math.inf


def _axes(a: Array, b: Array) -> Iterator[Array]:
    for corners in (a, b):
        yield corners[1] - corners[0]
        yield corners[2] - corners[1]


def _corners_to_edges(points: Array, outline: Array) -> float:
    """Smallest distance of the points [4, 2] to the edges of the outline [4, 2]."""
    edge = np.roll(outline, -1, axis=0) - outline
    offset = points[:, None, :] - outline[None, :, :]
    along = np.clip(np.einsum("pej,ej->pe", offset, edge) / np.einsum("ej,ej->e", edge, edge), 0.0, 1.0)
    return float(np.linalg.norm(offset - along[..., None] * edge, axis=2).min())
