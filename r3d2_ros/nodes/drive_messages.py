"""The messages of a drive's ticks, as any driving stack would send them."""

from __future__ import annotations

from nav_msgs.msg import Odometry

from r3d2_ros.demo.drive import DriveActor, DriveTick
from r3d2_ros.msg import Actor, ActorArray
from r3d2_ros.nodes.conversions import ns_to_stamp, write_pose


def tick_messages(tick: DriveTick) -> tuple[ActorArray, Odometry]:
    """Actors and ego of one tick, with its stamp, in the frame map."""
    actors = ActorArray(actors=[_actor_message(actor) for actor in tick.actors])
    odometry = Odometry(child_frame_id="base_link")
    for message in (actors, odometry):
        message.header.frame_id, message.header.stamp = "map", ns_to_stamp(tick.stamp_ns)
    write_pose(odometry.pose.pose, tick.T_world_ego)
    odometry.twist.twist.linear.x = tick.speed_mps
    return actors, odometry


def _actor_message(actor: DriveActor) -> Actor:
    message = Actor(id=actor.id, asset=actor.asset)
    write_pose(message.pose, actor.T_world_actor)
    message.twist.linear.x = actor.speed_mps
    return message
