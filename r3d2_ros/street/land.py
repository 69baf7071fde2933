"""The land beside and under the road: grass to beyond sight, and a coarse layer that closes what is left open."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.geometry import Array
from r3d2_ros.street.layout import HALF_ROAD_M, KERB_HEIGHT_M, PAVEMENT_EDGE_M, inside_any
from r3d2_ros.street.noise import fractal, hash01, smoothstep
from r3d2_ros.street.road_paint import ASPHALT_GREY, SLAB_GREY
from r3d2_ros.street.route import Route
from r3d2_ros.street.surfels import Surfels, surfels


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
    s, t, z = route.locate(xy)
    beyond_ends = (s <= route.start_m) | (s >= route.end_m)
    outside = (np.abs(t) > PAVEMENT_EDGE_M - 0.05) | beyond_ends
    outside &= ~inside_any(xy, keep_out, margin_m=0.3)
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
    places = np.meshgrid(np.arange(route.start_m, route.end_m, cell_m), np.arange(-half, half, cell_m), indexing="ij")
    s, t = (place.ravel() for place in places)
    position = route.at(s, t) - np.array([0, 0, depth_m])
    owned = route.owns(s, t, position[:, :2])
    grey = np.where((np.abs(t) < HALF_ROAD_M)[:, None], ASPHALT_GREY, SLAB_GREY)
    scale = [0.85 * cell_m, 0.85 * cell_m, 0.02]
    return surfels(position[owned], [1.0, 0, 0], [0, 1.0, 0], scale, grey[owned])
