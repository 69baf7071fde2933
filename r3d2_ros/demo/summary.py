"""summary.json: what was lost, how fast it was, and what made it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from r3d2_ros.formats.files import atomic_output


def figures(*, published_ns: Mapping[int, int], received_ns: Mapping[int, int]) -> dict[str, Any]:
    """Counts and times of a run.

    published_ns  stamp -> monotonic time at which its driving pose was published
    received_ns   stamp -> monotonic time at which its frame set was complete at the subscriber

    frame_sets, lost, fps (complete sets per second of wall time; 0 for fewer than two) and latency_ms p50 and p95
    (null when nothing arrived).
    """
    latency_ms = [(received_ns[stamp] - published_ns[stamp]) / 1e6 for stamp in received_ns if stamp in published_ns]
    times = sorted(received_ns.values())
    fps = (len(times) - 1) / ((times[-1] - times[0]) / 1e9) if len(times) > 1 and times[-1] > times[0] else 0.0
    return {
        "frame_sets": len(received_ns),
        "lost": len(set(published_ns) - set(received_ns)),
        "fps": round(fps, 3),
        "latency_ms": {"p50": _percentile(latency_ms, 50), "p95": _percentile(latency_ms, 95)},
    }


def _percentile(values: list[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 3) if values else None


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write it as JSON. InputError when that is not possible."""
    with atomic_output(path) as file:
        file.write((json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())
