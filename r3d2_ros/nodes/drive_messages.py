"""The messages of a drive's ticks, as any driving stack would send them."""

from __future__ import annotations

from nav_msgs.msg import Odometry

from r3d2_ros.boxes import Size
from r3d2_ros.demo.drive import DriveTick
from r3d2_ros.geometry import Rigid
from r3d2_ros.msg import Actor, ActorArray
from r3d2_ros.nodes.conversions import ns_to_stamp, write_pose


def tick_messages(tick: DriveTick) -> tuple[ActorArray, Odometry]:
    """Actors and ego of one tick, with its stamp, in the frame map."""
    actors = ActorArray(
        actors=[
            actor_message(a.id, a.asset, T_world_actor=a.T_world_actor, speed_mps=a.speed_mps) for a in tick.actors
        ]
    )
    odometry = Odometry(child_frame_id="base_link")
    for message in (actors, odometry):
        message.header.frame_id, message.header.stamp = "map", ns_to_stamp(tick.stamp_ns)
    write_pose(odometry.pose.pose, tick.T_world_ego)
    odometry.twist.twist.linear.x = tick.speed_mps
    return actors, odometry


def actor_message(
    actor_id: str, asset: str, *, T_world_actor: Rigid, speed_mps: float, size_m: Size | None = None
) -> Actor:
    """An actor that moves along its x axis; without `size_m` it has the asset's own size."""
    message = Actor(id=actor_id, asset=asset)
    write_pose(message.pose, T_world_actor)
    message.twist.linear.x = speed_mps
    if size_m is not None:
        message.size.x, message.size.y, message.size.z = (float(v) for v in size_m)
    return message
