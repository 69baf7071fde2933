"""Messages of a stack -> commands and plans: headings and times that a message leaves out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path

from r3d2_ros.closed_loop.demands import Trajectory, demand_fault
from r3d2_ros.nodes.command_messages import Unusable, from_path, plan_from
from r3d2_ros.nodes.conversions import ns_to_stamp

MS = 1_000_000


def path(points: Sequence[tuple[float, float]], *, yaw_rad: float = 0.0, stamps_ms: Sequence[int] = ()) -> Path:
    message = Path()
    message.header.frame_id = "map"
    for k, (x, y) in enumerate(points):
        pose = PoseStamped()
        pose.pose.position.x, pose.pose.position.y = x, y
        pose.pose.orientation.z, pose.pose.orientation.w = math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)
        if stamps_ms:
            pose.header.stamp = ns_to_stamp(stamps_ms[k] * MS)
        message.poses.append(pose)
    return message


NORTH, WEST = math.pi / 2, math.pi
CORNER = [(0.0, 5.0), (0.0, 5.0), (0.0, 10.0), (-5.0, 10.0), (-5.0, 10.0)]


def test_a_plan_without_orientations_looks_from_point_to_point() -> None:
    """It stands, drives north, turns west, stands."""
    assert plan_from(path(CORNER), frame="map").yaw_rad == pytest.approx([NORTH, NORTH, NORTH, WEST, WEST])
    assert np.all(plan_from(path([(3.0, 3.0)] * 3), frame="map").yaw_rad == 0.0)


def test_so_does_one_with_times() -> None:
    """Stamped every second, read every 0.5 s, and after 2.5 s on the way around the corner."""
    message = path(CORNER, stamps_ms=[0, 1000, 2000, 3000, 4000])
    expected = [NORTH] * 4 + [WEST] * 4
    assert plan_from(message, frame="map").yaw_rad == pytest.approx(expected)


def test_orientations_that_are_given_are_kept() -> None:
    assert plan_from(path(CORNER, yaw_rad=0.3), frame="map").yaw_rad == pytest.approx([0.3] * 5)


@pytest.mark.parametrize("times", [0.01, 0.7, 1.0, 100.0])
def test_orientations_may_have_any_length(times: float) -> None:
    """(w, z) = (1, 1) is a quarter turn, whatever it is multiplied by."""
    message = path(CORNER)
    for pose in message.poses:
        pose.pose.orientation.w = pose.pose.orientation.z = times
    assert plan_from(message, frame="map").yaw_rad == pytest.approx([NORTH] * 5)


def test_the_heading_of_a_tilted_pose_is_that_of_its_front() -> None:
    """Turned by 90 degrees, then nose down by 60: (w, x, y, z) ~ (cos 30, -sin 30, sin 30, cos 30)."""
    message = path(CORNER)
    for pose in message.poses:
        q = pose.pose.orientation
        q.w, q.x, q.y, q.z = math.sqrt(3.0), -1.0, 1.0, math.sqrt(3.0)
    assert plan_from(message, frame="map").yaw_rad == pytest.approx([NORTH] * 5)


@pytest.mark.parametrize("stamps_ms", [[100, 200, 200, 300, 400], [100, 0, 0, 0, 0]])
def test_times_that_do_not_increase(stamps_ms: list[int]) -> None:
    with pytest.raises(Unusable, match="stamps that increase"):
        plan_from(path(CORNER, stamps_ms=stamps_ms), frame="map")
    demand = from_path(path(CORNER, stamps_ms=stamps_ms), frame="map", spacing_s=0.5).demand
    assert isinstance(demand, Trajectory)
    assert "expected times that increase" in demand_fault(demand, 0)


def test_the_slash_in_front_of_a_frame_is_not_looked_at() -> None:
    message = path(CORNER)
    message.header.frame_id = "/map"
    assert len(plan_from(message, frame="map").yaw_rad) == len(CORNER)
    message.header.frame_id = "/odom"
    with pytest.raises(Unusable, match="expected a path in the frame 'map', got '/odom'"):
        plan_from(message, frame="map")
