"""Where houses stand: footprints along both sides of the route that leave every part of the road free."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.geometry import Array
from r3d2_ros.street.layout import PAVEMENT_EDGE_M
from r3d2_ros.street.route import Route

DEPTHS_M = (11.0, 8.0, 6.0)


@dataclass(frozen=True, eq=False)
class Lot:
    """A house's place. Its frame: x to the right as seen from the street, y into the house, z up, origin at the
    left front corner on the footway's level.

    s, side     where along the route; +1 left, -1 right of the driving direction
    setback_m   from the footway's edge to the facade
    """

    origin: Array
    rotation: Array
    width_m: float
    depth_m: float
    setback_m: float
    s: float
    side: int

    @property
    def corners(self) -> Array:
        """Footprint [4, 2], counter-clockwise."""
        return self._rectangle(0.0, 0.0)

    @property
    def plot(self) -> Array:
        """Footprint with the front garden and 40 cm on either side [4, 2], counter-clockwise."""
        return self._rectangle(0.4, self.setback_m + 0.6)

    def _rectangle(self, beside_m: float, before_m: float) -> Array:
        x0, x1, y0, y1 = -beside_m, self.width_m + beside_m, -before_m, self.depth_m
        return self.origin[:2] + np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) @ self.rotation[:2, :2].T


def place_lots(route: Route, rng: np.random.Generator) -> list[Lot]:
    """Rows of houses on both sides, with gaps; a row stops where a house would touch a road or another house."""
    lots: list[Lot] = []
    taken = np.zeros((0, 4, 2))
    for side in (1, -1):
        s = route.start_m + 2.0
        while s < route.end_m - 6.0:
            width, gap = (
                float(rng.uniform(7.5, 15.0)),
                float(rng.uniform(3.0, 6.5)) if rng.random() < 0.28 else 0.0,
            )
            setback = float(rng.choice([0.0, 0.0, 0.05, 0.3, 2.4])) if gap or rng.random() < 0.5 else 0.0
            lot = _fitting(route, s, side, width=width, setback=setback, taken=taken)
            if lot is None:
                s += 2.0
                continue
            lots.append(lot)
            taken = np.concatenate([taken, lot.corners[None]])
            far_corner = lot.corners[1] if side > 0 else lot.corners[0]
            s_next, _, _ = route.locate(far_corner[None])
            s = max(s + 2.0, float(s_next[0])) + gap + 0.05
    return lots


def _fitting(
    route: Route, s: float, side: int, *, width: float, setback: float, taken: NDArray[np.float64]
) -> Lot | None:
    for candidate_width in (width, 0.7 * width, 6.5):
        for depth in DEPTHS_M:
            lot = _lot(route, s, side, width=candidate_width, depth=depth, setback=setback)
            if _free(route, lot, taken):
                return lot
    return None


def _lot(route: Route, s: float, side: int, *, width: float, depth: float, setback: float) -> Lot:
    offset = side * (PAVEMENT_EDGE_M + 0.02 + setback)
    start = route.at(np.array([s]), np.array([offset]))[0]
    ahead = route.at(np.linspace(s + 0.5, s + 2.5 * width, 80), np.full(80, offset))
    reach = np.linalg.norm(ahead[:, :2] - start[:2], axis=1)
    beyond = np.flatnonzero(reach >= width)
    end = ahead[beyond[0]] if len(beyond) else ahead[-1]
    direction = (end - start)[:2] / np.linalg.norm((end - start)[:2])
    x_axis = direction * side
    rotation = np.array([[x_axis[0], -x_axis[1], 0], [x_axis[1], x_axis[0], 0], [0, 0, 1.0]])
    origin = start if side > 0 else start + np.append(direction, 0) * width
    origin = np.array([origin[0], origin[1], start[2] + 0.08])
    return Lot(origin, rotation, width, depth, setback, s, side)


def _free(route: Route, lot: Lot, taken: NDArray[np.float64]) -> bool:
    a, b = np.meshgrid(np.linspace(0, 1, 12), np.linspace(0, 1, 10), indexing="ij")
    local = np.stack([a.ravel() * lot.width_m, b.ravel() * lot.depth_m], axis=1)
    points = lot.origin[:2] + local @ lot.rotation[:2, :2].T
    if np.min(np.abs(route.locate(points)[1])) < PAVEMENT_EDGE_M - 0.03:
        return False
    return not any(_overlap(lot.corners, other) for other in taken)


def _overlap(a: Array, b: Array) -> bool:
    """Separating axes of two rectangles, which may touch by 2 cm."""
    if np.linalg.norm(a.mean(axis=0) - b.mean(axis=0)) > 40.0:
        return False
    for corners in (a, b):
        for edge in (corners[1] - corners[0], corners[3] - corners[0]):
            axis = edge / np.linalg.norm(edge)
            pa, pb = a @ axis, b @ axis
            if pa.max() - 0.02 <= pb.min() or pb.max() - 0.02 <= pa.min():
                return False
    return True
