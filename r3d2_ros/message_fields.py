"""Fields of ROS messages, read by name: rclpy's classes and those of `rosbags` have the same ones.

The only place where quaternions of incoming messages (xyzw) become those of the core (wxyz).
"""

from __future__ import annotations

from typing import Any

NS = 1_000_000_000


def stamp_to_ns(stamp: Any) -> int:
    """Nanoseconds of a builtin_interfaces/Time."""
    return stamp.sec * NS + stamp.nanosec


def frame_name(frame_id: str) -> str:
    """A frame as tf2 names it: without the '/' in front that ROS 1 had."""
    return frame_id.lstrip("/")


def position(pose: Any) -> tuple[float, float, float]:
    """x, y, z of a geometry_msgs/Pose."""
    return pose.position.x, pose.position.y, pose.position.z


def quat_wxyz(pose: Any) -> tuple[float, float, float, float]:
    """Orientation of a geometry_msgs/Pose."""
    q = pose.orientation
    return q.w, q.x, q.y, q.z
