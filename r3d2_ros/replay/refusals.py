"""Messages of actors that were left out, and the ticks that lack them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass


@dataclass(eq=False)
class _Run:
    """Messages one after another that were all left out for one reason, or, with none, all taken."""

    first_ns: int
    last_ns: int
    reason: str


class Refusals:
    """Told of each message of actors in the order of recording."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._left_out: list[_Run] = []
        self._any_taken = False
        self._first_reason = ""

    def taken(self, log_ns: int) -> None:
        self._any_taken = True
        self._add("", log_ns)

    def refused(self, cause: str, reason: str, log_ns: int) -> None:
        """A message was left out. Ticks lack one that cannot be read or placed; one without a stamp, or from before or
        after the drive, is missed only where there are no others."""
        self._first_reason = self._first_reason or reason
        if cause.startswith("actors.frame.") or cause.endswith((".undecodable", ".frame", ".no_ego", ".mixed_headers")):
            self._add(reason, log_ns)

    def before(self, log_ns: int) -> str:
        """Why a tick that was recorded at `log_ns` has no actors before it; empty when there are none."""
        i = bisect_right(self._runs, log_ns, key=lambda run: run.first_ns)
        return self._runs[i - 1].reason if i else ""

    def after(self, log_ns: int) -> str:
        """Why a tick has no actors after it, at the end of the recording; empty when there are none."""
        if not self._any_taken:
            return self._first_reason
        i = bisect_left(self._left_out, log_ns, key=lambda run: run.last_ns)
        return self._left_out[i].reason if i < len(self._left_out) else ""

    def _add(self, reason: str, log_ns: int) -> None:
        if self._runs and self._runs[-1].reason == reason:
            self._runs[-1].last_ns = log_ns
        else:
            self._runs.append(_Run(log_ns, log_ns, reason))
            if reason:
                self._left_out.append(self._runs[-1])
