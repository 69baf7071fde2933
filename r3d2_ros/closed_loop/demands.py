"""What a stack can ask of the vehicle, checked at the door: three kinds of demand, each with the stamp it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from r3d2_ros.closed_loop.vehicle import Actuation
from r3d2_ros.geometry import Array
from r3d2_ros.input_checks import MAX_COORDINATE_M

MAX_POINTS = 10_000
MAX_DEMAND = 1e4
"""Accelerations, angles and speeds beyond this are no demand on a vehicle."""

MIN_STEP_NS = 500_000
"""Poses stamped one after the other in a loop are nearer than this; those of a path of 1 kHz never are."""

MAX_AWAY_S = 600.0
"""Trajectories are sampled from now to their end: a stamp of another clock would take all memory."""


@dataclass(frozen=True)
class TwistDemand:
    """Speed along x and yaw rate, as in geometry_msgs/Twist: linear.x and angular.z."""

    speed_mps: float
    yaw_rate_radps: float


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Where base_link is to be at which time: stamps_ns [K] increasing, xy [K, 2] in the map, K >= 2."""

    stamps_ns: tuple[int, ...]
    xy: Array


Demand = Actuation | TwistDemand | Trajectory


@dataclass(frozen=True, eq=False)
class Command:
    """A demand, where it came from, and the stamp of the frame set (or the sim time) that it answers."""

    stamp_ns: int
    demand: Demand
    source: str = "command"


def demand_fault(demand: Demand, now_ns: int) -> str:
    """What is wrong with a demand, or empty. now_ns: the newest time that was published."""
    if isinstance(demand, Trajectory):
        return _trajectory_fault(demand, now_ns)
    values = vars(demand)
    bad = [f"{name} {value:g}" for name, value in values.items() if not abs(value) <= MAX_DEMAND]
    return f"expected finite numbers of at most {MAX_DEMAND:g}, got {', '.join(bad)}" if bad else ""


def _trajectory_fault(trajectory: Trajectory, now_ns: int) -> str:
    stamps = trajectory.stamps_ns
    count = len(stamps)
    if not 2 <= count <= MAX_POINTS or trajectory.xy.shape != (count, 2):
        return f"expected 2 to {MAX_POINTS} points with a time each, got {count}"
    if not np.all(np.abs(trajectory.xy) <= MAX_COORDINATE_M):
        return "expected finite coordinates, got NaN, infinity or more than any place on Earth"
    step_ns = min(b - a for a, b in pairwise(stamps))
    if step_ns < MIN_STEP_NS:
        return (
            f"expected times that increase by at least {MIN_STEP_NS * 1e-6:g} ms from point to point, "
            f"got {step_ns * 1e-6:g} ms. Stamp each point with the time to be there, "
            "or a path's points all alike: then they are control.path_spacing_s apart"
        )
    away_s = max(now_ns - stamps[0], stamps[-1] - now_ns) * 1e-9
    if away_s > MAX_AWAY_S:
        return (
            f"expected times within {MAX_AWAY_S:g} s of the simulation's, got one {away_s:.3f} s away. "
            "Stamp points with simulation time (use_sim_time), or send fewer of them"
        )
    return ""


def demand_record(demand: Demand) -> dict[str, object]:
    """The demand as JSON, so that `demand_of` gives it back exactly."""
    if isinstance(demand, Trajectory):
        return {"kind": "trajectory", "stamps_ns": list(demand.stamps_ns), "xy": demand.xy.tolist()}
    if isinstance(demand, TwistDemand):
        return {"kind": "twist", "speed_mps": demand.speed_mps, "yaw_rate_radps": demand.yaw_rate_radps}
    return {"kind": "actuation", "acceleration_mps2": demand.acceleration_mps2, "steer_rad": demand.steer_rad}


def demand_of(record: dict[str, object]) -> Demand:
    """Inverse of `demand_record`. KeyError, TypeError or ValueError for anything else."""
    values = {name: value for name, value in record.items() if name != "kind"}
    if record["kind"] == "trajectory":
        xy = np.array(record["xy"], np.float64)
        return Trajectory(tuple(int(s) for s in record["stamps_ns"]), xy)  # type: ignore[attr-defined]
    numbers = {name: float(value) for name, value in values.items()}  # type: ignore[arg-type]
    if record["kind"] == "twist":
        return TwistDemand(**numbers)
    if record["kind"] == "actuation":
        return Actuation(**numbers)
    raise ValueError(f"unknown kind of demand {record['kind']!r}")


def path_stamps(stamps_ns: list[int], start_ns: int, spacing_s: float) -> list[int]:
    """Times of the points of a path: their own, or where all stamps are the same `spacing_s` apart from `start_ns` on.

    nav_msgs/Path is used both ways: with a stamp for each pose, and with stamps that are all the same or empty. One in
    which only some are the same is neither, and `demand_fault` refuses it.
    """
    if len(set(stamps_ns)) > 1:
        return stamps_ns
    step_ns = round(spacing_s * 1e9)
    return [start_ns + k * step_ns for k in range(len(stamps_ns))]


def plan_points(xy: Array, yaw_rad: Array) -> list[list[float]]:
    """Points [K, 2] and headings [K] of a plan as JSON; non-finite ones are left out of a plan as a whole."""
    if not (np.all(np.isfinite(xy)) and np.all(np.isfinite(yaw_rad))):
        return []
    return [[float(x), float(y), math.remainder(float(yaw), math.tau)] for (x, y), yaw in zip(xy, yaw_rad, strict=True)]
