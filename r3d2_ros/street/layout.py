"""Measures of the cross profile that several parts share, and tests on footprints."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.geometry import Array

HALF_ROAD_M = 3.75
KERB_M = 0.15
KERB_HEIGHT_M = 0.12
SLAB_M = 0.75
JOINT_M = 0.03
PAVEMENT_EDGE_M = 6.75
"""Offset from the centre line at which houses and gardens begin."""

WALK_M = 5.4
"""Offset from the centre line of the lines that people walk along."""

CLEAR_M = 0.8
"""Things on the footways are at least so far apart, from middle to middle."""


def is_clear(place: Array, taken: Array, clear_m: float = CLEAR_M) -> bool:
    """Whether a place [2] keeps its distance from all of those that are taken [N, 2]."""
    return bool(np.all(np.linalg.norm(taken - place, axis=1) >= clear_m))


def inside_any(xy: Array, polygons: NDArray[np.float64], *, margin_m: float) -> NDArray[np.bool_]:
    """Whether points [N, 2] lie at least `margin_m` inside any convex counter-clockwise polygon [H, 4, 2]."""
    inside = np.zeros(len(xy), bool)
    for corners in polygons:
        edge = np.roll(corners, -1, axis=0) - corners
        edge /= np.linalg.norm(edge, axis=1, keepdims=True)
        near = np.flatnonzero(np.linalg.norm(xy - corners.mean(axis=0), axis=1) < 25.0)
        gap = xy[near][:, None, :] - corners
        depth = edge[:, 0] * gap[:, :, 1] - edge[:, 1] * gap[:, :, 0]
        inside[near] |= np.all(depth > margin_m, axis=1)
    return inside
