"""The node's subscriptions: messages are checked at the door and handed to the synchronizer."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from r3d2_ros.cameras import Rig
from r3d2_ros.config import SimConfig
from r3d2_ros.input_checks import ActorInput, ActorRules, Fault, Reports, actor_states, ego_state
from r3d2_ros.msg import ActorArray
from r3d2_ros.nodes.conversions import position, quat_wxyz, stamp_to_ns
from r3d2_ros.nodes.qos import explained, overridable, reliable
from r3d2_ros.scene import AssetLibrary
from r3d2_ros.state_buffer import StateBuffer, seconds
from r3d2_ros.sync import QueueOverflow, Stall, Synchronizer, Tick, Waiting

INPUT_DEPTH = 1000
"""Poses that may wait in the middleware: in lockstep none may be lost while a callback is delayed."""

EGO_TOPICS = ("~/input/odometry", "~/input/pose")
ACTOR_TOPICS = ("~/input/actors", "~/input/actor_markers")
TRIGGER_TOPIC = "~/input/trigger"


class Inputs:
    """Feeds a Synchronizer. All access to it is under `changed`, which is notified after every message.

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
        self._node, self._config, self._rig = node, config, rig
        self._stop_run = stop_run
        self._rules = ActorRules(
            known_asset=library.__contains__,
            asset_height_m=lambda name: library[name].size_m[2],
            actor_pose=config.assets.actor_pose,
        )
        self.changed = threading.Condition()
        self.reports = Reports()
        self.stall: Stall | None = None
        self._logged_stall: tuple[Waiting | None, float] = (None, 0.0)
        self._synchronizer: Synchronizer | None = None
        self._source: dict[str, str] = {}
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
        tick = self._synchronizer.next_tick() if self._synchronizer else None
        self._log_new()
        return tick

    # For diagnostics

    def check_stall(self) -> None:
        """Log an input that has been waited for too long; wall time decides about this report alone."""
        with self.changed:
            if self._synchronizer is None:
                return
            stall = self.stall = self._synchronizer.stalled(time.monotonic())
        if stall is None:
            return
        # Every stall is on /diagnostics; the log hears of it at the first and at each doubling of the time waited.
        if stall.waiting != self._logged_stall[0] or stall.waited_s >= 2 * self._logged_stall[1]:
            self._logged_stall = (stall.waiting, stall.waited_s)
            hint = "; with sync.actors: static nothing waits for actors" if "actors" in stall.waiting.inputs else ""
            self._node.get_logger().warning(f"{stall.waiting} for {stall.waited_s:.1f} s{hint}")

    def figures(self) -> dict[str, int]:
        """Counts for diagnostics: waiting ticks, skipped poses, and how often each cause was reported."""
        with self.changed:
            reports = {report.cause: report.count for report in self.reports.all()}
            if self._synchronizer is None:
                return reports
            return {
                "queued": self._synchronizer.queue_depth,
                "skipped": self._synchronizer.skipped,
                **reports,
            }

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
        if not self._is_source("ego", topic) or not self._is_in_map(topic, message.header):
            return
        child, base_link = getattr(message, "child_frame_id", ""), self._config.frames.base_link
        if child and child != base_link:
            expected = f"{topic}: expected child_frame_id '{base_link}', got '{child}'; set frames.base_link"
            self.reports.add(Fault("ego.child_frame", expected))
            return
        pose = message.pose.pose if isinstance(message, Odometry) else message.pose
        state = ego_state(
            stamp_ns=stamp_to_ns(message.header.stamp), position_m=position(pose), quat_wxyz=quat_wxyz(pose)
        )
        if isinstance(state, Fault):
            self.reports.add(state)
        else:
            self._synchronizer_for("ego").on_ego(state)

    def _on_actors(self, topic: str, message: ActorArray | MarkerArray) -> None:
        if not self._is_source("actors", topic):
            return
        if isinstance(message, MarkerArray):
            taken = _actors_of_markers(topic, message)
            if isinstance(taken, Fault):
                self.reports.add(taken)
                return
            header, actors = taken
        else:
            header, actors = message.header, _actors_of_array(message)
        if not self._is_in_map(topic, header):
            return
        states, faults = actor_states(actors, self._rules)
        for fault in faults:
            self.reports.add(fault)
        self._synchronizer_for("actors").on_actors(stamp_to_ns(header.stamp), states)

    def _on_trigger(self, message: Header) -> None:
        self._synchronizer_for("trigger").on_trigger(stamp_to_ns(message.stamp))

    def _synchronizer_for(self, first_input: str) -> Synchronizer:
        """The synchronizer, made at the first message."""
        if self._synchronizer is None:
            config = self._config.sync
            if config.actors == "auto":
                published = first_input == "actors" or any(self._node.count_publishers(t) for t in self._actor_topics())
                config = replace(config, actors="required" if published else "static")
                self._node.get_logger().info(f"sync.actors: auto -> {config.actors}")
            buffer = StateBuffer(self._config.state, reports=self.reports, static_actors=config.actors == "static")
            self._synchronizer = Synchronizer(config, rig=self._rig, buffer=buffer, reports=self.reports)
        return self._synchronizer

    def _actor_topics(self) -> list[str]:
        return [self._node.resolve_topic_name(topic) for topic in ACTOR_TOPICS]

    def _is_source(self, role: str, topic: str) -> bool:
        """The first topic that delivers is the run's source for its role; the other one is reported."""
        source = self._source.setdefault(role, topic)
        if source != topic:
            text = f"{topic}: the {role} already comes from {source}; messages here are ignored"
            self.reports.add(Fault(f"{role}.second_source", text))
        return source == topic

    def _is_in_map(self, topic: str, header: Header) -> bool:
        wanted = self._config.frames.map
        if header.frame_id not in ("", wanted):
            text = f"{topic}: expected frame_id '{wanted}', got '{header.frame_id}'; set frames.map"
            self.reports.add(Fault(f"{topic}.frame", text))
            return False
        return True

    def _log_new(self) -> None:
        logger = self._node.get_logger()
        for report in self.reports.take_new():
            # rcutils refuses a call site whose severity changes, so each severity has its own.
            if report.level == "error":
                logger.error(report.text)
            elif report.level == "warning":
                logger.warning(report.text)
            else:
                logger.info(report.text)


def _actors_of_array(message: ActorArray) -> list[ActorInput]:
    return [
        ActorInput(
            id=actor.id,
            asset=actor.asset,
            position_m=position(actor.pose),
            quat_wxyz=quat_wxyz(actor.pose),
            size_m=(actor.size.x, actor.size.y, actor.size.z),
        )
        for actor in message.actors
    ]


def _actors_of_markers(topic: str, message: MarkerArray) -> tuple[Header, list[ActorInput]] | Fault:
    """Header and actors of a marker array. Each array is complete: a marker that it does not add is no actor then.

    `ns`/`id` name the actor, `mesh_resource` or else `text` the asset; the scale of a CUBE is the actor's size. The
    markers that are added share one frame and stamp; an array that adds none is dated by its first marker.
    """
    added = [marker for marker in message.markers if marker.action == Marker.ADD]
    dated = added or list(message.markers)
    if not dated:
        return Fault("actors.no_stamp", f"{topic}: expected at least one marker, whose header dates the array")
    header = dated[0].header
    other = next((marker.header for marker in added if marker.header != header), None)
    if other is not None:
        stamps = " and ".join(seconds(stamp_to_ns(h.stamp)) for h in (header, other))
        frames = f"'{header.frame_id}' and '{other.frame_id}'"
        got = f"frames {frames}, stamps {stamps}; the array is not used"
        return Fault("actors.mixed_headers", f"{topic}: expected markers with one frame and one stamp, got {got}")
    return header, [
        ActorInput(
            id=f"{marker.ns}/{marker.id}",
            asset=marker.mesh_resource or marker.text,
            position_m=position(marker.pose),
            quat_wxyz=quat_wxyz(marker.pose),
            size_m=(marker.scale.x, marker.scale.y, marker.scale.z) if marker.type == Marker.CUBE else (0.0, 0.0, 0.0),
        )
        for marker in added
    ]
