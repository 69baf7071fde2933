"""Ticks at a rate, on a clock that only the work and the waiting move."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from r3d2_ros.bench.harmonizer.open_loop import (
    Done,
    Ticks,
    format_verdict,
    open_loop,
    stage_facts,
    verdict,
)
from tests.bench.fake_clock import FakeClock


class AtOnce(Executor):
    """Does the work when it is handed in."""

    def submit(self, work: Any, /, *arguments: Any, **keywords: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(work(*arguments, **keywords))
        return future


def run(step_ms: list[float], *, encode_ms: float = 10.0, rate_hz: float = 10.0, missing: int = -1) -> dict[str, Any]:
    clock = FakeClock()

    def step(tick: int) -> int:
        clock.work(step_ms[tick])
        return tick

    def finish(tick: int) -> Done:
        clock.work(encode_ms)
        return Done({"render": step_ms[tick], "encode": encode_ms}, ("NaN",) if tick == missing else ())

    ticks = open_loop(
        (step, finish),
        ticks=len(step_ms),
        rate_hz=rate_hz,
        executors=[AtOnce()],
        deadline_ms=100.0,
        clock=clock,
        sleep=clock.sleep,
    )
    return verdict(ticks, rate_hz=rate_hz, deadline_ms=100.0)


def test_ticks_that_are_done_in_time_have_the_latency_of_their_work() -> None:
    facts = run([40.0] * 99 + [85.0])
    assert facts["ticks"] == facts["made"] == 100
    assert facts["deadline_misses"] == facts["never_made"] == 0
    assert facts["latency_ms_p50"] == pytest.approx(50.0)
    assert facts["latency_ms_p99"] == pytest.approx(50.0)
    assert facts["latency_ms_max"] == pytest.approx(95.0)
    assert facts["achieved_hz"] == pytest.approx(10.0)
    assert facts["stages_ms"]["render"] == {"p50": 40.0, "p99": 40.0, "max": 85.0}


def test_one_slow_tick_delays_those_after_it_until_they_have_caught_up() -> None:
    # Tick 1 ends 255 ms after it was due; tick 2 begins 155 ms late and ends 205 ms late, then 155, 105 and 55.
    facts = run([40.0, 245.0, 40.0, 40.0, 40.0, 40.0])
    assert facts["latency_ms_max"] == pytest.approx(255.0)
    assert facts["deadline_misses"] == 4
    assert facts["never_made"] == 0


def test_a_machine_at_half_the_rate_makes_half_of_the_ticks() -> None:
    # Each tick takes 200 ms; the last is due at 0.9 s and nothing begins after 1.0 s.
    facts = run([190.0] * 10)
    assert facts["made"] == 5 and facts["never_made"] == 5
    assert facts["deadline_misses"] == 10
    assert facts["achieved_hz"] == pytest.approx(5.0)
    assert facts["latency_ms_p50"] == pytest.approx(600.0)  # 200, 300, 400, 500, 600, never, ...
    assert facts["latency_ms_p99"] is None and facts["latency_ms_max"] is None


def test_ticks_that_never_came_are_never_in_the_table() -> None:
    facts = run([190.0] * 10) | {"from": "a", "to": "b"}
    text = format_verdict("slow", facts)
    assert "5 of 10 ticks made at 10 Hz, 5.00 Hz achieved, 10 later than 100 ms" in text
    assert "p50 600.0, p99 never, max never" in text
    assert "render 190.0 / 190.0, encode 10.0 / 10.0" in text


def test_nothing_made_is_no_division_by_zero() -> None:
    facts = verdict(Ticks(due=3), rate_hz=10.0, deadline_ms=100.0)
    assert facts["achieved_hz"] == 0.0 and facts["latency_ms_p50"] is None and facts["deadline_misses"] == 3
    assert facts["stages_ms"] == {}


def test_a_tick_without_a_picture_is_late_for_ever_and_says_why() -> None:
    facts = run([40.0] * 4, missing=2)
    assert facts["made"] == 3 and facts["deadline_misses"] == 1 and facts["latency_ms_max"] is None
    assert facts["pictures_missing"] == {"NaN": 1}
    assert "1 pictures are missing: NaN" in format_verdict("x", facts | {"from": "a", "to": "b"})


def test_workers_overlap_and_each_has_one_tick_at_a_time_in_order() -> None:
    """With threads: the second tick is rendered while the first is harmonized, never two in one worker."""
    busy: dict[str, int] = {"render": 0, "harmonize": 0, "encode": 0}
    most, seen = dict(busy), {name: [] for name in busy}  # type: ignore[var-annotated]
    overlapped = threading.Event()

    def worker(name: str, tick: int) -> int:
        busy[name] += 1
        most[name] = max(most[name], busy[name])
        seen[name].append(tick)
        if name == "harmonize" and tick == 0:
            overlapped.wait(20)
        if name == "render" and tick == 1:
            overlapped.set()
        busy[name] -= 1
        return tick

    with ThreadPoolExecutor(1) as harmonize, ThreadPoolExecutor(1) as encode:
        ticks = open_loop(
            (
                lambda k: worker("render", k),
                lambda k: worker("harmonize", k),
                lambda k: Done({"tick": worker("encode", k)}),
            ),
            ticks=8,
            rate_hz=1000.0,
            executors=[harmonize, encode],
            deadline_ms=60_000.0,
        )
    assert overlapped.is_set()
    assert set(most.values()) == {1}
    assert all(order == list(range(8)) for order in seen.values())
    assert len(ticks.latencies_ms) == 8 and [stage["tick"] for stage in ticks.stages] == list(range(8))


@pytest.mark.parametrize("worker", [0, 1, 2])
def test_a_fault_in_a_worker_is_not_swallowed(worker: int) -> None:
    def work(number: int, tick: int) -> Any:
        if number == worker and tick == 1:
            raise ValueError("no picture")
        return Done({}) if number == 2 else tick

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two, pytest.raises(ValueError, match="no picture"):
        open_loop(
            [lambda k, number=number: work(number, k) for number in range(3)],
            ticks=3,
            rate_hz=1000.0,
            executors=[one, two],
            deadline_ms=60_000.0,
        )


def test_stages_need_not_be_in_every_tick() -> None:
    facts = stage_facts([{"render": 1.0}, {"render": 3.0, "encode": 5.0}])
    assert facts["render"] == {"p50": 1.0, "p99": 3.0, "max": 3.0}
    assert facts["encode"]["p50"] == 5.0
