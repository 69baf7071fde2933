"""One pass over a bag: what is published, in which order, and when."""

from __future__ import annotations

import heapq
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from r3d2_ros.errors import InputError
from r3d2_ros.message_inputs import ActorMessage, EgoMessage
from r3d2_ros.nodes.play_topics import Clock, Passed, SimulatorInputs
from r3d2_ros.replay.bag import Bag
from r3d2_ros.replay.recording import Input, Recording
from r3d2_ros.replay.records import Record
from r3d2_ros.replay.sources import EgoSource

NS = 1_000_000_000
FAR_NS = 10 * NS
"""Stamps further away than this from the times of recording are those of another clock, which /clock then follows."""

NAP_S = 0.2

Hold = Callable[[Callable[[int | None], float], float | None], None]
"""Waits until the simulator is no further behind than a limit (None: the usual one), as told by the function."""


@dataclass(frozen=True)
class Timing:
    """rate: seconds of the bag per second; clock_hz: of /clock, in time of the bag."""

    rate: float
    start_s: float = 0.0
    clock_hz: float = 100.0


class PlayLoop:
    """Plays a bag from its start as often as `run` is called.

    recording, inputs  what the simulator is fed with, and where to; None: it is not fed
    hold      called before each pose, and at the end of a pass; None: the simulator is not waited for
    stopping  ends a pass early
    """

    def __init__(
        self,
        bag: Bag,
        *,
        ego: EgoSource | None,
        recording: Recording | None,
        inputs: SimulatorInputs | None,
        passed: Passed,
        clock: Clock | None,
        timing: Timing,
        hold: Hold | None,
        stopping: Callable[[], bool],
    ) -> None:
        self._bag, self._recording, self._inputs, self._passed, self._clock = bag, recording, inputs, passed, clock
        self._timing, self._hold, self._stopping = timing, hold, stopping
        self._shift_ns = _clock_shift(ego)

    def run(self) -> None:
        """One pass. InputError when there is nothing to play."""
        poses = _Unanswered(self._recording is not None and self._recording.actors is not None)
        pace: _Pace | None = None
        begin_ns: int | None = None
        end_ns = 0
        for entry in self._entries():
            if begin_ns is None:
                begin_ns = entry.log_ns
            end_ns = entry.log_ns
            if entry.log_ns < begin_ns + round(self._timing.start_s * NS):
                if isinstance(entry, Record) and self._bag.topics[entry.topic].transient_local:
                    self._passed.publish(entry)
                continue
            pace = pace or _Pace(self._timing, self._clock, entry.log_ns + self._shift_ns, self._stopping)
            if self._hold and isinstance(entry, Input) and isinstance(entry.message, EgoMessage):
                held = time.monotonic()
                self._hold(poses.lag_s, None)
                pace.delay(time.monotonic() - held)
            pace.reach(entry.log_ns + self._shift_ns)
            if self._stopping():
                return
            if isinstance(entry, Record):
                self._passed.publish(entry)
            elif entry.message is not None and self._inputs is not None:
                poses.add(entry.message)
                self._inputs.publish(entry.message)
        if begin_ns is None:
            raise InputError(str(self._bag.path), "messages that can be published", "none")
        if pace is None:
            expected = f"at most {(end_ns - begin_ns) / NS:.3f}, the seconds that {self._bag.path} takes"
            raise InputError("parameter start_s", expected, f"{self._timing.start_s:g}", "Choose an earlier start")
        if self._hold:
            self._hold(poses.lag_s, 0.0)

    def _entries(self) -> Iterator[Input | Record]:
        """Inputs of the simulator and messages of the bag, in the order of recording, inputs last where equal."""
        streams: list[Iterator[Input | Record]] = []
        if self._passed.topics:
            streams.append(iter(self._bag.records(self._passed.topics)))
        if self._recording is not None:
            streams.append(iter(self._recording.inputs()))
        return heapq.merge(*streams, key=lambda entry: entry.log_ns)


def _clock_shift(ego: EgoSource | None) -> int:
    """What is added to times of recording to have the time of the stamps: 0 where they are of one clock."""
    for log_ns, message in ego.messages if ego else ():
        if isinstance(message, EgoMessage):
            return message.stamp_ns - log_ns if abs(message.stamp_ns - log_ns) > FAR_NS else 0
    return 0


class _Pace:
    """Keeps the time of the bag behind the wall clock, and publishes /clock as it goes on."""

    def __init__(self, timing: Timing, clock: Clock | None, first_ns: int, stopping: Callable[[], bool]) -> None:
        self._rate, self._clock, self._stopping = timing.rate, clock, stopping
        self._step_ns = round(NS / timing.clock_hz) if timing.clock_hz > 0 else 0
        self._first_ns = self._next_tick_ns = first_ns
        self._shown_ns: int | None = None
        self._start = time.monotonic()

    def delay(self, duration_s: float) -> None:
        """Time that does not count."""
        self._start += duration_s

    def reach(self, time_ns: int) -> None:
        """Wait until the bag's time is `time_ns`; /clock shows it then, and its steps on the way."""
        while self._clock is not None and self._step_ns and self._next_tick_ns < time_ns:
            self._wait(self._next_tick_ns)
            if self._stopping():
                return
            self._show(self._next_tick_ns)
            self._next_tick_ns += self._step_ns
        self._wait(time_ns)
        self._show(time_ns)

    def _show(self, time_ns: int) -> None:
        if self._clock is not None and (self._shown_ns is None or time_ns > self._shown_ns):
            self._clock.publish(time_ns)
            self._shown_ns = time_ns

    def _wait(self, time_ns: int) -> None:
        due = self._start + (time_ns - self._first_ns) / NS / self._rate
        while (left := due - time.monotonic()) > 0 and not self._stopping():
            time.sleep(min(left, NAP_S))


class _Unanswered:
    """Poses that were published and that the simulator could answer, by their stamps.

    With actors, a pose can be answered when actors at or after it have been published.
    """

    def __init__(self, with_actors: bool) -> None:
        self._with_actors = with_actors
        self._stamps: list[int] = []
        self._actors_ns: int | None = None

    def add(self, message: EgoMessage | ActorMessage) -> None:
        if isinstance(message, ActorMessage):
            self._actors_ns = message.stamp_ns
        elif self._stamps and message.stamp_ns < self._stamps[-1]:  # time went back within the bag
            self._stamps, self._actors_ns = [message.stamp_ns], None
        else:
            self._stamps.append(message.stamp_ns)

    def lag_s(self, answered_ns: int | None) -> float:
        """How far the newest pose that can be answered is ahead of the newest frame set (None: there was none)."""
        end = len(self._stamps)
        if self._with_actors:
            end = 0 if self._actors_ns is None else bisect_right(self._stamps, self._actors_ns)
        if end == 0:
            return 0.0
        return max(0, self._stamps[end - 1] - (self._stamps[0] if answered_ns is None else answered_ns)) / NS
