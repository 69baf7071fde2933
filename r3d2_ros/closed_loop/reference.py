"""The path that the ego is meant to drive, with the time at which it is meant to be where."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from r3d2_ros.closed_loop.vehicle import Vehicle, VehicleState
from r3d2_ros.geometry import Array, Rigid, rotation_from_rpy
from r3d2_ros.lines import Line

CURVE_M = 1.0
"""Curvature and slope are taken over this length to either side."""


@dataclass(frozen=True, eq=False)
class Reference:
    """`line` begins at the ego's start; at `times_s` [K] (from 0, increasing) base_link is meant to be at `s_m` [K].

    Before and after these times it goes on with the first and the last speed.
    """

    line: Line
    times_s: Array
    s_m: Array

    @classmethod
    def at_speed(cls, line: Line, speed_mps: float) -> Reference:
        """Along the whole line at one speed; a speed of 0 stands at its beginning."""
        seconds = line.length_m / speed_mps if speed_mps > 0 else 1.0
        return cls(line, np.array([0.0, seconds]), np.array([0.0, line.length_m if speed_mps > 0 else 0.0]))

    @property
    def length_m(self) -> float:
        return self.line.length_m

    def s_at(self, t_s: float) -> float:
        """Distance along the line at a time."""
        if t_s < self.times_s[0]:
            return float(self.s_m[0] + self._speed(0) * (t_s - self.times_s[0]))
        if t_s > self.times_s[-1]:
            return float(self.s_m[-1] + self._speed(len(self.s_m) - 2) * (t_s - self.times_s[-1]))
        return float(np.interp(t_s, self.times_s, self.s_m))

    def speed_at(self, t_s: float) -> float:
        """Speed at a time: that of the stretch which begins there."""
        k = int(np.searchsorted(self.times_s, t_s, side="right")) - 1
        return self._speed(min(max(k, 0), len(self.times_s) - 2))

    def _speed(self, k: int) -> float:
        return float((self.s_m[k + 1] - self.s_m[k]) / (self.times_s[k + 1] - self.times_s[k]))

    def time_at(self, s_m: float) -> float | None:
        """The first time at which base_link is at `s_m`; None when the reference never gets there."""
        if s_m < self.s_m[0]:
            speed = self._speed(0)
            return float(self.times_s[0] + (s_m - self.s_m[0]) / speed) if speed > 0 else None
        reached = np.flatnonzero(self.s_m >= s_m)
        if len(reached):
            k = int(reached[0])
            if k == 0:
                return float(self.times_s[0])
            return float(self.times_s[k - 1] + (s_m - self.s_m[k - 1]) / self._speed(k - 1))
        speed = self._speed(len(self.s_m) - 2)
        return float(self.times_s[-1] + (s_m - self.s_m[-1]) / speed) if speed > 0 else None

    def state_at(self, t_s: float, vehicle: Vehicle) -> VehicleState:
        """The vehicle on the reference at a time, its wheels turned for the curve."""
        s = self.s_at(t_s)
        point = self.line.at(s)
        return VehicleState(
            x_m=float(point[0]),
            y_m=float(point[1]),
            yaw_rad=self.line.heading_rad(s),
            speed_mps=self.speed_at(t_s),
            steer_rad=vehicle.steer_for_curvature(self.curvature_1pm(s)),
        )

    def curvature_1pm(self, s_m: float) -> float:
        """Curvature of the line, positive to the left."""
        turn = self.line.heading_rad(s_m + CURVE_M) - self.line.heading_rad(s_m - CURVE_M)
        return math.remainder(turn, math.tau) / (2 * CURVE_M)

    def locate(self, x_m: float, y_m: float, *, near_m: float | None = None) -> tuple[float, float]:
        """(distance along the line, distance to its left) of a point. near_m: as of `Line.project`."""
        s = self.line.project((x_m, y_m), near_m=near_m)
        point, heading = self.line.at(s), self.line.heading_rad(s)
        dx, dy = x_m - float(point[0]), y_m - float(point[1])
        return s, math.copysign(math.hypot(dx, dy), math.cos(heading) * dy - math.sin(heading) * dx)

    def pose(self, state: VehicleState, *, near_m: float | None = None) -> Rigid:
        """base_link in the map: on the height of the line beside it, and sloped as the line is there.

        near_m  as of `Line.project`
        """
        s = self.line.project((state.x_m, state.y_m), near_m=near_m)
        z = float(self.line.at(s)[2])
        rise = float(self.line.at(s + CURVE_M)[2] - self.line.at(s - CURVE_M)[2])
        pitch = -math.atan2(rise, 2 * CURVE_M) * math.cos(state.yaw_rad - self.line.heading_rad(s))
        if pitch == 0.0:
            return Rigid.from_xyz_yaw(state.x_m, state.y_m, z, state.yaw_rad)
        return Rigid(rotation_from_rpy(0.0, pitch, state.yaw_rad), np.array([state.x_m, state.y_m, z]))
