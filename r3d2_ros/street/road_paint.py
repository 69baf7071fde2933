"""What is on the road's surface: worn asphalt with repairs, cracks and covers, paint, gutters, kerbs, paving."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.geometry import Array
from r3d2_ros.street.layout import HALF_ROAD_M, KERB_M, SLAB_M
from r3d2_ros.street.noise import fractal, hash01, smoothstep
from r3d2_ros.street.route import LANE_OFFSET_M as LANE_CENTRE_M
from r3d2_ros.street.route import RUN_OUT_M, Route

ASPHALT, LINE, GUTTER, KERB, PAVING, JOINT, ZEBRA = range(7)

ZEBRA_HALF_M = 1.6
STOP_LINE_M = 2.9
LINE_PAINT = np.array([0.62, 0.62, 0.59])
ASPHALT_GREY = np.array([0.105, 0.105, 0.108])
GUTTER_GREY = np.array([0.165, 0.16, 0.152])
KERB_GREY = np.array([0.34, 0.335, 0.32])
SLAB_GREY = np.array([0.27, 0.26, 0.24])


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


def paint(plan: RoadPlan, s: Array, t: Array, kind: NDArray, *, grain: bool = True) -> Array:
    """Linear albedo [N, 3] of the road at (s, t)."""
    out = np.empty((len(s), 3))
    painters = {
        ASPHALT: _asphalt,
        LINE: _centre_line,
        GUTTER: _gutter,
        KERB: _kerb,
        PAVING: _paving,
        JOINT: _joint,
        ZEBRA: _zebra,
    }
    for value, painter in painters.items():
        here = kind == value
        out[here] = painter(plan, s[here], t[here])
    if grain:
        speck = hash01(np.floor(s * 40), np.floor(t * 40), plan.seed + 5)
        out *= (1.0 + 0.17 * (speck - 0.5))[:, None]
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
    return KERB_GREY * (0.84 + 0.32 * stone)[:, None]


def _paving(plan: RoadPlan, s: Array, t: Array) -> Array:
    row = np.floor((np.abs(t) - HALF_ROAD_M - KERB_M) / 0.7125)
    column = np.floor(s / SLAB_M + 0.5 * (row % 2))
    slab = hash01(column * 2 + np.sign(t), row, plan.seed + 6)
    stain = fractal(s / 3, t / 2, octaves=4, seed=plan.seed + 7)
    tone = (0.86 + 0.26 * slab) * (1.0 + 0.36 * (stain - 0.5))
    warm = 1.0 + (hash01(column, row + 31 * np.sign(t), plan.seed + 8) - 0.5)[:, None] * [0.06, 0.0, -0.08]
    return SLAB_GREY * tone[:, None] * warm


def _joint(plan: RoadPlan, s: Array, t: Array) -> Array:
    return 0.52 * _paving(plan, s, t)
