"""An actor of a run at every tick, and the columns of the log's rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from r3d2_ros.boxes import rectangle
from r3d2_ros.geometry import Array

X, Y, Z, YAW, SPEED, ACCELERATION, STEER = range(7)
"""Columns of the ego; those of actors end with the speed."""


@dataclass(frozen=True, eq=False)
class ActorTrack:
    """An actor at every tick: rows [N, 5] of x, y, z, yaw, speed; planned [M, 4] x, y, z, yaw every 0.5 s or None.

    Where it was not there, before it was spawned or after it was deleted, its rows are NaN.

    jumps   ticks at which it appears or is somewhere else because it was put there: its place before says nothing
    edited  whether it was moved or deleted from outside: then `planned` is not what it did
    times_s  first and last time of the path that it follows; outside of them it stands, seen there by nobody
    """

    id: str
    category: str
    size_m: tuple[float, float, float]
    target: bool
    rows: Array
    planned: Array | None
    jumps: frozenset[int] = frozenset()
    edited: bool = False
    times_s: tuple[float, float] | None = None

    def there(self, k: int) -> bool:
        """Whether it is in the world at tick k."""
        return not np.isnan(self.rows[k, X])

    def box(self, k: int) -> Array:
        """Corners [4, 2] on the ground at tick k."""
        x, y, _, yaw, _ = self.rows[k]
        return rectangle(x, y, yaw, length_m=self.size_m[0], width_m=self.size_m[1])
