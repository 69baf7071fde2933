"""How often the network runs before and while it is timed, and what its times say. Numbers only: no torch, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from r3d2_ros.errors import InputError

PAPER_SIZE = (1080, 1920)
"""Rows and columns of the images that the paper timed, one at a time."""

ROTATING_INPUTS = 8
"""Different images in turn, so that no pass finds its input in a cache."""


@dataclass(frozen=True)
class Protocol:
    """A way to time. `label` stands beside every number: numbers of different protocols are not compared.

    warm_up_passes, warm_up_s  at least so many passes, and at least so long
    passes                     that are timed
    window, tolerance          accepted when the last two windows of so many passes differ by less than this share;
                               a window of 0 accepts always
    """

    label: str
    warm_up_passes: int
    warm_up_s: float
    passes: int
    window: int
    tolerance: float


PAPER = Protocol("paper", warm_up_passes=1000, warm_up_s=0.0, passes=1000, window=0, tolerance=0.0)
QUICK = Protocol("quick", warm_up_passes=100, warm_up_s=15.0, passes=200, window=100, tolerance=0.01)
QUICK_CPU = Protocol("quick, CPU", warm_up_passes=3, warm_up_s=2.0, passes=20, window=10, tolerance=0.05)
"""A pass takes a thousand times longer on a CPU, which needs no clocks to settle, and other programs disturb it."""


def protocol_of(name: str, *, cpu: bool, size: tuple[int, int], batch: int) -> Protocol:
    """'paper' or 'quick'. InputError for 'paper' with another size (rows, columns) or batch than the paper's."""
    if name == "quick":
        return QUICK_CPU if cpu else QUICK
    if size != PAPER_SIZE or batch != 1:
        rows, columns = size
        hint = "Other sizes and batches are measured with --protocol quick"
        raise InputError("--protocol paper", "size 1080x1920 and batch 1", f"{rows}x{columns} and {batch}", hint)
    return PAPER


@dataclass(frozen=True)
class Run:
    """The times of one complete run.

    times_ms  of each timed pass
    wall_s    from before the first timed pass to after the last
    cpu_s     processor time of all threads meanwhile: what the passes cost when other programs use the cores too
    """

    times_ms: tuple[float, ...]
    wall_s: float
    cpu_s: float


def summary(run: Run, protocol: Protocol, *, batch: int) -> dict[str, Any]:
    """What a run says: images per second and milliseconds per pass.

    fps_mean, fps_std  of the passes' own rates, the deviation as in a population (divided by N)
    fps_wall           images / wall time, everything between the passes included
    window_change      |a - b| / b of the mean times of the last two windows, None where there are none
    accepted           the window rule; True where the protocol has none
    """
    times = np.asarray(run.times_ms, np.float64)
    fps = 1e3 * batch / times
    change = window_change(run.times_ms, protocol.window)
    return {
        "passes": len(times),
        "fps_mean": float(fps.mean()),
        "fps_std": float(fps.std()),
        "fps_wall": batch * len(times) / run.wall_s,
        "ms_mean": float(times.mean()),
        "ms_p50": float(np.percentile(times, 50)),
        "ms_p99": float(np.percentile(times, 99)),
        "ms_max": float(times.max()),
        "cpu_ms_mean": 1e3 * run.cpu_s / len(times),
        "wall_s": run.wall_s,
        "window_change": change,
        "accepted": protocol.window == 0 or (change is not None and change < protocol.tolerance),
    }


def window_change(times_ms: Sequence[float], window: int) -> float | None:
    """How much the mean of the last `window` passes differs from that of the `window` before, as a share of the latter.

    None where there are fewer than two windows of passes.
    """
    if window < 1 or len(times_ms) < 2 * window:
        return None
    before = float(np.mean(times_ms[-2 * window : -window]))
    return abs(float(np.mean(times_ms[-window:])) - before) / before


def middle_run(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The run whose mean rate is in the middle; of an even number the slower of the two in the middle."""
    ordered = sorted(summaries, key=lambda run: run["fps_mean"])
    return ordered[(len(ordered) - 1) // 2]
