"""The road: carriageway, gutters, kerbs and paved footways, in cells of its cross profile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.geometry import Array
from r3d2_ros.street.layout import HALF_ROAD_M, JOINT_M, KERB_HEIGHT_M, KERB_M, PAVEMENT_EDGE_M, SLAB_M
from r3d2_ros.street.lighting import ShadowMap
from r3d2_ros.street.meshes import FILL, THIN_M
from r3d2_ros.street.road_paint import (
    ASPHALT,
    GUTTER,
    JOINT,
    KERB,
    LINE,
    PAVING,
    STOP_LINE_M,
    ZEBRA,
    RoadPlan,
    paint,
)
from r3d2_ros.street.route import LANE_OFFSET_M as LANE_CENTRE_M
from r3d2_ros.street.route import Route
from r3d2_ros.street.surfels import Surfels, surfels

SLAB_RIM_M = 0.07
GRIT_PER_M2 = 2.5


@dataclass(frozen=True, eq=False)
class GroundCells:
    """Cells of the road's cross profile: centre (s, t), height above the road z, size, slope of the profile, kind."""

    s: Array
    t: Array
    z: Array
    size_s: Array
    size_t: Array
    upright: NDArray[np.bool_]
    kind: NDArray[np.int64]

    def select(self, index: NDArray) -> GroundCells:
        return GroundCells(**{name: value[index] for name, value in vars(self).items()})

    def quarters(self) -> GroundCells:
        """Every cell cut into four."""
        parts = []
        for i in (-0.25, 0.25):
            for j in (-0.25, 0.25):
                t = np.where(self.upright, self.t, self.t + j * self.size_t)
                z = np.where(self.upright, self.z + j * self.size_t, self.z)
                parts.append(
                    GroundCells(
                        self.s + i * self.size_s,
                        t,
                        z,
                        self.size_s / 2,
                        self.size_t / 2,
                        self.upright,
                        self.kind,
                    )
                )
        return _joined(parts)


def _joined(parts: list[GroundCells]) -> GroundCells:
    return GroundCells(**{name: np.concatenate([vars(p)[name] for p in parts]) for name in vars(parts[0])})


def road_surfels(route: Route, plan: RoadPlan, shadows: ShadowMap, *, detail: float) -> Surfels:
    """Carriageway, gutters, kerbs and footways; finer at edges of paint and of cast shadows."""
    cells = _profile_cells(route, plan, detail)
    position, _, _ = _place(route, cells)
    # Cells at least as large as a hand are cut where colour or shadow changes inside them.
    for limit, reach, contrast in ((0.13, 9.0, 0.16), (0.075, 3.6, 0.30)):
        large = (np.minimum(cells.size_s, cells.size_t) > limit / detail) & (np.abs(cells.t) < reach) & ~cells.upright
        split = np.zeros(len(cells.s), bool)
        split[large] = _varies(route, plan, shadows, cells.select(large), contrast)
        cells = _joined([cells.select(~split), cells.select(split).quarters()])
    position, u, v = _place(route, cells)
    owned = route.owns(cells.s, cells.t, position[:, :2])
    cells, position, u, v = cells.select(owned), position[owned], u[owned], v[owned]
    scale = np.stack(
        [cells.size_s * FILL * _stretch(route, cells), cells.size_t * FILL, np.full(len(position), THIN_M)], axis=1
    )
    scale[:, 2] = np.minimum(THIN_M, 0.3 * scale[:, :2].min(axis=1))
    openness = np.where(cells.upright, 0.6, np.where(cells.kind == GUTTER, 0.85, 1.0))
    return surfels(position, u, v, scale, paint(plan, cells.s, cells.t, cells.kind), openness=openness)


def grit_surfels(route: Route, plan: RoadPlan, rng: np.random.Generator, *, detail: float) -> Surfels:
    """Chips and stains of a few centimetres, scattered along the drive: what the eye takes as sharpness from near."""
    s0, s1 = -6.0, route.drive_length_m + 12.0
    n = int(GRIT_PER_M2 * detail * detail * (s1 - s0) * 2 * PAVEMENT_EDGE_M)
    t = rng.uniform(-PAVEMENT_EDGE_M, PAVEMENT_EDGE_M, n)
    on_road = np.abs(t) < HALF_ROAD_M
    cells = GroundCells(
        s=rng.uniform(s0, s1, n),
        t=t,
        z=np.where(on_road, 0.0, KERB_HEIGHT_M) + 0.012,
        size_s=rng.uniform(0.02, 0.065, n),
        size_t=rng.uniform(0.015, 0.035, n),
        upright=np.zeros(n, bool),
        kind=np.where(on_road, ASPHALT, PAVING),
    )
    kerb = (np.abs(t) > HALF_ROAD_M - 0.35) & (np.abs(t) < HALF_ROAD_M + KERB_M + 0.02)
    position, u, v = _place(route, cells)
    keep = route.owns(cells.s, t, position[:, :2]) & ~kerb
    tone = np.where(rng.random(n) < 0.55, rng.uniform(0.30, 0.65, n), rng.uniform(1.4, 2.3, n))
    scale = np.column_stack([0.6 * cells.size_s, 0.6 * cells.size_t, np.full(n, 0.003)])
    albedo = paint(plan, cells.s, t, cells.kind) * tone[:, None]
    return surfels(position, u, v, scale, albedo, opacity=0.93).select(keep)


def _stretch(route: Route, cells: GroundCells) -> Array:
    """Metres on the ground per metre of s: more than 1 on the outer side of bends."""
    ahead, behind = route.at(cells.s + 0.25, cells.t), route.at(cells.s - 0.25, cells.t)
    return np.clip(np.linalg.norm(ahead[:, :2] - behind[:, :2], axis=1) / 0.5, 0.3, 4.0)


def _profile_cells(route: Route, plan: RoadPlan, detail: float) -> GroundCells:
    """The strips of the cross profile, mirrored to both sides, cut along the road."""
    near = (-18.0, route.drive_length_m + 22.0)
    spans = [(route.start_m, near[0], 2.2), (near[0], near[1], 1.0), (near[1], route.end_m, 2.2)]
    zebra = (plan.zebra_s - STOP_LINE_M - 0.5, plan.zebra_s + STOP_LINE_M + 0.5)
    parts = []
    for low, high, coarser in spans:
        for s0, s1 in ((low, min(high, zebra[0])), (max(low, zebra[1]), high)):
            if s1 > s0:
                parts += _carriageway(s0, s1, coarser / detail)
        parts += _footways(low, high, coarser / detail)
    fine = 0.085 / detail
    parts.append(_strip(zebra[0], zebra[1], -3.45, 3.45, cell=(fine, fine), kind=ZEBRA))
    for side in (-1, 1):
        parts.append(_strip(zebra[0], zebra[1], side * 3.45, side * 3.75, cell=(0.3, 0.1), kind=GUTTER))
    return _joined(parts)


def _carriageway(s0: float, s1: float, coarser: float) -> list[GroundCells]:
    wide = 0.17 * coarser
    parts = [_dashes(s0, s1, coarser)]
    strips = [
        (0.06, 0.14, 0.08, wide, ASPHALT),
        (0.14, 3.45, wide, wide, ASPHALT),
        (3.45, 3.75, 0.1, 0.3, GUTTER),
    ]
    for side in (-1, 1):
        for t0, t1, cell_t, cell_s, kind in strips:
            parts.append(_strip(s0, s1, side * t0, side * t1, cell=(cell_s, cell_t), kind=kind))
    return parts


def _dashes(s0: float, s1: float, coarser: float) -> GroundCells:
    """The middle strip: cells shorter than a tenth of the dash so that its ends are square."""
    return _strip(s0, s1, -0.06, 0.06, cell=(0.15 * coarser, 0.06), kind=LINE)


def _footways(s0: float, s1: float, coarser: float) -> list[GroundCells]:
    parts = []
    for side in (-1, 1):
        parts.append(
            _strip(s0, s1, side * HALF_ROAD_M, side * HALF_ROAD_M, cell=(0.42 * coarser, 0.04), kind=KERB, rise=True)
        )
        top = (side * HALF_ROAD_M, side * (HALF_ROAD_M + KERB_M))
        parts.append(_strip(s0, s1, *top, cell=(0.36 * coarser, 0.05), kind=KERB, z=KERB_HEIGHT_M))
        t0 = HALF_ROAD_M + KERB_M
        rows = round((PAVEMENT_EDGE_M - t0) / SLAB_M)
        width = (PAVEMENT_EDGE_M - t0) / rows
        for row in range(rows):
            a = t0 + row * width
            wide = SLAB_M / 3 * coarser
            along_joint = (side * a, side * (a + JOINT_M))
            parts.append(_strip(s0, s1, *along_joint, cell=(wide, JOINT_M), kind=JOINT, z=KERB_HEIGHT_M))
            parts.append(_slabs(s0, s1, side * (a + JOINT_M), side * (a + width), row=row, coarser=coarser))
    return parts


def _slabs(s0: float, s1: float, t0: float, t1: float, *, row: int, coarser: float) -> GroundCells:
    """One row of paving slabs: each a narrow joint and cells with a fine rim; rows are offset by half a slab."""
    sizes = np.array([JOINT_M, *_slab_cells(SLAB_M - JOINT_M, coarser)])
    centres = np.cumsum(sizes) - sizes / 2
    kinds = np.array([JOINT, *np.full(len(sizes) - 1, PAVING)])
    widths = _slab_cells(abs(t1 - t0), coarser)
    slab = np.arange(np.floor(s0 / SLAB_M) - 1, np.ceil(s1 / SLAB_M) + 1) - 0.5 * (row % 2)
    across = np.cumsum(widths) - widths / 2
    i, j, k = (a.ravel() for a in np.meshgrid(slab, np.arange(len(sizes)), np.arange(len(widths)), indexing="ij"))
    s = i * SLAB_M + centres[j]
    n = len(s)
    cells = GroundCells(
        s=s,
        t=t0 + np.sign(t1 - t0) * across[k],
        z=np.full(n, KERB_HEIGHT_M),
        size_s=sizes[j],
        size_t=widths[k],
        upright=np.zeros(n, bool),
        kind=kinds[j],
    )
    return cells.select((s > s0) & (s < s1))


def _slab_cells(width: float, coarser: float) -> Array:
    """Widths of the cells across a slab: a fine rim, unless it is far away, which keeps the joints crisp."""
    if coarser > 1.5:
        return np.full(2, width / 2)
    inner = max(1, round(2 / coarser))
    return np.array([SLAB_RIM_M, *np.full(inner, (width - 2 * SLAB_RIM_M) / inner), SLAB_RIM_M])


def _strip(
    s0: float,
    s1: float,
    t0: float,
    t1: float,
    *,
    cell: tuple[float, float],
    kind: int,
    z: float = 0.0,
    rise: bool = False,
) -> GroundCells:
    """A strip s0..s1 x t0..t1 in cells (along, across); `rise` is the kerb's face instead: from 0 to KERB_HEIGHT_M."""
    across = KERB_HEIGHT_M if rise else abs(t1 - t0)
    n_s, n_t = max(1, round((s1 - s0) / cell[0])), max(1, int(np.ceil(across / cell[1] - 1e-6)))
    s, k = np.meshgrid(s0 + (np.arange(n_s) + 0.5) * (s1 - s0) / n_s, np.arange(n_t), indexing="ij")
    fraction = (k.ravel() + 0.5) / n_t
    n = n_s * n_t
    stagger = (0.25 - 0.5 * (k.ravel() % 2)) * (s1 - s0) / n_s * (n_t > 2)
    return GroundCells(
        s=s.ravel() + stagger,
        t=np.full(n, t0) if rise else t0 + fraction * (t1 - t0),
        z=fraction * KERB_HEIGHT_M if rise else np.full(n, z),
        size_s=np.full(n, (s1 - s0) / n_s),
        size_t=np.full(n, across / n_t),
        upright=np.full(n, rise),
        kind=np.full(n, kind),
    )


def ground_height(t: NDArray) -> Array:
    """Height [N] of the carriageway and the footways above the route at offset t [N]."""
    return _camber(t) + np.where(np.abs(t) < HALF_ROAD_M, 0.0, KERB_HEIGHT_M)


def _camber(t: NDArray) -> Array:
    """The middle of the road is highest: water runs to the gutters. 0 in the middle of a lane."""
    return 0.018 * (LANE_CENTRE_M - np.minimum(np.abs(t), HALF_ROAD_M))


def _place(route: Route, cells: GroundCells) -> tuple[Array, Array, Array]:
    """Positions [N, 3] and tangents along and across, so that their cross product is the outward normal."""
    position = route.at(cells.s, cells.t)
    position[:, 2] += cells.z + _camber(cells.t)
    left = route.left(cells.s)
    along = np.stack([left[:, 1], -left[:, 0], np.zeros(len(left))], axis=1)
    across = np.stack([left[:, 0], left[:, 1], np.zeros(len(left))], axis=1)
    up = np.broadcast_to([0.0, 0.0, 1.0], along.shape)
    facing_right = (cells.upright & (cells.t > 0))[:, None]
    u = np.where(facing_right, along, np.where(cells.upright[:, None], -along, along))
    return position, u, np.where(cells.upright[:, None], up, across)


def _varies(route: Route, plan: RoadPlan, shadows: ShadowMap, cells: GroundCells, contrast: float) -> NDArray[np.bool_]:
    """Whether paint or sunlight changes between the quarters of a cell."""
    quarters = cells.quarters()
    position, u, v = _place(route, quarters)
    lit = shadows.lit(position, np.cross(u, v)).reshape(4, -1)
    paint_of = paint(plan, quarters.s, quarters.t, quarters.kind, grain=False).mean(axis=1).reshape(4, -1)
    changes = np.ptp(lit, axis=0) > contrast
    return changes | (np.ptp(paint_of, axis=0) > 0.2 * paint_of.mean(axis=0))
