"""How an actor moves: its place and speed as a function of the time since it started, or of what is ahead of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from r3d2_ros.closed_loop.scenario import IdmFollower
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.lines import Line

SMOOTH_STEP_M = 0.25
SAME_PLACE_M = 1e-6
BETWEEN_M = 1e-3
IDM_EXPONENT = 4
BESIDE_M = 0.2
"""Whoever is this far beside a follower's own width is still ahead of it."""


@dataclass(frozen=True)
class Progress:
    """Where an actor is in its motion. started_s: when it started, None while it waits; s_m along its line."""

    started_s: float | None
    s_m: float
    speed_mps: float


@dataclass(frozen=True)
class Standing:
    """Never moves."""

    T_world_actor: Rigid

    def pose(self, progress: Progress) -> Rigid:
        return self.T_world_actor


@dataclass(frozen=True, eq=False)
class Straight:
    """At constant speed along x of the pose that it has at s = 0."""

    T_world_start: Rigid
    speed_mps: float

    def after(self, seconds: float) -> tuple[float, float]:
        """(s, speed) `seconds` after the start."""
        return self.speed_mps * seconds, self.speed_mps

    def seconds_to(self, s_m: float) -> float:
        """When it is at `s_m`; negative for a place that it comes from."""
        return s_m / self.speed_mps

    def pose(self, progress: Progress) -> Rigid:
        T = self.T_world_start
        return Rigid(T.rotation, T.apply((progress.s_m, 0.0, 0.0)))


@dataclass(frozen=True, eq=False)
class AlongPath:
    """Along `line` to its end: from standstill with `acceleration_mps2` (0: at once) up to `speed_mps`."""

    line: Line
    speed_mps: float
    acceleration_mps2: float

    def after(self, seconds: float) -> tuple[float, float]:
        """(s, speed) `seconds` after the start."""
        if seconds <= 0.0:
            return 0.0, 0.0
        a, v = self.acceleration_mps2, self.speed_mps
        ramp_s = v / a if a > 0 else 0.0
        s = 0.5 * a * seconds**2 if seconds < ramp_s else v * (seconds - ramp_s / 2)
        if s >= self.line.length_m:
            return self.line.length_m, 0.0
        return s, min(a * seconds, v) if a > 0 else v

    def seconds_to(self, s_m: float) -> float:
        """When it is at `s_m`, which lies on the line."""
        a, v = self.acceleration_mps2, self.speed_mps
        if a > 0 and s_m < v**2 / (2 * a):
            return math.sqrt(2 * s_m / a)
        return s_m / v + (v / a / 2 if a > 0 else 0.0)

    def pose(self, progress: Progress) -> Rigid:
        return self.line.pose(progress.s_m)


@dataclass(frozen=True, eq=False)
class Timed:
    """Along `line`: at `times_s` [K] after the start it is at `s_m` [K], in between it goes smoothly and never back."""

    line: Line
    times_s: Array
    s_m: Array

    def after(self, seconds: float) -> tuple[float, float]:
        """(s, speed) `seconds` after the start."""
        if seconds <= self.times_s[0]:
            return float(self.s_m[0]), 0.0
        if seconds >= self.times_s[-1]:
            return float(self.s_m[-1]), 0.0
        return float(self._curve(seconds)), float(self._curve(seconds, 1))

    @cached_property
    def _curve(self) -> PchipInterpolator:
        return PchipInterpolator(self.times_s, self.s_m)

    def pose(self, progress: Progress) -> Rigid:
        return self.line.pose(progress.s_m)


@dataclass(frozen=True, eq=False)
class Following:
    """A follower on `line` from `start_m`, `left_m` beside it, by the intelligent driver model."""

    line: Line
    start_m: float
    left_m: float
    keys: IdmFollower
    half_length_m: float
    half_width_m: float

    def pose(self, progress: Progress) -> Rigid:
        T = self.line.pose(progress.s_m)
        return Rigid(T.rotation, T.apply((0.0, self.left_m, 0.0)))

    def acceleration(self, speed_mps: float, ahead: tuple[float, float] | None) -> float:
        """Acceleration for (gap, speed) of what is ahead. Source: Treiber, Hennecke, Helbing, PRE 62 (2000) 1805."""
        keys = self.keys
        free = 1.0 - (speed_mps / keys.desired_speed_mps) ** IDM_EXPONENT
        if ahead is None:
            return keys.acceleration_mps2 * free
        gap_m, ahead_mps = ahead
        closing = speed_mps * (speed_mps - ahead_mps) / (2 * math.sqrt(keys.acceleration_mps2 * keys.braking_mps2))
        wanted_m = keys.min_gap_m + max(0.0, speed_mps * keys.time_headway_s + closing)
        return keys.acceleration_mps2 * (free - (wanted_m / max(gap_m, 0.01)) ** 2)

    def ahead(self, s_m: float, others: Sequence[tuple[Array, Rigid, float]]) -> tuple[float, float] | None:
        """(gap, speed along the line) of the nearest of `others` (corners [4, 2], pose, speed) ahead on the line."""
        nearest: tuple[float, float] | None = None
        for corners, T, speed in others:
            along = np.array([self._along(corner) for corner in corners])
            if along.max() <= s_m or not self._in_the_way(corners, along):
                continue
            gap = float(along.min()) - s_m - self.half_length_m
            if nearest is None or gap < nearest[0]:
                turn = T.yaw_rad - self.line.heading_rad(float(along.mean()))
                nearest = gap, speed * math.cos(turn)
        return nearest

    def _along(self, point: Array) -> float:
        """Distance along the line, however far beyond its ends: `project` goes EXTENSION_M there."""
        s = self.line.project(point)
        if 0.0 <= s <= self.line.length_m:
            return s
        end_m = 0.0 if s < 0.0 else self.line.length_m
        end, out = self.line.at(end_m)[:2], self.line.at(end_m + math.copysign(1.0, s))[:2]
        return end_m + math.copysign(float((out - end) @ (point - end)), s)

    def _in_the_way(self, corners: Array, along: Array) -> bool:
        beside = []
        for corner, s in zip(corners, along, strict=True):
            heading, point = self.line.heading_rad(float(s)), self.line.at(float(s))
            offset = corner - point[:2]
            beside.append(math.cos(heading) * offset[1] - math.sin(heading) * offset[0] - self.left_m)
        reach = self.half_width_m + BESIDE_M
        return min(beside) <= reach and max(beside) >= -reach


Motion = Standing | Straight | AlongPath | Timed | Following


def smooth_line(points: Array) -> tuple[Line, Array]:
    """A smooth curve through points [M, 3] (cubic spline over the chord lengths), and where on it they are [M].

    A point may be above or at the one before it: there a timed motion waits. ValueError when they are all one place.
    """
    chord = np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1)
    number = np.concatenate([[0], np.cumsum(chord > SAME_PLACE_M)])
    own = points[np.unique(number, return_index=True)[1]]
    if len(own) < 2:
        raise ValueError("at least two different points")
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(own[:, :2], axis=0), axis=1))])
    if len(own) == 2:
        line = Line(own)
        return line, line.s[number]
    between = np.linspace(0.0, s[-1], max(2, math.ceil(s[-1] / SMOOTH_STEP_M) + 1))
    # One that all but coincides with a point would be dropped from the line as the same place, and the count be wrong.
    after = np.searchsorted(s, between).clip(1, len(s) - 1)
    apart = np.minimum(np.abs(between - s[after]), np.abs(between - s[after - 1])) > BETWEEN_M
    fine = np.union1d(between[apart], s)
    line = Line(CubicSpline(s, own, bc_type="natural")(fine))
    return line, line.s[np.searchsorted(fine, s)][number]
