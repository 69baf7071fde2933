"""What a vehicle on the road would tell its stack at every tick: time, transform, odometry; and the true actors."""

from __future__ import annotations

import math
from typing import Any

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage

from r3d2_ros.closed_loop.actions import Snapshot
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.config import FramesConfig
from r3d2_ros.geometry import Rigid
from r3d2_ros.msg import ActorArray
from r3d2_ros.nodes.conversions import ns_to_stamp, transform_message, write_pose
from r3d2_ros.nodes.drive_messages import actor_message
from r3d2_ros.nodes.qos import explained, overridable, reliable

DEPTH = 100
"""A second of ticks: a stack that looks up the odometry of a frame set must find it."""


class WorldOutputs:
    """/clock, /tf, ~/odometry, ~/actors at every tick, in this order; ~/reference once, for those that join later."""

    def __init__(self, node: Node, plan: RunPlan, frames: FramesConfig) -> None:
        self._plan, self._frames = plan, frames
        self._clock = _publisher(node, Clock, "/clock", 10)
        self._tf = _publisher(node, TFMessage, "/tf", DEPTH)
        self._odometry = _publisher(node, Odometry, "~/odometry", DEPTH)
        self._actors = _publisher(node, ActorArray, "~/actors", DEPTH)
        self._reference = _publisher(node, Path, "~/reference", 1, transient_local=True)

    def readers(self) -> int:
        """Matched readers of all topics."""
        ticked = (self._clock, self._tf, self._odometry, self._actors, self._reference)
        return sum(publisher.get_subscription_count() for publisher in ticked)

    def publish_reference(self, stamp_ns: int) -> None:
        """The path that the ego is meant to drive."""
        path = Path()
        path.header.frame_id, path.header.stamp = self._frames.map, ns_to_stamp(stamp_ns)
        line = self._plan.reference.line
        for s in line.s:
            pose = PoseStamped(header=path.header)
            x, y, z = (float(v) for v in line.at(float(s)))
            write_pose(pose.pose, Rigid.from_xyz_yaw(x, y, z, line.heading_rad(float(s))))
            path.poses.append(pose)
        self._reference.publish(path)

    def publish(self, snapshot: Snapshot) -> None:
        stamp = ns_to_stamp(snapshot.stamp_ns)
        self._clock.publish(Clock(clock=stamp))
        frames, T = self._frames, snapshot.T_world_ego
        self._tf.publish(TFMessage(transforms=[transform_message(T, frames.map, frames.vehicle, stamp)]))
        self._odometry.publish(self._odometry_message(snapshot))
        actors = ActorArray(
            actors=[
                actor_message(
                    a.id,
                    a.actor.asset,
                    T_world_actor=a.T_world_actor,
                    speed_mps=a.speed_mps,
                    size_m=a.actor.size_m,
                )
                for a in snapshot.actors
            ]
        )
        actors.header.frame_id, actors.header.stamp = frames.map, stamp
        self._actors.publish(actors)

    def _odometry_message(self, snapshot: Snapshot) -> Odometry:
        message = Odometry(child_frame_id=self._frames.vehicle)
        message.header.frame_id, message.header.stamp = self._frames.map, ns_to_stamp(snapshot.stamp_ns)
        write_pose(message.pose.pose, snapshot.T_world_ego)
        ego = snapshot.ego
        message.twist.twist.linear.x = ego.speed_mps
        message.twist.twist.angular.z = ego.speed_mps * math.tan(ego.steer_rad) / self._plan.vehicle.wheelbase_m
        return message


def _publisher(node: Node, kind: type, topic: str, depth: int, *, transient_local: bool = False) -> Any:
    with explained(topic):
        qos = reliable(depth, transient_local=transient_local)
        return node.create_publisher(kind, topic, qos, qos_overriding_options=overridable())
