"""Rates for /diagnostics, by a clock that the test sets."""

from __future__ import annotations

import pytest

from r3d2_ros.nodes.statistics import Statistics


def test_a_rate_is_of_the_last_seconds_of_this_run() -> None:
    now_s = 100.0
    statistics = Statistics(lambda: now_s)
    assert statistics.rate_hz() == 0.0
    for _ in range(8):
        now_s += 0.5
        statistics.frame_set()
    assert statistics.rate_hz() == pytest.approx(2.0)  # 8 in 4 s
    now_s += 8.0
    assert statistics.rate_hz() == pytest.approx(0.5)  # those of the last 2 s of them, in 10 s
    statistics.begin_run()
    now_s += 1.0
    assert (statistics.rate_hz(), statistics.counts()["frame sets"]) == (0.0, 8)
