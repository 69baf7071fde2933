"""The pace of a run against the wall clock: ticks on a schedule, so that what frame sets take is made up for."""

from __future__ import annotations

from collections.abc import Callable


class Pace:
    """Ticks are due `tick_s` apart. Late ones follow at once until the schedule is met again.

    most_late_s  what is later than this is lost: after a long wait time does not run fast for long
    now_s        the wall clock
    """

    def __init__(self, tick_s: float, *, most_late_s: float, now_s: Callable[[], float]) -> None:
        self._tick_s, self._most_late_s, self._now_s = tick_s, most_late_s, now_s
        self._due_s = now_s()

    def begin(self) -> None:
        """The next tick is due now."""
        self._due_s = self._now_s()

    def left_s(self) -> float:
        """Seconds until the next tick is due; negative when it is late."""
        return self._due_s - self._now_s()

    def ticked(self) -> None:
        """A tick was made."""
        self._due_s = max(self._due_s, self._now_s() - self._most_late_s) + self._tick_s

    def held(self, seconds: float) -> None:
        """The run was paused for so long, which is nothing to make up for."""
        self._due_s += seconds
