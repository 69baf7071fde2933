"""The part of a recorded drive that becomes a scenario: where the ego and the actors were, by seconds of that part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from r3d2_ros.config import SimConfig
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Rigid
from r3d2_ros.replay.passes import Pass, read_passes
from r3d2_ros.replay.recording import Recording
from r3d2_ros.scene import AssetLibrary
from r3d2_ros.state_buffer import nanoseconds
from r3d2_ros.world import ActorState


@dataclass(frozen=True)
class LogOptions:
    """ego, actors: topics, None: found. start_s, duration_s: part of the drive. anchor: move its beginning to the
    beginning of the scene's capture.

    pass_number  which pass of the bag's time, from 1
    hide         ids of actors that are left out
    replace      id -> asset of its instead
    target       id of the actor that scores are about
    """

    ego: str | None = None
    actors: str | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    pass_number: int = 1
    anchor: bool = False
    hide: tuple[str, ...] = ()
    replace: Mapping[str, str] = field(default_factory=dict)
    target: str = ""


@dataclass(frozen=True, eq=False)
class Track:
    """An actor's states by seconds of the scenario."""

    asset: str
    size_m: tuple[float, float, float] | None
    times_s: list[float]
    poses: list[Rigid]


@dataclass(frozen=True, eq=False)
class Drive:
    """Poses of the ego and tracks by seconds of the scenario; where names the bag, and the pass if it has several."""

    ego: dict[float, Rigid]
    tracks: dict[str, Track]
    where: str
    notes: list[str]


def read_drive(recording: Recording, config: SimConfig, library: AssetLibrary, options: LogOptions) -> Drive:
    """The pass of the recording's time that is asked for, and of it the part."""
    bag, actors = recording.bag, recording.actors
    found = read_passes(recording, config=config, library=library)
    wrong = [report for report in found.reports if report.level != "info"]
    why = "".join(f"; {text}" for text in (*(report.text for report in wrong), *bag.damage))
    passes = [each for each in found.passes if len(each.ego) > 1]
    if not passes:
        got = f"{max((len(each.ego) for each in found.passes), default=0)}{why}"
        raise InputError(f"{bag.path}: {recording.ego.topic}", "at least two poses that can be used", got)
    if actors and actors.count and not any(each.actors for each in found.passes):
        hint = "--actors-topic none leaves them out"
        raise InputError(f"{bag.path}: {actors.name}", "messages that can be used", f"none{why}", hint)
    number = options.pass_number
    if not 1 <= number <= len(passes):
        raise InputError("--pass", f"1 to {len(passes)}, the passes of time of {bag.path}", str(number))
    notes = [*bag.notes, *recording.ego.notes, *dict.fromkeys(bag.damage)]
    notes += [f"{report.text} ({report.count} times)" for report in wrong]
    where = str(bag.path)
    if len(passes) > 1:
        where += f": pass {number} of {len(passes)}"
        notes.append(f"time goes back: this is pass {number} of {len(passes)}; --pass N takes another")
    zero_ns, last_ns = _window(passes[number - 1], options)
    ego = {(ns - zero_ns) / 1e9: T for ns, T in passes[number - 1].ego.items() if zero_ns <= ns <= last_ns}
    if len(ego) < 2:
        raise InputError(where, "at least two poses of the ego in this part of the drive", str(len(ego)))
    notes += _gap_notes(list(ego), longest_s=config.state.max_interpolation_gap_s)
    seen = {ns: states for ns, states in passes[number - 1].actors.items() if zero_ns <= ns <= last_ns}
    return Drive(ego, _tracks(seen, zero_ns), where, notes)


def _window(drive: Pass, options: LogOptions) -> tuple[int, int]:
    """Stamps at which the part begins, with a pose, and ends."""
    start_ns, last_ns = min(drive.ego) + nanoseconds(options.start_s), max(drive.ego)
    zero_ns = min((ns for ns in drive.ego if ns >= start_ns), default=start_ns)
    return zero_ns, last_ns if options.duration_s is None else zero_ns + nanoseconds(options.duration_s)


def _gap_notes(times_s: Sequence[float], *, longest_s: float) -> list[str]:
    gaps = np.diff(times_s)
    k = int(gaps.argmax())
    if gaps[k] <= longest_s:
        return []
    text = f"no pose of the ego for up to {gaps[k]:.1f} s, from {times_s[k]:.1f} s on: its path is straight there"
    return [text]


def _tracks(arrays: Mapping[int, Sequence[ActorState]], zero_ns: int) -> dict[str, Track]:
    tracks: dict[str, Track] = {}
    for stamp_ns, states in arrays.items():
        for state in states:
            track = tracks.setdefault(state.id, Track(state.asset, state.size_m, [], []))
            track.times_s.append((stamp_ns - zero_ns) / 1e9)
            track.poses.append(state.T_world_actor)
    return tracks
