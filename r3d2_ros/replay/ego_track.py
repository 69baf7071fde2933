"""Where the ego of a recording was, pass by pass of its time."""

from __future__ import annotations

from dataclasses import replace

from r3d2_ros.config import SimConfig
from r3d2_ros.geometry import Rigid
from r3d2_ros.input_checks import Fault, ego_state
from r3d2_ros.message_inputs import EgoMessage
from r3d2_ros.pairing import Pairing
from r3d2_ros.replay.sources import EgoSource
from r3d2_ros.state_buffer import nanoseconds, track_limits
from r3d2_ros.timeline import Track


class EgoTrack:
    """The poses of the ego by timeline and stamp. Its timelines are those of the ticks."""

    def __init__(self, ego: EgoSource, config: SimConfig) -> None:
        self._gap_ns = nanoseconds(config.state.max_interpolation_gap_s)
        self._track: Track[EgoMessage] = Track(track_limits(config.state))
        for _, entry in ego.messages:
            if isinstance(entry, EgoMessage):
                self._track.add(entry.stamp_ns, entry)

    def covers(self, stamp_ns: int, timeline: int) -> bool:
        """Whether a moment lies between the first and the last pose of a timeline."""
        segment = self._track.segment(timeline)
        return segment is not None and segment.stamps[0] <= stamp_ns <= segment.stamps[-1]

    def at(self, stamp_ns: int, timeline: int) -> Rigid | None:
        """Interpolated; None outside of the drive, in a gap, and beside a pose that cannot be used."""
        segment = self._track.segment(timeline)
        if segment is None:
            return None
        before, after = segment.newest_up_to(stamp_ns), segment.oldest_from(stamp_ns)
        if before is None or after is None or after - before > self._gap_ns:
            return None
        first, second = _pose(segment.values[before]), _pose(segment.values[after])
        if first is None or second is None:
            return None
        return first if before == after else first.interpolate(second, (stamp_ns - before) / (after - before))


class ObjectTimelines:
    """Which timeline of the ego each message of objects belongs to: the one that its actors are shown in."""

    def __init__(self, ego: EgoSource, config: SimConfig) -> None:
        limits = track_limits(config.state)
        self._tracks: dict[str, Track[None]] = {"ego": Track(limits), "actors": Track(limits)}
        self._pairing = Pairing(**self._tracks, near_ns=limits.jump_ns)
        self._poses = ((log_ns, entry) for log_ns, entry in ego.messages if isinstance(entry, EgoMessage))
        self._next = next(self._poses, None)

    def of(self, stamp_ns: int, log_ns: int) -> int:
        """The timeline of the message that was recorded next."""
        while self._next is not None and self._next[0] < log_ns:
            self._add("ego", self._next[1].stamp_ns)
            self._next = next(self._poses, None)
        return self._pairing.ego_timeline("actors", self._add("actors", stamp_ns))

    def _add(self, name: str, stamp_ns: int) -> int:
        arrival = self._tracks[name].add(stamp_ns, None)
        if arrival.accepted:
            self._pairing.update(name, arrival)
        return arrival.timeline


def without_unfilled(ego: EgoSource, config: SimConfig) -> EgoSource:
    """Poses with the stamp 0 become faults where the time of the drive lies elsewhere: their header was never filled.
    A drive whose time begins at 0, or that has no other stamps, stays as it is."""
    leap_ns = nanoseconds(config.state.leap_s)
    fault = Fault("ego.no_stamp", f"{ego.topic}: a pose with the stamp 0 is left out: its header was never filled")
    stamps = [entry.stamp_ns for _, entry in ego.messages if isinstance(entry, EgoMessage)]
    near_ns = next((stamp_ns for stamp_ns in reversed(stamps) if stamp_ns), 0)
    kept: list[tuple[int, EgoMessage | Fault]] = []
    for log_ns, entry in reversed(ego.messages):
        if isinstance(entry, EgoMessage):
            near_ns = entry.stamp_ns or near_ns
            kept.append((log_ns, fault if entry.stamp_ns == 0 and near_ns > leap_ns else entry))
        else:
            kept.append((log_ns, entry))
    return replace(ego, messages=kept[::-1])


def _pose(message: EgoMessage) -> Rigid | None:
    state = ego_state(stamp_ns=0, position_m=message.position_m, quat_wxyz=message.quat_wxyz)
    return None if isinstance(state, Fault) else state.T_world_ego
