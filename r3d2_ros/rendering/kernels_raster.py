"""CPU kernels: composite the Gaussians of each tile front to back.

Gaussian by Gaussian over the rows of a tile, in blocks of BLOCK pixels without branches, which the compiler turns
into vector instructions. Two things keep it so, and both were measured: all planes of a tile lie in one buffer at
constant distances (several arrays need run-time overlap tests), and indices are unsigned (no wrap-around test).
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from r3d2_ros.rendering.kernels_layout import (
    ACTOR,
    ALPHA_MAX,
    ALPHA_MIN,
    BLOCK,
    BLUE,
    DEPTH,
    GREEN,
    HALF_A,
    HALF_C,
    MIN_DEPTH_ALPHA,
    OPACITY,
    REACH_U,
    REACH_V,
    RED,
    SLANT,
    TILE,
    TRANSMITTANCE_STOP,
    U,
    V,
)
from r3d2_ros.rendering.kernels_sharing import fetch_add, prefetch
from r3d2_ros.rendering.numba_cache import kernel

F = np.float32
UINT = np.uintp
BLOCKS = TILE // BLOCK
PLANE = TILE * TILE
LIVE_CHECK = 16
"""Gaussians between two looks for blocks whose pixels have all stopped."""
AHEAD = 8
"""Gaussians between the one that is composited and the one that is brought from memory meanwhile: rows in depth order
lie all over it, and waiting for them took 8 to 17 % of compositing."""
EXPONENT_MAX = F(5.6)
"""Beyond ln(255) = 5.54 every alpha is below ALPHA_MIN."""

# Planes of a tile, after that of the transmittance, which is stored negative once a pixel has stopped.
RED_PLANE, GREEN_PLANE, BLUE_PLANE, DEPTH_PLANE, ACTOR_PLANE = (UINT(PLANE * k) for k in range(1, 6))
PLANES = 6 * PLANE


@kernel(inline="always")
def exp_negative(exponent):
    """e^-x for x in [0, EXPONENT_MAX], relative error below 3e-6.

    The eighth power of the polynomial of degree 5 that is closest to e^(-x/8) in relative terms (Remez).
    """
    y = exponent * F(-0.125)
    p = F(0.005846760) * y + F(0.039772563)
    p = p * y + F(0.16597398)
    p = p * y + F(0.49988258)
    p = p * y + F(0.99999255)
    p = p * y + F(0.99999994)
    p = p * p
    p = p * p
    return p * p


@kernel(inline="always")
def clipped(value, low, high):
    """`value` as an integer in [low, high], also when it is too large for one."""
    return np.int64(min(max(value, F(low)), F(high)))


@kernel(inline="always")
def reach_in_tile(row, x0, y0):
    """Centre (u, v) of a row in the tile at pixel (x0, y0), where pixel centres are at whole numbers, and what of the
    tile it may touch: first line, end line, first block, end block."""
    u, v = row[U] - F(x0) - F(0.5), row[V] - F(y0) - F(0.5)
    line_begin = clipped(math.ceil(v - row[REACH_V]), 0, TILE)
    line_end = clipped(math.floor(v + row[REACH_V]) + F(1), 0, TILE)
    block_begin = clipped(math.floor((u - row[REACH_U]) * F(1 / BLOCK)), 0, BLOCKS)
    block_end = clipped(math.floor((u + row[REACH_U]) * F(1 / BLOCK)) + F(1), 0, BLOCKS)
    return u, v, line_begin, line_end, block_begin, block_end


@kernel(inline="always")
def absorb(light, exponent, opacity):
    """What a Gaussian takes of the light of a pixel, and the light behind it, negative once the pixel has stopped."""
    alpha = min(ALPHA_MAX, opacity * exp_negative(min(exponent, EXPONENT_MAX)))
    alpha = alpha if alpha >= ALPHA_MIN else F(0)
    weight = light * alpha
    behind = light - weight
    goes_on = behind > TRANSMITTANCE_STOP
    return weight if goes_on else F(0), behind if goes_on else -abs(light)


@kernel()
def live_blocks(light, live):
    """Set `live` [TILE * BLOCKS] to 0 where all pixels of a block have stopped; returns how many blocks have not."""
    count = 0
    for block in range(TILE * BLOCKS):
        if live[block] != 0:
            going = 0
            for i in range(BLOCK):
                going += light[UINT(block * BLOCK) + UINT(i)] > 0
            if going == 0:
                live[block] = 0
            else:
                count += 1
    return count


@kernel()
def composite_tile(rows, ids, x0, y0, planes, live):
    """Composite the rows `ids` (front to back) into the planes of the tile at pixel (x0, y0)."""
    planes[:PLANE] = F(1)
    planes[PLANE:] = F(0)
    live[:] = 1
    for k in range(len(ids)):
        prefetch(rows, ids[min(k + AHEAD, len(ids) - 1)])
        row = rows[ids[k]]
        u, v, line_begin, line_end, block_begin, block_end = reach_in_tile(row, x0, y0)
        half_a, slant, half_c, opacity = row[HALF_A], row[SLANT], row[HALF_C], row[OPACITY]
        red, green, blue, depth, actor = row[RED], row[GREEN], row[BLUE], row[DEPTH], row[ACTOR]
        for line in range(line_begin, line_end):
            dy = v - F(line)
            u_line, c_dy2 = u + slant * dy, half_c * dy * dy
            for block in range(block_begin, block_end):
                if live[UINT(line * BLOCKS + block)] == 0:
                    continue
                first = UINT(line * TILE + block * BLOCK)
                u_block = u_line - F(block * BLOCK)
                for i in range(BLOCK):
                    p = first + UINT(i)
                    dx = u_block - F(i)
                    weight, behind = absorb(planes[p], half_a * dx * dx + c_dy2, opacity)
                    planes[p + RED_PLANE] += weight * red
                    planes[p + GREEN_PLANE] += weight * green
                    planes[p + BLUE_PLANE] += weight * blue
                    planes[p + DEPTH_PLANE] += weight * depth
                    planes[p + ACTOR_PLANE] += weight * actor
                    planes[p] = behind
        if (k + 1) % LIVE_CHECK == 0 and live_blocks(planes, live) == 0:
            break


@kernel()
def write_tile(planes, x0, y0, rgb, depth, alpha, actor_weight):
    """Copy a finished tile into the images; returns whether an actor is in it."""
    height, width = alpha.shape
    any_actor = False
    for y in range(y0, min(y0 + TILE, height)):
        for x in range(x0, min(x0 + TILE, width)):
            p = UINT((y - y0) * TILE + (x - x0))
            covered = F(1) - abs(planes[p])
            rgb[y, x, 0] = planes[p + RED_PLANE]
            rgb[y, x, 1] = planes[p + GREEN_PLANE]
            rgb[y, x, 2] = planes[p + BLUE_PLANE]
            depth[y, x] = planes[p + DEPTH_PLANE] / covered if covered >= MIN_DEPTH_ALPHA else F(np.nan)
            alpha[y, x] = covered
            actor_weight[y, x] = min(planes[p + ACTOR_PLANE], F(1))
            any_actor |= planes[p + ACTOR_PLANE] > 0
    return any_actor


@kernel(parallel=True)
def composite(rows, offsets, lists, columns, first, last, workers, rgb, depth, alpha, actor_weight, has_actor):
    """Composite the tiles first .. last - 1, whose lists follow one another in `lists`.

    rgb [H, W, 3] is without sky. has_actor [tiles] uint8 tells where actors were seen. Workers take the next tile
    when they are free, so the result does not depend on how many there are.
    """
    next_tile = np.full(1, first, np.int64)
    for _worker in prange(workers):
        planes = np.empty(PLANES, np.float32)
        live = np.empty(TILE * BLOCKS, np.uint8)
        while True:
            tile = fetch_add(next_tile, 1)
            if tile >= last:
                break
            x0, y0 = (tile % columns) * TILE, (tile // columns) * TILE
            ids = lists[offsets[tile] - offsets[first] : offsets[tile + 1] - offsets[first]]
            composite_tile(rows, ids, x0, y0, planes, live)
            has_actor[tile] = write_tile(planes, x0, y0, rgb, depth, alpha, actor_weight)
