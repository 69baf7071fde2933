"""A clock that stands still until somebody works or sleeps."""

from __future__ import annotations


class FakeClock:
    """Call it for the time in seconds."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def work(self, milliseconds: float) -> None:
        self.now_s += milliseconds * 1e-3

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
