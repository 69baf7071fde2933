"""StateBuffer: ego and actors arrive at different times; `at(stamp)` is the world at that stamp."""

from __future__ import annotations

import sys
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Annotated, Generic, TypeVar

from pydantic import Field

from r3d2_ros.input_checks import Fault, Reports, without_repeated
from r3d2_ros.pairing import Doubt, Pairing
from r3d2_ros.schema import STRICT
from r3d2_ros.timeline import Arrival, Kind, Track, TrackLimits
from r3d2_ros.world import ActorState, EgoState, WorldState

T = TypeVar("T")

PAIRING_IN_DOUBT = "pairing_in_doubt"
"""Cause under which a `Doubt` of the pairing is reported."""

RESTART = "begin a new run (deactivate and activate the node)"

MAX_INSTANCES = 65535
"""Instance images are 16 bit and 0 is the background."""

KEPT_NUMBERS = 4096
"""While fewer actors have been seen, each has an instance number of its own. Then a new one gets the number of the one
that has not been shown for longest: trackers name thousands of actors in an hour, and frame sets list by number."""


@dataclass(frozen=True)
class BufferConfig:
    """Limits of what the buffer makes up between messages, and of what it keeps."""

    __pydantic_config__ = STRICT
    max_interpolation_gap_s: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="Two messages further apart than this are not interpolated: the tick fails.",
        ),
    ] = 0.6
    max_hold_s: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="How long the newest message stands for the time after it (sync.mode latest).",
        ),
    ] = 1.0
    jump_back_s: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="A stamp further back than this restarts time; after a smaller step it is ignored.",
        ),
    ] = 1.0
    leap_s: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="A stamp further ahead than this is a leap: no exposure is due in between.",
        ),
    ] = 10.0
    history_s: Annotated[
        float,
        Field(gt=0, le=3600, description="How far before the newest frame set a trigger may still ask for one."),
    ] = 5.0
    max_messages: Annotated[
        int,
        Field(
            ge=16,
            le=1_000_000,
            description="Messages kept per input; the oldest that no waiting frame set needs are forgotten.",
        ),
    ] = 2000


@dataclass(frozen=True)
class NotYet:
    """The state is not known yet: `inputs` ("ego", "actors") have to deliver a stamp at or after it."""

    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Unavailable:
    """The state will never be known. `cause` is a short key, `reason` is for people."""

    cause: str
    reason: str


@dataclass(frozen=True)
class _Sample(Generic[T]):
    """The messages around a stamp and the place between them, 0 at `before`, which is used alone at 0."""

    before: T
    after: T
    fraction: float = 0.0


class StateBuffer:
    """Messages in, world states out. A pure function of the stamps and contents of each input.

    Interpolation is linear in positions and spherical (slerp) in rotations. A message of actors lists the
    actors of the interval from its stamp up to the next message: within it an actor that both messages list
    moves between its two poses, and one that only the first lists stands still; asset, size and order are
    those of the first.

    An input whose stamps go back by more than `jump_back_s` begins a new timeline. States never mix
    timelines: the n-th timeline of the ego goes with the n-th of the actors, counted from where both are there
    (see `pairing`). Each input counts its own, so the order in which their messages arrive around a jump does not
    matter. `static_actors` is the exception: nothing waits for them, each of their messages holds from its stamp on
    without limit, and they outlive a jump of the ego.

    A message that stands alone, further back or ahead than `jump_back_s`, is stray and taken out if the next one goes
    on after those before it, by no more than `leap_s` (or `max_interpolation_gap_s`, where that is longer). So a
    state waits for one message more, or for the end, where only the newest message would make it fail: one further
    ahead than `leap_s`, or an input's first, further ahead of the state than `jump_back_s`. After a shorter pause
    nothing waits: there a state fails at once, even if the message behind the pause turns out to be stray.
    """

    def __init__(self, config: BufferConfig, *, reports: Reports, static_actors: bool = False) -> None:
        self.config, self.reports, self.static_actors = config, reports, static_actors
        limits = track_limits(config, max_messages=config.max_messages)
        self.ego: Track[EgoState] = Track(limits)
        self.actors: Track[tuple[ActorState, ...]] = Track(limits, ordered=not static_actors)
        self.pairing = Pairing(ego=self.ego, actors=self.actors, near_ns=limits.jump_ns)
        self._ended = False
        self._announced = 0
        self._numbers: dict[str, int] = {}
        """Instance numbers 1, 2, ... by id, in the order in which the actors were shown last."""

    def add_ego(self, ego: EgoState) -> Arrival:
        """Take an ego pose. A stamp that repeats or is late is ignored and reported."""
        return self._add("ego", self.ego, ego.stamp_ns, ego)

    def add_actors(self, stamp_ns: int, actors: Sequence[ActorState]) -> Arrival:
        """Take all actors at `stamp_ns`. Those whose id occurs twice are left out and reported."""
        single, faults = without_repeated(actors)
        for fault in faults:
            self.reports.add(fault)
        return self._add("actors", self.actors, stamp_ns, tuple(single))

    def at(
        self, stamp_ns: int, *, timeline: int | None = None, hold: bool = False
    ) -> WorldState | NotYet | Unavailable:
        """The world at `stamp_ns`, its actors without instance numbers (see `numbered`).

        timeline  which one of the ego's is meant, counted from 0; default: its current one
        hold      instead of waiting, let the newest message stand for up to `max_hold_s` after it; actors that were
                  never received are none
        """
        timeline = self.ego.timeline if timeline is None else timeline
        ego = self._around("ego", self.ego, stamp_ns, timeline=timeline, hold=hold)
        actors = self._actors_around(stamp_ns, timeline=timeline, hold=hold)
        # As long as it is open which timelines go together, nothing is refused; the ego's first message may be stray.
        open_for = None if hold else self.pairing.open_for()
        refused = isinstance(ego, Unavailable) or isinstance(actors, Unavailable)
        if open_for and (refused or (open_for, timeline) == ("ego", 0)):
            return NotYet((open_for,))
        # Waiting comes first: which reason a failure names must not depend on the order of arrival.
        if isinstance(ego, NotYet) or isinstance(actors, NotYet):
            return NotYet(tuple(name for x in (ego, actors) if isinstance(x, NotYet) for name in x.inputs))
        if isinstance(ego, Unavailable):
            return ego
        if isinstance(actors, Unavailable):
            return actors
        pose = ego.before.T_world_ego.interpolate(ego.after.T_world_ego, ego.fraction)
        return WorldState(stamp_ns, EgoState(stamp_ns, pose), _blend(actors))

    def numbered(self, state: WorldState) -> WorldState:
        """`state` with instance numbers. An actor gets its number when it is first seen here, and keeps it unless
        KEPT_NUMBERS others are seen between two of its appearances.

        Called once for each tick in tick order, numbers depend on stamps alone. Actors beyond the 65535th of
        the state are left out and reported.
        """
        here = {actor.id for actor in state.actors}
        # Those that are here move behind all that are gone, of which the first is gone for longest.
        for id_ in [actor.id for actor in state.actors if actor.id in self._numbers]:
            self._numbers[id_] = self._numbers.pop(id_)
        actors: list[ActorState] = []
        for actor in state.actors:
            number = self._numbers.get(actor.id) or self._new_number(actor.id, here)
            if number is None:
                text = f"expected at most {MAX_INSTANCES} actors at one time, got {len(here)}; the others are not drawn"
                self.reports.add(Fault("actors.too_many_instances", text, "error"))
            else:
                actors.append(replace(actor, instance=number))
        ids = [""] * max((actor.instance for actor in actors), default=0)
        for actor in actors:
            ids[actor.instance - 1] = actor.id
        return replace(state, actors=tuple(actors), instance_ids=tuple(ids))

    def _new_number(self, id_: str, here: Set[str]) -> int | None:
        """A number for an actor that has none; None when all are taken by those that are `here`."""
        number = len(self._numbers) + 1
        first = next(iter(self._numbers), id_)
        if number > KEPT_NUMBERS and first not in here:
            number = self._numbers.pop(first)
        if number > MAX_INSTANCES:
            return None
        self._numbers[id_] = number
        return number

    def need(self, oldest: tuple[int, int] | None) -> None:
        """From now on keep, whatever their number, the messages that a state at (timeline, stamp) or later needs."""
        self.ego.needed_from = self.actors.needed_from = oldest
        if oldest is not None:
            everything = (-1, 0)
            paired = self.pairing.timeline("actors", oldest[0]), oldest[1]
            self.actors.needed_from = everything if self.pairing.open_for() else paired

    def end(self) -> None:
        """No message follows: none that is there is stray."""
        self._ended = True
        self.pairing.end()

    def forget(self, *, timeline: int, before_ns: int) -> None:
        """Drop what no stamp from (`timeline`, `before_ns`) on can need."""
        if self.pairing.open_for():
            return
        self.ego.forget(timeline=timeline, before_ns=before_ns)
        self.actors.forget(timeline=self.pairing.timeline("actors", timeline), before_ns=before_ns)

    def _actors_around(
        self, stamp_ns: int, *, timeline: int, hold: bool
    ) -> _Sample[tuple[ActorState, ...]] | NotYet | Unavailable:
        current = self.actors.current
        if self.static_actors:
            value = self.actors.held(stamp_ns, timeline)
            if value is None and current is not None:
                self._report_begin_later(stamp_ns, current.stamps[0])
            return _Sample(value or (), value or ())
        if hold and (current is None or current.newest_up_to(stamp_ns) is None):
            if current is None:
                self.reports.add(Fault("actors.none_yet", "no actors have been received yet; none is drawn", "info"))
            elif self.pairing.timeline("actors", timeline) <= self.actors.timeline:
                self._report_begin_later(stamp_ns, current.stamps[0])
            return _Sample((), ())
        return self._around("actors", self.actors, stamp_ns, timeline=timeline, hold=hold)

    def _report_begin_later(self, stamp_ns: int, first_ns: int) -> None:
        text = f"actors begin at {seconds(first_ns)} and hold from then on, the frame set is at {seconds(stamp_ns)}"
        self.reports.add(Fault("actors.begin_later", f"{text}: none is drawn; are their stamps of the ego's clock?"))

    def _around(
        self, name: str, track: Track[T], stamp_ns: int, *, timeline: int, hold: bool
    ) -> _Sample[T] | NotYet | Unavailable:
        segment = track.current if hold else track.segment(self.pairing.timeline(name, timeline))
        after = segment.oldest_from(stamp_ns) if segment else None
        if after is None and not hold:
            return self._missing_after(name, track, stamp_ns, timeline=timeline)
        before = segment.newest_up_to(stamp_ns) if segment else None
        newest = segment is track.current and not hold
        if newest and after is not None and self._is_uncertain(track, before=before, stamp_ns=stamp_ns, after=after):
            return NotYet((name,))
        if segment is None or before is None:
            oldest = f"the oldest one kept is at {seconds(after)}" if after is not None else "there is none"
            reason = f"{name}: expected a message at or before {seconds(stamp_ns)}, {oldest}"
            return Unavailable(f"{name}.before_history", reason)
        gap_ns = None if after is None else after - before
        limits = self.config
        if after is not None and after - before <= nanoseconds(limits.max_interpolation_gap_s):
            fraction = (stamp_ns - before) / (after - before) if after > before else 0.0
            return _Sample(segment.values[before], segment.values[after], fraction)
        if hold and stamp_ns - before <= nanoseconds(limits.max_hold_s):
            return _Sample(segment.values[before], segment.values[before])
        if hold:
            held = f"the message at {seconds(before)} stands for {seconds(stamp_ns - before)}"
            reason = f"{name}: {held}, max_hold_s is {limits.max_hold_s:g} s"
            return Unavailable(f"{name}.held_too_long", reason)
        gap = f"the messages around {seconds(stamp_ns)} lie {seconds(gap_ns)} apart"
        reason = f"{name}: {gap}, max_interpolation_gap_s is {limits.max_interpolation_gap_s:g} s"
        return Unavailable(f"{name}.gap", reason)

    def _is_uncertain(self, track: Track[T], *, before: int | None, stamp_ns: int, after: int) -> bool:
        """Whether the state at `stamp_ns` would fail for a message `after` it that may be taken out yet."""
        if self._ended or after == stamp_ns or after != track.newest_ns or not track.newest_may_be_stray:
            return False
        if before is None:
            return track.timeline == 0 and after - stamp_ns > nanoseconds(self.config.jump_back_s)
        return after - before > nanoseconds(max(self.config.leap_s, self.config.max_interpolation_gap_s))

    def _missing_after(self, name: str, track: Track[T], stamp_ns: int, *, timeline: int) -> NotYet | Unavailable:
        """`track` has nothing at or after `stamp_ns` in `timeline`: more may come, unless its time went back.

        One message that lies back may be a stray one, so it ends a timeline only together with another
        message, or with a jump of every input.
        """
        later = {"ego": self.ego.timeline > timeline}
        if not self.static_actors:
            later["actors"] = self.actors.timeline > self.pairing.timeline("actors", timeline)
        settled = track.current is None or track.current.received > 1
        if later[name] and (settled or all(later.values())):
            reason = f"time went back before '{name}' reached {seconds(stamp_ns)}"
            return Unavailable("time_jump", reason)
        return NotYet((name,))

    def _add(self, name: str, track: Track[T], stamp_ns: int, value: T) -> Arrival:
        newest_ns = track.newest_ns
        arrival = track.add(stamp_ns, value)
        doubt = self.pairing.doubt
        if arrival.accepted and not self.static_actors and self.pairing.update(name, arrival):
            self._announced = self._newest_timeline()
            if self.pairing.set_aside:
                first = (self.ego if self.pairing.set_aside == "ego" else self.actors).segment(0)
                self._report_stray(self.pairing.set_aside, first.start_ns if first else None)
        if self.pairing.doubt is not doubt and self.pairing.doubt is not None:
            self._report_doubt(self.pairing.doubt)
        self._report(name, arrival, stamp_ns, newest_ns)
        return arrival

    def _report(self, name: str, arrival: Arrival, stamp_ns: int, newest_ns: int | None) -> None:
        timeline = self.pairing.ego_timeline(name, arrival.timeline)
        if arrival.kind is Kind.DUPLICATE:
            text = f"{name}: expected rising stamps, got {seconds(stamp_ns)} again; the later message is ignored"
            self.reports.add(Fault(f"{name}.duplicate_stamp", text))
        elif arrival.kind is Kind.LATE:
            order = f"{seconds(stamp_ns)} after {seconds(newest_ns)}"
            text = f"{name}: expected rising stamps, got {order}; the later message is ignored"
            self.reports.add(Fault(f"{name}.out_of_order", text))
        elif arrival.stray is not None:
            self._announced = self._newest_timeline()
            self._report_stray(name, arrival.stray[1])
        elif arrival.kind is Kind.JUMP and timeline > self._announced:
            self._announced = timeline
            text = f"{name}: time went back from {seconds(newest_ns)} to {seconds(stamp_ns)}"
            self.reports.add(Fault("time_jump", text))

    def _report_stray(self, name: str, stamp_ns: int | None) -> None:
        text = f"{name}: a message with the stray stamp {seconds(stamp_ns)} was taken out"
        self.reports.add(Fault(f"{name}.stray_stamp", text))

    def _report_doubt(self, doubt: Doubt) -> None:
        text = (
            f"{doubt.name}: began at {seconds(doubt.first_ns)} while '{doubt.other}' was at "
            f"{seconds(doubt.other_ns)} and then went back to {seconds(doubt.back_ns)}; taken for the pass before that"
        )
        self.reports.add(Fault(PAIRING_IN_DOUBT, f"{text}, like all that follows. If it is of the new one, {RESTART}"))

    def _newest_timeline(self) -> int:
        return max(self.ego.timeline, self.pairing.ego_timeline("actors", self.actors.timeline))


def track_limits(config: BufferConfig, *, max_messages: int = sys.maxsize) -> TrackLimits:
    """Where the time of an input goes back, which of its stamps are stray, and how many messages are kept: all, unless
    `max_messages` says less."""
    return TrackLimits(
        jump_ns=nanoseconds(config.jump_back_s),
        return_ns=nanoseconds(max(config.leap_s, config.max_interpolation_gap_s)),
        max_messages=max_messages,
    )


def nanoseconds(duration_s: float) -> int:
    """A duration in whole nanoseconds."""
    return round(duration_s * 1e9)


def seconds(stamp_ns: int | None) -> str:
    """A stamp as text, in seconds with all its digits."""
    if stamp_ns is None:
        return "nothing"
    whole, rest = divmod(abs(stamp_ns), 10**9)
    return f"{'-' if stamp_ns < 0 else ''}{whole}.{rest:09d} s"


def _blend(sample: _Sample[tuple[ActorState, ...]]) -> tuple[ActorState, ...]:
    if sample.fraction == 0.0:
        return sample.before
    after = {actor.id: actor.T_world_actor for actor in sample.after}
    return tuple(
        replace(actor, T_world_actor=actor.T_world_actor.interpolate(after[actor.id], sample.fraction))
        if actor.id in after
        else actor
        for actor in sample.before
    )
