"""Where things grow: trees in the footways, hedges in front of and between houses, trees behind them and far away."""

from __future__ import annotations

import numpy as np

from r3d2_ros.geometry import Array
from r3d2_ros.street.facades import door_x
from r3d2_ros.street.layout import HALF_ROAD_M, KERB_HEIGHT_M, PAVEMENT_EDGE_M, inside_any, is_clear
from r3d2_ros.street.lots import Lot
from r3d2_ros.street.plants import hedge, tree
from r3d2_ros.street.road_paint import RoadPlan
from r3d2_ros.street.route import Route
from r3d2_ros.street.styles import Style
from r3d2_ros.street.surfels import Surfels, join

PIT_M = HALF_ROAD_M + 0.9
"""Offset of the street trees from the centre line."""
HALF_GATE_M = 0.8
"""Half the opening in a hedge before a door."""
SHORTEST_HEDGE_M = 0.6


def greenery_surfels(
    route: Route, plan: RoadPlan, lots: list[Lot], styles: list[Style], standing: Array, rng: np.random.Generator
) -> Surfels:
    """Everything that grows along a route. standing [N, 2]: where things stand that no tree may touch."""
    return join(
        [
            *_street_trees(route, plan, standing, rng),
            *_garden_hedges(route, lots, styles, rng),
            *_gap_hedges(route, lots, rng),
            *_trees_behind(route, lots, rng),
            *_end_groves(route, rng),
        ]
    )


def _street_trees(route: Route, plan: RoadPlan, standing: Array, rng: np.random.Generator) -> list[Surfels]:
    """Young trees in pits beside the kerb, now and then one missing, none at the crossing or against a lamp post."""
    parts = []
    for side in (1, -1):
        for s in np.arange(route.start_m + 8, route.end_m - 4, 15.0) + (4.0 if side > 0 else 0.0):
            spot = np.array([s + rng.uniform(-2.5, 2.5)])
            if rng.random() < 0.22 or abs(spot[0] - plan.zebra_s) < 7.0:
                continue
            base = route.at(spot, np.array([side * PIT_M]))
            if not route.owns(spot, np.array([PIT_M]), base[:, :2])[0]:
                continue
            if not is_clear(base[0, :2], standing):
                continue
            leaves = 2300 if -25.0 < s < route.drive_length_m + 35.0 else 900
            size = {"height_m": float(rng.uniform(5.5, 8.0)), "crown_m": float(rng.uniform(1.6, 2.15))}
            parts.append(tree(rng, base[0] + np.array([0, 0, 0.1]), leaves=leaves, **size))
    return parts


def _garden_hedges(route: Route, lots: list[Lot], styles: list[Style], rng: np.random.Generator) -> list[Surfels]:
    """Hedges before houses that stand back, open at the door; none before shops."""
    parts = []
    for lot, style in zip(lots, styles, strict=True):
        if lot.setback_m < 1.5 or style.shop:
            continue
        line = lot.origin + np.linspace(0, 1, 9)[:, None] * lot.width_m * lot.rotation[:, 0]
        line += (0.45 - lot.setback_m) * lot.rotation[:, 1] - np.array([0, 0, 0.05])
        if np.min(np.abs(route.locate(line[:, :2])[1])) < PAVEMENT_EDGE_M + 0.25:
            continue
        door = door_x(style, lot.width_m)
        for x0, x1 in ((0.0, door - HALF_GATE_M), (door + HALF_GATE_M, lot.width_m)):
            if x1 - x0 > SHORTEST_HEDGE_M:
                start, end = (line[0] + x * lot.rotation[:, 0] for x in (x0, x1))
                parts.append(hedge(rng, start, end, height_m=1.0, width_m=0.55))
    return parts


def _gap_hedges(route: Route, lots: list[Lot], rng: np.random.Generator) -> list[Surfels]:
    """Tall hedges along the footway wherever there is neither a house nor its front garden."""
    plots = np.array([lot.plot for lot in lots]).reshape(-1, 4, 2)
    parts = []
    for side in (1, -1):
        s = np.arange(route.start_m, route.end_m, 1.0)
        line = route.at(s, np.full(len(s), side * (PAVEMENT_EDGE_M + 0.4)))
        line[:, 2] += KERB_HEIGHT_M - 0.06
        free = ~inside_any(line[:, :2], plots, margin_m=0.0)
        free &= np.abs(route.locate(line[:, :2])[1]) > PAVEMENT_EDGE_M + 0.3
        for k in np.flatnonzero(free[:-1] & free[1:]):
            if np.linalg.norm(line[k + 1] - line[k]) > 0.2:
                parts.append(hedge(rng, line[k], line[k + 1], height_m=1.55, width_m=0.6))
    return parts


def _trees_behind(route: Route, lots: list[Lot], rng: np.random.Generator) -> list[Surfels]:
    """Garden trees behind the houses and, more coarsely, trees in the fields."""
    houses = np.array([lot.corners.mean(axis=0) for lot in lots]).reshape(-1, 2)
    parts = []
    for near, far, step, leaves in ((13.0, 24.0, 9.0, 480), (24.0, 60.0, 8.0, 140), (60.0, 150.0, 9.0, 90)):
        for s in np.arange(route.start_m - far / 2, route.end_m + far / 2, step):
            for side in (1, -1):
                base = _anywhere(route, s, side * rng.uniform(near, far))
                room = np.min(np.linalg.norm(houses - base[:2], axis=1), initial=np.inf) > 11.0
                if abs(route.locate(base[None, :2])[1][0]) > 11.5 and room:
                    size = float(rng.uniform(7.0, 12.0))
                    parts.append(tree(rng, base, height_m=size, crown_m=0.36 * size, leaves=leaves))
    return parts


def _end_groves(route: Route, rng: np.random.Generator) -> list[Surfels]:
    """Groves that close the view along the road at both ends."""
    parts = []
    for s, sign in ((route.start_m, -1), (route.end_m, 1)):
        for k in range(18):
            base = _anywhere(route, s + sign * rng.uniform(6.0, 22.0), (k - 8.5) * 4.0 + rng.uniform(-1.5, 1.5))
            if abs(route.locate(base[None, :2])[1][0]) < 5.5:
                continue
            size = float(rng.uniform(8.0, 13.0))
            parts.append(tree(rng, base, height_m=size, crown_m=0.36 * size, leaves=400))
    return parts


def _anywhere(route: Route, s: float, t: float) -> Array:
    """The point [3] at (s, t); the road is continued straight beyond its ends."""
    inner = float(np.clip(s, route.start_m, route.end_m))
    point = route.at(np.array([inner]), np.array([t]))[0]
    left = route.left(np.array([inner]))[0]
    point[:2] += (s - inner) * np.array([left[1], -left[0]])
    return point
