"""What people and build servers do to a run while it goes on: pause, step, reset, stop. No ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

POLL_S = 0.05

MAX_WAITING = 3
"""Requests that wait for the run at the same time. More are refused at once: a server keeps threads for the others."""

State = Literal["stopped", "playing", "paused", "ended"]


class Stopped(Exception):
    """The run was told to stop; the text says by what."""


class ResetAsked(Exception):
    """The run is to begin anew."""


class _Busy(Exception):
    pass


class RunControl:
    """Between those who ask (services, signals) and the driver, who looks here while it waits and before each tick.

    A pause takes effect before the next tick. A step goes on until the next frame set is published. `stop` may be
    called from a signal handler: it takes no lock.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._paused = self._halted = self._ended = False
        self._steps = self._stepped = 0
        self._pauses = 0
        self._reset = False
        self._began = 0
        self._waiting = 0
        self._stop = ""
        self._frozen_since_s: float | None = None
        self._frozen_s = 0.0

    # From outside

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def state(self) -> State:
        """stopped: paused at the beginning, before the first tick. ended: over, or told to stop."""
        with self._changed:
            if self._ended or self._stop:
                return "ended"
            if not self._paused:
                return "playing"
            return "stopped" if self._halted else "paused"

    def pause(self, paused: bool) -> None:
        """Pause or go on; steps that were asked for and not made are forgotten."""
        with self._changed:
            self._paused, self._steps, self._halted = paused, 0, False
            self._pauses += 1
            self._update()

    def step(
        self,
        count: int,
        timeout_s: float,
        *,
        made: Callable[[int], None] = lambda steps: None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> str:
        """Make `count` frame sets of a paused run and wait for them; returns why not, or empty.

        timeout_s  for each of them
        made       called after each with their number so far
        wanted     whether to go on; asked between steps and while waiting
        """
        try:
            with self._wait():
                for k in range(count):
                    fault = self._step(timeout_s, wanted) if wanted() else "no more steps are wanted"
                    if fault:
                        return fault if count == 1 else f"{fault}; {k} of {count} steps were made"
                    made(k + 1)
        except _Busy:
            return _busy()
        return ""

    def _step(self, timeout_s: float, wanted: Callable[[], bool]) -> str:
        with self._changed:
            if fault := self._over() or ("" if self._paused else "the run is not paused"):
                return fault
            at = self._era()
            goal = self._stepped + self._steps + 1
            self._steps, self._halted = self._steps + 1, False
            self._update()
            done = self._await(lambda: self._stepped >= goal or self._era() != at or not wanted(), timeout_s)
            if self._stepped >= goal:
                return ""
            if self._over() or self._era() != at:
                return "the run went on, began anew or ended before the step was done"
            self._steps = max(0, self._steps - 1)
            self._update()
            return "no more steps are wanted" if done else f"the step was not done within {timeout_s:g} s"

    def _era(self) -> tuple[int, int]:
        """Another one when steps that were asked for are forgotten. A step of before the first run is made in it."""
        return max(self._began, 1), self._pauses

    def reset(self, timeout_s: float, *, halt: bool = False) -> str:
        """Ask for a new beginning and wait for it; returns why not, or empty. halt: paused, before its first tick."""
        try:
            with self._wait():
                if halt:
                    self.pause(True)
                return self._begin_anew(timeout_s, halt)
        except _Busy:
            return _busy()

    def _begin_anew(self, timeout_s: float, halt: bool) -> str:
        with self._changed:
            if fault := self._over():
                return fault
            before, pauses = self._began, self._pauses
            self._reset = True
            self._changed.notify_all()
            if not self._await(lambda: self._began > before, timeout_s):
                return f"the run did not begin anew within {timeout_s:g} s"
            if self._began == before:
                return self._over()
            if halt and self._paused and self._pauses == pauses:
                self._halted = True
            return ""

    def stop(self, why: str) -> None:
        """End the run at its next look here."""
        self._stop = why

    @contextmanager
    def _wait(self) -> Iterator[None]:
        """One of the few that may wait; _Busy for one more."""
        with self._changed:
            if self._waiting >= MAX_WAITING:
                raise _Busy
            self._waiting += 1
        try:
            yield
        finally:
            with self._changed:
                self._waiting -= 1

    def _over(self) -> str:
        return "the run has ended" if self._ended or self._stop else ""

    def _await(self, ready: Callable[[], bool], timeout_s: float) -> bool:
        """Wait, with the lock, for `ready` or the end of the run; False when the time is over.

        It looks again and again, for `stop` tells nobody.
        """
        end = time.monotonic() + timeout_s
        while not (ready() or self._over()):
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._changed.wait(min(left, POLL_S))
        return True

    # For the driver

    def begin(self) -> None:
        """A run begins, or begins anew."""
        with self._changed:
            self._reset = self._ended = False
            self._began += 1
            if self._began > 1:
                self._steps = 0
            self._update()

    def end(self) -> None:
        """The run is over, and none follows."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def check(self) -> None:
        """Raise Stopped or ResetAsked when that was asked for."""
        if self._stop:
            with self._changed:
                self._changed.notify_all()
            raise Stopped(self._stop)
        if self._reset:
            raise ResetAsked

    def gate(self) -> None:
        """Wait as long as the run is paused and no step is asked for."""
        self.check()
        with self._changed:
            while self._paused and self._steps == 0:
                self._changed.wait(POLL_S)
                self.check()

    def frame_made(self) -> None:
        with self._changed:
            if self._steps > 0:
                self._steps -= 1
                self._stepped += 1
            self._update()

    def now_s(self) -> float:
        """Monotonic seconds without those that the run was paused: what timeouts are measured with."""
        with self._changed:
            now = time.monotonic() if self._frozen_since_s is None else self._frozen_since_s
            return now - self._frozen_s

    def _update(self) -> None:
        frozen = self._paused and self._steps == 0
        now = time.monotonic()
        if frozen and self._frozen_since_s is None:
            self._frozen_since_s = now
        elif not frozen and self._frozen_since_s is not None:
            self._frozen_s += now - self._frozen_since_s
            self._frozen_since_s = None
        self._changed.notify_all()


def _busy() -> str:
    return f"{MAX_WAITING} requests wait for the run already; ask again when one of them is answered"
