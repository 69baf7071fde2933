"""Running figures for /diagnostics: counts and percentiles of the last frames."""

from __future__ import annotations

import threading
from collections import Counter, deque

import numpy as np

WINDOW = 200


class Statistics:
    """Thread-safe counters and rolling percentiles, milliseconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._times: dict[str, deque[float]] = {}

    def count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self._counts[name] += by

    def time(self, name: str, ms: float) -> None:
        with self._lock:
            self._times.setdefault(name, deque(maxlen=WINDOW)).append(ms)

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
