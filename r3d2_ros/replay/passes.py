"""The passes of time of a recording, with the poses and the actors that a replay would take."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from r3d2_ros.config import SimConfig
from r3d2_ros.geometry import Rigid
from r3d2_ros.input_checks import Fault, Report, Reports
from r3d2_ros.message_inputs import ActorMessage, EgoMessage, MessageChecks
from r3d2_ros.replay.recording import Recording
from r3d2_ros.scene import AssetLibrary
from r3d2_ros.state_buffer import StateBuffer
from r3d2_ros.world import ActorState


@dataclass(frozen=True, eq=False)
class Pass:
    """Poses of the ego and the actors, in map, by rising stamps in nanoseconds."""

    ego: Mapping[int, Rigid]
    actors: Mapping[int, Sequence[ActorState]]


@dataclass(frozen=True, eq=False)
class Passes:
    """reports: what was wrong with the messages, and how often."""

    passes: tuple[Pass, ...]
    reports: tuple[Report, ...]


def read_passes(recording: Recording, *, config: SimConfig, library: AssetLibrary) -> Passes:
    """Every pass of the ego's time, with the actors that go with it; messages in other frames, with stray or repeated
    stamps, or with numbers that cannot be used are left out, as in a replay.

    Actors without an id are left out too: nothing says which of two messages are the same.
    """
    checks = MessageChecks(config, library=library)
    buffer = StateBuffer(replace(config.state, max_messages=sys.maxsize), reports=checks.reports)
    for entry in recording.inputs():
        for fault in entry.faults:
            checks.reports.add(fault)
        if isinstance(entry.message, EgoMessage):
            state = checks.ego(entry.topic, entry.message)
            if state is not None:
                buffer.add_ego(state)
        elif isinstance(entry.message, ActorMessage):
            checked = checks.actors(entry.topic, _tracked(entry.message, checks.reports))
            if checked is not None:
                buffer.add_actors(*checked)
    buffer.end()
    first = 1 if buffer.pairing.set_aside == "ego" else 0  # what it began with is stray
    return Passes(tuple(_pass(buffer, k) for k in range(first, buffer.ego.timeline + 1)), checks.reports.all())


def _tracked(message: ActorMessage, reports: Reports) -> ActorMessage:
    """The message without the actors of which nothing says which ones of other messages they are."""
    tracked = [actor for actor in message.actors if actor.tracked and actor.id]
    for _ in range(len(message.actors) - len(tracked)):
        reports.add(Fault("actors.no_id", "an actor without an id is left out: nothing says where else it is"))
    return replace(message, actors=tracked)


def _pass(buffer: StateBuffer, timeline: int) -> Pass:
    poses = buffer.ego.segment(timeline)
    actors = buffer.actors.segment(buffer.pairing.timeline("actors", timeline))
    ego = {} if poses is None else {stamp_ns: poses.values[stamp_ns].T_world_ego for stamp_ns in poses.stamps}
    return Pass(ego, {} if actors is None else {stamp_ns: actors.values[stamp_ns] for stamp_ns in actors.stamps})
