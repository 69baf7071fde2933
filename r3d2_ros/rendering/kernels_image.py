"""CPU kernel: put the sky behind what the Gaussians left uncovered."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from r3d2_ros.rendering.numba_cache import kernel

F = np.float32
LEFT_MIN = F(1e-3)
"""Where less than this of a sky image is visible, a quarter of an 8-bit step, it is not looked up."""
SPAN = 64
"""Pixels whose sky coordinates are computed together."""
TURN, HALF_TURN = F(2 * math.pi), F(math.pi)


@kernel(inline="always")
def arctan2(y, x):
    """Angle of (x, y) in radians, error below 1e-6; 0 for the zero vector. Without branches, so that it vectorises."""
    ax, ay = abs(x), abs(y)
    t = min(ax, ay) / max(max(ax, ay), F(1e-30))
    s = t * t
    p = F(0.00800690707) * s - F(0.0374429971)
    p = p * s + F(0.0843541026)
    p = p * s - F(0.135121763)
    p = p * s + F(0.198873207)
    p = p * s - F(0.333270133)
    p = p * s + F(0.999999404)
    angle = p * t
    angle = F(math.pi / 2) - angle if ay > ax else angle
    angle = F(math.pi) - angle if x < 0 else angle
    return -angle if y < 0 else angle


@kernel()
def sky_positions(ray, step, u, v, columns, rows):
    """Image position (column, row) of SPAN directions ray + i * step in an equirectangular image, into u and v.

    Pixel centres at whole numbers. Columns run from azimuth +pi to -pi, rows from elevation +pi/2 to -pi/2.
    """
    for i in range(SPAN):
        x = ray[0] + F(i) * step[0]
        y = ray[1] + F(i) * step[1]
        z = ray[2] + F(i) * step[2]
        azimuth = arctan2(y, x)
        elevation = arctan2(z, math.sqrt(x * x + y * y))
        u[i] = (F(0.5) - azimuth / TURN) * F(columns) - F(0.5)
        v[i] = (F(0.5) - elevation / HALF_TURN) * F(rows) - F(0.5)


@kernel()
def add_sky_pixel(image, u, v, left, pixel):
    """pixel [3] += left * image at (u, v), bilinear: columns wrap around, rows end at the poles."""
    rows, columns = image.shape[0], image.shape[1]
    u_floor, v_floor = math.floor(u), math.floor(v)
    fu, fv = u - u_floor, v - v_floor
    u0 = np.int64(u_floor)
    u0 = u0 + columns if u0 < 0 else u0
    u0 = u0 - columns if u0 >= columns else u0
    u1 = u0 + 1 if u0 + 1 < columns else 0
    v0 = max(np.int64(v_floor), 0)
    v1 = min(np.int64(v_floor) + 1, rows - 1)
    for c in range(3):
        upper = image[v0, u0, c] + fu * (image[v0, u1, c] - image[v0, u0, c])
        lower = image[v1, u0, c] + fu * (image[v1, u1, c] - image[v1, u0, c])
        pixel[c] += left * (upper + fv * (lower - upper))


@kernel(parallel=True)
def add_sky_colour(rgb, alpha, colour):
    """rgb += (1 - alpha) * colour [3]."""
    height, width = alpha.shape
    for y in prange(height):
        for x in range(width):
            left = F(1) - alpha[y, x]
            rgb[y, x, 0] += left * colour[0]
            rgb[y, x, 1] += left * colour[1]
            rgb[y, x, 2] += left * colour[2]


@kernel(parallel=True)
def add_sky_image(rgb, alpha, image, ray_map):
    """rgb += (1 - alpha) * the equirectangular image [h, w, 3] where at least LEFT_MIN of it is to be seen.

    ray_map  [3, 3] float32: direction in the image's frame = ray_map @ (column, row, 1), pixel corner at (0, 0)
    """
    height, width = alpha.shape
    for y in prange(height):
        u, v = np.empty(SPAN, np.float32), np.empty(SPAN, np.float32)
        ray = np.empty(3, np.float32)
        for x0 in range(0, width, SPAN):
            end = min(x0 + SPAN, width)
            most = F(0)
            for x in range(x0, end):
                most = max(most, F(1) - alpha[y, x])
            if most >= LEFT_MIN:
                for k in range(3):
                    ray[k] = ray_map[k, 0] * (F(x0) + F(0.5)) + ray_map[k, 1] * (F(y) + F(0.5)) + ray_map[k, 2]
                sky_positions(ray, ray_map[:, 0], u, v, image.shape[1], image.shape[0])
                for x in range(x0, end):
                    left = F(1) - alpha[y, x]
                    if left >= LEFT_MIN:
                        add_sky_pixel(image, u[x - x0], v[x - x0], left, rgb[y, x])
