"""The node's subscriptions: messages are checked at the door and handed to the synchronizer."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import qos_policy_name_from_kind
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


@dataclass(frozen=True)
class Backlog:
    """Ticks that wait: how many, for how many seconds of wall time the oldest does, and why."""

    ticks: int
    oldest_s: float
    reason: str

    def __str__(self) -> str:
        return f"{self.ticks} frame sets wait, the oldest for {self.oldest_s:.1f} s: {self.reason}"


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
        self.backlog: Backlog | None = None
        self._arrived_s: deque[float] = deque()
        """When each tick that waits was asked for, on the monotonic clock."""
        self._incompatible: dict[str, str] = {}
        """Topic -> the policy by which a publisher there was not matched."""
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
                    event_callbacks=SubscriptionEventCallbacks(
                        incompatible_qos=partial(self._on_incompatible, self._node.resolve_topic_name(topic))
                    ),
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
        self._note_arrivals()
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
            hint = stall.waiting.hint
            if self._door.reports.count(PAIRING_IN_DOUBT):
                hint += f"; an input may be one pass of time behind, see above: {RESTART}"
            self._node.get_logger().warning(f"{stall.waiting} for {stall.waited_s:.1f} s{hint}")

    def check_backlog(self) -> None:
        """Log that ticks wait, once, when they are so many that somebody should know."""
        with self.changed:
            synchronizer, known = self._door.synchronizer, self.backlog is not None
            if synchronizer is None or not synchronizer.has_backlog:
                self.backlog = None
                return
            backlog = Backlog(synchronizer.queue_depth, self._oldest_s(), synchronizer.why_waiting())
            self.backlog, limit = backlog, synchronizer.config.queue_limit
        if not known:
            self._node.get_logger().warning(f"{backlog}. More than sync.queue_limit, {limit}, end the run")

    def missing_ego(self) -> str:
        """Where the ego is waited for as long as none has been taken, and who publishes there; else empty."""
        with self.changed:
            if self._door.synchronizer is not None and not self._door.synchronizer.awaits_first_ego:
                return ""
        return f"waiting for the ego on {' or '.join(map(self._publishers_of, self.ego_topics))}"

    def _publishers_of(self, topic: str) -> str:
        count, policy = self._node.count_publishers(topic), self._incompatible.get(topic)
        matched = sum(s.get_publisher_count() for s in self._subscriptions if s.topic_name == topic)
        fault = f", incompatible {policy}" if policy and matched < count else ""
        return f"{topic} ({count} publisher{'' if count == 1 else 's'}{fault})"

    def waiting_ticks(self) -> int:
        """Ticks that have not been fetched."""
        with self.changed:
            return self._door.synchronizer.queue_depth if self._door.synchronizer else 0

    def oldest_s(self) -> float:
        """Wall time for which the oldest tick has waited; 0 without one."""
        with self.changed:
            return self._oldest_s()

    def _oldest_s(self) -> float:
        return time.monotonic() - self._arrived_s[0] if self._arrived_s else 0.0

    def _note_arrivals(self) -> None:
        """Ticks join at one end of the queue and leave at the other."""
        depth = self._door.synchronizer.queue_depth if self._door.synchronizer else 0
        while len(self._arrived_s) > depth:
            self._arrived_s.popleft()
        now_s = time.monotonic()
        while len(self._arrived_s) < depth:
            self._arrived_s.append(now_s)

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
                self._note_arrivals()
                self._log_new()
                self.changed.notify_all()
        except QueueOverflow as error:
            self._stop_run(str(error))
        except Exception:
            self._node.get_logger().error(f"{topic}: message not used\n{traceback.format_exc()}")

    def _on_incompatible(self, topic: str, event: Any) -> None:
        """Of a publisher that is not matched nothing is received."""
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        self._incompatible[topic] = policy
        override = f"qos_overrides.{topic}.subscription.{policy.lower()}"
        text = f"{topic}: a publisher offers an incompatible {policy}, and nothing is received from it"
        self._node.get_logger().warning(f"{text}; set the parameter {override} to what it offers")

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
