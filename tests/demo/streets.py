"""Lanes of streets that need not be built, and who touches whom on them."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from r3d2_ros.demo.drive import DriveTick
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.street.lanes import Lanes

SIZES = {
    "car_red": (4.3, 2.1, 1.5),
    "car_white": (4.7, 2.1, 1.4),
    "car_blue": (4.7, 2.1, 1.4),
    "van": (5.5, 2.3, 2.4),
    "bus": (12.0, 2.8, 3.1),
    "cyclist": (1.7, 0.6, 1.8),
    "pedestrian": (0.9, 0.6, 1.8),
    "pedestrian_2": (0.7, 0.6, 1.8),
}
EGO_SIZE, EGO_CENTRE_M = (4.7, 1.9), 1.4


def straight_street(*, zebra_m: float = 120.0, length_m: float = 240.0) -> Lanes:
    """Along +x: the ego at y = 0, oncoming traffic at y = 3.5, footways at y = -3.65 and 7.15."""
    s = np.arange(0.0, length_m + 0.5, 0.5)

    def line(y_m: float) -> Array:
        return np.stack([s, np.full_like(s, y_m), np.zeros_like(s)], axis=1)

    crossing = np.array([[zebra_m, -4.0, 0.0], [zebra_m, 7.5, 0.0]])
    return Lanes(line(0.0), line(3.5)[::-1].copy(), crossing, (line(-3.65), line(7.15)))


def curved_street(*, radius_m: float = 60.0) -> Lanes:
    """A left-hand quarter circle around (0, radius), beginning at the origin along +x, far from the map's origin."""
    angle = np.linspace(0.0, np.pi, 400)
    offset = np.array([4.0e5, 4.6e6, 100.0])

    def line(to_the_left_m: float) -> Array:
        r = radius_m - to_the_left_m
        return offset + np.stack([r * np.sin(angle), radius_m - r * np.cos(angle), np.zeros_like(angle)], axis=1)

    right, left = line(-4.0)[200], line(7.5)[200]
    return Lanes(line(0.0), line(3.5)[::-1].copy(), np.stack([right, left]), (line(-3.65), line(7.15)))


def overlaps(tick: DriveTick) -> list[tuple[str, str]]:
    """Pairs whose boxes on the ground touch; the ego is 'ego'."""
    boxes = {"ego": _corners(tick.T_world_ego, EGO_SIZE, EGO_CENTRE_M)}
    boxes |= {actor.id: _corners(actor.T_world_actor, SIZES[actor.asset][:2]) for actor in tick.actors}
    return [(a, b) for a, b in combinations(boxes, 2) if not _separate(boxes[a], boxes[b])]


def _corners(T: Rigid, size: tuple[float, float], centre_m: float = 0.0) -> Array:
    x, y = size[0] / 2, size[1] / 2
    return T.apply([[centre_m + sx * x, sy * y, 0.0] for sx, sy in ((1, 1), (1, -1), (-1, -1), (-1, 1))])[:, :2]


def _separate(a: Array, b: Array) -> bool:
    """Whether some edge has both rectangles on different sides (separating axes)."""
    for box in (a, b):
        for edge in (box[1] - box[0], box[2] - box[1]):
            if (a @ edge).max() < (b @ edge).min() or (b @ edge).max() < (a @ edge).min():
                return True
    return False
