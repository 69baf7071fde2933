"""Straight on at the speed that it was handed over with: what a run looks like when nobody brakes."""

from __future__ import annotations

from r3d2_ros.closed_loop.vehicle import Actuation

GAIN_PER_S = 2.0


class ConstantVelocity:
    """Keeps the highest speed seen, wheels straight."""

    def __init__(self) -> None:
        self._speed_mps = 0.0

    def actuation(self, speed_mps: float) -> Actuation:
        self._speed_mps = max(self._speed_mps, speed_mps)
        return Actuation(GAIN_PER_S * (self._speed_mps - speed_mps), 0.0)
