"""The street's axis: a reference line, places given by distance along it and offset to the left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Array
from r3d2_ros.street.layout import WALK_M
from r3d2_ros.street.options import PATH

LANE_OFFSET_M = 1.75
STEP_M = 0.5
JITTER_M = 0.05
RUN_OUT_M = 60.0
"""The road goes on this far, straight, beyond both ends of the drive."""
MIN_LINE_M = 0.1
"""Lines beside the drive are at least this long: a map keeps millimetres."""


@dataclass(frozen=True, eq=False)
class Route:
    """Centre line of the road, extended beyond both ends; s grows along the drive, t to the left.

    points [M, 3] every STEP_M; s [M] starts at -RUN_OUT_M; drive [K, 3] is the ego's own line,
    from s = 0 to s = drive_length_m.
    """

    points: Array
    s: Array
    normal: Array
    drive: Array
    drive_length_m: float
    tree: cKDTree

    @property
    def start_m(self) -> float:
        return float(self.s[0])

    @property
    def end_m(self) -> float:
        return float(self.s[-1])

    def at(self, s: ArrayLike, t: ArrayLike) -> Array:
        """Points [N, 3] on the road's height at distance s and offset t."""
        s = np.asarray(s, np.float64)
        base = np.stack([np.interp(s, self.s, self.points[:, i]) for i in range(3)], axis=-1)
        base[..., :2] += np.asarray(t, np.float64)[..., None] * self.left(s)
        return base

    def beside_drive(self, t_m: float) -> Array:
        """Points [K, 3] every STEP_M along the drive at the offset `t_m`."""
        s = np.arange(0.0, self.drive_length_m, STEP_M)
        return self.at(s, np.full(len(s), t_m))

    def left(self, s: ArrayLike) -> Array:
        """Unit vectors [N, 2] to the left of the driving direction."""
        s = np.asarray(s, np.float64)
        n = np.stack([np.interp(s, self.s, self.normal[:, i]) for i in range(2)], axis=-1)
        return n / np.linalg.norm(n, axis=-1, keepdims=True)

    def locate(self, xy: NDArray) -> tuple[Array, Array, Array]:
        """(s, t, z) [N] of the nearest place of the centre line; |t| is the distance to the line."""
        xy = np.asarray(xy, np.float64)
        _, nearest = self.tree.query(xy)
        nearest = np.clip(nearest, 1, len(self.s) - 2)
        best_s, best_t, best_d = self._project(xy, nearest - 1)
        s, t, d = self._project(xy, nearest)
        better = d < best_d
        best_s, best_t = np.where(better, s, best_s), np.where(better, t, best_t)
        return best_s, best_t, np.interp(best_s, self.s, self.points[:, 2])

    def _project(self, xy: Array, segment: NDArray) -> tuple[Array, Array, Array]:
        a, b = self.points[segment, :2], self.points[segment + 1, :2]
        ab = b - a
        fraction = np.clip(((xy - a) * ab).sum(axis=1) / (ab * ab).sum(axis=1), 0, 1)
        gap = xy - (a + fraction[:, None] * ab)
        distance = np.linalg.norm(gap, axis=1)
        side = np.sign(ab[:, 0] * gap[:, 1] - ab[:, 1] * gap[:, 0])
        s = self.s[segment] + fraction * (self.s[segment + 1] - self.s[segment])
        return s, distance * side, distance

    def owns(self, s: NDArray, t: NDArray, xy: NDArray) -> NDArray[np.bool_]:
        """Whether the place (s, t) is not nearer to another piece of the road: no folds, no doubles."""
        s_near, _, _ = self.locate(xy)
        return np.abs(s_near - s) < 0.6 + 0.12 * np.abs(t)


def make_route(path: Array) -> Route:
    """The route whose right lane is `path` [K, 3] (positions of base_link).

    InputError for a drive that has no street: one too short, or one that turns too tightly as a whole.
    """
    drive = _resampled(path, 0.25)
    if len(drive) > 8:
        drive = np.concatenate([drive[:1], gaussian_filter1d(drive, 2.0, axis=0, mode="nearest")[1:-1], drive[-1:]])
    drive = _resampled(drive, STEP_M)
    first, last = _heading(drive[: min(5, len(drive))]), _heading(drive[-min(5, len(drive)) :])
    steps = np.arange(STEP_M, RUN_OUT_M + STEP_M / 2, STEP_M)[:, None]
    flat_first, flat_last = np.append(first, 0.0), np.append(last, 0.0)
    line = np.concatenate([drive[:1] - steps[::-1] * flat_first, drive, drive[-1:] + steps * flat_last])
    centre = _shifted_left(line, LANE_OFFSET_M)
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(centre[:, :2], axis=0), axis=1))])
    # A drive may come back to where it began: look for its first point near the beginning, its last near the end.
    start = _nearest_s(centre, s, drive[0], s < RUN_OUT_M + 10.0)
    stop = _nearest_s(centre, s, drive[-1], s > s[-1] - RUN_OUT_M - 10.0)
    tangent = np.gradient(centre[:, :2], axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    route = Route(centre, s - start, normal, drive, stop - start, cKDTree(centre[:, :2]))
    if not _has_room(route):
        steps = np.diff(drive[:, :2], axis=0)
        length_m = np.linalg.norm(steps, axis=1).sum()
        turn_deg = np.degrees(np.ptp(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))))
        raise InputError(
            PATH,
            "a drive of at least 1 m with room for an oncoming lane beside it: on the whole, no turn tighter than one "
            "of 4 m radius",
            f"one of {length_m:.2f} m that turns by {turn_deg:.0f} degrees",
            "Give a longer or straighter part of it",
        )
    return route


def _has_room(route: Route) -> bool:
    """Whether the oncoming lane leads along the drive, and the lines for people on foot lead anywhere."""
    middle, oncoming, *walks = (route.beside_drive(t)[:, :2] for t in (0.0, LANE_OFFSET_M, -WALK_M, WALK_M))
    if len(middle) < 2:
        return False
    along = np.diff(middle, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)  # where it turns back, it may stand
    advance_m = (np.diff(oncoming, axis=0) * along).sum()  # below zero where it folds over more than it leads on
    return bool(advance_m >= MIN_LINE_M and all(np.ptp(walk, axis=0).max() >= MIN_LINE_M for walk in walks))


def _nearest_s(line: Array, s: Array, point: Array, allowed: NDArray[np.bool_]) -> float:
    """Where along a line [M, 3] with distances s [M] a point [3] lies, near one of the allowed vertices."""
    gap = np.where(allowed, np.linalg.norm(line[:, :2] - point[:2], axis=1), np.inf)
    k = int(np.clip(np.argmin(gap), 1, len(line) - 2))
    along = (line[k + 1, :2] - line[k - 1, :2]) / np.linalg.norm(line[k + 1, :2] - line[k - 1, :2])
    return float(s[k] + (point[:2] - line[k, :2]) @ along)


def _heading(points: Array) -> Array:
    direction = points[-1, :2] - points[0, :2]
    return direction / np.linalg.norm(direction)


def _resampled(points: Array, step_m: float) -> Array:
    """Equal steps along the plane; standing still and jitter of up to JITTER_M vanish."""
    keep = [0]
    for i in range(1, len(points)):
        if np.linalg.norm(points[i, :2] - points[keep[-1], :2]) > JITTER_M:
            keep.append(i)
    kept = points[keep] if len(keep) > 1 else points[[0, -1]]
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(kept[:, :2], axis=0), axis=1))])
    samples = np.linspace(0.0, s[-1], max(2, round(s[-1] / step_m) + 1))
    return np.stack([np.interp(samples, s, kept[:, i]) for i in range(3)], axis=1)


def _shifted_left(line: Array, offset_m: float) -> Array:
    """A parallel line; loops of the inner side of tight turns are cut off and rounded."""
    tangent = np.gradient(line[:, :2], axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    shifted = line.copy()
    shifted[:, 0] -= offset_m * tangent[:, 1]
    shifted[:, 1] += offset_m * tangent[:, 0]
    distance, nearest = cKDTree(line[:, :2]).query(shifted[:, :2])
    folded = (distance < offset_m - 0.08) & (np.abs(nearest - np.arange(len(line))) < 80)
    shifted = _resampled(shifted[~folded], STEP_M)
    return _resampled(gaussian_filter1d(shifted, 1.5, axis=0, mode="nearest"), STEP_M)
