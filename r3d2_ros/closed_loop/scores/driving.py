"""How the ego drove: progress, comfort, and how far it was from what was captured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from r3d2_ros.closed_loop.scores.data import RunData
from r3d2_ros.closed_loop.scores.track import ACCELERATION, SPEED, YAW, X, Y


def progress(data: RunData) -> float:
    """Share of the reference path that lies behind base_link at the end, 0 to 1."""
    s = data.reference.s_at(0.0)
    for x, y in data.ego[:, [X, Y]]:
        s, _ = data.reference.locate(float(x), float(y), near_m=s)
    return min(max(s / data.reference.length_m, 0.0), 1.0)


@dataclass(frozen=True)
class Comfort:
    """Largest values while the stack drove; zero when it never did.

    jerk_mps3 leaves out the tick in which the vehicle comes to a stop, where the acceleration ends at once.
    """

    deceleration_mps2: float
    acceleration_mps2: float
    jerk_mps3: float
    lateral_mps2: float
    yaw_rate_radps: float


def comfort(data: RunData) -> Comfort:
    ego, dt = data.ego, data.tick_s
    both = data.driven[1:] & data.driven[:-1]
    if not both.any():
        return Comfort(0.0, 0.0, 0.0, 0.0, 0.0)
    stops = (ego[1:, SPEED] == 0.0) & (ego[:-1, SPEED] > 0.0)
    a = ego[data.driven, ACCELERATION]
    jerk = np.abs(np.diff(ego[:, ACCELERATION]))[both & ~stops] / dt
    yaw_rate = np.abs(np.angle(np.exp(1j * np.diff(ego[:, YAW]))))[both] / dt
    lateral = yaw_rate * ego[1:, SPEED][both]
    return Comfort(
        deceleration_mps2=float(max(0.0, -a.min())),
        acceleration_mps2=float(max(0.0, a.max())),
        jerk_mps3=float(jerk.max(initial=0.0)),
        lateral_mps2=float(lateral.max()),
        yaw_rate_radps=float(yaw_rate.max()),
    )


@dataclass(frozen=True)
class OffPath:
    """Frame sets further from the capture path than the limits. share: None when the scene has no capture path."""

    share: float | None
    max_m: float | None
    max_deg: float | None


def off_path(data: RunData, validity: dict[str, Any]) -> OffPath:
    """`validity`: the scenario's limits off_path_m and off_path_deg."""
    frames = [frame for frame in data.log.of("frame") if frame["phase"] != "startup"][: len(data.frames)]
    known = [(f["off_path_m"], f["off_path_deg"]) for f in frames if f["off_path_m"] is not None]
    if not known:
        return OffPath(None, None, None)
    beyond = [m > validity["off_path_m"] or deg > validity["off_path_deg"] for m, deg in known]
    return OffPath(sum(beyond) / len(known), max(m for m, _ in known), max(deg for _, deg in known))


def finite_or_none(value: float, digits: int = 6) -> float | None:
    """For JSON, which has no infinity."""
    return round(value, digits) if math.isfinite(value) else None
