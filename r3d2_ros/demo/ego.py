"""How the ego goes along its lane: a scripted speed, or a recorded drive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.lines import Line
from r3d2_ros.polylines import thinned
from r3d2_ros.replay.ego_path import EgoPath

RATE_HZ = 10.0
START_NS = 10_000_000_000
"""Message time of a scripted drive begins here: zero would mean `no stamp` to many ROS programs."""

CRUISE_MPS, SLOW_MPS = 8.0, 4.0
ACCELERATION_MPS2, BRAKING_MPS2 = 2.0, 3.0
SLOW_FROM_M, SLOW_UNTIL_M = -20.0, -6.0
"""The ego goes slowly between these places, given from the crossing."""


@dataclass(frozen=True, eq=False)
class EgoMotion:
    """Ticks of the ego: stamps, poses in the map and the distance along its lane at any time of the drive.

    `s_of` takes seconds from the first stamp; before and after the drive the ego keeps its speed.
    """

    stamps_ns: tuple[int, ...]
    poses: tuple[Rigid, ...]
    s_of: Callable[[float], float]

    @property
    def duration_s(self) -> float:
        return (self.stamps_ns[-1] - self.stamps_ns[0]) * 1e-9

    def seconds(self, tick: int) -> float:
        return (self.stamps_ns[tick] - self.stamps_ns[0]) * 1e-9

    def time_at(self, s_m: float) -> float | None:
        """Seconds until the ego first is at `s_m` of its lane; None when it does not get there."""
        times = np.arange(0.0, self.duration_s + 0.05, 0.05)
        reached = np.flatnonzero(np.array([self.s_of(float(t)) for t in times]) >= s_m)
        return float(times[reached[0]]) if len(reached) else None


def scripted_motion(lane: Line, *, start_m: float, crossing_m: float, ticks: int) -> EgoMotion:
    """Along `lane` from `start_m`: cruising, slower before the crossing at `crossing_m`, cruising again."""
    step_s = 0.01
    s, v = [start_m], CRUISE_MPS
    for _ in range(int(np.ceil(ticks / RATE_HZ / step_s)) + 1):
        slow = SLOW_FROM_M <= s[-1] - crossing_m <= SLOW_UNTIL_M
        change = np.clip((SLOW_MPS if slow else CRUISE_MPS) - v, -BRAKING_MPS2 * step_s, ACCELERATION_MPS2 * step_s)
        v += float(change)
        s.append(s[-1] + v * step_s)
    s_of = _going_on(step_s * np.arange(len(s), dtype=np.float64), np.array(s))
    stamps_ns = tuple(START_NS + round(k * 1e9 / RATE_HZ) for k in range(ticks))
    poses = tuple(lane.pose(s_of(k / RATE_HZ)) for k in range(ticks))
    return EgoMotion(stamps_ns, poses, s_of)


def recorded_motion(path: EgoPath, lane: Line) -> EgoMotion:
    """The recorded poses as they are; `lane` is the line of the street that was built along them."""
    times = (path.stamps_ns - path.stamps_ns[0]) * 1e-9
    kept = thinned(path.positions, 1.0)
    index = [int(np.argmax(np.all(path.positions == point, axis=1))) for point in kept]
    if index[-1] != len(path) - 1:
        index.append(len(path) - 1)
        kept = path.positions[index]
    driven = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(kept[:, :2], axis=0), axis=1))])
    # The lane is a smoothed copy of the path, a little shorter.
    s = driven * (lane.length_m / driven[-1])
    return EgoMotion(tuple(int(stamp) for stamp in path.stamps_ns), path.poses, _going_on(times[index], s))


def _going_on(times: Array, s: Array) -> Callable[[float], float]:
    """Distance by time, with the first and the last speed outside `times`."""
    first = (s[1] - s[0]) / max(times[1] - times[0], 1e-3)
    last = (s[-1] - s[-2]) / max(times[-1] - times[-2], 1e-3)

    def s_of(t: float) -> float:
        if t < times[0]:
            return float(s[0] + (t - times[0]) * first)
        if t > times[-1]:
            return float(s[-1] + (t - times[-1]) * last)
        return float(np.interp(t, times, s))

    return s_of
