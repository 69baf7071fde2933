"""Ticks of a recording: the moments that a live lock-step node would have rendered, numbered as it numbers them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from r3d2_ros.cameras import Rig
from r3d2_ros.config import SimConfig
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Rigid
from r3d2_ros.input_checks import Report
from r3d2_ros.message_inputs import ActorMessage, EgoMessage, MessageDoor
from r3d2_ros.replay.recording import Input, Recording
from r3d2_ros.replay.refusals import Refusals
from r3d2_ros.scene import AssetLibrary
from r3d2_ros.state_buffer import nanoseconds, seconds
from r3d2_ros.sync import END_OF_INPUTS, QueueOverflow, Tick
from r3d2_ros.timeline import Track

QUEUE_LIMIT, MAX_MESSAGES = 100_000, 1_000_000
"""A live node stops when this many ticks wait (sync.queue_limit), as it may lose nothing, and forgets messages beyond a
number (state.max_messages); a bag waits for as long as it takes."""

BEFORE_ACTORS = "actors.before_history"
OUTSIDE = (BEFORE_ACTORS, END_OF_INPUTS)
"""Causes of ticks for which the recording has no actors yet, or no more: nothing is wrong with them."""

REFUSED = "actors.refused"
"""Cause of ticks that lack actors whose messages are there and were left out."""


@dataclass(frozen=True)
class PlannedTick:
    """A tick of the recording.

    index   number within the whole recording, from 0, as in a live node's frame sets
    log_ns  when it would have been recorded: the time of recording of the pose at or after it, as much earlier as its
            stamp is
    """

    index: int
    log_ns: int
    tick: Tick


Place = tuple[float, float, float, float]
"""x, y, z in metres and yaw in radians of base_link, in the map of the recording."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Stamp of a tick, the timeline it belongs to, the ego's place where it is known, and when the tick would have been
    recorded."""

    stamp_ns: int
    timeline: int
    place: Place | None
    log_ns: int = 0


@dataclass(frozen=True)
class Selection:
    """Which ticks are rendered: those in a window of message time, and of them every n-th.

    start_s     seconds after the first tick
    duration_s  None: to the end
    """

    start_s: float = 0.0
    duration_s: float | None = None
    every: int = 1

    def indices(self, moments: Sequence[Moment]) -> list[int]:
        """Numbers of the ticks, rising."""
        if not moments:
            return []
        first_ns = moments[0].stamp_ns + nanoseconds(self.start_s)
        last_ns = None if self.duration_s is None else first_ns + nanoseconds(self.duration_s)
        inside = [
            i
            for i, moment in enumerate(moments)
            if moment.stamp_ns >= first_ns and (last_ns is None or moment.stamp_ns < last_ns)
        ]
        return inside[:: self.every]


def replay_config(config: SimConfig, rate_hz: float | None) -> SimConfig:
    """The configuration of a replay: lock-step, with frame sets at `rate_hz` of message time where it is given, and no
    deadlines."""
    sync = replace(config.sync, mode="lockstep", queue_limit=QUEUE_LIMIT)
    if rate_hz is not None:
        sync = replace(sync, tick="rate")
    if sync.tick == "trigger":
        raise InputError("sync.tick", "ego or rate, as a bag has no triggers", "trigger", "Give --rate HZ, or set it")
    state = replace(config.state, max_messages=MAX_MESSAGES)
    return replace(config, sync=sync, state=state, harmonizer=replace(config.harmonizer, on_deadline="wait"))


def replay_rig(rig: Rig, *, cameras: Sequence[str] = (), rate_hz: float | None = None) -> Rig:
    """The rig with the cameras named only (none named: all), each at `rate_hz` where it is given."""
    for name in cameras:
        if name not in [camera.name for camera in rig.cameras]:
            known = ", ".join(camera.name for camera in rig.cameras)
            raise InputError("--cameras", f"names of cameras of the rig '{rig.name}': {known}", f"'{name}'")
    chosen = [camera for camera in rig.cameras if not cameras or camera.name in cameras]
    if rate_hz is not None:
        chosen = [replace(camera, rate_hz=rate_hz, phase_s=0.0) for camera in chosen]
    return replace(rig, cameras=tuple(chosen))


class Ticks:
    """The ticks of a recording, from its inputs, always the same.

    T_map_recorded  where the recording's map lies in the scene's map; None: they are the same
    """

    def __init__(
        self,
        recording: Recording,
        *,
        config: SimConfig,
        rig: Rig,
        library: AssetLibrary,
        T_map_recorded: Rigid | None = None,
    ) -> None:
        self._recording, self._rig, self._library = recording, rig, library
        self._config, self._T_map_recorded = config, T_map_recorded
        self._newest: MessageDoor | None = None

    @property
    def reports(self) -> tuple[Report, ...]:
        """What was wrong with the inputs, as far as they were read last."""
        return self._newest.reports.all() if self._newest else ()

    def moments(self) -> list[Moment]:
        """Every tick of the recording without its actors: which ones there are follows from the ego alone."""
        return list(self._moments(self._config))

    def beginning(self) -> Place | None:
        """The first place of the drive that is known: that of a pose, whichever ticks the cameras have."""
        each_pose = replace(self._config, sync=replace(self._config.sync, tick="ego"))
        return next((moment.place for moment in self._moments(each_pose) if moment.place is not None), None)

    def __iter__(self) -> Iterator[PlannedTick]:
        door = self._door(self._config)
        for index, (log_ns, tick) in enumerate(self._run(door, self._recording.inputs())):
            yield PlannedTick(index, log_ns, tick)

    def _moments(self, config: SimConfig) -> Iterator[Moment]:
        door = self._door(replace(config, sync=replace(config.sync, actors="static")))
        for log_ns, tick in self._run(door, self._recording.inputs(actors=False)):
            place = _place(tick.state.ego.T_world_ego) if tick.state else None
            yield Moment(tick.stamp_ns, tick.timeline, place, log_ns)

    def _door(self, config: SimConfig) -> MessageDoor:
        self._newest = MessageDoor(
            config,
            rig=self._rig,
            library=self._library,
            has_actors=lambda: self._recording.actors is not None,
            T_map_recorded=self._T_map_recorded,
        )
        return self._newest

    def _run(self, door: MessageDoor, inputs: Iterator[Input]) -> Iterator[tuple[int, Tick]]:
        try:
            yield from self._fed(door, inputs)
        except QueueOverflow as error:
            where = f"{self._recording.bag.path}: actors"
            raise InputError(
                where, "actors that keep up with the ego", str(error), "Or set sync.actors: static"
            ) from error

    def _fed(self, door: MessageDoor, inputs: Iterator[Input]) -> Iterator[tuple[int, Tick]]:
        times, refusals = _LogTimes(), Refusals()
        actors = self._recording.actors.name if self._recording.actors else None
        for entry in inputs:
            for fault in entry.faults:
                door.reports.add(fault)
            if isinstance(entry.message, EgoMessage):
                door.on_ego(entry.topic, entry.message)
                if door.synchronizer is not None:
                    times.add(door.synchronizer.buffer.ego, entry.message.stamp_ns, entry.log_ns)
            elif isinstance(entry.message, ActorMessage):
                frame = f"{entry.topic}.frame"
                before = door.reports.count(frame)
                door.on_actors(entry.topic, entry.message)
                if door.reports.count(frame) > before:
                    text = next(report.text for report in door.reports.all() if report.cause == frame)
                    refusals.refused(frame, text, entry.log_ns)
                else:
                    refusals.taken(entry.log_ns)
            elif entry.topic == actors:
                for fault in entry.faults[:1]:
                    refusals.refused(fault.cause, fault.text, entry.log_ns)
            while (tick := door.next_tick()) is not None:
                yield _told(tick, times.of(tick), refusals)
        if door.synchronizer is not None:
            for tick in door.synchronizer.finish():
                yield _told(tick, times.of(tick), refusals)


def _told(tick: Tick, log_ns: int, refusals: Refusals) -> tuple[int, Tick]:
    """When it would have been recorded, and the tick, which says so where it lacks actors that were left out."""
    reason = ""
    if tick.cause == BEFORE_ACTORS:
        reason = refusals.before(log_ns)
    elif tick.cause == END_OF_INPUTS:
        reason = refusals.after(log_ns)
    return log_ns, replace(tick, cause=REFUSED, reason=reason) if reason else tick


def _place(T: Rigid) -> Place:
    x, y, z = T.translation.tolist()
    return x, y, z, T.yaw_rad


class _LogTimes:
    """When poses were recorded, by timeline and stamp; the newest `KEPT` of them."""

    KEPT = 200_000

    def __init__(self) -> None:
        self._passes: dict[int, tuple[list[int], list[int]]] = {}
        self._newest_ns = 0

    def add(self, ego: Track[Any], stamp_ns: int, log_ns: int) -> None:
        """After the pose has come to `ego`, which may have left it out."""
        if ego.current is None or ego.newest_ns != stamp_ns:
            return
        self._newest_ns = log_ns
        stamps, logs = self._passes.setdefault(ego.timeline, ([], []))
        if stamps and stamps[-1] == stamp_ns:
            return
        if ego.current.received == 1:  # the stray one that had begun this timeline is not of it
            stamps.clear()
            logs.clear()
        keep = bisect_left(stamps, stamp_ns)
        del stamps[keep:], logs[keep:]  # a stray one
        stamps.append(stamp_ns)
        logs.append(log_ns)
        if len(stamps) > 2 * self.KEPT:
            del stamps[: self.KEPT], logs[: self.KEPT]

    def of(self, tick: Tick) -> int:
        """Time of recording of a tick. Ticks come in the order of their timelines; after a stray pose that has begun
        one, the one before goes on."""
        for timeline in [t for t in self._passes if t < tick.timeline - 1]:
            del self._passes[timeline]
        stamps, logs = self._passes.get(tick.timeline, ([], []))
        if not stamps:
            return self._newest_ns
        i = min(bisect_left(stamps, tick.stamp_ns), len(stamps) - 1)
        return logs[i] + tick.stamp_ns - stamps[i]


def describe(moments: Sequence[Moment]) -> str:
    """How many ticks, over which time, for people."""
    if not moments:
        return "no frame sets"
    text = f"{len(moments)} frame sets from {seconds(moments[0].stamp_ns)} to {seconds(moments[-1].stamp_ns)}"
    jumps = moments[-1].timeline - moments[0].timeline
    return text + (f", time goes back {jumps} times" if jumps else "")
