"""Messages of a driving stack -> commands and plans of the core."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Path

from r3d2_ros.closed_loop.demands import Command, Trajectory, TwistDemand, path_stamps
from r3d2_ros.closed_loop.inbox import Plan
from r3d2_ros.closed_loop.vehicle import Actuation
from r3d2_ros.geometry import Array
from r3d2_ros.message_fields import frame_name, stamp_to_ns
from r3d2_ros.msg import VehicleCommand

PLAN_STEP_S = 0.5
"""Plans are kept in this step, the first point one step after the stamp; scores compare them so."""

MAX_PLAN_POINTS = 200
STANDING_M = 1e-3


class Unusable(ValueError):
    """A message that says nothing that can be driven; the text says what was expected."""


def from_vehicle_command(message: VehicleCommand) -> Command:
    return Command(_stamp(message), Actuation(message.acceleration, message.steering_angle), "command")


def from_twist(message: TwistStamped) -> Command:
    """linear.x and angular.z; the rest is not read."""
    return Command(_stamp(message), TwistDemand(message.twist.linear.x, message.twist.angular.z), "twist")


def from_path(message: Path, *, frame: str, spacing_s: float) -> Command:
    """A path to be tracked; its points are at their own stamps, or `spacing_s` apart from the path's stamp on."""
    _check_frame(message, frame)
    stamp = _stamp(message)
    stamps = path_stamps([stamp_to_ns(pose.header.stamp) for pose in message.poses], stamp, spacing_s)
    return Command(stamp, Trajectory(tuple(stamps), _xy(message)), "path")


def from_autoware_control(message: Any) -> Command:
    """autoware_control_msgs/Control: longitudinal acceleration and tire angle."""
    if not message.longitudinal.is_defined_acceleration:
        raise Unusable("expected longitudinal.is_defined_acceleration: the vehicle is driven by acceleration")
    demand = Actuation(float(message.longitudinal.acceleration), float(message.lateral.steering_tire_angle))
    return Command(stamp_to_ns(message.stamp), demand, "control")


def plan_from(message: Path, *, frame: str) -> Plan:
    """What a stack means to do, PLAN_STEP_S apart. Points whose stamps are all the same are taken as they come.

    Where no pose has an orientation, headings are the directions from point to point.
    """
    _check_frame(message, frame)
    stamp, xy, yaw = _stamp(message), _xy(message), _yaw(message)
    if len(xy) == 0:
        raise Unusable("expected a plan with at least one pose, got none")
    stamps = [stamp_to_ns(pose.header.stamp) for pose in message.poses]
    step_ns = round(PLAN_STEP_S * 1e9)
    if len(set(stamps)) == 1:
        xy = xy[:MAX_PLAN_POINTS]
        return Plan(stamp, xy, _directions(xy) if yaw is None else yaw[:MAX_PLAN_POINTS])
    if any(b <= a for a, b in pairwise(stamps)):
        raise Unusable("expected a plan whose poses have stamps that increase, or the same stamp all")
    count = min((stamps[-1] - stamp) // step_ns, MAX_PLAN_POINTS)
    if count < 1:
        raise Unusable(f"expected a plan that reaches {PLAN_STEP_S:g} s beyond its stamp")
    # Relative to the stamp: as float64 the whole stamp would lose its nanoseconds.
    own = np.array([s - stamp for s in stamps], np.float64)
    at = np.arange(1, count + 1) * float(step_ns)
    resampled = np.stack([np.interp(at, own, xy[:, k]) for k in (0, 1)], axis=-1)
    return Plan(stamp, resampled, _directions(resampled) if yaw is None else np.interp(at, own, np.unwrap(yaw)))


def _stamp(message: Any) -> int:
    return stamp_to_ns(message.header.stamp)


def _check_frame(message: Path, frame: str) -> None:
    if frame_name(message.header.frame_id) not in ("", frame_name(frame)):
        raise Unusable(f"expected a path in the frame '{frame}', got '{message.header.frame_id}'")


def _xy(message: Path) -> Array:
    points = [(pose.pose.position.x, pose.pose.position.y) for pose in message.poses]
    return np.array(points, np.float64).reshape(-1, 2)


def _yaw(message: Path) -> Array | None:
    """Headings of the poses, from quaternions of any length; None where all orientations are the identity, as a message
    has them by default."""
    q = np.array([[getattr(p.pose.orientation, axis) for axis in "wxyz"] for p in message.poses], np.float64)
    w, x, y, z = q.reshape(-1, 4).T
    if not np.any((x, y, z)):
        return None
    return np.arctan2(2 * (w * z + x * y), w * w + x * x - y * y - z * z)


def _directions(xy: Array) -> Array:
    """Headings [K] at points [K, 2]: each from the point before; where it stands the last one, at first the next."""
    with np.errstate(invalid="ignore"):  # the inbox leaves out what is not finite
        step = np.diff(xy, axis=0)
    moving = np.flatnonzero(np.linalg.norm(step, axis=1) >= STANDING_M)
    if not len(moving):
        return np.zeros(len(xy))
    latest = np.searchsorted(moving, np.arange(len(xy)) - 1, side="right") - 1
    return np.arctan2(step[:, 1], step[:, 0])[moving[np.maximum(latest, 0)]]
