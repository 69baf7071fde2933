"""Meshes of planar patches, cut into cells, each cell one surfel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from r3d2_ros.geometry import Array
from r3d2_ros.street.surfels import Surfels, surfels

Points = ArrayLike | Sequence[Any]

THIN_M = 0.012
FILL = 0.56
"""Standard deviation of a surfel over the side of its cell: closed but crisp."""


def _three(vector: ArrayLike) -> list[float]:
    return np.asarray(vector, float).tolist()


@dataclass(eq=False)
class Patches:
    """A growing list of parallelograms: corner, two edges, material, and the cell size to cut them into.

    The outward normal is edge_u x edge_v. `kind` names the paint that turns base colours into texture.
    """

    rows: list[tuple[float, ...]] = field(default_factory=list)

    def add(
        self,
        corner: ArrayLike,
        edge_u: ArrayLike,
        edge_v: ArrayLike,
        *,
        cell: tuple[float, float],
        albedo: ArrayLike,
        kind: int = 0,
        openness: float = 1.0,
    ) -> None:
        self.rows.append(
            (*_three(corner), *_three(edge_u), *_three(edge_v), *cell, *_three(albedo), float(kind), openness)
        )

    def add_edged(
        self,
        corner: ArrayLike,
        edge_u: ArrayLike,
        edge_v: ArrayLike,
        *,
        rim_m: float,
        sides: str,
        cell: tuple[float, float],
        **look: Any,
    ) -> None:
        """Like `add`, with two strips of narrow cells, `rim_m` and twice that wide, along some `sides`: u, v for those
        where the edge of that name begins, U, V for those where it ends. There the outline is crisp."""
        start, along, across = (np.asarray(vector, float) for vector in (corner, edge_u, edge_v))
        us = _rims(float(np.linalg.norm(along)), rim_m, "u" in sides, "U" in sides)
        vs = _rims(float(np.linalg.norm(across)), rim_m, "v" in sides, "V" in sides)
        for u0, u1, rim_u in us:
            for v0, v1, rim_v in vs:
                size = (1.0 if rim_u else cell[0], 1.0 if rim_v else cell[1])
                self.add(start + u0 * along + v0 * across, (u1 - u0) * along, (v1 - v0) * across, cell=size, **look)

    def box(
        self,
        low: ArrayLike,
        high: ArrayLike,
        *,
        cell: tuple[float, float],
        albedo: ArrayLike,
        faces: str = "xXyYzZ",
        kind: int = 0,
        openness: float = 1.0,
    ) -> None:
        """Faces of an axis-aligned box: x, y, z for the low sides, X, Y, Z for the high ones."""
        (x0, y0, z0), (x1, y1, z1) = np.asarray(low, float), np.asarray(high, float)
        dx, dy, dz = x1 - x0, y1 - y0, z1 - z0
        options: dict[str, Any] = {"cell": cell, "albedo": albedo, "kind": kind, "openness": openness}
        sides: dict[str, tuple[ArrayLike, ArrayLike, ArrayLike]] = {
            "x": ((x0, y1, z0), (0, -dy, 0), (0, 0, dz)),
            "X": ((x1, y0, z0), (0, dy, 0), (0, 0, dz)),
            "y": ((x0, y0, z0), (dx, 0, 0), (0, 0, dz)),
            "Y": ((x1, y1, z0), (-dx, 0, 0), (0, 0, dz)),
            "z": ((x0, y1, z0), (dx, 0, 0), (0, -dy, 0)),
            "Z": ((x0, y0, z1), (dx, 0, 0), (0, dy, 0)),
        }
        for face in faces:
            corner, edge_u, edge_v = sides[face]
            self.add(corner, edge_u, edge_v, **options)

    def table(self) -> NDArray[np.float64]:
        return np.asarray(self.rows, np.float64).reshape(-1, 16)


def _rims(length: float, rim_m: float, at_start: bool, at_end: bool) -> list[tuple[float, float, bool]]:
    """Intervals of 0..1 (start, end, whether narrow) of an edge: strips at its ends if they leave room between them."""
    narrow = [rim_m / length, 3.0 * rim_m / length]
    if length < 8.0 * rim_m:
        return [(0.0, 1.0, False)]
    stops = [0.0, *(narrow if at_start else []), *([1.0 - n for n in narrow[::-1]] if at_end else []), 1.0]
    middle = 2 if at_start else 0
    return [(a, b, k != middle) for k, (a, b) in enumerate(pairwise(stops))]


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells of patches: patch index, place inside the patch in metres, and the patch table's columns by name."""

    patch: NDArray[np.int64]
    position: Array
    u_m: Array
    v_m: Array
    size: Array
    tangent_u: Array
    tangent_v: Array
    albedo: Array
    kind: NDArray[np.int64]
    openness: Array

    def __len__(self) -> int:
        return len(self.patch)


def cut(patches: Patches, *, coarser: float = 1.0) -> Cells:
    """Cut every patch into equal cells not larger than its cell size times `coarser`. Rows are
    staggered like bricks, which leaves smaller gaps."""
    table = patches.table()
    corner, edge_u, edge_v, cell = table[:, 0:3], table[:, 3:6], table[:, 6:9], table[:, 9:11] * coarser
    lengths = np.stack([np.linalg.norm(edge_u, axis=1), np.linalg.norm(edge_v, axis=1)], axis=1)
    counts = np.maximum(1, np.ceil(lengths / cell - 1e-6)).astype(np.int64)
    total = counts.prod(axis=1)
    patch = np.repeat(np.arange(len(table)), total)
    local = np.arange(len(patch)) - np.repeat(np.cumsum(total) - total, total)
    row = local // counts[patch, 0]
    column = local % counts[patch, 0]
    between = (column > 0) & (column < counts[patch, 0] - 1)
    stagger = np.where(between, 0.25 - 0.5 * (row % 2), 0.0)
    a = (column + 0.5 + stagger) / counts[patch, 0]
    b = (row + 0.5) / counts[patch, 1]
    size = (lengths / counts)[patch]
    a, b = _inset(a, counts[patch, 0], size[:, 0], size[:, 1]), _inset(b, counts[patch, 1], size[:, 1], size[:, 0])
    unit_u = edge_u / lengths[:, :1]
    normal = np.cross(edge_u, edge_v)
    unit_v = np.cross(normal / np.linalg.norm(normal, axis=1, keepdims=True), unit_u)
    return Cells(
        patch=patch,
        position=corner[patch] + a[:, None] * edge_u[patch] + b[:, None] * edge_v[patch],
        u_m=a * lengths[patch, 0],
        v_m=b * lengths[patch, 1],
        size=size,
        tangent_u=unit_u[patch],
        tangent_v=unit_v[patch],
        albedo=table[patch, 11:14],
        kind=table[patch, 14].astype(np.int64),
        openness=table[patch, 15],
    )


def _inset(place: Array, count: NDArray[np.int64], length: Array, width: Array) -> Array:
    """Draw the ends of long bars and of coarse patches in, because a large surfel reaches far beyond its cell."""
    keep = np.where((length > 2.2 * width) | (length > 0.4), 1.0 - 0.36 / count, 1.0)
    return 0.5 + (place - 0.5) * keep


def cell_surfels(cells: Cells, albedo: NDArray, *, fill: ArrayLike = FILL, **materials: ArrayLike) -> Surfels:
    """One flat surfel per cell; `fill` is its standard deviation over the cell's side."""
    scale = np.empty((len(cells), 3))
    scale[:, :2] = cells.size * np.broadcast_to(fill, len(cells))[:, None]
    scale[:, 2] = np.minimum(THIN_M, 0.3 * scale[:, :2].min(axis=1))
    materials.setdefault("openness", cells.openness)
    return surfels(cells.position, cells.tangent_u, cells.tangent_v, scale, albedo, **materials)


def rods(starts: Points, ends: Points, radius: ArrayLike, albedo: ArrayLike, *, piece_m: float = 0.35) -> Surfels:
    """Thin round bars from starts to ends [M, 3] as chains of elongated Gaussians."""
    start, end = (np.atleast_2d(np.array(points, float)) for points in (starts, ends))
    thickness = np.broadcast_to(np.asarray(radius, float), (len(start),))
    colour = np.broadcast_to(np.asarray(albedo, float), (len(start), 3))
    length = np.linalg.norm(end - start, axis=1)
    pieces = np.maximum(1, np.ceil(length / piece_m)).astype(int)
    rod = np.repeat(np.arange(len(start)), pieces)
    fraction = (np.arange(len(rod)) - np.repeat(np.cumsum(pieces) - pieces, pieces) + 0.5) / pieces[rod]
    axis = ((end - start) / length[:, None])[rod]
    helper = np.where(np.abs(axis[:, 2:3]) > 0.9, [[1.0, 0, 0]], [[0, 0, 1.0]])
    side = np.cross(helper, axis)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    half = 0.72 * (length / pieces)[rod]
    scale = np.stack([half, 0.62 * thickness[rod], 0.62 * thickness[rod]], axis=1)
    return surfels(start[rod] + fraction[:, None] * (end - start)[rod], axis, side, scale, colour[rod])
