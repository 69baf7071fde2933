"""Polylines by distance: where something that follows a line is after so many metres, and which way it looks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from r3d2_ros.geometry import Array, Rigid

AXLE_BASE_M = 2.0
"""Headings are taken over this length, so that corners of the polyline do not turn a vehicle at once."""

EXTENSION_M = 60.0
"""Streets go on about this far beyond the lines that are driven."""

NEAR_M = 20.0
"""Who follows a line is no further along it than this, and twice the way since, from where it was last."""

REJOINED_M = 5.0
"""Who has left a line, as by turning early, is where another part of it is so much nearer."""

ROUNDING_M = 1e-6
SAME_PLACE_M = 1e-6


def distinct(points: ArrayLike) -> Array:
    """The points of a polyline [M, 3] that are not, seen from above, where the one before them is.

    ValueError for fewer than two: such a line leads nowhere.
    """
    points = np.asarray(points, np.float64)
    steps = np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1)
    keep = np.concatenate([[True], steps > SAME_PLACE_M])
    if np.count_nonzero(keep) < 2:
        raise ValueError("at least two different points, seen from above")
    return points[keep]


class Line:
    """A polyline [M, 3] in the map; it goes on straight and level beyond both ends. ValueError as of `distinct`."""

    def __init__(self, points: ArrayLike) -> None:
        self.points = distinct(points)
        self._steps = np.diff(self.points[:, :2], axis=0)
        self.s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(self._steps, axis=1))])
        self._squares, self._spans = np.einsum("ij,ij->i", self._steps, self._steps), np.diff(self.s)
        # Parts of each step that are the line's: all of it, and EXTENSION_M beyond both ends.
        self._low, self._high = np.zeros(len(self._steps)), np.ones(len(self._steps))
        self._low[0] -= EXTENSION_M / self._spans[0]
        self._high[-1] += EXTENSION_M / self._spans[-1]

    @property
    def length_m(self) -> float:
        return float(self.s[-1])

    def at(self, s_m: float) -> Array:
        """Point [3] at the distance `s_m` from the first one."""
        point = np.array([np.interp(s_m, self.s, self.points[:, i]) for i in range(3)])
        if s_m < 0:
            point[:2] += s_m * self._direction(0, 1)
        elif s_m > self.length_m:
            point[:2] += (s_m - self.length_m) * self._direction(-2, -1)
        return point

    def _direction(self, first: int, last: int) -> Array:
        step = self.points[last, :2] - self.points[first, :2]
        return step / np.linalg.norm(step)

    def heading_rad(self, s_m: float) -> float:
        back, front = self.at(s_m - AXLE_BASE_M / 2), self.at(s_m + AXLE_BASE_M / 2)
        return float(np.arctan2(front[1] - back[1], front[0] - back[0]))

    def pose(self, s_m: float) -> Rigid:
        """Pose at `s_m`: x along the line, z up."""
        x, y, z = (float(v) for v in self.at(s_m))
        return Rigid.from_xyz_yaw(x, y, z, self.heading_rad(s_m))

    def project(self, point: ArrayLike, *, near_m: float | None = None) -> float:
        """Distance along the line of its place nearest to `point` (x, y, ...), up to EXTENSION_M beyond its ends.

        near_m  where the one who follows the line was last: of the places of a line that comes back to where it was,
                one near there is meant, unless it is REJOINED_M further away than another
        """
        xy = np.asarray(point, np.float64)[:2]
        anywhere, least_m = self._nearest(xy, -np.inf, np.inf)
        if near_m is None:
            return anywhere
        near_m = min(max(near_m, -EXTENSION_M), self.length_m + EXTENSION_M)
        reach_m = NEAR_M + 2 * float(np.linalg.norm(xy - self.at(near_m)[:2]))
        near, distance_m = self._nearest(xy, near_m - reach_m, near_m + reach_m)
        return near if distance_m <= least_m + REJOINED_M else anywhere

    def _nearest(self, xy: Array, from_m: float, to_m: float) -> tuple[float, float]:
        """Distance along the line of the first nearest place between two others, and how far it is from `xy`."""
        start, low, high = self.points[:-1, :2], self._low, self._high
        if from_m > -np.inf or to_m < np.inf:
            low = np.maximum(low, (from_m - self.s[:-1]) / self._spans)
            high = np.minimum(high, (to_m - self.s[:-1]) / self._spans)
        along = np.clip(np.einsum("ij,ij->i", xy - start, self._steps) / self._squares, low, high)
        distance = np.where(low <= high, np.linalg.norm(start + along[:, None] * self._steps - xy, axis=1), np.inf)
        i = int(np.argmax(distance <= distance.min() + ROUNDING_M))
        return float(self.s[i] + along[i] * (self.s[i + 1] - self.s[i])), float(distance[i])

    def shifted_left(self, offset_m: float) -> Line:
        """The line beside this one; for gentle curves."""
        tangent = np.gradient(self.points[:, :2], axis=0)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        points = self.points.copy()
        points[:, :2] += offset_m * np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
        return Line(points)
