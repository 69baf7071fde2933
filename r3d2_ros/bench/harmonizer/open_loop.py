"""Ticks that come at a rate whether or not the last one is done, and what became of them. Numbers only: no torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Stages = Mapping[str, float]
"""Stage -> ms that one tick spent in it, all cameras together."""

LEAD_S = 0.05
"""Between the call and the first tick."""


@dataclass(frozen=True)
class Done:
    """What the last worker says of a tick: its stages' times, and the reasons of cameras that have no picture."""

    stages: Stages
    missing: tuple[str, ...] = ()


@dataclass
class Ticks:
    """What became of the ticks of an open loop.

    latencies_ms  of each tick that has all its pictures, from the moment it was due to the last of them
    due           ticks that were due; those without a latency were never made, or not in time to be counted
    seconds       from the first tick's due time to the end of the last one that was made
    missing       reason -> pictures that were not made for it
    """

    due: int
    latencies_ms: list[float] = field(default_factory=list)
    stages: list[Stages] = field(default_factory=list)
    seconds: float = 0.0
    missing: dict[str, int] = field(default_factory=dict)


def open_loop(
    workers: Sequence[Callable[[Any], Any]],
    *,
    ticks: int,
    rate_hz: float,
    executors: Sequence[Executor],
    deadline_ms: float,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Ticks:
    """Every tick goes through the workers, from the moment it is due.

    workers    the first gets the tick's number, each other one what the one before it made; the last gives a Done.
               Each has one tick at a time, in order
    executors  of all workers but the first, which runs here: so ticks overlap as in the node

    Ends when the last tick is done, or begins none later than a deadline after the last was due: these are left.
    """
    result = Ticks(ticks)
    begin = clock() + LEAD_S
    end = begin + (ticks - 1) / rate_hz + deadline_ms * 1e-3
    at_work: list[Future[None] | None] = [None] * len(executors)

    def pass_on(number: int, made: Any, due_s: float) -> None:
        """Give what worker `number` made to the next one, once that one is free."""
        if number == len(executors):
            _count(result, made, due_s=due_s, done_s=clock(), begin=begin)
            return
        if (busy := at_work[number]) is not None:
            busy.result()
        at_work[number] = executors[number].submit(lambda: pass_on(number + 1, workers[number + 1](made), due_s))

    for tick in range(ticks):
        due_s = begin + tick / rate_hz
        if (wait_s := due_s - clock()) > 0:
            sleep(wait_s)
        if clock() >= end:
            break
        pass_on(0, workers[0](tick), due_s)
    for number in range(len(executors)):
        if (busy := at_work[number]) is not None:
            busy.result()
    return result


def _count(result: Ticks, done: Done, *, due_s: float, done_s: float, begin: float) -> None:
    result.stages.append(done.stages)
    for reason in done.missing:
        result.missing[reason] = result.missing.get(reason, 0) + 1
    if not done.missing:
        result.latencies_ms.append((done_s - due_s) * 1e3)
        result.seconds = done_s - begin


def verdict(ticks: Ticks, *, rate_hz: float, deadline_ms: float) -> dict[str, Any]:
    """The numbers of an open loop. A tick that was never made counts as one whose pictures never came.

    achieved_hz       ticks made / seconds
    deadline_misses   ticks later than `deadline_ms`, the ones never made included
    latency_ms_*      over all ticks that were due; None where that tick was never made
    """
    made = len(ticks.latencies_ms)
    latencies = np.array(ticks.latencies_ms + [math.inf] * (ticks.due - made))
    return {
        "rate_hz": rate_hz,
        "deadline_ms": deadline_ms,
        "ticks": ticks.due,
        "made": made,
        "never_made": ticks.due - made,
        "deadline_misses": int((latencies > deadline_ms).sum()),
        "achieved_hz": made / max(ticks.seconds, ticks.due / rate_hz) if made else 0.0,
        **{f"latency_ms_{name}": _quantile(latencies, share) for name, share in QUANTILES.items()},
        "pictures_missing": ticks.missing,
        "stages_ms": stage_facts(ticks.stages),
    }


QUANTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


def _quantile(values: np.ndarray, share: float) -> float | None:
    """The smallest value that `share` of all do not exceed; None where that is infinite, or nothing is there.

    No interpolation: halfway to a tick that never came is nowhere.
    """
    if not len(values):
        return None
    value = float(np.sort(values)[max(0, math.ceil(share * len(values)) - 1)])
    return value if math.isfinite(value) else None


def stage_facts(stages: Sequence[Stages]) -> dict[str, dict[str, float | None]]:
    """Stage -> p50, p99 and max of its ms per tick."""
    names = list(dict.fromkeys(name for tick in stages for name in tick))
    values = {name: np.array([tick[name] for tick in stages if name in tick]) for name in names}
    return {name: {key: _quantile(values[name], share) for key, share in QUANTILES.items()} for name in names}


def format_verdict(name: str, facts: Mapping[str, Any]) -> str:
    """For people: a line of the whole and one of the stages."""
    late = {key: facts[f"latency_ms_{key}"] for key in QUANTILES}
    latency = ", ".join(f"{key} {'never' if value is None else f'{value:.1f}'}" for key, value in late.items())
    whole = (
        f"{name}: {facts['made']} of {facts['ticks']} ticks made at {facts['rate_hz']:g} Hz, "
        f"{facts['achieved_hz']:.2f} Hz achieved, {facts['deadline_misses']} later than {facts['deadline_ms']:g} ms; "
        f"ms from {facts['from']} to {facts['to']}: {latency}"
    )
    stages = ", ".join(f"{name} {times['p50']:.1f} / {times['p99']:.1f}" for name, times in facts["stages_ms"].items())
    lines = [whole, *(f"  {count} pictures are missing: {why}" for why, count in facts["pictures_missing"].items())]
    return "\n".join([*lines, f"  ms per tick, p50 / p99: {stages}"] if stages else lines)
