"""Pure pursuit along a path at one speed, blind for everything else."""

from __future__ import annotations

import math

import numpy as np

from r3d2_ros.closed_loop.vehicle import Actuation
from r3d2_ros.geometry import Array
from r3d2_ros.lines import Line

LOOK_AHEAD_S, MIN_LOOK_AHEAD_M = 1.0, 4.0
GAIN_PER_S = 1.0


class PathFollower:
    """path [M, 3] in the map, followed from call to call. Source of the steering: Coulter, CMU-RI-TR-92-01 (1992)."""

    def __init__(self, path: Array, *, speed_mps: float, wheelbase_m: float) -> None:
        self._line, self._speed_mps, self._wheelbase_m = Line(path), speed_mps, wheelbase_m
        self._s_m: float | None = None

    def actuation(self, x_m: float, y_m: float, yaw_rad: float, speed_mps: float) -> Actuation:
        ahead_m = max(MIN_LOOK_AHEAD_M, LOOK_AHEAD_S * speed_mps)
        self._s_m = self._line.project((x_m, y_m), near_m=self._s_m)
        goal = self._line.at(self._s_m + ahead_m)
        dx, dy = float(goal[0]) - x_m, float(goal[1]) - y_m
        left = math.cos(yaw_rad) * dy - math.sin(yaw_rad) * dx
        steer = math.atan(2 * self._wheelbase_m * left / (dx * dx + dy * dy))
        return Actuation(GAIN_PER_S * (self._speed_mps - speed_mps), steer)

    def plan(self, x_m: float, y_m: float, *, steps: int, step_s: float) -> tuple[Array, Array]:
        """Where it means to be after each step: points [steps, 2] and headings [steps]."""
        s = self._line.project((x_m, y_m), near_m=self._s_m) + self._speed_mps * step_s * np.arange(1, steps + 1)
        xy = np.array([self._line.at(float(v))[:2] for v in s])
        return xy, np.array([self._line.heading_rad(float(v)) for v in s])
