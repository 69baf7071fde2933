"""CPU kernel: which actor a pixel shows. Runs only over the tiles in which the raster kernel saw an actor."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from r3d2_ros.rendering.kernels_layout import (
    ALPHA_MAX,
    ALPHA_MIN,
    BLOCK,
    HALF_A,
    HALF_C,
    OPACITY,
    REACH_U,
    REACH_V,
    SLANT,
    SLOT,
    TILE,
    TRANSMITTANCE_STOP,
    U,
    V,
)
from r3d2_ros.rendering.kernels_raster import BLOCKS, EXPONENT_MAX, PLANE, clipped, exp_negative
from r3d2_ros.rendering.kernels_sharing import fetch_add
from r3d2_ros.rendering.numba_cache import kernel

F = np.float32
UINT = np.uintp


@kernel()
def weigh_tile(rows, ids, x0, y0, light, weights, plane_of, slots):
    """Sum the compositing weights of the tile's pixels by slot; returns the number of planes in use.

    light     [PLANE] receives the transmittance, negative where a pixel has stopped
    weights   [>= planes * PLANE]; plane 0 is slot 0, further planes are given to slots as they are met
    plane_of  [slots] int64 work space, slots [planes] int64 receives the slot of each plane
    """
    light[:] = F(1)
    plane_of[:] = -1
    plane_of[0] = 0
    slots[0] = 0
    weights[:PLANE] = F(0)
    planes = 1
    for k in range(len(ids)):
        row = rows[ids[k]]
        slot = np.int64(row[SLOT])
        if plane_of[slot] < 0:
            plane_of[slot] = planes
            slots[planes] = slot
            weights[planes * PLANE : (planes + 1) * PLANE] = F(0)
            planes += 1
        plane = UINT(plane_of[slot] * PLANE)
        u, v = row[U] - F(x0) - F(0.5), row[V] - F(y0) - F(0.5)
        half_a, slant, half_c, opacity = row[HALF_A], row[SLANT], row[HALF_C], row[OPACITY]
        line_begin = clipped(math.ceil(v - row[REACH_V]), 0, TILE)
        line_end = clipped(math.floor(v + row[REACH_V]) + F(1), 0, TILE)
        block_begin = clipped(math.floor((u - row[REACH_U]) * F(1 / BLOCK)), 0, BLOCKS)
        block_end = clipped(math.floor((u + row[REACH_U]) * F(1 / BLOCK)) + F(1), 0, BLOCKS)
        for line in range(line_begin, line_end):
            dy = v - F(line)
            u_line, c_dy2 = u + slant * dy, half_c * dy * dy
            for block in range(block_begin, block_end):
                first = UINT(line * TILE + block * BLOCK)
                u_block = u_line - F(block * BLOCK)
                for i in range(BLOCK):
                    p = first + UINT(i)
                    dx = u_block - F(i)
                    exponent = min(half_a * dx * dx + c_dy2, EXPONENT_MAX)
                    alpha = min(ALPHA_MAX, opacity * exp_negative(exponent))
                    alpha = alpha if alpha >= ALPHA_MIN else F(0)
                    before = light[p]
                    weight = before * alpha
                    behind = before - weight
                    goes_on = behind > TRANSMITTANCE_STOP
                    weights[plane + p] += weight if goes_on else F(0)
                    light[p] = behind if goes_on else -abs(before)
    return planes


@kernel()
def write_winners(light, weights, planes, slots, numbers, x0, y0, instance):
    """Write the number of the slot that outweighs every other one and the background with the sky, else 0."""
    height, width = instance.shape
    for y in range(y0, min(y0 + TILE, height)):
        for x in range(x0, min(x0 + TILE, width)):
            p = (y - y0) * TILE + (x - x0)
            most = weights[p] + abs(light[p])
            winner = 0
            for plane in range(1, planes):
                weight = weights[plane * PLANE + p]
                if weight > most:
                    most = weight
                    winner = slots[plane]
                elif weight == most:
                    winner = 0
            instance[y, x] = numbers[winner]


@kernel(parallel=True)
def write_instances(rows, offsets, lists, columns, first, last, workers, has_actor, numbers, instance):
    """Write the instance image of the tiles first .. last - 1 that have an actor.

    numbers  [slots] uint16: instance number of each slot, numbers[0] = 0 the background
    The other arguments are those of `kernels_raster.composite`.
    """
    next_tile = np.full(1, first, np.int64)
    for _worker in prange(workers):
        light = np.empty(PLANE, np.float32)
        weights = np.empty(len(numbers) * PLANE, np.float32)
        plane_of = np.empty(len(numbers), np.int64)
        slots = np.empty(len(numbers), np.int64)
        while True:
            tile = fetch_add(next_tile, 1)
            if tile >= last:
                break
            if has_actor[tile] != 0:
                x0, y0 = (tile % columns) * TILE, (tile // columns) * TILE
                ids = lists[offsets[tile] - offsets[first] : offsets[tile + 1] - offsets[first]]
                planes = weigh_tile(rows, ids, x0, y0, light, weights, plane_of, slots)
                write_winners(light, weights, planes, slots, numbers, x0, y0, instance)
