"""Scores of runs whose actors were spawned, deleted and moved: who is where, and what still can be said."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r3d2_ros.closed_loop.actions import Snapshot
from r3d2_ros.closed_loop.entity_desk import SpawnRequest
from r3d2_ros.closed_loop.report import write_report
from r3d2_ros.closed_loop.results import score_folder
from r3d2_ros.closed_loop.run_log import RunLog, read_log
from r3d2_ros.closed_loop.scores.collisions import first_contact, margins
from r3d2_ros.closed_loop.scores.data import SceneFacts, run_data
from r3d2_ros.closed_loop.scores.neuroncap import impact_speed, neuroncap
from r3d2_ros.errors import InputError
from tests.closed_loop.drivers import Run, answering
from tests.closed_loop.logs import EPOCH_NS, moving, straight_ego, write
from tests.closed_loop.small_world import parked

POSE = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]


def edited(log: RunLog, *changes: tuple[float, dict[str, Any]]) -> RunLog:
    """The log with changes after the ticks at these times. Actors are in the ticks that their lives say."""
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    records = [
        {"record": "entity", "stamp_ns": EPOCH_NS + round(t * 1e9), "t_s": t, "phase": "drive", "pose": POSE, **change}
        for t, change in changes
    ]
    lines = [lines[0], *records, *lines[1:]]
    log.path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return read_log(log.path)


def without(path: Path, gone: dict[str, tuple[float, float]]) -> RunLog:
    """The log, with each of these actors in the ticks with first < t <= last only."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["record"] == "tick":
            out = [name for name, (first, last) in gone.items() if not first < line["t_s"] <= last]
            line["actors"] = {name: row for name, row in line["actors"].items() if name not in out}
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return read_log(path)


def spawn(name: str, **keys: Any) -> dict[str, Any]:
    return {"edit": "spawn", "id": name, "asset": "car", "category": "car", "size_m": [4.0, 2.0, 1.5], **keys}


def driven(path: Path, lives: dict[str, tuple[float, float]], *changes: Any, **actors: Any) -> RunLog:
    """The ego drives at 10 m/s along x from 0 for 4 s."""
    own = {"target": moving(200.0, 0.0, 0.0, 0.0)}
    log = write(path, ego=straight_ego(10.0), actors={**own, **actors}, scenario={"actors": [parked(200.0)]})
    log = edited(log, *changes)
    return without(log.path, lives)


def test_only_the_time_in_which_an_actor_is_there_counts(tmp_path: Path) -> None:
    """A car at x = 20 from 0.5 s to 1 s, when the ego's front is at 13.5 m: 4.5 m away, to be hit at 1.45 s."""
    lives = {"box": (0.5, 1.0)}
    log = driven(
        tmp_path / "a",
        lives,
        (0.5, spawn("box")),
        (1.0, {"edit": "delete", "id": "box"}),
        box=moving(20.0, 0.0, 0.0, 0.0),
    )
    data = run_data(log)
    box = data.actors[1]
    assert (box.id, box.target, box.jumps) == ("box", False, {51})
    assert [k for k in range(len(data.t_s)) if box.there(k)] == list(range(51, 101))
    assert first_contact(data) is None
    assert margins(data).distance_m == pytest.approx(4.5)
    assert margins(data).ttc_s == pytest.approx(0.45)
    assert neuroncap(data).value == 5.0


def test_a_name_that_is_taken_anew_is_another_actor(tmp_path: Path) -> None:
    log = driven(
        tmp_path / "a",
        {},
        (1.0, {"edit": "delete", "id": "box"}),
        (1.0, spawn("box", size_m=[1.0, 1.0, 1.0], category="pedestrian")),
        box=moving(30.0, 5.0, 0.0, 0.0),
    )
    lines = log.path.read_text().splitlines()
    first = json.dumps({**json.loads(lines[1]), **spawn("box"), "t_s": -0.1, "stamp_ns": EPOCH_NS - 100_000_000})
    log.path.write_text("\n".join([lines[0], first, *lines[1:], ""]))
    _, old, new = run_data(read_log(log.path)).actors
    assert (old.id, old.category, old.size_m) == ("box", "car", (4.0, 2.0, 1.5))
    assert (new.id, new.category, new.size_m) == ("box", "pedestrian", (1.0, 1.0, 1.0))
    assert np.flatnonzero(~np.isnan(old.rows[:, 0])).tolist() == list(range(101))
    assert np.flatnonzero(~np.isnan(new.rows[:, 0])).tolist() == list(range(101, 401))


@pytest.mark.parametrize(("speed", "impact"), [(0.0, 10.0), (5.0, 5.0)])
def test_the_speed_of_an_impact_with_what_was_just_put_there(tmp_path: Path, speed: float, impact: float) -> None:
    """Spawned onto the ego: it has no place before, and its speed is the one that it has."""
    log = driven(tmp_path / "a", {"box": (1.0, 9.0)}, (1.0, spawn("box")), box=moving(10.0, 0.0, 0.0, speed))
    data = run_data(log)
    contact = first_contact(data)
    assert contact is not None and contact.tick == 101
    assert impact_speed(data, contact) == pytest.approx(impact)


def test_a_jump_is_no_speed(tmp_path: Path) -> None:
    """The target is put from x = 200 in front of the ego: 18 km/s between two ticks."""

    def place(t: float) -> list[float]:
        return [200.0 if t < 1.005 else 12.0, 0.0, 0.0, 0.0, 0.0]

    log = driven(tmp_path / "a", {}, (1.0, {"edit": "move", "id": "target", "speed_mps": None}), target=place)
    data = run_data(log)
    contact = first_contact(data)
    assert contact is not None and contact.actor.edited
    assert impact_speed(data, contact) == pytest.approx(10.0)
    score = neuroncap(data)
    assert score.value is None
    assert score.missing == ("the trajectory of 'target' without the ego: it was changed from outside",)


def test_summary_and_report_of_a_changed_run(tmp_path: Path) -> None:
    """`box` is there for half a second, `short` for no tick, and the target is deleted."""

    def on_gate(now: Snapshot, made: Run) -> None:
        at = round(now.t_s, 2)
        if at == 0.5 and now.phase != "startup":
            assert made.desk.spawn(SpawnRequest("box", uri="car", position_m=(20.0, 3.0, 0.0)))[0].ok
        if at == 1.0:
            assert made.desk.delete("box").ok and made.desk.delete("target").ok
            assert made.desk.spawn(SpawnRequest("short", uri="car"))[0].ok and made.desk.delete("short").ok

    folder = tmp_path / "out" / "runs" / "test-s0"
    actors = [parked(60.0, 3.0)]
    made = Run(folder / "run.jsonl", on_frame=answering(), on_gate=on_gate, end={"duration_s": 2.5}, actors=actors)
    made.go()
    summary = score_folder(folder, SceneFacts())
    assert [f"{c['edit']} {c['id']} {c['t_s']:.2f}" for c in summary["entities"]] == [
        "spawn box 0.50",
        "delete box 1.00",
        "delete target 1.00",
        "spawn short 1.00",
        "delete short 1.00",
    ]
    assert not summary["collision"] and not summary["deterministic"]
    # At 1 s the ego's front is at 13.5 m, the box's rear at 18 m, its side 1 m beside the ego's.
    assert summary["distance_min_m"] == pytest.approx(math.hypot(4.5, 1.0))
    results: dict[str, Any] = {"means": {"runs": "1 of 1", "types": {}}, "regressions": [], "runs": [summary]}
    results["means"] |= dict.fromkeys(("neuroncap", "hd", "alpasim", "collision_rate"))
    write_report(tmp_path / "out", {**results, "seconds": {}})
    html = (tmp_path / "out" / "report.html").read_text()
    assert "spawn box at 0.50 s" in html
    assert re.search(r"[\" ,]nan", html) is None


def test_who_left_its_path_has_no_times_of_it(tmp_path: Path) -> None:
    motion = {"kind": "path", "points": [[30.0, 9.0], [40.0, 9.0]], "times_s": [0.0, 1.0]}
    scenario = {"actors": [{"id": "target", "asset": "car", "motion": motion}]}
    made = write(
        tmp_path / "a", ego=straight_ego(10.0), actors={"target": moving(40.0, 9.0, 0.0, 0.0)}, scenario=scenario
    )
    (track,) = run_data(made).actors
    assert track.times_s == (0.0, 1.0)
    (track,) = run_data(edited(made, (1.0, {"edit": "move", "id": "target", "speed_mps": 0.0}))).actors
    assert track.times_s is None


@pytest.mark.parametrize(
    "change", [{"edit": "delete", "id": "nobody"}, {"edit": "spawn", "id": "x"}, {"edit": "move", "id": "nobody"}]
)
def test_records_that_no_run_writes_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    log = driven(tmp_path / "a", {}, (1.0, change))
    with pytest.raises(InputError, match="records as a run writes them"):
        run_data(log)
