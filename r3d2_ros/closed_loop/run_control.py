"""What people and build servers do to a run while it goes on: pause, step, reset, stop. No ROS."""

from __future__ import annotations

import threading
import time

POLL_S = 0.05


class Stopped(Exception):
    """The run was told to stop; the text says by what."""


class ResetAsked(Exception):
    """The run is to begin anew."""


class RunControl:
    """Between those who ask (services, signals) and the driver, which looks here before each tick and while it waits.

    A pause takes effect before the next tick. A step goes on until the next frame set is published. `stop` may be
    called from a signal handler: it takes no lock.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._paused = False
        self._steps = self._stepped = 0
        self._reset = False
        self._began = 0
        self._stop = ""
        self._frozen_since_s: float | None = None
        self._frozen_s = 0.0

    # From outside

    @property
    def paused(self) -> bool:
        return self._paused

    def pause(self, paused: bool) -> None:
        """Pause or go on; steps that were asked for and not made are forgotten."""
        with self._changed:
            self._paused, self._steps = paused, 0
            self._update()

    def step(self, count: int, timeout_s: float) -> str:
        """Make `count` frame sets of a paused run and wait for them; returns why not, or empty."""
        with self._changed:
            if not self._paused:
                return "the run is not paused"
            goal = self._stepped + self._steps + count
            self._steps += count
            self._update()
            if self._changed.wait_for(lambda: self._stepped >= goal or not self._paused or bool(self._stop), timeout_s):
                return "" if self._stepped >= goal else "the run went on or ended before the step was done"
            return f"the step was not done within {timeout_s:g} s"

    def reset(self, timeout_s: float) -> str:
        """Ask for a new beginning and wait for it; returns why not, or empty."""
        with self._changed:
            before = self._began
            self._reset = True
            self._changed.notify_all()
            if self._changed.wait_for(lambda: self._began > before or bool(self._stop), timeout_s):
                return "" if self._began > before else "the run ended"
            return f"the run did not begin anew within {timeout_s:g} s"

    def stop(self, why: str) -> None:
        """End the run at its next look here."""
        self._stop = why

    # For the driver

    def begin(self) -> None:
        """A run begins, or begins anew."""
        with self._changed:
            self._reset = False
            self._began += 1
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
