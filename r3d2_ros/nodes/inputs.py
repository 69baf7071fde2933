"""The node's subscriptions: messages are checked at the door and handed to the synchronizer."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from r3d2_ros.cameras import Rig
from r3d2_ros.config import SimConfig
from r3d2_ros.message_fields import stamp_to_ns
from r3d2_ros.message_inputs import MessageDoor, actor_message, ego_message
from r3d2_ros.msg import ActorArray
from r3d2_ros.nodes.qos import explained, overridable, reliable
from r3d2_ros.scene import AssetLibrary
from r3d2_ros.state_buffer import PAIRING_IN_DOUBT, RESTART
from r3d2_ros.sync import MAX_QUEUE_LIMIT, QueueOverflow, Stall, Tick, Waiting

INPUT_DEPTH = MAX_QUEUE_LIMIT
"""Messages that may wait in the middleware, which loses more than these and says nothing: `sync.queue_limit` has to be
reached first. Places that are not used take no memory."""

EGO_TOPICS = ("~/input/odometry", "~/input/pose")
ACTOR_TOPICS = ("~/input/actors", "~/input/actor_markers")
TRIGGER_TOPIC = "~/input/trigger"


class Inputs:
    """Feeds a MessageDoor. All access to it is under `changed`, which is notified after every message.

    With `sync.actors: auto` the first message decides: actors are required when they have been received or somebody
    publishes them by then, else static.
    """

    def __init__(
        self,
        node: Node,
        *,
        config: SimConfig,
        rig: Rig,
        library: AssetLibrary,
        stop_run: Callable[[str], None],
    ) -> None:
        self._node = node
        self._stop_run = stop_run
        self._door = MessageDoor(
            config,
            rig=rig,
            library=library,
            has_actors=self._actors_are_published,
            defers=self._has_arrays_beside,
            say=node.get_logger().info,
        )
        self.changed = threading.Condition()
        self.stall: Stall | None = None
        self._logged_stall: tuple[Waiting | None, float] = (None, 0.0)
        self._subscriptions: list[Any] = []
        try:
            self._subscribe()
        except Exception:
            self.destroy()
            raise
        self.ego_topics = [s.topic_name for s in self._subscriptions[: len(EGO_TOPICS)]]
        """Where the ego is listened for, after remapping."""

    def _subscribe(self) -> None:
        group = MutuallyExclusiveCallbackGroup()
        topics: list[tuple[type, str, Callable[[Any], None]]] = [
            (Odometry, EGO_TOPICS[0], partial(self._on_ego, EGO_TOPICS[0])),
            (PoseStamped, EGO_TOPICS[1], partial(self._on_ego, EGO_TOPICS[1])),
            (ActorArray, ACTOR_TOPICS[0], partial(self._on_actors, ACTOR_TOPICS[0])),
            (MarkerArray, ACTOR_TOPICS[1], partial(self._on_actors, ACTOR_TOPICS[1])),
            (Header, TRIGGER_TOPIC, self._on_trigger),
        ]
        for kind, topic, callback in topics:
            with explained(topic):
                subscription = self._node.create_subscription(
                    kind,
                    topic,
                    partial(self._take, topic, callback),
                    reliable(INPUT_DEPTH),
                    callback_group=group,
                    qos_overriding_options=overridable(),
                )
            self._subscriptions.append(subscription)

    def destroy(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    # For the render loop, under `changed`

    def next_tick(self) -> Tick | None:
        """The next tick, or None while it waits."""
        tick = self._door.next_tick()
        self._log_new()
        return tick

    # For diagnostics

    def check_stall(self, report_s: float) -> None:
        """Log an input that has been waited for report_s or longer; wall time decides about this report alone."""
        with self.changed:
            if self._door.synchronizer is None:
                return
            stall = self.stall = self._door.synchronizer.stalled(time.monotonic(), report_s=report_s)
        if stall is None:
            return
        # Every stall is on /diagnostics; the log hears of it at the first and at each doubling of the time waited.
        if stall.waiting != self._logged_stall[0] or stall.waited_s >= 2 * self._logged_stall[1]:
            self._logged_stall = (stall.waiting, stall.waited_s)
            hint = "; with sync.actors: static nothing waits for actors" if "actors" in stall.waiting.inputs else ""
            if self._door.reports.count(PAIRING_IN_DOUBT):
                hint += f"; an input may be one pass of time behind, see above: {RESTART}"
            self._node.get_logger().warning(f"{stall.waiting} for {stall.waited_s:.1f} s{hint}")

    def figures(self) -> dict[str, int]:
        """Counts for diagnostics: waiting ticks, skipped poses, and how often each cause was reported."""
        with self.changed:
            reports = {report.cause: report.count for report in self._door.reports.all()}
            synchronizer = self._door.synchronizer
            if synchronizer is None:
                return reports
            return {"queued": synchronizer.queue_depth, "skipped": synchronizer.skipped, **reports}

    # Messages

    def _take(self, topic: str, callback: Callable[[Any], None], message: Any) -> None:
        """Run a callback under the lock; whatever a message contains, the executor goes on."""
        try:
            with self.changed:
                callback(message)
                self._log_new()
                self.changed.notify_all()
        except QueueOverflow as error:
            self._stop_run(str(error))
        except Exception:
            self._node.get_logger().error(f"{topic}: message not used\n{traceback.format_exc()}")

    def _on_ego(self, topic: str, message: Odometry | PoseStamped) -> None:
        self._door.on_ego(topic, ego_message(message))

    def _on_actors(self, topic: str, message: ActorArray | MarkerArray) -> None:
        self._door.on_actors(topic, actor_message(topic, message))

    def _on_trigger(self, message: Header) -> None:
        self._door.on_trigger(stamp_to_ns(message.stamp))

    def _actors_are_published(self) -> bool:
        topics = [self._node.resolve_topic_name(topic) for topic in ACTOR_TOPICS]
        return any(self._node.count_publishers(topic) for topic in topics)

    def _has_arrays_beside(self, topic: str) -> bool:
        """Markers may be for RViz alone; ActorArrays are for this node."""
        arrays, markers = ACTOR_TOPICS
        return topic == markers and self._node.count_publishers(self._node.resolve_topic_name(arrays)) > 0

    def _log_new(self) -> None:
        logger = self._node.get_logger()
        for report in self._door.reports.take_new():
            # rcutils refuses a call site whose severity changes, so each severity has its own.
            if report.level == "error":
                logger.error(report.text)
            elif report.level == "warning":
                logger.warning(report.text)
            else:
                logger.info(report.text)
