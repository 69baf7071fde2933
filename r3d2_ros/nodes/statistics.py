"""Running figures for /diagnostics: counts, rates, and percentiles of the last frames."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

import numpy as np

WINDOW = 200
RATE_WINDOW_S = 10.0


class Statistics:
    """Thread-safe counters, rates and rolling percentiles, milliseconds. `now_s` is a clock that never goes back."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._now_s = now_s
        self._begun_s = now_s()
        self._moments: deque[float] = deque()
        self._counts: Counter[str] = Counter()
        self._times: dict[str, deque[float]] = {}

    def count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self._counts[name] += by

    def time(self, name: str, ms: float) -> None:
        with self._lock:
            self._times.setdefault(name, deque(maxlen=WINDOW)).append(ms)

    def begin_run(self) -> None:
        """Rates are those of this run; counts and times go on."""
        with self._lock:
            self._begun_s = self._now_s()
            self._moments.clear()

    def frame_set(self) -> None:
        """Count a frame set that has been published, with pictures or without."""
        with self._lock:
            self._counts["frame sets"] += 1
            self._moments.append(self._now_s())
            self._forget()

    def rate_hz(self) -> float:
        """Frame sets per second over the last RATE_WINDOW_S, or since the run began."""
        with self._lock:
            self._forget()
            span_s = min(RATE_WINDOW_S, self._now_s() - self._begun_s)
            return len(self._moments) / span_s if span_s > 0 else 0.0

    def _forget(self) -> None:
        while self._moments and self._moments[0] < self._now_s() - RATE_WINDOW_S:
            self._moments.popleft()

    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    def percentiles(self) -> dict[str, tuple[float, float]]:
        """Name -> (p50, p95) of the last WINDOW values."""
        with self._lock:
            return {
                name: (float(np.percentile(values, 50)), float(np.percentile(values, 95)))
                for name, values in self._times.items()
                if values
            }
