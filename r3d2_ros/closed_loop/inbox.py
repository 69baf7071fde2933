"""Commands and plans as they arrive from a stack: checked, counted, and handed to the loop when it asks."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from r3d2_ros.closed_loop.demands import Command, Demand, demand_fault, demand_record
from r3d2_ros.geometry import Array

MAX_WAITING_PLANS = 100
LOGGED_REFUSALS = 20
"""Refusals of one cause that are logged one by one; all are counted."""


@dataclass(frozen=True)
class Received:
    """A command that was accepted, and when it arrived (seconds of the driver's wall clock)."""

    command: Command
    wall_s: float


@dataclass(frozen=True)
class Refusal:
    """A command that was not accepted, and why. cause: invalid, future, duplicate, out_of_order or stale."""

    cause: str
    text: str
    stamp_ns: int


@dataclass(frozen=True, eq=False)
class Plan:
    """What a stack means to do: points [K, 2] and headings [K] in the map, 0.5 s apart from 0.5 s after the stamp."""

    stamp_ns: int
    xy: Array
    yaw_rad: Array


class Commands(Protocol):
    """Where the loop gets its commands from: a stack's inbox, or the log of an earlier run."""

    def set_time(self, now_ns: int) -> None:
        """The newest stamp that the stack can know of."""

    def begin(self, epoch_ns: int) -> None:
        """The scenario's t = 0 is at this stamp."""

    def started(self) -> bool:
        """Whether the stack has said anything that can be used."""

    def fresh(self, now_ns: int) -> bool:
        """Whether there is a command for the frame at `now_ns`."""

    def take(self, now_ns: int) -> Received | None:
        """The newest command that was not taken yet."""

    def drain(self) -> tuple[list[Refusal], list[Plan]]:
        """What else came since the last call."""

    def refused(self) -> dict[str, int]:
        """How many commands were refused so far, by cause."""

    def contradictions(self) -> int:
        """How many of them demanded something else than the command of the same stamp that was accepted."""


class Inbox:
    """Thread-safe. `changed` is notified after every arrival, for a driver that waits."""

    def __init__(self, max_age_ns: int) -> None:
        self._max_age_ns = max_age_ns
        self.changed = threading.Condition()
        self.counts: Counter[str] = Counter()
        self._now_ns = 0
        self._last_stamp_ns: int | None = None
        self._last_demand: Demand | None = None
        self._contradictions = 0
        self._waiting: Received | None = None
        self._refusals: list[Refusal] = []
        self._plans: list[Plan] = []

    # From the stack

    def offer(self, command: Command, wall_s: float) -> Refusal | None:
        """Take a command in; returns why not."""
        with self.changed:
            refusal = self._refusal(command)
            if refusal is None:
                self.counts["accepted"] += 1
                self._last_stamp_ns, self._last_demand = command.stamp_ns, command.demand
                self._waiting = Received(command, wall_s)
            else:
                self._refuse(refusal)
            self.changed.notify_all()
            return refusal

    def refuse(self, refusal: Refusal) -> None:
        """Count a message that says nothing that could be a command."""
        with self.changed:
            self._refuse(refusal)
            self.changed.notify_all()

    def offer_plan(self, plan: Plan) -> None:
        """Take a plan in; when the loop does not come for them, the oldest go."""
        with self.changed:
            self._plans = [*self._plans, plan][-MAX_WAITING_PLANS:]
            self.changed.notify_all()

    def _refusal(self, command: Command) -> Refusal | None:
        stamp, now, last = command.stamp_ns, self._now_ns, self._last_stamp_ns
        if fault := demand_fault(command.demand, now):
            return Refusal("invalid", fault, stamp)
        if stamp > now:
            return Refusal("future", f"its stamp is {(stamp - now) * 1e-9:.3f} s after the newest one published", stamp)
        if last is not None and stamp == last:
            return self._second(command)
        if last is not None and stamp < last:
            return Refusal("out_of_order", f"its stamp is {(last - stamp) * 1e-9:.3f} s before the last one's", stamp)
        return self._stale(stamp, now) if now - stamp > self._max_age_ns else None

    def _second(self, command: Command) -> Refusal:
        """The refusal of a command whose stamp is that of the last one."""
        text = "a command with this stamp has been accepted already"
        assert self._last_demand is not None
        if demand_record(command.demand) != demand_record(self._last_demand):
            self._contradictions += 1
            text += ", with another demand: which of the two comes first is chance"
        return Refusal("duplicate", text, command.stamp_ns)

    def _stale(self, stamp_ns: int, now_ns: int) -> Refusal:
        age = f"{(now_ns - stamp_ns) * 1e-9:.3f} s old, and max_age_s is {self._max_age_ns * 1e-9:g}"
        return Refusal("stale", f"it is {age}", stamp_ns)

    def _refuse(self, refusal: Refusal) -> None:
        self.counts[refusal.cause] += 1
        if self.counts[refusal.cause] <= LOGGED_REFUSALS:
            self._refusals.append(refusal)

    # For the loop

    def set_time(self, now_ns: int) -> None:
        with self.changed:
            self._now_ns = now_ns

    def begin(self, epoch_ns: int) -> None:
        """Nothing to do: a stack's stamps are those of the simulation."""

    def started(self) -> bool:
        with self.changed:
            return self.counts["accepted"] > 0

    def fresh(self, now_ns: int) -> bool:
        with self.changed:
            return self._last_stamp_ns is not None and now_ns - self._last_stamp_ns <= self._max_age_ns

    def take(self, now_ns: int) -> Received | None:
        with self.changed:
            taken, self._waiting = self._waiting, None
            if taken is not None and now_ns - taken.command.stamp_ns > self._max_age_ns:
                self._refuse(self._stale(taken.command.stamp_ns, now_ns))
                return None
            return taken

    def drain(self) -> tuple[list[Refusal], list[Plan]]:
        with self.changed:
            refusals, self._refusals = self._refusals, []
            plans, self._plans = self._plans, []
            return refusals, plans

    def refused(self) -> dict[str, int]:
        with self.changed:
            return {cause: count for cause, count in self.counts.items() if cause != "accepted"}

    def contradictions(self) -> int:
        with self.changed:
            return self._contradictions

    def wait(self, ready: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for `ready` (called under the lock) for so long; whether it is."""
        with self.changed:
            return self.changed.wait_for(ready, timeout_s)
