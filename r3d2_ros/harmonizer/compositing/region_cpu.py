"""CPU kernels: where an actor's surroundings are in an image. Points are in camera coordinates, z forward."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.geometry import Array
from r3d2_ros.rendering.numba_cache import kernel

Bytes = NDArray[np.uint8]
Depth = NDArray[np.float32]
Indices = NDArray[np.int64]
Spans = NDArray[np.int32]
"""[H, 2]: of each row the first column that belongs to a polygon, and the one behind the last; equal: none does."""


@kernel()
def _cut(a: Array, b: Array, near_m: float) -> Array:
    """The point of the segment a-b at z = near_m; one end lies before it, the other behind."""
    return a + (near_m - a[2]) / (b[2] - a[2]) * (b - a)


@kernel()
def _project(point: Array, K: Array) -> tuple[float, float]:
    return K[0, 0] * point[0] / point[2] + K[0, 2], K[1, 1] * point[1] / point[2] + K[1, 2]


@kernel()
def box_window(corners: Array, edges: Indices, K: Array, near_m: float) -> tuple[float, float, float, float]:
    """Bounds (u0, v0, u1, v1) of a box [8, 3] in the image, cut at the near plane; u0 > u1 when it lies behind."""
    u0, v0, u1, v1 = math.inf, math.inf, -math.inf, -math.inf
    for e in range(len(edges)):
        a, b = corners[edges[e, 0]], corners[edges[e, 1]]
        if a[2] < near_m and b[2] < near_m:
            continue
        for end in range(2):
            point, other = (a, b) if end == 0 else (b, a)
            u, v = _project(point if point[2] >= near_m else _cut(point, other, near_m), K)
            u0, u1 = min(u0, u), max(u1, u)
            v0, v1 = min(v0, v), max(v1, v)
    return u0, v0, u1, v1


@kernel()
def project_polygon(ring: Array, K: Array, near_m: float) -> Array:
    """A convex polygon [N, 3] cut at the near plane (Sutherland and Hodgman), in pixels [M, 2]; M = 0 when behind."""
    out = np.empty((len(ring) + 1, 2), np.float64)
    count = 0
    for i in range(len(ring)):
        a, b = ring[i], ring[(i + 1) % len(ring)]
        if a[2] >= near_m:
            out[count, 0], out[count, 1] = _project(a, K)
            count += 1
        if (a[2] >= near_m) != (b[2] >= near_m):
            out[count, 0], out[count, 1] = _project(_cut(a, b, near_m), K)
            count += 1
    return out[:count]


@kernel()
def _first_pixel(position: float, size: int) -> int:
    """Index of the first pixel whose centre is at or after `position`, within 0..size."""
    return math.ceil(min(max(position - 0.5, 0.0), float(size)))


@kernel()
def _mark_within(
    marks: Bytes, depths: Depth, start: Depth, step: Depth, low: Depth, high: Depth, ground: float, slope: float
) -> None:
    """Mark the pixels of a row whose (x, y, z) = depth * (start + i * step) are within low..high, all [3]; for each
    metre of z above `ground` x and y have `slope` less at both ends. All are float32.

    Without branches, so that it vectorises. NaN, which is the sky, fails every comparison.
    """
    start_x, start_y, start_z = start
    step_x, step_y, step_z = step
    low_x, low_y, low_z = low
    high_x, high_y, high_z = high
    for i in range(len(marks)):
        x = depths[i] * (start_x + np.float32(i) * step_x)
        y = depths[i] * (start_y + np.float32(i) * step_y)
        z = depths[i] * (start_z + np.float32(i) * step_z)
        less = slope * max(z - ground, np.float32(0))
        within = (x >= low_x + less) & (x <= high_x - less) & (y >= low_y + less) & (y <= high_y - less)
        within &= (z >= low_z) & (z <= high_z)
        marks[i] |= np.uint8(255) * np.uint8(within)


@kernel()
def polygon_spans(polygon: Array, width: int, spans: Spans) -> None:
    """Fill in the columns whose centre is in the convex polygon [M, 2], of each row of an image."""
    spans[:] = 0
    if len(polygon) < 3:
        return
    height = len(spans)
    for row in range(_first_pixel(polygon[:, 1].min(), height), _first_pixel(polygon[:, 1].max(), height)):
        v = row + 0.5
        u0, u1 = math.inf, -math.inf
        for i in range(len(polygon)):
            a, b = polygon[i], polygon[(i + 1) % len(polygon)]
            if (a[1] <= v) != (b[1] <= v):
                u = a[0] + (v - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
                u0, u1 = min(u0, u), max(u1, u)
        spans[row] = _first_pixel(u0, width), _first_pixel(u1, width)


@kernel()
def fill_spans(mask: Bytes, depth: Depth, spans: Spans, reach: Array, slope: float) -> None:
    """mask = 255 at the pixels of the spans whose surface point is within `reach`.

    reach [3, 6]: the surface point is within when for each row low <= depth * (a * u + b * v + c) + d <= high, with the
    row's numbers in the order a, b, c, d, low, high; infinite bounds switch the test off. The third row's number is the
    height above ground: for each metre of it, both bounds of the first two are nearer by `slope`.
    """
    anywhere = math.isinf(reach[0, 5])
    step, start = reach[:, 0].astype(np.float32), np.empty(3, np.float32)
    low, high = (reach[:, 4] - reach[:, 3]).astype(np.float32), (reach[:, 5] - reach[:, 3]).astype(np.float32)
    ground = np.float32(-reach[2, 3])
    for row in range(len(spans)):
        first, end = spans[row]
        if first >= end:
            continue
        if anywhere:
            mask[row, first:end] = 255
            continue
        for k in range(3):
            start[k] = reach[k, 0] * (first + 0.5) + reach[k, 1] * (row + 0.5) + reach[k, 2]
        _mark_within(mask[row, first:end], depth[row, first:end], start, step, low, high, ground, np.float32(slope))


@kernel()
def actor_outlines(
    K: Array, corners: Array, edges: Indices, rings: Array, margins: Array, near_m: float, height: int, width: int
) -> tuple[Indices, Array, NDArray[np.int32], Indices]:
    """Of the actors whose boxes are in an image, what of their surroundings depends on no pixel; and whose it is [P].

    corners  [A, 8, 3] boxes, whose edges are `edges` [12, 2]; rings [A, N, 3] convex outlines on the ground
    margins  side, below, above in projected box heights; pixels added on every side

    Windows [P, 4] of the boxes: left, top, right, bottom in pixels, ends exclusive. Margins [P, 3] in pixels: side,
    above, below. Spans [P, H, 2] of the outlines.
    """
    side, below, above, extra_px = margins
    windows, margins_px = np.empty((len(corners), 4), np.int64), np.empty((len(corners), 3))
    spans, actors = np.empty((len(corners), height, 2), np.int32), np.empty(len(corners), np.int64)
    count = 0
    for k in range(len(corners)):
        u0, v0, u1, v1 = box_window(corners[k], edges, K, near_m)
        left, right = _first_pixel(u0 - 0.5, width), _first_pixel(u1 + 0.5, width)
        top, bottom = _first_pixel(v0 - 0.5, height), _first_pixel(v1 + 0.5, height)
        if left >= right or top >= bottom:
            continue
        windows[count] = left, top, right, bottom
        # A box that reaches behind the camera has no finite height.
        height_px = min(v1 - v0, float(height))
        margins_px[count] = side * height_px + extra_px, above * height_px + extra_px, below * height_px + extra_px
        polygon_spans(project_polygon(rings[k], K, near_m), width, spans[count])
        actors[count] = k
        count += 1
    return windows[:count], margins_px[:count], spans[:count], actors[:count]


@kernel()
def seen_bounds(seen: Bytes, window: Indices) -> tuple[int, int, int, int]:
    """Pixel bounds (left, top, right, bottom), ends exclusive, of what is seen in a window; right = 0 for nothing."""
    height, width = seen.shape
    left, top, right, bottom = width, height, 0, 0
    for row in range(window[1], window[3]):
        start, end = window[0], window[2]
        while start < end and not seen[row, start]:
            start += 1
        if start == end:
            continue
        while not seen[row, end - 1]:
            end -= 1
        left, right = min(left, start), max(right, end)
        top, bottom = min(top, row), max(bottom, row + 1)
    return left, top, right, bottom


@kernel()
def mark_surroundings(
    mask: Bytes,
    seen: Bytes,
    depth: Depth,
    windows: Indices,
    margins_px: Array,
    footprints: Spans,
    reaches: Array,
    slope: float,
) -> None:
    """mask [H, W] = 255 around the actors [P] in whose window something is `seen` [H, W], not 0 there, of any actor.

    That is in the bounds of what is seen in the window, with margins, and in the actor's footprint, where a surface is
    within the reach [P, 3, 6] and slope of `fill_spans`. The others: `actor_outlines`.
    """
    height, width = mask.shape
    rectangle = np.empty((height, 2), np.int32)
    for k in range(len(windows)):
        left, top, right, bottom = seen_bounds(seen, windows[k])
        if right == 0:
            continue
        side, above, below = margins_px[k]
        rectangle[:] = 0
        for row in range(_first_pixel(top - above, height), _first_pixel(bottom + below, height)):
            rectangle[row] = _first_pixel(left - side, width), _first_pixel(right + side, width)
        fill_spans(mask, depth, rectangle, reaches[k], slope)
        fill_spans(mask, depth, footprints[k], reaches[k], slope)
