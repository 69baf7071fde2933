"""A road user that follows a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from r3d2_ros.demo.drive import DriveActor
from r3d2_ros.lines import Line
from r3d2_ros.street.route import RUN_OUT_M


@dataclass(frozen=True, eq=False)
class Mover:
    """`s_of` gives the distance along `line` by seconds of the drive."""

    id: str
    asset: str
    line: Line
    s_of: Callable[[float], float]

    def at(self, t: float) -> DriveActor | None:
        """The actor at `t`; None where its line has left the street."""
        s = self.s_of(t)
        if not -RUN_OUT_M <= s <= self.line.length_m + RUN_OUT_M:
            return None
        speed = (self.s_of(t + 0.05) - self.s_of(t - 0.05)) / 0.1
        return DriveActor(self.id, self.asset, self.line.pose(s), speed)
