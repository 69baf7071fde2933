"""CPU kernel: rays through a grid of occupied cells (Amanatides and Woo, "A Fast Voxel Traversal Algorithm", 1987)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.geometry import Array
from r3d2_ros.rendering.numba_cache import kernel

Bytes = NDArray[np.uint8]


@kernel()
def entry_and_exit(origin: Array, direction: Array, shape: NDArray[np.int64], start: float) -> tuple[float, float]:
    """Distances at which a ray, from `start` on, is in the box 0..shape (slab test); entry > exit: never."""
    enter, leave = start, math.inf
    for axis in range(3):
        if direction[axis] == 0.0:
            if origin[axis] < 0.0 or origin[axis] >= shape[axis]:
                return 1.0, 0.0
            continue
        a = -origin[axis] / direction[axis]
        b = (shape[axis] - origin[axis]) / direction[axis]
        enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
    return enter, leave


@kernel()
def is_blocked(cells: Bytes, shape: NDArray[np.int64], origin: Array, direction: Array, start: float) -> bool:
    """Whether a ray meets an occupied cell at a distance of at least `start`. Lengths are in cells."""
    enter, leave = entry_and_exit(origin, direction, shape, start)
    if enter >= leave:
        return False
    cell, step = np.empty(3, np.int64), np.empty(3, np.int64)
    following, width = np.empty(3, np.float64), np.empty(3, np.float64)
    for axis in range(3):
        place = origin[axis] + enter * direction[axis]
        cell[axis] = min(max(math.floor(place), 0), shape[axis] - 1)
        step[axis] = 1 if direction[axis] > 0.0 else -1
        if direction[axis] == 0.0:
            following[axis] = width[axis] = math.inf
        else:
            border = cell[axis] + (1 if direction[axis] > 0.0 else 0)
            following[axis] = (border - origin[axis]) / direction[axis]
            width[axis] = abs(1.0 / direction[axis])
    while True:
        if cells[(cell[0] * shape[1] + cell[1]) * shape[2] + cell[2]]:
            return True
        axis = 0
        if following[1] < following[axis]:
            axis = 1
        if following[2] < following[axis]:
            axis = 2
        if following[axis] >= leave:
            return False
        cell[axis] += step[axis]
        if cell[axis] < 0 or cell[axis] >= shape[axis]:
            return False
        following[axis] += width[axis]


@kernel()
def blocked_share(cells: Bytes, shape: NDArray[np.int64], origins: Array, directions: Array, start: float) -> Array:
    """Share [N] of the rays from origins [N, 3] in the directions [K, 3] that are blocked; lengths in cells."""
    out = np.zeros(len(origins))
    for i in range(len(origins)):
        count = 0
        for k in range(len(directions)):
            count += is_blocked(cells, shape, origins[i], directions[k], start)
        out[i] = count / len(directions)
    return out
