"""Ground: carriageway with markings, gutters, kerbs, paved footways, and the land beyond the houses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.geometry import Array
from r3d2_ros.street.lighting import ShadowMap
from r3d2_ros.street.meshes import FILL, THIN_M
from r3d2_ros.street.noise import fractal, hash01, smoothstep
from r3d2_ros.street.route import LANE_OFFSET_M as LANE_CENTRE_M
from r3d2_ros.street.route import RUN_OUT_M, Route
from r3d2_ros.street.surfels import Surfels, surfels

HALF_ROAD_M = 3.75
KERB_M = 0.15
KERB_HEIGHT_M = 0.12
PAVEMENT_EDGE_M = 6.75
ZEBRA_HALF_M = 1.6
STOP_LINE_M = 2.9
SLAB_M = 0.75
JOINT_M = 0.03
ASPHALT, LINE, GUTTER, KERB, PAVING, JOINT, ZEBRA = range(7)

LINE_PAINT = np.array([0.62, 0.62, 0.59])
ASPHALT_GREY = np.array([0.105, 0.105, 0.108])
GUTTER_GREY = np.array([0.165, 0.16, 0.152])
KERB_GREY = np.array([0.34, 0.335, 0.32])
SLAB_GREY = np.array([0.27, 0.26, 0.24])


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


@dataclass(frozen=True)
class RoadPlan:
    """Where things lie on the road: the zebra crossing, repaired asphalt, covers (all in s, t)."""

    zebra_s: float
    repairs: Array
    covers: Array
    seed: int


def plan_road(route: Route, rng: np.random.Generator, seed: int) -> RoadPlan:
    """Choose the road's details."""
    length = route.drive_length_m
    count = max(3, int((length + 2 * RUN_OUT_M) / 16))
    s0 = rng.uniform(route.start_m, route.end_m, count)
    t0 = rng.uniform(-3.2, 2.2, count)
    repairs = np.stack([s0, s0 + rng.uniform(1.2, 7.0, count), t0, t0 + rng.uniform(0.6, 1.8, count)], axis=1)
    covers_s = np.arange(route.start_m + 9.0, route.end_m, 27.0) + rng.uniform(-4, 4)
    covers = np.stack([covers_s, np.where(hash01(np.arange(len(covers_s)), 3, seed) < 0.5, 1.6, -2.1)], axis=1)
    return RoadPlan(_zebra_place(route), repairs, covers, seed)


def _zebra_place(route: Route) -> float:
    """A straight place between 30 and 75 % of the drive, so that the crossing lies square to the road."""
    candidates = np.linspace(0.30, 0.75, 24) * route.drive_length_m
    bend = []
    for s in candidates:
        sides = route.left(np.array([s - 6.0, s, s + 6.0]))
        bend.append(2.0 - sides[0] @ sides[1] - sides[1] @ sides[2])
    wanted = np.abs(candidates / max(route.drive_length_m, 1.0) - 0.5)
    return float(candidates[int(np.argmin(np.array(bend) * 50 + wanted))])


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
    scale = np.stack([cells.size_s * FILL, cells.size_t * FILL, np.full(len(position), THIN_M)], axis=1)
    scale[:, 2] = np.minimum(THIN_M, 0.3 * scale[:, :2].min(axis=1))
    openness = np.where(cells.upright, 0.6, np.where(cells.kind == GUTTER, 0.85, 1.0))
    return surfels(position, u, v, scale, paint(plan, cells.s, cells.t, cells.kind), openness=openness)


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
        parts.append(_strip(s0, s1, side * HALF_ROAD_M, side * HALF_ROAD_M, cell=(0.3, 0.06), kind=KERB, rise=True))
        top = (side * HALF_ROAD_M, side * (HALF_ROAD_M + KERB_M))
        parts.append(_strip(s0, s1, *top, cell=(0.25 * coarser, 0.075), kind=KERB, z=KERB_HEIGHT_M))
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
    """One row of paving slabs: each a narrow joint and three columns of cells; rows are offset by half a slab."""
    columns = max(1, round(3 / coarser))
    width = (SLAB_M - JOINT_M) / columns
    centres = np.array([JOINT_M / 2, *(JOINT_M + (np.arange(columns) + 0.5) * width)])
    sizes = np.array([JOINT_M, *np.full(columns, width)])
    kinds = np.array([JOINT, *np.full(columns, PAVING)])
    slab = np.arange(np.floor(s0 / SLAB_M) - 1, np.ceil(s1 / SLAB_M) + 1) - 0.5 * (row % 2)
    across = max(1, round(3 / coarser))
    i, j, k = (a.ravel() for a in np.meshgrid(slab, np.arange(columns + 1), np.arange(across), indexing="ij"))
    s = i * SLAB_M + centres[j]
    n = len(s)
    cells = GroundCells(
        s=s,
        t=t0 + (k + 0.5) / across * (t1 - t0),
        z=np.full(n, KERB_HEIGHT_M),
        size_s=sizes[j],
        size_t=np.full(n, abs(t1 - t0) / across),
        upright=np.zeros(n, bool),
        kind=kinds[j],
    )
    return cells.select((s > s0) & (s < s1))


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


def _place(route: Route, cells: GroundCells) -> tuple[Array, Array, Array]:
    """Positions [N, 3] and tangents along and across, so that their cross product is the outward normal."""
    position = route.at(cells.s, cells.t)
    # The camber sheds water to the gutters.
    camber = np.where(np.abs(cells.t) < HALF_ROAD_M, -0.018 * np.abs(cells.t), -0.018 * HALF_ROAD_M)
    position[:, 2] += cells.z + camber + 0.018 * LANE_CENTRE_M
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


def paint(plan: RoadPlan, s: Array, t: Array, kind: NDArray, *, grain: bool = True) -> Array:
    """Linear albedo [N, 3] of the road at (s, t)."""
    out = np.empty((len(s), 3))
    painters = {
        ASPHALT: _asphalt, LINE: _centre_line, GUTTER: _gutter, KERB: _kerb, PAVING: _paving, JOINT: _joint, ZEBRA: _zebra
    }  # fmt: skip
    for value, painter in painters.items():
        here = kind == value
        out[here] = painter(plan, s[here], t[here])
    if grain:
        speck = hash01(np.floor(s * 40), np.floor(t * 40), plan.seed + 5)
        out *= (1.0 + 0.11 * (speck - 0.5))[:, None]
    return out


def _asphalt(plan: RoadPlan, s: Array, t: Array) -> Array:
    tone = 1.0 + 0.30 * (fractal(s / 7, t / 4, octaves=4, seed=plan.seed) - 0.5)
    tone += 0.16 * (fractal(s / 9, t * 1.9, octaves=3, seed=plan.seed + 1) - 0.5)
    lane = np.abs(np.abs(t) - LANE_CENTRE_M)
    tone += 0.07 * np.exp(-(((lane - 0.75) / 0.28) ** 2)) - 0.08 * np.exp(-((lane / 0.22) ** 2))
    fresh = np.zeros(len(s))
    for s0, s1, t0, t1 in plan.repairs:
        inside = (s > s0) & (s < s1) & (t > t0) & (t < t1)
        fresh = np.where(inside, 0.20 + 0.12 * hash01(int(s0), 1, plan.seed), fresh)
    tone *= 1.0 - fresh
    crack = np.abs(fractal(s / 5.0, t / 2.2, octaves=4, seed=plan.seed + 9) - 0.5)
    worn = fractal(s / 23, t / 11, octaves=2, seed=plan.seed + 10)
    tone *= np.where((crack < 0.0035) & (worn > 0.55) & (fresh == 0), 0.55, 1.0)
    colour = tone[:, None] * ASPHALT_GREY
    for cover_s, cover_t in plan.covers:
        r = np.hypot(s - cover_s, t - cover_t)
        colour = np.where((r < 0.36)[:, None], [0.055, 0.053, 0.05], colour)
        colour = np.where(((r > 0.30) & (r < 0.36))[:, None], [0.13, 0.125, 0.12], colour)
    return colour


def _worn_paint(plan: RoadPlan, s: Array, t: Array) -> Array:
    wear = smoothstep(0.60, 0.85, fractal(s * 1.7, t * 6, octaves=3, seed=plan.seed + 2))
    tone = 0.86 + 0.2 * fractal(s / 3, t * 2, octaves=2, seed=plan.seed + 3)
    return (LINE_PAINT * tone[:, None]) * (1 - 0.6 * wear[:, None]) + 0.6 * wear[:, None] * ASPHALT_GREY


def _centre_line(plan: RoadPlan, s: Array, t: Array) -> Array:
    dash = (s % 7.5) < 3.0
    return np.where(dash[:, None], _worn_paint(plan, s, t), _asphalt(plan, s, t))


def _zebra(plan: RoadPlan, s: Array, t: Array) -> Array:
    along = s - plan.zebra_s
    bars = (np.abs(along) < ZEBRA_HALF_M) & ((t + 3.25) % 1.0 < 0.5) & (np.abs(t) < 3.3)
    # Each lane's stop line lies before the crossing in its own direction of travel (right-hand traffic).
    before = np.where(t < 0, -along, along)
    stop = (before > STOP_LINE_M - 0.35) & (before < STOP_LINE_M) & (np.abs(t) > 0.1) & (np.abs(t) < 3.4)
    return np.where((bars | stop)[:, None], _worn_paint(plan, s, t), _asphalt(plan, s, t))


def _gutter(plan: RoadPlan, s: Array, t: Array) -> Array:
    stone = hash01(np.floor(s / 0.3), np.floor(np.abs(t) / 0.1), plan.seed)
    drain = ((s % 26.0) < 0.5) & (np.abs(t) > 3.45)
    tone = 0.78 + 0.44 * stone
    return np.where(drain[:, None], [0.04, 0.04, 0.04], GUTTER_GREY * tone[:, None])


def _kerb(plan: RoadPlan, s: Array, t: Array) -> Array:
    stone = hash01(np.floor(s / 1.0), np.sign(t), plan.seed + 4)
    return KERB_GREY * (0.9 + 0.2 * stone)[:, None]


def _paving(plan: RoadPlan, s: Array, t: Array) -> Array:
    row = np.floor((np.abs(t) - HALF_ROAD_M - KERB_M) / 0.7125)
    column = np.floor(s / SLAB_M + 0.5 * (row % 2))
    slab = hash01(column * 2 + np.sign(t), row, plan.seed + 6)
    stain = fractal(s / 3, t / 2, octaves=4, seed=plan.seed + 7)
    tone = (0.89 + 0.20 * slab) * (1.0 + 0.36 * (stain - 0.5))
    warm = 1.0 + (hash01(column, row + 31 * np.sign(t), plan.seed + 8) - 0.5)[:, None] * [0.06, 0.0, -0.08]
    return SLAB_GREY * tone[:, None] * warm


def _joint(plan: RoadPlan, s: Array, t: Array) -> Array:
    return 0.62 * _paving(plan, s, t)


def land_surfels(route: Route, *, seed: int, keep_out: NDArray[np.float64]) -> Surfels:
    """Grass and yards from the footway's edge to beyond sight, in cells that grow with the distance to the road.

    keep_out [H, 4, 2]: house footprints (corners in order), where nothing needs to be.
    """
    reach = 190.0
    low, high = route.points[:, :2].min(axis=0) - reach, route.points[:, :2].max(axis=0) + reach
    size = 12.0
    counts = np.ceil((high - low) / size).astype(int)
    i, j = np.meshgrid(np.arange(counts[0]), np.arange(counts[1]), indexing="ij")
    xy = low + (np.stack([i.ravel(), j.ravel()], axis=1) + 0.5) * size
    done: list[tuple[Array, Array]] = []
    while len(xy):
        distance = np.abs(route.locate(xy)[1])
        wanted = np.clip(0.055 * (distance - size * 0.7), 0.42, 12.0)
        split = size > wanted * 1.5
        done.append((xy[~split], np.full(int((~split).sum()), size)))
        offsets = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * size / 4
        xy = (xy[split][:, None, :] + offsets).reshape(-1, 2)
        size /= 2
    xy, sizes = np.concatenate([d[0] for d in done]), np.concatenate([d[1] for d in done])
    _, t, z = route.locate(xy)
    outside = np.abs(t) > PAVEMENT_EDGE_M - 0.05
    outside &= ~_inside_any(xy, keep_out)
    xy, sizes, t, z = xy[outside], sizes[outside], np.abs(t[outside]), z[outside]
    lawn = fractal(xy[:, 0] / 5, xy[:, 1] / 5, octaves=4, seed=seed + 40)
    field = fractal(xy[:, 0] / 60, xy[:, 1] / 60, octaves=3, seed=seed + 41)
    blade = hash01(np.floor(xy[:, 0] * 9), np.floor(xy[:, 1] * 9), seed)
    green = np.array([0.115, 0.155, 0.055]) * (0.75 + 0.5 * lawn)[:, None] * (0.85 + 0.3 * blade)[:, None]
    dry = np.array([0.21, 0.19, 0.10])
    mix = (0.75 * smoothstep(0.45, 0.75, field))[:, None]
    position = np.column_stack([xy, z + KERB_HEIGHT_M - 0.06])
    scale = np.column_stack([0.62 * sizes, 0.62 * sizes, np.full(len(sizes), 0.02)])
    return surfels(position, [1.0, 0, 0], [0, 1.0, 0], scale, green * (1 - mix) + dry * mix)


def underlay_surfels(route: Route, *, depth_m: float = 0.75, cell_m: float = 0.6) -> Surfels:
    """A coarse layer under the road: rays that pass between road surfels end here instead of in the sky."""
    half = PAVEMENT_EDGE_M + 1.0
    parts = [_strip(route.start_m, route.end_m, -half, half, cell=(cell_m, cell_m), kind=ASPHALT)]
    cells = _joined(parts)
    position = route.at(cells.s, cells.t) - [0, 0, depth_m]
    owned = route.owns(cells.s, cells.t, position[:, :2])
    grey = np.where((np.abs(cells.t) < HALF_ROAD_M)[:, None], ASPHALT_GREY, SLAB_GREY)
    scale = [0.62 * cell_m, 0.62 * cell_m, 0.02]
    return surfels(position[owned], [1.0, 0, 0], [0, 1.0, 0], np.array(scale), grey[owned])


def _inside_any(xy: Array, polygons: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether points lie inside any convex counter-clockwise polygon [H, 4, 2]."""
    inside = np.zeros(len(xy), bool)
    for corners in polygons:
        edge = np.roll(corners, -1, axis=0) - corners
        near = np.flatnonzero(np.linalg.norm(xy - corners.mean(axis=0), axis=1) < 25.0)
        gap = xy[near][:, None, :] - corners
        inside[near] |= np.all(edge[:, 0] * gap[:, :, 1] - edge[:, 1] * gap[:, :, 0] > 0.3, axis=1)
    return inside
