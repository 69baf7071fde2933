"""Sync: which moments become frame sets, and when their state is known.

Called by one thread; reads no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from r3d2_ros.cameras import Camera, Rig
from r3d2_ros.exposures import exposures
from r3d2_ros.input_checks import Fault, Reports
from r3d2_ros.schema import STRICT
from r3d2_ros.state_buffer import NotYet, StateBuffer, Unavailable, nanoseconds, seconds
from r3d2_ros.timeline import Arrival, Track
from r3d2_ros.trigger_timeline import TriggerTimeline
from r3d2_ros.world import ActorState, EgoState, WorldState

MAX_QUEUE_LIMIT = 100_000

FAILED_TICKS_PER_QUEUE = 100
"""Ticks that cannot be made cost nothing but their place: this many queues of them may wait to be fetched."""

NEEDED_PER_HISTORY = 100
"""So many times `state.max_messages` of an input may be kept because ticks that wait need them."""

BACKLOG_SHARE = 0.1
"""More waiting ticks than this share of `queue_limit` are a backlog, which is told before the limit ends the run."""

SLOW_DOWN = "slow the input down, use sync.mode latest, or fewer or smaller cameras"

END_OF_INPUTS = "end_of_inputs"
"""Cause of ticks that were waiting when a recording ended."""


@dataclass(frozen=True)
class SyncConfig:
    """What makes a tick, and what it waits for."""

    __pydantic_config__ = STRICT
    mode: Annotated[
        Literal["lockstep", "latest"],
        Field(description="lockstep: a frame set for every tick, in order. latest: the newest state at a rate."),
    ] = "lockstep"
    tick: Annotated[
        Literal["ego", "rate", "trigger"],
        Field(
            description="In lockstep. ego: every ego message. rate: each camera at its own rate and phase in "
            "message time. trigger: every stamp on the trigger topic."
        ),
    ] = "ego"
    actors: Annotated[
        Literal["auto", "required", "static"],
        Field(
            description="required: a tick waits until actors at or after it have arrived. static: nothing "
            "waits; the newest actors at or before the tick hold without limit, none received means none. "
            "auto: the first message decides: required when actors have been received or are published by "
            "then, else static."
        ),
    ] = "auto"
    queue_limit: Annotated[
        int, Field(ge=1, le=MAX_QUEUE_LIMIT, description="More waiting ticks than this stop the run with an error.")
    ] = 400
    latest_rate_hz: Annotated[
        float, Field(gt=0, le=1000, description="Frame sets per second of the node's clock in mode latest.")
    ] = 10.0
    stall_report_s: Annotated[
        float,
        Field(gt=0, le=3600, description="Wall time after which an input that is waited for is reported."),
    ] = 2.0


@dataclass(frozen=True)
class Tick:
    """One frame set to make, or to answer as failed.

    due           cameras that expose at stamp_ns, in the rig's order
    state         the world at stamp_ns, or None: publish the frame set with no camera published, and `reason`
    timeline      which pass of message time it belongs to; when it changes, time jumped
    cause         short key of the reason, as in Unavailable
    """

    stamp_ns: int
    due: tuple[Camera, ...]
    state: WorldState | None
    reason: str
    timeline: int
    cause: str = ""


@dataclass(frozen=True)
class Waiting:
    """Inputs ("ego", "actors") that have to deliver before the tick at stamp_ns can be made.

    stamp_ns is None when there is no tick yet: any ego message would make one.
    """

    inputs: tuple[str, ...]
    stamp_ns: int | None

    @property
    def hint(self) -> str:
        """What to do where nothing of the kind is published, behind a `;`; empty where there is nothing to say."""
        return "; with sync.actors: static nothing waits for actors" if "actors" in self.inputs else ""

    def __str__(self) -> str:
        inputs = " and ".join(f"'{name}'" for name in self.inputs)
        return f"waiting for {inputs}" + ("" if self.stamp_ns is None else f" at or after {seconds(self.stamp_ns)}")


@dataclass(frozen=True)
class Stall:
    """`waiting` has lasted for waited_s of wall time."""

    waiting: Waiting
    waited_s: float


class QueueOverflow(RuntimeError):
    """More ticks wait than `queue_limit`, or need more messages than can be kept: in lockstep the run stops here,
    because nothing may be dropped."""


@dataclass(frozen=True)
class _Pending:
    """A tick that has not been fetched; `outcome` when it is known already what it shows or why it cannot be made."""

    timeline: int
    stamp_ns: int
    due: tuple[Camera, ...]
    outcome: WorldState | Unavailable | None = None

    @property
    def failed(self) -> bool:
        return isinstance(self.outcome, Unavailable)


class Synchronizer:
    """Messages in by `on_...`, ticks out by `next_tick`.

    lockstep: ticks come in order and each one comes, as a state or as a failure with its reason. Which ticks
    there are and what they show follows from the sequence of messages on each input alone, not from how these
    interleave.
    - tick ego: every ego message, with all cameras. A late or repeated ego stamp is ignored and reported.
    - tick rate: the exposures of each camera from the first ego stamp of a timeline on; after a leap of the ego by
      more than `leap_s` they begin anew behind it.
    - tick trigger: every trigger, in the order of their arrival, with all cameras.
    When the ego's time goes back, ticks of the old timeline that can be made are made first; the others fail.

    One stamp that lies far back or ahead is a stray one when the next lies where the input had been: the timeline
    goes on. The tick of a stray ego message is made if its state was known before that next message, else it fails.
    All other ticks are what they are in any order of arrival, except for
    - a stamp ahead by more than `jump_back_s` and up to `leap_s`, or by up to `max_interpolation_gap_s` where that
      is more: as after a pause, which must not keep ticks waiting, those before it may be answered in the meantime.
      With tick rate an ego message like that has the exposures up to it fail; what comes after it makes them anew.
    - an input's first stamp, ahead by little more than `jump_back_s`: ticks up to that far before it fail at once.
    - a tick at the very stamp of a stray message, and the instance numbers of actors that a stray pose has shown first.
    - what `pairing` lists.

    A trigger more than `jump_back_s` behind the newest one belongs to the next timeline and waits for the
    inputs to go back too. When the ego goes on by `jump_back_s` instead, the trigger was stray and fails; or the ones
    before it were and do, where they lie ahead by more than `leap_s`.

    latest: `next_tick`, called at `latest_rate_hz`, gives the newest ego state if there is a new one, with
    the actors at that stamp as far as they are known; nothing waits, and `skipped` counts ego messages that gave
    no tick.
    """

    def __init__(self, config: SyncConfig, *, rig: Rig, buffer: StateBuffer, reports: Reports) -> None:
        if config.actors != ("static" if buffer.static_actors else "required"):
            got = f"{config.actors} and static_actors={buffer.static_actors}"
            raise ValueError(f"expected sync.actors required or static, as in the buffer, got {got}")
        self.config, self.rig, self.buffer, self.reports = config, rig, buffer, reports
        self.skipped = 0
        self._pending: deque[_Pending] = deque()
        self._unseen = 0
        self._made: tuple[int, int] | None = None
        self._triggers = TriggerTimeline(
            jump_ns=nanoseconds(buffer.config.jump_back_s), leap_ns=nanoseconds(buffer.config.leap_s)
        )
        self._ego_messages = 0
        self._stall: tuple[tuple[Waiting, int], float] | None = None

    @property
    def queue_depth(self) -> int:
        """Ticks that have not been fetched."""
        return len(self._pending)

    @property
    def has_backlog(self) -> bool:
        """Whether so many ticks wait to be rendered that somebody should know."""
        return self._to_make() > max(1.0, BACKLOG_SHARE * self.config.queue_limit)

    def _to_make(self) -> int:
        return sum(not tick.failed for tick in self._pending)

    @property
    def awaits_first_ego(self) -> bool:
        """Whether no ego message has been taken yet."""
        return self._ego_messages == 0

    def on_ego(self, ego: EgoState) -> None:
        """Take an ego pose. QueueOverflow when more ticks wait than the limit."""
        self._ego_messages += 1
        if self.buffer.ego.newest_may_be_stray:
            self._settle_newest()
        self.buffer.need(self._oldest_needed())
        arrival = self.buffer.add_ego(ego)
        self._check_kept("ego", self.buffer.ego)
        if not arrival.accepted:
            return
        if self.config.mode == "latest":
            self._unseen += 1
            return
        if arrival.stray is not None:
            self._take_back(arrival.timeline, stray=arrival.stray)
        if self.config.tick == "ego":
            self._push([_Pending(arrival.timeline, ego.stamp_ns, self.rig.cameras)])
        elif self.config.tick == "rate":
            self._push(self._exposures(arrival, ego.stamp_ns))
        elif self._triggers.is_stray(arrival.timeline, ego.stamp_ns):
            self._fail_stray_triggers(arrival.timeline, ego.stamp_ns)
        self._leave_first()

    def on_actors(self, stamp_ns: int, actors: tuple[ActorState, ...]) -> None:
        """Take all actors at a stamp. QueueOverflow when ticks that wait need more of them than can be kept."""
        if self.buffer.actors.newest_may_be_stray:
            self._settle_newest()
        self.buffer.need(self._oldest_needed())
        self.buffer.add_actors(stamp_ns, actors)
        self._check_kept("actors", self.buffer.actors)
        self._leave_first()
        past = self.config.mode == "lockstep" and self.config.actors == "static" and self._made
        if past and self.buffer.ego.timeline == past[0] and stamp_ns <= past[1]:
            text = f"actors: the message at {seconds(stamp_ns)} came after the frame set at {seconds(past[1])}"
            self.reports.add(Fault("actors.static_late", f"{text}; it holds from the next frame set on"))

    def on_trigger(self, stamp_ns: int) -> None:
        """Take a request for a frame set. QueueOverflow when more ticks wait than the limit."""
        if self.config.mode != "lockstep" or self.config.tick != "trigger":
            text = f"a trigger has no effect with mode {self.config.mode}, tick {self.config.tick}"
            self.reports.add(Fault("trigger.unused", text))
            return
        timeline = self._triggers.assign(stamp_ns, self.buffer)
        self._push([_Pending(timeline, stamp_ns, self.rig.cameras)])

    def next_tick(self) -> Tick | None:
        """The next tick, or None while it waits for an input (or none is due)."""
        if self.config.mode == "latest":
            return self._latest()
        if not self._pending:
            return None
        head = self._pending[0]
        outcome = self._outcome(head)
        if isinstance(outcome, NotYet):
            return None
        self._pending.popleft()
        return self._tick(head, outcome)

    def finish(self) -> Iterator[Tick]:
        """The inputs have ended, as those of a recording do: the ticks that are left. One that still waits fails."""
        self.buffer.end()
        while self._pending:
            head = self._pending.popleft()
            outcome = self._outcome(head)
            if isinstance(outcome, NotYet):
                inputs = " and ".join(f"'{name}'" for name in outcome.inputs)
                outcome = Unavailable(END_OF_INPUTS, f"{inputs} ended before {seconds(head.stamp_ns)}")
            yield self._tick(head, outcome)

    def waiting(self) -> Waiting | None:
        """What the next tick waits for; None when it is ready, or when nothing is asked for.

        With tick trigger nothing is asked for while no trigger waits.
        """
        if self._pending and self.config.mode == "lockstep":
            outcome = self._outcome(self._pending[0])
            return Waiting(outcome.inputs, self._pending[0].stamp_ns) if isinstance(outcome, NotYet) else None
        asked = self.config.mode == "lockstep" and self.config.tick == "trigger"
        return None if asked or self._unseen else Waiting(("ego",), None)

    def stalled(self, now_s: float, *, report_s: float) -> Stall | None:
        """The wait that has lasted for report_s or longer at wall time now_s, if there is one.

        The wall time decides about this report alone. To be asked at least once in report_s.
        """
        waiting = self.waiting()
        if waiting is None:
            self._stall = None
            return None
        # Without a tick that waits, each ego message is a sign of life; with one, only its inputs count.
        cause = (waiting, self._ego_messages if waiting.stamp_ns is None else 0)
        if self._stall is None or self._stall[0] != cause:
            self._stall = (cause, now_s)
        waited_s = now_s - self._stall[1]
        return Stall(waiting, waited_s) if waited_s >= report_s else None

    def _latest(self) -> Tick | None:
        stamp_ns = self.buffer.ego.newest_ns
        if not self._unseen or stamp_ns is None:
            return None
        self.skipped += self._unseen - 1
        self._unseen = 0
        pending = _Pending(self.buffer.ego.timeline, stamp_ns, self.rig.cameras)
        outcome = self.buffer.at(stamp_ns, hold=True)
        if isinstance(outcome, NotYet):
            raise AssertionError("a held state never waits")
        return self._tick(pending, outcome)

    def _outcome(self, pending: _Pending) -> WorldState | NotYet | Unavailable:
        return pending.outcome or self.buffer.at(pending.stamp_ns, timeline=pending.timeline)

    def _settle_newest(self) -> None:
        """Keep what the newest pose's tick shows, if it is known: the message that comes may take the pose out as a
        stray one, and whether its tick is made must not depend on when ticks are fetched."""
        if not self._pending or self.config.tick == "trigger":
            return
        outcome = self._outcome(self._pending[-1])
        if isinstance(outcome, WorldState):
            self._pending[-1] = replace(self._pending[-1], outcome=outcome)

    def _tick(self, pending: _Pending, outcome: WorldState | Unavailable) -> Tick:
        state, reason, cause = None, "", ""
        if isinstance(outcome, Unavailable):
            reason, cause = outcome.reason, outcome.cause
            text = f"the frame set at {seconds(pending.stamp_ns)} cannot be made: {reason}"
            self.reports.add(Fault(f"tick_failed.{outcome.cause}", text))
        else:
            state = self.buffer.numbered(outcome)
            self._made = (pending.timeline, pending.stamp_ns)
        self._forget(pending)
        return Tick(pending.stamp_ns, pending.due, state, reason, pending.timeline, cause)

    def _forget(self, fetched: _Pending) -> None:
        """Drop messages that no tick can need any more: all before the one that was fetched, by `history_s`, unless
        its pose may be stray."""
        certain = self.buffer.ego.newest_certain
        if certain is None:
            return
        timeline, stamp_ns = min((fetched.timeline, fetched.stamp_ns), certain)
        oldest = (timeline, stamp_ns - nanoseconds(self.buffer.config.history_s))
        timeline, before_ns = min(oldest, self._oldest_needed() or oldest)
        self.buffer.forget(timeline=timeline, before_ns=before_ns)

    def _oldest_needed(self) -> tuple[int, int] | None:
        """(timeline, stamp) from which on ticks that wait need messages. A trigger may lie up to `jump_back_s` behind
        the one before it."""
        margin_ns = nanoseconds(self.buffer.config.jump_back_s)
        return next(((p.timeline, p.stamp_ns - margin_ns) for p in self._pending if p.outcome is None), None)

    def _check_kept(self, name: str, track: Track[Any]) -> None:
        kept, limit = track.kept, self.buffer.config.max_messages
        if kept > limit * NEEDED_PER_HISTORY:
            raise QueueOverflow(
                f"{len(self._pending)} frame sets wait and need {kept} messages of '{name}', expected at most "
                f"{NEEDED_PER_HISTORY} times state.max_messages, which is {limit}: {self.why_waiting()}"
            )

    def why_waiting(self) -> str:
        """What keeps the ticks that wait, for people."""
        waiting = self.waiting()
        return f"{waiting}{waiting.hint}" if waiting else f"they arrive faster than they are rendered; {SLOW_DOWN}"

    def _push(self, ticks: list[_Pending]) -> None:
        self._pending.extend(ticks)
        limit = self.config.queue_limit
        if len(self._pending) <= limit:
            return
        if self._to_make() > limit or len(self._pending) > limit * FAILED_TICKS_PER_QUEUE:
            raise QueueOverflow(
                f"{len(self._pending)} frame sets wait, sync.queue_limit is {limit}: {self.why_waiting()}"
            )

    def _exposures(self, arrival: Arrival, stamp_ns: int) -> list[_Pending]:
        """Ticks of tick rate that an ego message makes due: those after the message before it, up to its own
        stamp."""
        limits = self.buffer.config
        previous_ns = arrival.previous_ns
        if previous_ns is None:
            first_ns, gap_ns = stamp_ns, 0
        else:
            first_ns, gap_ns = previous_ns + 1, stamp_ns - previous_ns
        if gap_ns > nanoseconds(limits.leap_s):
            text = f"ego: time leapt from {seconds(previous_ns)} to {seconds(stamp_ns)}; exposures begin there"
            self.reports.add(Fault("ego.leap", text))
            first_ns, gap_ns = stamp_ns, 0
        failure = None
        if gap_ns > nanoseconds(limits.max_interpolation_gap_s):
            reason = f"ego: the messages at {seconds(previous_ns)} and {seconds(stamp_ns)} are too far apart"
            failure = Unavailable("ego.gap", reason)
        return [
            # The exposure at the message's own stamp needs no other message.
            _Pending(arrival.timeline, due_ns, due, None if due_ns == stamp_ns else failure)
            for due_ns, due in exposures(self.rig, first_ns=first_ns, last_ns=stamp_ns)
        ]

    def _take_back(self, timeline: int, *, stray: tuple[int, int]) -> None:
        """The ego goes on in `timeline`: ticks of the stray message that have no state yet never will. Triggers stand
        for themselves; those that took its timeline for the ego's go on too."""
        of_stray, stray_ns = stray
        if self.config.tick == "trigger":
            if of_stray > timeline:
                self._move_triggers(of_stray, timeline)
            return
        failure = Unavailable("ego.stray_stamp", f"ego: {seconds(stray_ns)} was a stray stamp")
        self._pending = deque(
            replace(p, outcome=failure)
            if p.timeline == of_stray and p.stamp_ns >= stray_ns and p.outcome is None
            else p
            for p in self._pending
        )

    def _leave_first(self) -> None:
        """The ego's first message was stray: triggers that took its timeline for theirs go on in the next."""
        if self.config.tick == "trigger" and self.buffer.pairing.set_aside == "ego":
            self._move_triggers(0, 1)

    def _move_triggers(self, timeline: int, to: int) -> None:
        self._triggers.move(timeline, to)
        for i, p in enumerate(self._pending):
            if p.timeline == timeline:
                self._pending[i] = replace(p, timeline=to)

    def _fail_stray_triggers(self, timeline: int, ego_ns: int) -> None:
        """Triggers that went ahead into the next timeline return to this one. Those that lay back fail, unless those
        before them had leapt ahead: then these do, as far as the ego has not reached them."""
        floor_ns, ahead_ns = self._triggers.return_to(timeline)
        too_old = Unavailable("trigger.too_old", "the trigger lay back by more than jump_back_s, and the ego went on")
        reason = "the trigger lay ahead by more than leap_s, and those after it did not"
        too_far = Unavailable("trigger.too_far_ahead", reason)
        for i, p in enumerate(self._pending):
            if ahead_ns is not None and p.timeline >= timeline and p.stamp_ns >= max(ahead_ns, ego_ns + 1):
                self._pending[i] = replace(p, timeline=timeline, outcome=too_far)
            elif p.timeline > timeline:
                lay_back = ahead_ns is None and p.stamp_ns < floor_ns
                self._pending[i] = replace(p, timeline=timeline, outcome=too_old if lay_back else None)
