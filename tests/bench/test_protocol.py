"""What times say, with passes of known length on a clock that only they move."""

from __future__ import annotations

import itertools

import pytest

from r3d2_ros.bench.harmonizer.protocol import (
    PAPER,
    QUICK,
    QUICK_CPU,
    Protocol,
    Run,
    middle_run,
    protocol_of,
    summary,
    window_change,
)
from r3d2_ros.bench.harmonizer.stopwatch import WallStopwatch
from r3d2_ros.errors import InputError
from tests.bench.fake_clock import FakeClock

FREE = Protocol("test", warm_up_passes=0, warm_up_s=0, passes=4, window=0, tolerance=0)


def test_passes_of_20_and_50_ms_are_50_and_20_fps() -> None:
    clock = FakeClock()
    lengths = itertools.cycle([20.0, 50.0])
    run = WallStopwatch(clock, clock).time(lambda k: clock.work(next(lengths)), 4)
    assert run.times_ms == pytest.approx((20, 50, 20, 50))
    facts = summary(run, FREE, batch=1)
    assert facts["fps_mean"] == pytest.approx(35.0)  # the mean of 50 and 20, not 1000 / 35 ms
    assert facts["fps_std"] == pytest.approx(15.0)
    assert facts["fps_wall"] == pytest.approx(4 / 0.140)
    assert facts["ms_mean"] == pytest.approx(35.0)
    assert facts["ms_p50"] == pytest.approx(35.0)
    assert facts["ms_max"] == pytest.approx(50.0)
    assert facts["cpu_ms_mean"] == pytest.approx(35.0)


def test_the_99th_percentile_of_1_to_101_ms_is_100() -> None:
    run = Run(tuple(float(k) for k in range(1, 102)), 1.0, 1.0)
    assert summary(run, FREE, batch=1)["ms_p99"] == pytest.approx(100.0)


def test_images_per_second_count_the_whole_batch() -> None:
    run = Run((100.0, 100.0), wall_s=0.2, cpu_s=0.0)
    facts = summary(run, FREE, batch=6)
    assert facts["fps_mean"] == facts["fps_wall"] == pytest.approx(60.0)


@pytest.mark.parametrize(("last_ms", "accepted"), [(10.09, True), (10.11, False), (9.91, True), (9.89, False)])
def test_a_run_counts_when_its_last_two_windows_agree_to_one_percent(last_ms: float, accepted: bool) -> None:
    run = Run((99.0,) * 100 + (10.0,) * 100 + (last_ms,) * 100, wall_s=3.0, cpu_s=0.0)
    facts = summary(run, QUICK, batch=1)
    assert facts["accepted"] is accepted
    assert facts["window_change"] == pytest.approx(abs(last_ms - 10) / 10)


def test_too_few_passes_for_two_windows_are_not_accepted() -> None:
    assert window_change([1.0] * 199, 100) is None
    assert summary(Run((1.0,) * 199, 1.0, 1.0), QUICK, batch=1)["accepted"] is False
    assert summary(Run((1.0,), 1.0, 1.0), PAPER, batch=1)["accepted"] is True  # the paper has no such rule


@pytest.mark.parametrize(("pass_ms", "passes"), [(500.0, 100), (10.0, 1500)])
def test_quick_warms_up_for_100_passes_and_15_s(pass_ms: float, passes: int) -> None:
    clock = FakeClock()
    assert WallStopwatch(clock, clock).warm_up(lambda k: clock.work(pass_ms), QUICK) == pytest.approx(passes, abs=1)


def test_the_protocols_are_those_of_the_documentation() -> None:
    assert (PAPER.warm_up_passes, PAPER.passes) == (1000, 1000)
    assert (QUICK.warm_up_passes, QUICK.warm_up_s, QUICK.passes, QUICK.window, QUICK.tolerance) == (
        100, 15.0, 200, 100, 0.01,
    )  # fmt: skip
    assert protocol_of("quick", cpu=True, size=(64, 64), batch=1) is QUICK_CPU
    assert protocol_of("quick", cpu=False, size=(64, 64), batch=6) is QUICK
    assert protocol_of("paper", cpu=False, size=(1080, 1920), batch=1) is PAPER
    assert len({PAPER.label, QUICK.label, QUICK_CPU.label}) == 3


@pytest.mark.parametrize(("size", "batch"), [((1920, 1080), 1), ((1080, 1920), 2)])
def test_the_papers_protocol_is_for_the_papers_images(size: tuple[int, int], batch: int) -> None:
    with pytest.raises(InputError, match="expected size 1080x1920 and batch 1"):
        protocol_of("paper", cpu=False, size=size, batch=batch)


def test_the_run_in_the_middle_stands_for_all() -> None:
    runs = [{"fps_mean": fps} for fps in (30.0, 10.0, 20.0)]
    assert middle_run(runs)["fps_mean"] == 20.0
    assert middle_run(runs[:2])["fps_mean"] == 10.0
