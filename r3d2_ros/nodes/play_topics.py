"""What a bag player publishes: the bag's topics as they are, the simulator's inputs, and the clock."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from geometry_msgs.msg import Pose
from nav_msgs.msg import Odometry
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock as ClockMessage

from r3d2_ros.config import SimConfig
from r3d2_ros.errors import InputError
from r3d2_ros.input_checks import ActorInput, above
from r3d2_ros.message_inputs import ActorMessage, EgoMessage
from r3d2_ros.msg import Actor, ActorArray
from r3d2_ros.nodes.conversions import ns_to_stamp
from r3d2_ros.nodes.qos import explained, reliable
from r3d2_ros.replay.bag import Bag
from r3d2_ros.replay.records import Record, Topic
from r3d2_ros.scene import AssetLibrary

DEPTH = 1000
ALL, NONE = "all", "none"
FLUSH_S = 5.0


def _publisher(node: Node, message_type: Any, topic: str, quality: QoSProfile) -> Any:
    with explained(topic):
        return node.create_publisher(message_type, topic, quality)


class Clock:
    """/clock, which never stands still for two messages of different times."""

    topic = "/clock"

    def __init__(self, node: Node) -> None:
        self._publisher = _publisher(node, ClockMessage, self.topic, reliable(10))

    def publish(self, time_ns: int) -> None:
        self._publisher.publish(ClockMessage(clock=ns_to_stamp(time_ns)))


class SimulatorInputs:
    """The simulator's odometry and actors, from what the recording gives."""

    def __init__(
        self, node: Node, simulator: str, *, config: SimConfig, library: AssetLibrary, has_actors: bool
    ) -> None:
        self._config, self._library = config, library
        self._odometry = _publisher(node, Odometry, f"{simulator}/input/odometry", reliable(DEPTH))
        self._actors = None
        if has_actors:
            self._actors = _publisher(node, ActorArray, f"{simulator}/input/actors", reliable(DEPTH))

    @property
    def _publishers(self) -> list[Any]:
        return [self._odometry, *([self._actors] if self._actors else [])]

    @property
    def topics(self) -> list[str]:
        return [publisher.topic_name for publisher in self._publishers]

    @property
    def matched(self) -> bool:
        """Whether somebody listens to each of them."""
        return all(publisher.get_subscription_count() > 0 for publisher in self._publishers)

    def publish(self, message: EgoMessage | ActorMessage) -> None:
        if isinstance(message, EgoMessage):
            self._odometry.publish(_odometry(message))
        elif self._actors is not None:
            actors = ActorArray(actors=[self._actor(actor) for actor in message.actors])
            actors.header.frame_id, actors.header.stamp = message.frame_id, ns_to_stamp(message.stamp_ns)
            self._actors.publish(actors)

    def flush(self) -> None:
        """Wait until what was published has arrived."""
        for publisher in self._publishers:
            publisher.wait_for_all_acked(Duration(seconds=FLUSH_S))

    def _actor(self, actor: ActorInput) -> Actor:
        message = Actor(id=actor.id, asset=actor.asset)
        position_m, wanted = actor.position_m, self._config.assets.actor_pose
        if (actor.actor_pose or wanted) != wanted:  # an ActorArray cannot say what its positions mean
            height_m = actor.size_m[2] or self._library[actor.asset].size_m[2]  # of the box that it will be taken for
            up_m = height_m / 2 if wanted == "box_center" else -height_m / 2
            position_m = above(position_m, actor.quat_wxyz, up_m)
        _write(message.pose, position_m, actor.quat_wxyz)
        message.size.x, message.size.y, message.size.z = (float(value) for value in actor.size_m)
        return message


def _odometry(ego: EgoMessage) -> Odometry:
    message = Odometry(child_frame_id=ego.child_frame_id)
    message.header.frame_id, message.header.stamp = ego.frame_id, ns_to_stamp(ego.stamp_ns)
    _write(message.pose.pose, ego.position_m, ego.quat_wxyz)
    return message


def _write(pose: Pose, position_m: Any, quat_wxyz: Any) -> None:
    pose.position.x, pose.position.y, pose.position.z = (float(value) for value in position_m)
    q = pose.orientation
    q.w, q.x, q.y, q.z = (float(value) for value in quat_wxyz)


class Passed:
    """The bag's topics, byte for byte, those whose types are installed. `notes` says which are left out, and why."""

    def __init__(self, node: Node, bag: Bag, *, wanted: str, own: set[str]) -> None:
        self._publishers: dict[str, Any] = {}
        self.notes: list[str] = []
        for topic in _wanted(bag, wanted):
            if topic.name in own:
                continue
            reason = self._add(node, topic)
            if reason:
                self.notes.append(f"{topic.name} is not published: {reason}")

    def _add(self, node: Node, topic: Topic) -> str:
        """Returns why it is left out; empty: it is not."""
        message_type = installed_type(topic.msgtype)
        if message_type is None:
            return f"{topic.msgtype} is not installed"
        # Reliable, so that readers of both kinds are served; the bag says whether late ones are.
        quality = reliable(100, transient_local=topic.transient_local)
        try:
            with explained(topic.name):
                if node.count_publishers(topic.name) > 0:
                    return "another node publishes it"
                self._publishers[topic.name] = node.create_publisher(message_type, topic.name, quality)
        except InputError as error:  # recorded by something else than ROS 2
            return error.got
        return ""

    @property
    def topics(self) -> list[str]:
        return list(self._publishers)

    def publish(self, record: Record) -> None:
        self._publishers[record.topic].publish(bytes(record.data))

    def flush(self) -> None:
        """Wait until what was published has arrived."""
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=FLUSH_S))


def _wanted(bag: Bag, wanted: str) -> list[Topic]:
    if wanted in (ALL, NONE):
        return list(bag.topics.values()) if wanted == ALL else []
    names = [f"/{name.strip().lstrip('/')}" for name in wanted.split(",") if name.strip()]
    for name in names:
        if name not in bag.topics:
            raise InputError("parameter topics", f"topics of {bag.path}: {', '.join(sorted(bag.topics))}", name)
    return [bag.topics[name] for name in names]


def installed_type(msgtype: str) -> Any | None:
    """The class of `package/msg/Name`; None where the package is not installed."""
    package, _, name = msgtype.partition("/msg/")
    try:
        return getattr(import_module(f"{package}.msg"), name, None)
    except ImportError:
        return None
