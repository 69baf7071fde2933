"""From messages to ticks: what a live node and a replay have in common, so that both show the same.

A message becomes an `EgoMessage` or `ActorMessage` (plain numbers), `MessageChecks` make checked states of it, and a
`MessageDoor` hands these to the synchronizer. Messages are read by the names of their fields, so it does not matter
which library made them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from r3d2_ros.cameras import Rig
from r3d2_ros.config import SimConfig
from r3d2_ros.geometry import Rigid
from r3d2_ros.input_checks import ActorInput, ActorRules, Fault, Reports, actor_states, ego_state
from r3d2_ros.message_fields import frame_name, position, quat_wxyz, stamp_to_ns
from r3d2_ros.scene import AssetLibrary
from r3d2_ros.state_buffer import StateBuffer, seconds
from r3d2_ros.sync import Synchronizer, Tick
from r3d2_ros.world import ActorState, EgoState

MARKER_ADD = 0
MARKER_CUBE = 1
"""visualization_msgs/Marker.ADD and CUBE."""


@dataclass(frozen=True)
class EgoMessage:
    """A pose of the vehicle as a message gives it, unchecked: position [3] in metres, quaternion [4] (wxyz).

    child_frame_id  empty for message types that do not name it
    """

    stamp_ns: int
    frame_id: str
    child_frame_id: str
    position_m: tuple[float, float, float]
    quat_wxyz: tuple[float, float, float, float]


@dataclass(frozen=True)
class ActorMessage:
    """All actors at one time, as a message gives them, unchecked."""

    stamp_ns: int
    frame_id: str
    actors: list[ActorInput]


def ego_message(message: Any) -> EgoMessage:
    """From nav_msgs/Odometry, geometry_msgs/PoseStamped or PoseWithCovarianceStamped."""
    pose = message.pose.pose if hasattr(message.pose, "pose") else message.pose
    return EgoMessage(
        stamp_ns=stamp_to_ns(message.header.stamp),
        frame_id=message.header.frame_id,
        child_frame_id=getattr(message, "child_frame_id", ""),
        position_m=position(pose),
        quat_wxyz=quat_wxyz(pose),
    )


def actor_message(topic: str, message: Any) -> ActorMessage | Fault:
    """From r3d2_ros/ActorArray or visualization_msgs/MarkerArray; a Fault for markers that do not belong together."""
    return _markers(topic, message) if hasattr(message, "markers") else _actors(message)


def _actors(message: Any) -> ActorMessage:
    actors = [
        ActorInput(
            id=actor.id,
            asset=actor.asset,
            position_m=position(actor.pose),
            quat_wxyz=quat_wxyz(actor.pose),
            size_m=(actor.size.x, actor.size.y, actor.size.z),
        )
        for actor in message.actors
    ]
    return ActorMessage(stamp_to_ns(message.header.stamp), message.header.frame_id, actors)


def _markers(topic: str, message: Any) -> ActorMessage | Fault:
    """The actors of a marker array. Each array is complete: a marker that it does not add is no actor then.

    `ns`/`id` name the actor, `mesh_resource` or else `text` the asset; the scale of a CUBE is the actor's size. The
    markers that are added share one frame and stamp; an array that adds none is dated by its first marker.
    """
    added = [marker for marker in message.markers if marker.action == MARKER_ADD]
    dated = added or list(message.markers)
    if not dated:
        return Fault("actors.no_stamp", f"{topic}: expected at least one marker, whose header dates the array")
    header = dated[0].header
    if not added and stamp_to_ns(header.stamp) == 0:
        expected = "a stamp in the first marker of an array that adds none (DELETEALL alone)"
        return Fault("actors.no_stamp", f"{topic}: expected {expected}, got 0; the array is not used")
    other = next((marker.header for marker in added if marker.header != header), None)
    if other is not None:
        stamps = " and ".join(seconds(stamp_to_ns(h.stamp)) for h in (header, other))
        frames = f"'{header.frame_id}' and '{other.frame_id}'"
        got = f"frames {frames}, stamps {stamps}; the array is not used"
        return Fault("actors.mixed_headers", f"{topic}: expected markers with one frame and one stamp, got {got}")
    actors = [
        ActorInput(
            id=f"{marker.ns}/{marker.id}",
            asset=marker_asset(marker),
            position_m=position(marker.pose),
            quat_wxyz=quat_wxyz(marker.pose),
            **_cube(marker),
        )
        for marker in added
    ]
    return ActorMessage(stamp_to_ns(header.stamp), header.frame_id, actors)


def _cube(marker: Any) -> dict[str, Any]:
    """What a CUBE says besides: the size of its box, whose centre its position is; nothing of any other marker."""
    if marker.type != MARKER_CUBE:
        return {}
    return {"size_m": (marker.scale.x, marker.scale.y, marker.scale.z), "actor_pose": "box_center"}


def marker_asset(marker: Any) -> str:
    """The name of the asset that a marker stands for."""
    return marker.mesh_resource or marker.text


class MessageChecks:
    """Checked states from messages; what is wrong with them is in `reports`.

    defers          whether a topic of actors stands back behind another one as long as none of its actors can be drawn
    T_map_recorded  moves every pose: the frame of the messages in the scene's map (None: they are the same)
    """

    def __init__(
        self,
        config: SimConfig,
        *,
        library: AssetLibrary,
        defers: Callable[[str], bool] = lambda topic: False,
        T_map_recorded: Rigid | None = None,
    ) -> None:
        self._frames, self._defers, self._T_map_recorded = config.frames, defers, T_map_recorded
        self._rules = ActorRules(
            known_asset=library.__contains__,
            asset_height_m=lambda name: library[name].size_m[2],
            actor_pose=config.assets.actor_pose,
        )
        self._source: dict[str, str] = {}
        self.reports = Reports()

    def ego(self, topic: str, message: EgoMessage) -> EgoState | None:
        """A pose of the vehicle; None for one that is not used."""
        if not self._may_be_source("ego", topic) or not self._is_in_map(topic, message.frame_id):
            return None
        child = message.child_frame_id
        if frame_name(child) and not self._frames.is_vehicle(child):
            expected = f"{topic}: expected child_frame_id '{self._frames.vehicle}', got '{child}'; set frames.base_link"
            self.reports.add(Fault("ego.child_frame", expected))
            return None
        state = ego_state(
            stamp_ns=message.stamp_ns, position_m=message.position_m, quat_wxyz=message.quat_wxyz
        )
        if isinstance(state, Fault):
            self.reports.add(state)
            return None
        self._source["ego"] = topic
        if state.T_world_ego.rotation[2, 2] < 0.0:
            text = f"{topic}: the vehicle stands on its roof; are its orientation's numbers in the order x, y, z, w?"
            self.reports.add(Fault("ego.upside_down", text))
        return replace(state, T_world_ego=self._in_map(state.T_world_ego))

    def actors(self, topic: str, message: ActorMessage | Fault) -> tuple[int, tuple[ActorState, ...]] | None:
        """A stamp, and all actors at it that can be drawn; None for a message that is not used."""
        if not self._may_be_source("actors", topic):
            return None
        if isinstance(message, Fault):
            self.reports.add(message)
            return None
        if not self._is_in_map(topic, message.frame_id):
            return None
        states, faults = actor_states(message.actors, self._rules)
        for fault in faults:
            self.reports.add(fault)
        if states or not message.actors:
            self._source["actors"] = topic
        elif "actors" not in self._source and self._defers(topic):
            # Of equal stamps the first message counts: "no actors" from here would shut out those of the other topic.
            text = f"{topic}: none of its actors can be drawn, and another topic has actors; not used until one can"
            self.reports.add(Fault("actors.not_used", text))
            return None
        placed = tuple(replace(state, T_world_actor=self._in_map(state.T_world_actor)) for state in states)
        return message.stamp_ns, placed

    def _in_map(self, T: Rigid) -> Rigid:
        return T if self._T_map_recorded is None else self._T_map_recorded @ T

    def _may_be_source(self, role: str, topic: str) -> bool:
        """The first topic that delivers something usable is the run's source for its role; another one is reported."""
        source = self._source.get(role, topic)
        if source != topic:
            text = f"{topic}: the {role} already comes from {source}; messages here are ignored"
            self.reports.add(Fault(f"{role}.second_source", text))
        return source == topic

    def _is_in_map(self, topic: str, frame_id: str) -> bool:
        wanted = self._frames.map
        if frame_name(frame_id) not in ("", frame_name(wanted)):
            hint = "move it into the map" if self._frames.is_vehicle(frame_id) else "set frames.map"
            text = f"{topic}: expected frame_id '{wanted}', got '{frame_id}'; {hint}"
            self.reports.add(Fault(f"{topic}.frame", text))
            return False
        return True


class MessageDoor:
    """Checks messages and feeds a Synchronizer, which it makes at the first one. Called by one thread at a time.

    With `sync.actors: auto` the first message decides: actors are required when it is one of theirs or `has_actors`
    says that there will be some, else static.

    defers, T_map_recorded  as in MessageChecks
    say                     gets a line when `auto` has been decided
    """

    def __init__(
        self,
        config: SimConfig,
        *,
        rig: Rig,
        library: AssetLibrary,
        has_actors: Callable[[], bool],
        defers: Callable[[str], bool] = lambda topic: False,
        say: Callable[[str], None] = lambda text: None,
        T_map_recorded: Rigid | None = None,
    ) -> None:
        self._config, self._rig = config, rig
        self._has_actors, self._say = has_actors, say
        self._checks = MessageChecks(config, library=library, defers=defers, T_map_recorded=T_map_recorded)
        self.reports = self._checks.reports
        self.synchronizer: Synchronizer | None = None

    def next_tick(self) -> Tick | None:
        """The next tick, or None while it waits."""
        return self.synchronizer.next_tick() if self.synchronizer else None

    def on_ego(self, topic: str, message: EgoMessage) -> None:
        """Take a pose of the vehicle. QueueOverflow as in `Synchronizer.on_ego`."""
        state = self._checks.ego(topic, message)
        if state is not None:
            self._synchronizer_for("ego").on_ego(state)

    def on_actors(self, topic: str, message: ActorMessage | Fault) -> None:
        """Take all actors at one time. QueueOverflow as in `Synchronizer.on_actors`."""
        checked = self._checks.actors(topic, message)
        if checked is not None:
            self._synchronizer_for("actors").on_actors(*checked)

    def on_trigger(self, stamp_ns: int) -> None:
        """Take a request for a frame set. QueueOverflow as in `Synchronizer.on_trigger`."""
        self._synchronizer_for("trigger").on_trigger(stamp_ns)

    def _synchronizer_for(self, first_input: str) -> Synchronizer:
        if self.synchronizer is None:
            config = self._config.sync
            if config.actors == "auto":
                expected = first_input == "actors" or self._has_actors()
                config = replace(config, actors="required" if expected else "static")
                self._say(f"sync.actors: auto -> {config.actors}")
            buffer = StateBuffer(self._config.state, reports=self.reports, static_actors=config.actors == "static")
            self.synchronizer = Synchronizer(config, rig=self._rig, buffer=buffer, reports=self.reports)
        return self.synchronizer
