"""Curved meshes: grids of points, one surfel per quad, and the round parts that vehicles and people are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from r3d2_ros.geometry import Array
from r3d2_ros.street.surfels import Surfels, surfels

QUAD_FILL = 0.70
SKIN_M = 0.004


@dataclass(frozen=True, eq=False)
class Quads:
    """Cells of a curved mesh: centres, unit tangents [N, 3] (outward is u x v), sizes along them [N, 2]."""

    centre: Array
    u: Array
    v: Array
    size: Array

    def __len__(self) -> int:
        return len(self.centre)

    def select(self, index: NDArray) -> Quads:
        return Quads(self.centre[index], self.u[index], self.v[index], self.size[index])

    def quarters(self) -> Quads:
        """Every cell cut into four, in its own plane; first all first quarters, then all second ones, and so on."""
        parts = []
        for i in (-0.25, 0.25):
            for j in (-0.25, 0.25):
                shift = i * self.size[:, :1] * self.u + j * self.size[:, 1:] * self.v
                parts.append(Quads(self.centre + shift, self.u, self.v, self.size / 2))
        return _joined(parts)


def _joined(parts: Sequence[Quads]) -> Quads:
    return Quads(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("centre", "u", "v", "size")))


def quads(grid: Array) -> Quads:
    """The quads of a grid of points [I, J, 3] that have an area."""
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[:-1, 1:], grid[1:, 1:]
    along, across = (b + d - a - c) / 2, (c + d - a - b) / 2
    length_u = np.linalg.norm(along, axis=-1)
    u = along / np.maximum(length_u, 1e-9)[..., None]
    across = across - (across * u).sum(axis=-1)[..., None] * u
    length_v = np.linalg.norm(across, axis=-1)
    v = across / np.maximum(length_v, 1e-9)[..., None]
    size = np.stack([length_u, length_v], axis=-1).reshape(-1, 2)
    every = Quads(((a + b + c + d) / 4).reshape(-1, 3), u.reshape(-1, 3), v.reshape(-1, 3), size)
    return every.select(size.min(axis=1) > 1e-4)


def refined(cells: Quads, label: Callable[[Quads], NDArray], *, levels: int = 1, thin: bool = False) -> Quads:
    """Cells whose quarters do not all have the same label are cut, `levels` times: edges of materials become crisp.

    thin  at first look at the quarters of quarters: a thin line is seen also where it runs between quarters' middles
    """
    for level in range(levels):
        quarters = cells.quarters()
        seen = quarters.quarters() if thin and level == 0 else quarters
        labels = label(seen).reshape(-1, len(cells))
        mixed = np.any(labels != labels[0], axis=0)
        cells = _joined([cells.select(~mixed), quarters.select(np.tile(mixed, 4))])
    return cells


def quad_surfels(
    source: Array | Quads,
    albedo: ArrayLike,
    *,
    gloss: ArrayLike = 0.0,
    openness: ArrayLike = 1.0,
    glow: ArrayLike = 0.0,
) -> Surfels:
    """One surfel per quad of a grid [I, J, 3] or of `quads`; materials are one value or one per quad."""
    cells = source if isinstance(source, Quads) else quads(source)
    scale = np.column_stack([cells.size * QUAD_FILL, np.full(len(cells), SKIN_M)])
    return surfels(
        cells.centre,
        cells.u,
        cells.v,
        scale,
        np.asarray(albedo, float),
        gloss=np.asarray(gloss, float),
        openness=np.asarray(openness, float),
        glow=np.asarray(glow, float),
    )


def stations(breaks: Sequence[float], step: float) -> Array:
    """Increasing positions that contain every break, at most `step` apart."""
    ordered = np.unique(np.round(np.asarray(breaks, float), 5))
    parts = [np.linspace(a, b, max(2, int(np.ceil((b - a) / step)) + 1))[:-1] for a, b in pairwise(ordered)]
    return np.concatenate([*parts, ordered[-1:]])


def tube(points: ArrayLike, radii: ArrayLike, *, step: float, caps: bool = True) -> Array:
    """Grid [I, J, 3] around a polyline [K, 3] with a radius at each point; rounded ends when `caps`."""
    line, radius = (
        np.asarray(points, float),
        np.broadcast_to(np.asarray(radii, float), (len(np.asarray(points)),)),
    )
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    fine = np.linspace(0, s[-1], max(2, int(np.ceil(s[-1] / step)) + 1))
    centre = np.stack([np.interp(fine, s, line[:, i]) for i in range(3)], axis=1)
    r = np.interp(fine, s, radius)
    tangent = np.gradient(centre, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    if caps:
        angle = np.linspace(np.pi / 2, 0, max(3, int(np.ceil(1.57 * r.max() / step)) + 1))
        start = centre[0] - np.outer(r[0] * np.sin(angle), tangent[0])
        end = centre[-1] + np.outer(r[-1] * np.sin(angle[::-1]), tangent[-1])
        centre = np.concatenate([start[:-1], centre, end[1:]])
        r = np.concatenate([r[0] * np.cos(angle[:-1]), r, r[-1] * np.cos(angle[::-1][1:])])
        tangent = np.concatenate([np.repeat(tangent[:1], len(angle) - 1, 0), tangent,
                                  np.repeat(tangent[-1:], len(angle) - 1, 0)])  # fmt: skip
    helper = np.array([0.0, 1.0, 0.0]) if abs(tangent[len(tangent) // 2, 1]) < 0.8 else np.array([1.0, 0.0, 0.0])
    side = np.cross(helper, tangent)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(tangent, side)
    around = np.linspace(0, 2 * np.pi, max(7, int(np.ceil(2 * np.pi * r.max() / step)) + 1))
    ring = np.cos(around)[:, None, None] * side + np.sin(around)[:, None, None] * other
    return np.swapaxes(centre + r[:, None] * ring, 0, 1)[:, ::-1].copy()


def ellipsoid(centre: ArrayLike, radii: ArrayLike, *, step: float) -> Array:
    """Grid of an ellipsoid with semi-axes [3]."""
    half = np.asarray(radii, float)
    polar = np.linspace(0.0, np.pi, max(5, int(np.ceil(np.pi * half.max() / step)) + 1))
    around = np.linspace(0, 2 * np.pi, max(7, int(np.ceil(2 * np.pi * half.max() / step)) + 1))
    p, a = np.meshgrid(polar, around, indexing="ij")
    unit = np.stack([np.sin(p) * np.cos(a), np.sin(p) * np.sin(a), np.cos(p)], axis=-1)
    return np.asarray(centre, float) + half * unit


def disc(centre: ArrayLike, inner_m: float, outer_m: float, side: int, *, step: float) -> Array:
    """Grid of a ring in the xz plane around `centre`, facing +y (side 1) or -y (side -1)."""
    radius = np.linspace(outer_m, inner_m, max(2, int(np.ceil((outer_m - inner_m) / step)) + 1))
    around = np.linspace(0, 2 * np.pi, max(9, int(np.ceil(2 * np.pi * outer_m / step)) + 1)) * -side
    a, r = np.meshgrid(around, radius, indexing="ij")
    return np.asarray(centre, float) + np.stack([r * np.cos(a), np.zeros_like(r), r * np.sin(a)], axis=-1)


def barrel(centre: ArrayLike, radius_m: float, half_width_m: float, *, step: float, inward: bool = False) -> Array:
    """Grid of a cylinder about the y axis; facing inward for a wheel arch."""
    around = np.linspace(0, 2 * np.pi, max(9, int(np.ceil(2 * np.pi * radius_m / step)) + 1)) * (1 if inward else -1)
    across = np.linspace(-half_width_m, half_width_m, max(2, int(np.ceil(2 * half_width_m / step)) + 1))
    a, y = np.meshgrid(around, across, indexing="ij")
    return np.asarray(centre, float) + np.stack([radius_m * np.cos(a), y, radius_m * np.sin(a)], axis=-1)


def outline(points: Sequence[tuple[float, float]], x: ArrayLike) -> NDArray[np.float64]:
    """A smooth monotone curve through (x, value) points (PCHIP), constant beyond its ends."""
    xs, values = np.array(points, float).T
    return PchipInterpolator(xs, values)(np.clip(np.asarray(x, float), xs[0], xs[-1]))


def inside(x: NDArray, z: NDArray, polygon: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """Whether points lie in a polygon (even-odd rule)."""
    result = np.zeros(np.shape(x), bool)
    corners = [*polygon, polygon[0]]
    for (x0, z0), (x1, z1) in pairwise(corners):
        if z0 == z1:
            continue
        crosses = (z0 > z) != (z1 > z)
        result ^= crosses & (x < (x1 - x0) * (z - z0) / (z1 - z0) + x0)
    return result
