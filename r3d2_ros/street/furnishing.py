"""Where lamp posts, signs, bollards, bins and benches stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from r3d2_ros.geometry import Array
from r3d2_ros.street import furniture
from r3d2_ros.street.layout import HALF_ROAD_M, KERB_HEIGHT_M, PAVEMENT_EDGE_M, is_clear
from r3d2_ros.street.lighting import linear
from r3d2_ros.street.road_paint import RoadPlan
from r3d2_ros.street.route import Route
from r3d2_ros.street.surfels import Surfels, join

SIDES = (-1, 1)
"""Right and left of the driving direction."""
NOWHERE = np.zeros((0, 2))
BEFORE_A_DOOR_M = 1.5
"""A bench is at least so far from a doorstep."""

Wanted = tuple[Surfels, float, float]
"""A thing and its place (s, t)."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A thing in its side's frame (`furniture`), where it stands along the route, and that place [2] in its frame."""

    thing: Surfels
    s: float
    t: float
    place: Array


def furnish(route: Route, plan: RoadPlan, doorsteps: Array) -> list[Piece]:
    """What stands along both footways, chosen in order of importance: what is nearer than CLEAR_M to something that
    stands already is left out, and so is a bench before one of the doorsteps [H, 2]."""
    pieces: list[Piece] = []
    for thing, s, t in [*_signs(route, plan), *_lamps(route), *_bollards(plan), *_bins(route)]:
        _place(route, pieces, thing, s, t)
    for thing, s, t in _benches(route):
        _place(route, pieces, thing, s, t, doorsteps)
    return pieces


def places(pieces: list[Piece]) -> Array:
    """Where they stand [N, 2]."""
    return np.array([piece.place for piece in pieces]).reshape(-1, 2)


def furniture_surfels(route: Route, pieces: list[Piece]) -> Surfels:
    """All pieces, in the frame of the route."""
    return join([_beside(route, piece) for piece in pieces])


def _place(
    route: Route, pieces: list[Piece], thing: Surfels, s: float, t: float, doorsteps: Array = NOWHERE
) -> None:
    """Add a thing, unless another piece of the road passes there or the place is taken."""
    place = route.at(np.array([s]), np.array([t]))[0, :2]
    if not _off_the_road(route, place) or not is_clear(place, places(pieces)):
        return
    if is_clear(place, doorsteps, BEFORE_A_DOOR_M):
        pieces.append(Piece(thing, s, t, place))


def _signs(route: Route, plan: RoadPlan) -> Iterator[Wanted]:
    """Each before its place in the direction of travel of its side; on a road with two lanes, each is true for its."""
    white, red, blue = linear((0.9, 0.9, 0.88)), linear((0.72, 0.10, 0.12)), linear((0.10, 0.27, 0.58))
    limit = furniture.round_sign(white, red, linear((0.08, 0.08, 0.08)), radius_m=0.3)
    no_stop = furniture.round_sign(blue, red, cross=True)
    for side in SIDES:
        yield furniture.crossing_sign(), plan.zebra_s + side * 2.2, side * (HALF_ROAD_M + 0.4)
    for sign, s, side in (
        (limit, 14.0, -1),
        (no_stop, 52.0, -1),
        (no_stop, 70.0, 1),
        (limit, 0.8 * route.drive_length_m, 1),
    ):
        if s < route.end_m:
            yield sign, s, side * (HALF_ROAD_M + 0.42)


def _lamps(route: Route) -> Iterator[Wanted]:
    for _, s, side in _lamp_posts(route):
        yield furniture.lamp_post(), s, side * (HALF_ROAD_M + 0.45)


def _bollards(plan: RoadPlan) -> Iterator[Wanted]:
    """Four on either hand of the crossing, on both sides."""
    for side in SIDES:
        for k in range(4):
            for end in (-1, 1):
                s = plan.zebra_s + end * (2.3 + 1.5 * k)
                yield furniture.bollard(), s - 0.2 * side, side * (HALF_ROAD_M + 0.32)


def _bins(route: Route) -> Iterator[Wanted]:
    for _, s, side in _lamp_posts(route):
        yield furniture.litter_bin(), s + 1.2, side * (HALF_ROAD_M + 0.5)


def _benches(route: Route) -> Iterator[Wanted]:
    for k, s, side in _lamp_posts(route):
        if k % 2 == 0:
            yield furniture.bench(), s + 9.0, side * (PAVEMENT_EDGE_M - 0.5)


def _lamp_posts(route: Route) -> Iterator[tuple[int, float, int]]:
    """Number, place along the route and side of each lamp post: by turns right and left."""
    for k, s in enumerate(np.arange(route.start_m + 6, route.end_m, 28.0)):
        yield k, float(s), 1 if k % 2 else -1


def _off_the_road(route: Route, place: Array) -> bool:
    """False where another piece of the road passes."""
    return bool(abs(route.locate(place[None])[1][0]) > HALF_ROAD_M + 0.2)


def _beside(route: Route, piece: Piece) -> Surfels:
    """A thing in its side's frame (x against that side's traffic, y away from the road), put where it stands."""
    left = route.left(np.array([piece.s]))[0]
    sign = 1.0 if piece.t > 0 else -1.0
    against = sign * np.array([left[1], -left[0], 0.0])
    away = sign * np.array([left[0], left[1], 0.0])
    base = route.at(np.array([piece.s]), np.array([piece.t]))[0] + [0, 0, KERB_HEIGHT_M - 0.04]
    return piece.thing.moved(np.stack([against, away, [0, 0, 1.0]], axis=1), base)
