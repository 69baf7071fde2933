"""Random changes of a scenario: the same seed draws the same ones, whatever else the scenario says.

Draw order of `numpy.random.default_rng(seed)`: the ego, then the actors in the order of the file; for each, four
numbers for longitudinal, lateral, yaw and speed, drawn also where the scenario has no use for them, so that one jitter
that is changed leaves the others as they were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from r3d2_ros.closed_loop.scenario import Jitter


@dataclass(frozen=True)
class Drawn:
    """What is added: along and to the left of the heading, to the heading, and to the speed."""

    longitudinal_m: float = 0.0
    lateral_m: float = 0.0
    yaw_rad: float = 0.0
    speed_mps: float = 0.0


def draw(rng: np.random.Generator, jitter: Jitter) -> Drawn:
    """The next draw."""
    unit = rng.uniform(-1.0, 1.0, 4) if jitter.uniform else rng.normal(0.0, 1.0, 4)
    reach = (jitter.longitudinal_m, jitter.lateral_m, math.radians(jitter.yaw_deg), jitter.speed_mps)
    return Drawn(*(float(u) * r for u, r in zip(unit, reach, strict=True)))
