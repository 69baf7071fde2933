"""How far the demo is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Self

from tqdm import tqdm

LINE_EVERY_S = 5.0


class Progress:
    """Frame sets done and time left, on stderr."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._start = self._said = time.monotonic()
        self._bar = tqdm(total=total, unit=" frame sets", file=sys.stderr) if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def at(self, done: int) -> None:
        """`done` frame sets are complete."""
        if done == self._done:
            return
        if self._bar is not None:
            self._bar.update(done - self._done)
        first, self._done = self._done == 0, done
        now = time.monotonic()
        if first:
            self._start = now
        if self._bar is None and (first or done == self._total or now - self._said >= LINE_EVERY_S):
            self._said = now
            print(self._line(now), file=sys.stderr)

    def _line(self, now: float) -> str:
        text = f"{self._done} of {self._total} frame sets"
        if 1 < self._done < self._total:
            text += f", {(now - self._start) / (self._done - 1) * (self._total - self._done):.0f} s left"
        return text
