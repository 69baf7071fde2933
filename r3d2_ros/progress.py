"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Self

from tqdm import tqdm

LINE_EVERY_S = 5.0


class Progress:
    """How many of `unit` are done, their rate and the time left, on stderr. `done` of them were there before."""

    def __init__(self, total: int, *, done: int = 0, unit: str = "frame sets") -> None:
        self._total, self._done, self._before, self._unit = total, done, done, unit
        self._start = self._said = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, unit=f" {unit}", file=sys.stderr, dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def at(self, done: int) -> None:
        """`done` of them are complete."""
        if done == self._done:
            return
        if self._bar is not None:
            self._bar.update(done - self._done)
        first, self._done = self._done == self._before, done
        now = time.monotonic()
        if first:
            self._start, self._before = now, done - 1  # what came before the first one was preparation
        if self._bar is None and (first or done == self._total or now - self._said >= LINE_EVERY_S):
            self._said = now
            print(self._line(now), file=sys.stderr)

    def _line(self, now: float) -> str:
        text = f"{self._done} of {self._total} {self._unit}"
        passed = self._done - self._before - 1
        if passed > 0 and self._done < self._total and now > self._start:
            rate = passed / (now - self._start)
            pace = f"{rate:.1f} per second" if rate >= 0.1 else f"{1 / rate:.0f} s each"
            text += f", {pace}, {(self._total - self._done) / rate:.0f} s left"
        return text
