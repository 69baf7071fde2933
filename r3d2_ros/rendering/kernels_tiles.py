"""CPU kernels: bring the visible Gaussians into depth order and list them by image tile."""

from __future__ import annotations

import numpy as np
from numba import prange

from r3d2_ros.rendering.kernels_layout import CHUNK, DEPTH
from r3d2_ros.rendering.numba_cache import kernel

RADIX_BITS = 11
RADIX = 1 << RADIX_BITS


@kernel()
def depth_order(rows, chunk_counts, keys, order, packed_rects, sorted_rects):
    """Order of the visible rows by depth, front to back; ties keep the order of the rows.

    rows           [N, ROW_COLUMNS] float32; chunk c holds chunk_counts[c] visible ones from row c * CHUNK on
    keys, order    [2, >= n] uint32 work space; order[1, :n] receives the row numbers
    packed_rects   [N] int64, the four int16 of a tile rectangle; sorted_rects [>= n] receives them in depth order
    Returns n. Radix sort of the float32 bits, least significant digit first: positive floats order like their bits.
    """
    histogram = np.zeros((3, RADIX + 1), np.int64)
    bits = rows.view(np.uint32)
    n = 0
    for chunk in range(len(chunk_counts)):
        for row in range(chunk * CHUNK, chunk * CHUNK + chunk_counts[chunk]):
            key = bits[row, DEPTH]
            keys[0, n] = key
            order[0, n] = row
            n += 1
            histogram[0, (key & (RADIX - 1)) + 1] += 1
            histogram[1, ((key >> RADIX_BITS) & (RADIX - 1)) + 1] += 1
            histogram[2, (key >> (2 * RADIX_BITS)) + 1] += 1
    for place in histogram:
        for digit in range(RADIX):
            place[digit + 1] += place[digit]
    for source, shift in ((0, 0), (1, RADIX_BITS)):
        place = histogram[source]
        for i in range(n):
            key = keys[source, i]
            digit = (key >> shift) & (RADIX - 1)
            to = place[digit]
            place[digit] = to + 1
            keys[1 - source, to] = key
            order[1 - source, to] = order[source, i]
    place = histogram[2]
    for i in range(n):
        digit = keys[0, i] >> (2 * RADIX_BITS)
        to = place[digit]
        place[digit] = to + 1
        row = order[0, i]
        order[1, to] = row
        sorted_rects[to] = packed_rects[row]
    return n


@kernel()
def tile_offsets(rects, columns, tile_rows):
    """Where the list of each tile starts, [tiles + 1] int64, for tile rectangles [n, 4].

    Counts by differences: four additions per Gaussian, however many tiles it covers.
    """
    steps = np.zeros((tile_rows + 1, columns + 1), np.int64)
    for i in range(len(rects)):
        x0, y0, x1, y1 = rects[i, 0], rects[i, 1], rects[i, 2], rects[i, 3]
        steps[y0, x0] += 1
        steps[y0, x1] -= 1
        steps[y1, x0] -= 1
        steps[y1, x1] += 1
    offsets = np.zeros(tile_rows * columns + 1, np.int64)
    above = np.zeros(columns, np.int64)
    total = 0
    for y in range(tile_rows):
        in_row = 0
        for x in range(columns):
            in_row += steps[y, x]
            above[x] += in_row
            total += above[x]
            offsets[y * columns + x + 1] = total
    return offsets


@kernel(parallel=True)
def fill_tile_lists(rects, order, offsets, columns, bounds, lists):
    """Write the lists of the tiles bounds[0] .. bounds[-1], each in depth order, one after the other.

    rects   [n, 4] int16 in depth order, order [n] uint32 their row numbers
    bounds  [workers + 1] int64: worker w owns the tiles bounds[w] .. bounds[w + 1] - 1, so nobody shares a list
    lists   [>= entries of these tiles] uint32 row numbers
    """
    first_entry = offsets[bounds[0]]
    for worker in prange(len(bounds) - 1):
        begin, end = bounds[worker], bounds[worker + 1]
        if begin < end:
            place = offsets[begin:end] - first_entry
            row_begin, row_end = begin // columns, (end - 1) // columns + 1
            for i in range(len(rects)):
                for y in range(max(row_begin, rects[i, 1]), min(row_end, rects[i, 3])):
                    for tile in range(max(begin, y * columns + rects[i, 0]), min(end, y * columns + rects[i, 2])):
                        to = place[tile - begin]
                        place[tile - begin] = to + 1
                        lists[to] = order[i]
