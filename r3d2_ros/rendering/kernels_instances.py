"""CPU kernel: which actor a pixel shows. It can be one only where the actors together outweigh all else.

That the raster kernel has summed. Where one actor alone is in a tile, nothing else needs to be known; where there are
several, the blocks that may show one are composited again, with a plane of weights for each actor.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from r3d2_ros.rendering.kernels_layout import ACTOR, BLOCK, HALF_A, HALF_C, OPACITY, SLANT, SLOT, TILE
from r3d2_ros.rendering.kernels_raster import AHEAD, BLOCKS, LIVE_CHECK, PLANE, absorb, live_blocks, reach_in_tile
from r3d2_ros.rendering.kernels_sharing import add_block, fetch_add, prefetch
from r3d2_ros.rendering.numba_cache import kernel

F = np.float32
UINT = np.uintp
SEVERAL = -1
TAKEN = UINT(PLANE)


@kernel()
def outweighs(actor_weight):
    """Whether actors of this weight outweigh what is left of 1: the background and the sky."""
    return actor_weight > F(1) - actor_weight


@kernel()
def blocks_with_actors(actor_weight, x0, y0, live):
    """Set `live` [TILE * BLOCKS] to 1 where a pixel of the block may show an actor, else 0; returns how many may."""
    height, width = actor_weight.shape
    live[:] = 0
    for y in range(y0, min(y0 + TILE, height)):
        for x in range(x0, min(x0 + TILE, width)):
            live[(y - y0) * BLOCKS + (x - x0) // BLOCK] |= outweighs(actor_weight[y, x])
    return live.sum()


@kernel()
def find_actors(rows, ids):
    """The slot of the actors in a list, SEVERAL where they differ, and how far down the list the last one is.

    0 where there is none, and for actors without a number.
    """
    slot, end = 0, 0
    for k in range(len(ids)):
        row = rows[ids[k]]
        if row[ACTOR] != 0:
            here = np.int64(row[SLOT])
            slot = here if end == 0 or here == slot else SEVERAL
            end = k + 1
    return slot, end


@kernel()
def write_where_seen(actor_weight, number, x0, y0, instance):
    """Write `number` where the tile's only actor outweighs all else."""
    height, width = instance.shape
    for y in range(y0, min(y0 + TILE, height)):
        for x in range(x0, min(x0 + TILE, width)):
            if outweighs(actor_weight[y, x]):
                instance[y, x] = number


@kernel()
def weigh_tile(rows, ids, x0, y0, light, live, weights, plane_of, slots):
    """Sum the compositing weights of the tile's pixels by slot; returns the number of planes in use.

    light     [2 * PLANE] receives the transmittance, negative where a pixel has stopped; the second half is work space
    live      [TILE * BLOCKS] uint8, 0 for blocks that are left out; those whose pixels have all stopped become 0
    weights   [>= planes * PLANE]; plane 0 is slot 0, further planes are given to slots as they are met
    plane_of  [slots] int64 work space, slots [planes] int64 receives the slot of each plane
    """
    light[:PLANE] = F(1)
    plane_of[:] = -1
    plane_of[0] = 0
    slots[0] = 0
    weights[:PLANE] = F(0)
    planes = 1
    for k in range(len(ids)):
        prefetch(rows, ids[min(k + AHEAD, len(ids) - 1)])
        row = rows[ids[k]]
        slot = np.int64(row[SLOT])
        if plane_of[slot] < 0:
            plane_of[slot] = planes
            slots[planes] = slot
            weights[planes * PLANE : (planes + 1) * PLANE] = F(0)
            planes += 1
        plane = UINT(plane_of[slot] * PLANE)
        u, v, line_begin, line_end, block_begin, block_end = reach_in_tile(row, x0, y0)
        half_a, slant, half_c, opacity = row[HALF_A], row[SLANT], row[HALF_C], row[OPACITY]
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
                    weight, behind = absorb(light[p], half_a * dx * dx + c_dy2, opacity)
                    light[p + TAKEN] = weight
                    light[p] = behind
                add_block(weights, plane + first, light, first + TAKEN)
        if (k + 1) % LIVE_CHECK == 0 and live_blocks(light, live) == 0:
            break
    return planes


@kernel()
def write_winners(light, weights, planes, slots, numbers, x0, y0, instance):
    """Write the number of the slot that outweighs every other one and the background with the sky, else 0.

    Rows behind the last actor may be left out of the weights: what they take of the light is background all the same.
    """
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
def write_instances(
    rows, offsets, lists, columns, first, last, workers, has_actor, actor_weight, numbers, instance
):
    """Write the instance image, zero before, of the tiles first .. last - 1 that have an actor.

    numbers  [slots] uint16: instance number of each slot, numbers[0] = 0 the background
    The other arguments are those of `kernels_raster.composite`.
    """
    next_tile = np.full(1, first, np.int64)
    for _worker in prange(workers):
        light = np.empty(2 * PLANE, np.float32)
        live = np.empty(TILE * BLOCKS, np.uint8)
        weights = np.empty(len(numbers) * PLANE, np.float32)
        plane_of = np.empty(len(numbers), np.int64)
        slots = np.empty(len(numbers), np.int64)
        while True:
            tile = fetch_add(next_tile, 1)
            if tile >= last:
                break
            x0, y0 = (tile % columns) * TILE, (tile // columns) * TILE
            if has_actor[tile] != 0 and blocks_with_actors(actor_weight, x0, y0, live) > 0:
                ids = lists[offsets[tile] - offsets[first] : offsets[tile + 1] - offsets[first]]
                slot, end = find_actors(rows, ids)
                if slot == SEVERAL:
                    planes = weigh_tile(rows, ids[:end], x0, y0, light, live, weights, plane_of, slots)
                    write_winners(light, weights, planes, slots, numbers, x0, y0, instance)
                elif slot > 0:
                    write_where_seen(actor_weight, numbers[slot], x0, y0, instance)
