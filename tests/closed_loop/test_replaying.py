"""A run whose timing depended on the machine, repeated from its log: the same ticks, frames and misses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r3d2_ros.closed_loop.actions import Done, Frame, Outcome, Snapshot
from r3d2_ros.closed_loop.demands import Trajectory
from r3d2_ros.closed_loop.header import header
from r3d2_ros.closed_loop.inbox import Plan
from r3d2_ros.closed_loop.loop import Loop
from r3d2_ros.closed_loop.replaying import LoggedCommands
from r3d2_ros.closed_loop.run_log import LogWriter, RunLog, read_log
from r3d2_ros.closed_loop.scores.data import run_data
from r3d2_ros.closed_loop.vehicle import Actuation
from r3d2_ros.errors import InputError
from tests.closed_loop.drivers import FACTS, Run
from tests.closed_loop.small_world import plan


def again(path: Path, first: RunLog, **keys: Any) -> RunLog:
    planned = plan(**keys)
    with LogWriter(path) as log:
        log.write("header", **header(planned, controller="log", renderer="none"))
        steps = Loop(planned, LoggedCommands(first), log).run()
        action = next(steps)
        while True:
            try:
                action = steps.send(Done(0.0, FACTS if isinstance(action, Frame) else None))
            except StopIteration:
                return read_log(path)


def same(a: RunLog, b: RunLog) -> None:
    assert a.end is not None and b.end is not None
    assert a.end["digest"] == b.end["digest"]
    assert [tick["ego"] for tick in a.of("tick")] == [tick["ego"] for tick in b.of("tick")]
    assert a.end["misses"] == b.end["misses"]


KEYS: dict[str, Any] = {
    "control": {"max_age_s": 0.12, "max_misses": 0, "on_miss": "stop"},
    "end": {"duration_s": 3.0},
}


def test_commands_at_odd_times_and_misses(tmp_path: Path) -> None:
    """The stack sends now and then, and not at all for half a second."""
    random = np.random.default_rng(3)

    def on_tick(snapshot: Snapshot, made: Run) -> None:
        quiet = 1.2 < snapshot.t_s < 1.7
        if not quiet and random.random() < 0.15:
            made.send(snapshot, Actuation(float(random.normal()), float(random.normal() * 0.02)))

    made = Run(tmp_path / "a", on_tick=on_tick, **KEYS)
    made.go()
    first = made.read()
    assert first.end is not None and first.end["misses"] > 2 and not first.end["deterministic"]
    same(first, again(tmp_path / "b", first, **KEYS))


def test_trajectories_whose_start_up_took_longer(tmp_path: Path) -> None:
    """The replay has no start-up to speak of: the stamps inside the trajectories move with it."""

    def on_frame(snapshot: Snapshot, made: Run) -> None:
        if snapshot.stamp_ns < 12_000_000_000:
            return
        x = snapshot.ego.x_m + 10.0 * np.arange(5) * 0.5
        stamps = tuple(snapshot.stamp_ns + k * 500_000_000 for k in range(5))
        made.send(snapshot, Trajectory(stamps, np.stack([x, 0.1 * np.arange(5.0)], axis=1)))

    made = Run(tmp_path / "a", on_frame=on_frame, end={"duration_s": 3.0})
    made.go()
    first = made.read()
    assert first.of("tick")[-1]["ego"][1] > 0.05
    same(first, again(tmp_path / "b", first, end={"duration_s": 3.0}))


def test_plans_are_those_of_the_log(tmp_path: Path) -> None:
    """The start-up takes two seconds, of which the replay has none: stamps and scores are the same from t = 0 on."""

    def on_frame(snapshot: Snapshot, made: Run) -> None:
        if snapshot.stamp_ns >= 12_000_000_000:
            x = snapshot.ego.x_m + 5.0 * np.arange(1.0, 7.0)
            made.inbox.offer_plan(Plan(snapshot.stamp_ns, np.stack([x, 0.1 * x], axis=1), np.full(6, 0.1)))
            made.send(snapshot)
            made.send(snapshot, Actuation(1.0, 0.0))

    made = Run(tmp_path / "a", on_frame=on_frame, end={"duration_s": 1.5})
    made.go()
    first = made.read()
    second = again(tmp_path / "b", first, end={"duration_s": 1.5})
    same(first, second)
    plans = [[(p.tick, p.xy.tolist(), p.yaw.tolist()) for p in run_data(log).plans] for log in (first, second)]
    assert plans[0] == plans[1] and len(plans[0]) == 10
    assert first.end is not None and second.end is not None
    assert (second.end["deterministic"], second.end["refused"]) == (False, first.end["refused"])


def test_a_run_that_never_began_cannot_be_repeated(tmp_path: Path) -> None:
    made = Run(tmp_path / "a", phases={"startup_timeout_s": 1.0})
    assert isinstance(made.go(), Outcome)
    with pytest.raises(InputError, match="expected a run that got beyond its start-up"):
        LoggedCommands(made.read())
