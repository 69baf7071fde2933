"""Where lamp posts, signs, bollards, bins and benches stand."""

from __future__ import annotations

import numpy as np

from r3d2_ros.street import furniture
from r3d2_ros.street.layout import HALF_ROAD_M, KERB_HEIGHT_M, PAVEMENT_EDGE_M
from r3d2_ros.street.lighting import linear
from r3d2_ros.street.road_paint import RoadPlan
from r3d2_ros.street.route import Route
from r3d2_ros.street.surfels import Surfels, join


def furniture_surfels(route: Route, plan: RoadPlan) -> Surfels:
    """Lamp posts, signs, bollards, bins and benches along both footways."""
    white, red, blue = linear((0.9, 0.9, 0.88)), linear((0.72, 0.10, 0.12)), linear((0.10, 0.27, 0.58))
    limit = furniture.round_sign(white, red, linear((0.08, 0.08, 0.08)), radius_m=0.3)
    no_entry = furniture.round_sign(red, red, white)
    no_stop = furniture.round_sign(blue, red, cross=True)
    places: list[tuple[Surfels, float, float]] = []
    for k, s in enumerate(np.arange(route.start_m + 6, route.end_m, 28.0)):
        side = 1 if k % 2 else -1
        places.append((furniture.lamp_post(), s, side * (HALF_ROAD_M + 0.45)))
        places.append((furniture.litter_bin(), s + 1.2, side * (HALF_ROAD_M + 0.5)))
        if k % 2 == 0:
            places.append((furniture.bench(), s + 9.0, side * (PAVEMENT_EDGE_M - 0.5)))
    for side in (-1, 1):
        before = -side  # Signs stand before the crossing in the direction of travel of their side.
        places.append((furniture.crossing_sign(), plan.zebra_s + side * 2.2, side * (HALF_ROAD_M + 0.4)))
        for k in range(4):
            for end in (-1, 1):
                s = plan.zebra_s + end * (2.3 + 1.5 * k)
                places.append((furniture.bollard(), s + 0.2 * before, side * (HALF_ROAD_M + 0.32)))
    for sign, s, side in (
        (limit, 14.0, -1),
        (no_stop, 52.0, -1),
        (no_entry, 70.0, 1),
        (limit, 0.8 * route.drive_length_m, 1),
    ):
        if s < route.end_m:
            places.append((sign, s, side * (HALF_ROAD_M + 0.42)))
    standing = [(thing, s, t) for thing, s, t in places if _off_the_road(route, s, t)]
    return join([_beside(route, thing, s, t) for thing, s, t in standing])


def _off_the_road(route: Route, s: float, t: float) -> bool:
    """False where another piece of the road passes."""
    place = route.at(np.array([s]), np.array([t]))[:, :2]
    return bool(abs(route.locate(place)[1][0]) > HALF_ROAD_M + 0.2)


def _beside(route: Route, thing: Surfels, s: float, t: float) -> Surfels:
    """A thing in its side's frame (x against that side's traffic, y away from the road), put at (s, t)."""
    left = route.left(np.array([s]))[0]
    sign = 1.0 if t > 0 else -1.0
    against = sign * np.array([left[1], -left[0], 0.0])
    away = sign * np.array([left[0], left[1], 0.0])
    base = route.at(np.array([s]), np.array([t]))[0] + [0, 0, KERB_HEIGHT_M - 0.04]
    return thing.moved(np.stack([against, away, [0, 0, 1.0]], axis=1), base)
