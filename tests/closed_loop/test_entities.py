"""Actors that are spawned, deleted and moved while a run goes on: what the world, the log and a replay make of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from r3d2_ros.closed_loop.actions import Done, Frame, Snapshot
from r3d2_ros.closed_loop.entities import Delete, Edit, Move, Placement, Spawn, applied, edit_of, edit_record
from r3d2_ros.closed_loop.entity_desk import MoveRequest, SpawnRequest
from r3d2_ros.closed_loop.header import header
from r3d2_ros.closed_loop.loop import START_NS, Loop
from r3d2_ros.closed_loop.replaying import LoggedCommands, LoggedEdits
from r3d2_ros.closed_loop.run_log import LogWriter, RunLog, read_log
from r3d2_ros.errors import InputError
from r3d2_ros.scene import AssetLibrary
from tests.closed_loop.drivers import FACTS, Run, Stack, answering
from tests.closed_loop.small_world import LIBRARY, parked, plan

HALF_TURN = (0.0, 0.0, 0.0, 1.0)
HERE = Placement((5.0, 1.0, 0.0), (1.0, 0.0, 0.0, 0.0))
SPAWN = Spawn("new", "truck", "car", (4.0, 2.0, 1.5), HERE)


def once(at_s: float, change: Stack, phase: str = "") -> Stack:
    """Call `change` at the first gate at which the newest moment is not before `at_s`, in `phase` if one is named."""
    done = False

    def on_gate(now: Snapshot, made: Run) -> None:
        nonlocal done
        if not done and now.t_s >= at_s - 1e-9 and phase in ("", now.phase):
            done = True
            change(now, made)

    return on_gate


def run(path: Path, on_gate: Stack, **keys: Any) -> Run:
    made = Run(path, on_frame=answering(), on_gate=on_gate, end={"duration_s": 2.0}, **keys)
    made.go()
    return made


def again(path: Path, first: RunLog, library: AssetLibrary = LIBRARY, **keys: Any) -> RunLog:
    planned = plan(end={"duration_s": 2.0}, **keys)
    with LogWriter(path) as log:
        log.write("header", **header(planned, controller="log", renderer="none"))
        loop = Loop(planned, LoggedCommands(first), log, edits=LoggedEdits(first, library))
        steps = loop.run()
        action = next(steps)
        while True:
            try:
                action = steps.send(Done(0.0, FACTS if isinstance(action, Frame) else None))
            except StopIteration:
                return read_log(path)


def rows(log: RunLog, name: str) -> dict[float, list[float]]:
    """t_s -> x, y, z, yaw, speed, for the ticks that have the actor."""
    return {round(tick["t_s"], 2): tick["actors"][name] for tick in log.of("tick") if name in tick["actors"]}


def spawn_then_drive_off(now: Snapshot, made: Run) -> None:
    """A car at x = 60 that faces the ego, which drives at 5 m/s from the next tick on."""
    answer, name = made.desk.spawn(SpawnRequest("car", uri="car", position_m=(60.0, 3.5, 0.0), quat_wxyz=HALF_TURN))
    assert answer.ok and name == "car"
    assert made.desk.move(MoveRequest("car", linear_mps=(-5.0, 0.0, 0.0), set_pose=False)).ok


def test_a_spawned_actor_is_there_from_the_next_tick_and_drives(tmp_path: Path) -> None:
    log = run(tmp_path / "a", once(1.0, spawn_then_drive_off)).read()
    car = rows(log, "car")
    assert min(car) == 1.01
    assert car[1.01] == pytest.approx([59.95, 3.5, 0.0, math.pi, 5.0])
    assert car[2.0] == pytest.approx([55.0, 3.5, 0.0, math.pi, 5.0])
    assert [record["edit"] for record in log.of("entity")] == ["spawn", "move"]
    assert {record["t_s"] for record in log.of("entity")} == {1.0}


def test_a_run_that_was_changed_is_not_deterministic_and_says_so(tmp_path: Path) -> None:
    plain = run(tmp_path / "a", lambda now, made: None).read().end
    changed = run(tmp_path / "b", once(1.0, spawn_then_drive_off)).read().end
    assert plain is not None and changed is not None
    assert (plain["deterministic"], plain["edits"]) == (True, 0)
    assert (changed["deterministic"], changed["edits"]) == (False, 2)
    assert plain["digest"] != changed["digest"]


@pytest.mark.parametrize("at_s", [0.0, 0.03, 1.0, 1.55])
def test_the_replay_of_a_changed_run_is_identical(tmp_path: Path, at_s: float) -> None:
    """An odd pose, whose rotation matrix would not come back to the bit from its quaternion."""

    def change(now: Snapshot, made: Run) -> None:
        quat = (0.8134, 0.0123, -0.0456, 0.5791)
        assert made.desk.spawn(SpawnRequest("x", uri="car", position_m=(61.7, 2.3, 0.1), quat_wxyz=quat))[0].ok
        assert made.desk.spawn(SpawnRequest("y", uri="truck", frame="x", position_m=(0.1, 9.3, 0.0)))[0].ok
        assert made.desk.move(MoveRequest("target", position_m=(90.0, 0.5, 0.0))).ok
        assert made.desk.delete("x").ok

    keys = {"actors": [parked(80.0, 6.0)]}
    first = run(tmp_path / "a", once(at_s, change), **keys).read()
    second = again(tmp_path / "b", first, **keys)
    assert first.end is not None and second.end is not None
    assert first.end["edits"] == second.end["edits"] == 4
    assert [t["actors"] for t in first.of("tick")] == [t["actors"] for t in second.of("tick")]
    assert first.end["digest"] == second.end["digest"]


def test_changes_in_the_start_up_are_there_at_t_0_and_in_the_replay(tmp_path: Path) -> None:
    """The first gate is before the first tick; the replay's start-up is shorter than the run's."""
    quiet = answering()

    def on_frame(now: Snapshot, made: Run) -> None:
        if now.stamp_ns >= START_NS + 300_000_000:
            quiet(now, made)

    def change(now: Snapshot, made: Run) -> None:
        assert made.desk.spawn(SpawnRequest("late", uri="car", position_m=(70.0, 3.0, 0.0)))[0].ok
        assert made.desk.move(MoveRequest("late", linear_mps=(2.0, 0.0, 0.0), set_pose=False)).ok

    later = START_NS + 150_000_000

    def on_gate(now: Snapshot, made: Run) -> None:
        if now.phase == "startup" and now.stamp_ns == later:
            change(now, made)

    keys: dict[str, Any] = {"control": {"timeout_s": 0.05}, "clock": {"clock_rate_hz": 100.0}}
    made = Run(tmp_path / "a", on_frame=on_frame, on_gate=on_gate, end={"duration_s": 2.0}, **keys)
    made.go()
    first = made.read()
    assert rows(first, "late")[0.0] == [70.0, 3.0, 0.0, 0.0, 2.0]
    assert rows(first, "late")[1.0][0] == pytest.approx(72.0)
    second = again(tmp_path / "b", first, **keys)
    assert first.end is not None and second.end is not None
    assert first.end["digest"] == second.end["digest"]


def test_a_deleted_actor_is_gone_and_numbers_in_instance_images_stay(tmp_path: Path) -> None:
    def change(now: Snapshot, made: Run) -> None:
        assert made.desk.spawn(SpawnRequest("new", uri="car", position_m=(60.0, 4.0, 0.0)))[0].ok
        assert made.desk.delete("a").ok

    actors = [parked(80.0, 6.0, id="a", target=False), parked(90.0, 6.0, id="b", target=False)]
    made = run(tmp_path / "a", once(1.0, change), actors=actors)
    assert max(rows(made.read(), "a")) == 1.0
    before = next(now for now in made.ticks() if now.t_s > 0.9).world_state()
    after = made.ticks()[-1].world_state()
    assert [(a.id, a.instance) for a in before.actors] == [("a", 1), ("b", 2)]
    assert [(a.id, a.instance) for a in after.actors] == [("b", 2), ("new", 3)]
    assert after.instance_ids == ("a", "b", "new")


def test_an_actor_that_is_moved_leaves_its_script(tmp_path: Path) -> None:
    """It drives at 4 m/s; it is turned around and keeps its speed, then it is stopped."""

    def turn(now: Snapshot, made: Run) -> None:
        move = MoveRequest("target", position_m=(100.0, 3.5, 0.0), quat_wxyz=HALF_TURN, set_twist=False)
        assert made.desk.move(move).ok

    def stop(now: Snapshot, made: Run) -> None:
        assert made.desk.move(MoveRequest("target", set_pose=False)).ok

    turns, stops = once(0.5, turn), once(1.5, stop)

    def on_gate(now: Snapshot, made: Run) -> None:
        turns(now, made)
        stops(now, made)

    actor = parked(50.0, 3.5, motion={"kind": "constant_velocity", "speed_mps": 4.0})
    target = rows(run(tmp_path / "a", on_gate, actors=[actor]).read(), "target")
    assert target[0.5] == pytest.approx([52.0, 3.5, 0.0, 0.0, 4.0])
    assert target[1.5] == pytest.approx([96.0, 3.5, 0.0, math.pi, 4.0])
    assert target[2.0] == pytest.approx([96.0, 3.5, 0.0, math.pi, 0.0])


def test_a_follower_brakes_for_what_is_put_in_its_way(tmp_path: Path) -> None:
    def block(now: Snapshot, made: Run) -> None:
        assert made.desk.spawn(SpawnRequest("block", uri="car", position_m=(55.0, 0.0, 0.0)))[0].ok

    idm = {"kind": "idm", "desired_speed_mps": 10.0, "speed_mps": 10.0}
    actor = {"id": "follower", "asset": "car", "place": {"lane": "ego", "s_m": 30.0}, "motion": idm}
    free = rows(run(tmp_path / "a", lambda now, made: None, actors=[actor]).read(), "follower")
    blocked = rows(run(tmp_path / "b", once(0.5, block), actors=[actor]).read(), "follower")
    assert blocked[0.5] == free[0.5]
    assert blocked[2.0][4] < 8.0 < 9.9 < free[2.0][4]


def test_hitting_a_spawned_actor_ends_the_run(tmp_path: Path) -> None:
    """The ego drives at 10 m/s; its front, 3.5 m ahead, meets the car's rear at x = 18 when it is at 14.5 m."""

    def put(now: Snapshot, made: Run) -> None:
        assert made.desk.spawn(SpawnRequest("wall", uri="car", position_m=(20.0, 0.0, 0.0)))[0].ok

    end = run(tmp_path / "a", once(1.0, put)).read().end
    assert end is not None
    assert (end["reason"], end["actors"]) == ("collision", ["wall"])
    assert end["detail"] == "with wall at t = 1.45 s"


@pytest.mark.parametrize("edit", [SPAWN, Delete("a"), Move("a", HERE, None), Move("a", None, -2.5)])
def test_records_come_back_as_they_were(edit: Edit) -> None:
    assert edit_of(json.loads(json.dumps(edit_record(edit)))) == edit


@pytest.mark.parametrize(
    "record",
    [
        {"edit": "delete"},
        {"edit": "paint", "id": "a", "pose": None},
        {"edit": "move", "id": "a", "pose": [0, 0, 0, 0, 0, 0, 0], "speed_mps": None},
        {"edit": "move", "id": "a", "pose": [0, 0], "speed_mps": None},
        {"edit": "spawn", "id": "a", "pose": [0, 0, 0, 1, 0, 0, 0], "asset": "car", "category": "", "size_m": [1, 2]},
    ],
)
def test_a_log_that_was_altered_is_refused(tmp_path: Path, record: dict[str, Any]) -> None:
    first = run(tmp_path / "a", once(1.0, spawn_then_drive_off)).read()
    altered = first.of("entity")[0]
    stamp_ns = altered["stamp_ns"]
    altered.clear()
    altered.update({"record": "entity", "stamp_ns": stamp_ns, **record})
    with pytest.raises(InputError):
        LoggedEdits(first, LIBRARY)


def test_a_replay_without_the_asset_or_without_the_actor_names_it(tmp_path: Path) -> None:
    first = run(tmp_path / "a", once(1.0, spawn_then_drive_off)).read()
    with pytest.raises(InputError, match=r"an asset of the library \(no assets\), got 'car'"):
        LoggedEdits(first, AssetLibrary())
    first.of("entity")[1]["id"] = "nobody"
    with pytest.raises(InputError, match="there is no actor 'nobody'"):
        again(tmp_path / "b", first)


def test_changes_of_actors_that_are_not_there_are_key_errors() -> None:
    planned = plan()
    traffic, state = applied(SPAWN, planned.traffic, planned.traffic.start())
    with pytest.raises(KeyError, match="'new' already"):
        applied(SPAWN, traffic, state)
    with pytest.raises(KeyError, match="no actor 'other'"):
        applied(Delete("other"), traffic, state)
