"""Scenarios of recorded drives. The ego drives along y = 0 with 10 m/s; one car stands, another comes with 5 m/s."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r3d2_ros.cli.main import main
from r3d2_ros.closed_loop.motions import Timed
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.runs import load_runs
from r3d2_ros.closed_loop.session import Scenes
from tests.closed_loop.worlds import write_world
from tests.replay.bags import (
    Entry,
    actor_array,
    detection,
    detections,
    drive,
    odometry,
    pose,
    recorded,
    write_bag,
)

TIMES = np.arange(0.0, 4.01, 0.1)


def places(t: float) -> dict[str, tuple[float, float, float, float]]:
    wobble = 0.05 * math.sin(40 * t)
    return {"stands": (30.0 + wobble, 2.5, 0.0, 0.0), "comes": (60.0 - 5.0 * t, 3.5, 0.0, math.pi)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    write_world(folder)
    actors = [recorded("/actors", float(t), actor_array(float(t), **places(float(t)))) for t in TIMES]
    write_bag(folder / "bag", sorted([*drive(TIMES), *actors], key=lambda entry: entry.log_ns))
    return folder


def make(world: Path, out: Path, *arguments: str, bag: Path | None = None) -> int:
    rig = f"rig.source={world / 'rig.yaml'}"
    return main(["scenario", "from-log", str(bag or world / "bag"), "--scene", str(world / "road"), "--out", str(out),
                 "--set", rig, *arguments])  # fmt: skip


def planned(path: Path) -> RunPlan:
    (spec,) = load_runs(path)
    return Scenes().plan(spec)


def at(plan: RunPlan, name: str, t: float) -> Any:
    actor = next(actor for actor in plan.traffic.actors if actor.id == name)
    return plan.traffic.planned(actor, t)


def test_everybody_is_where_the_bag_has_them(world: Path, tmp_path: Path) -> None:
    assert make(world, tmp_path / "s.yaml") == 0
    plan = planned(tmp_path / "s.yaml")
    assert plan.spec.scenario.end.duration_s == pytest.approx(4.0) and plan.spec.scenario.end.at_goal
    for t in (0.0, 1.0, 2.55, 4.0):
        assert plan.reference.line.at(plan.reference.s_at(t))[0] == pytest.approx(10.0 * t, abs=0.01)
        comes = at(plan, "comes", t)
        np.testing.assert_allclose(comes.translation, [60.0 - 5.0 * t, 3.5, 0.0], atol=0.05)
        assert math.cos(comes.yaw_rad) == pytest.approx(-1.0)
        np.testing.assert_allclose(at(plan, "stands", t).translation, [30.0, 2.5, 0.0], atol=0.06)
    assert type(next(a.motion for a in plan.traffic.actors if a.id == "stands")).__name__ == "Standing"
    assert plan.reference.speed_at(2.0) == pytest.approx(10.0, abs=0.1)


def test_a_part_of_the_drive(world: Path, tmp_path: Path) -> None:
    assert make(world, tmp_path / "s.yaml", "--start", "1", "--duration", "2") == 0
    plan = planned(tmp_path / "s.yaml")
    assert plan.spec.scenario.end.duration_s == pytest.approx(2.0)
    assert plan.start.x_m == pytest.approx(10.0)
    assert at(plan, "comes", 0.0).translation[0] == pytest.approx(55.0, abs=0.05)


def test_actors_are_kept_hidden_or_replaced(world: Path, tmp_path: Path) -> None:
    arguments = ["--hide", "stands", "--replace", "comes=truck", "--target", "comes"]
    assert make(world, tmp_path / "s.yaml", *arguments) == 0
    (actor,) = planned(tmp_path / "s.yaml").traffic.actors
    assert (actor.id, actor.asset, actor.target) == ("comes", "truck", True)


def test_such_a_scenario_runs(world: Path, tmp_path: Path) -> None:
    """Keeping to the recorded path at the recorded speed nobody is hit, and nearly all of it is driven."""
    assert make(world, tmp_path / "s.yaml", "--target", "comes") == 0
    arguments = ["--controller", "path_follower", "--out", str(tmp_path / "out")]
    assert main(["scenario", "run", str(tmp_path / "s.yaml"), *arguments]) == 0
    (run,) = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert (run["verdict"], run["type"], run["collision"]) == ("passed", "log", False)
    assert run["progress"] > 0.97
    assert run["distance_min_m"] == pytest.approx(2.5 - 1.0 - 0.95, abs=0.1)  # beside the car that stands


def test_a_path_ends_when_its_actor_was_last_seen(tmp_path: Path, world: Path) -> None:
    """It drives 1 s and stands until it is last seen after 3.5 s: no later than then, and not before."""
    places = {float(t): (20.0 + 5.0 * min(float(t), 1.0), 3.5, 0.0, 0.0) for t in TIMES if t < 3.55}
    actors = [recorded("/actors", t, actor_array(t, a=place)) for t, place in places.items()]
    entries = sorted([*drive(TIMES), *actors], key=lambda entry: entry.log_ns)
    bag = write_bag(tmp_path / "bag", entries)
    out = tmp_path / "s.yaml"
    assert main(["scenario", "from-log", str(bag), "--scene", str(world / "road"), "--out", str(out)]) == 0
    (actor,) = planned(out).traffic.actors
    assert isinstance(actor.motion, Timed)
    assert (actor.motion.times_s[0], actor.motion.times_s[-1]) == (0.0, pytest.approx(3.5))


def test_who_waits_at_the_end_waits_until_the_end(
    tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stops at 20 m after 2 s, where its poses are noisy, and a car crosses until 4 s."""
    ego = [
        recorded("/odom", float(t), odometry(float(t), pose(min(10.0 * t, 20.0 + 0.02 * math.sin(40 * t)), 0.0)))
        for t in TIMES
    ]
    cross = [recorded("/actors", float(t), actor_array(float(t), a=(27.0, 12.0 - 4 * t, 0.0, -1.57))) for t in TIMES]
    bag = write_bag(tmp_path / "bag", sorted([*ego, *cross], key=lambda entry: entry.log_ns))
    out = tmp_path / "s.yaml"
    assert main(["scenario", "from-log", str(bag), "--scene", str(world / "road"), "--out", str(out)]) == 0
    plan = planned(out)
    assert plan.spec.scenario.end.duration_s == pytest.approx(4.0) and not plan.spec.scenario.end.at_goal
    assert plan.spec.scenario.criteria.no_collision
    assert plan.reference.length_m == pytest.approx(20.0, abs=0.25)
    assert plan.reference.line.at(30.0)[0] == pytest.approx(30.0, abs=0.1)  # the noise does not turn its end around
    assert "the ego waits from 2.0 s on" in capsys.readouterr().err


def test_a_drive_elsewhere_is_reported_and_anchored_when_asked(
    tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far = [recorded("/odom", float(t), odometry(float(t), pose(5000.0 + 10 * t, 800.0))) for t in TIMES]
    bag = write_bag(tmp_path / "far", far)
    base = ["scenario", "from-log", str(bag), "--scene", str(world / "road")]
    assert main([*base, "--out", str(tmp_path / "a.yaml")]) == 0
    assert "lies outside" in capsys.readouterr().err
    assert main([*base, "--out", str(tmp_path / "b.yaml"), "--anchor", "start"]) == 0
    start = planned(tmp_path / "b.yaml").start
    assert (start.x_m, start.y_m) == (pytest.approx(0.0, abs=1e-3), pytest.approx(0.0, abs=1e-3))
    assert main([*base, "--out", str(tmp_path / "c.yaml"), "--anchor", "start", "--start", "1"]) == 0
    start = planned(tmp_path / "c.yaml").start
    assert (start.x_m, start.y_m) == (pytest.approx(0.0, abs=1e-3), pytest.approx(0.0, abs=1e-3)), "of the part"


def ego(x_m: Iterable[float], *, frame: str = "map", times: Iterable[float] = TIMES) -> list[Entry]:
    """On /odom, along y = 0."""
    return [
        recorded("/odom", float(t), odometry(float(t), pose(x), frame=frame)) for t, x in zip(times, x_m, strict=True)
    ]


def test_actors_of_another_frame_are_refused(tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A car that is always 20 m ahead of the ego does not stand at x = 20 m of the map."""
    ahead = [
        recorded("/actors", float(t), actor_array(float(t), frame="base_link", a=(20.0, 0.0, 0.0, 0.0))) for t in TIMES
    ]
    bag = write_bag(tmp_path / "bag", [*drive(TIMES), *ahead])
    assert make(world, tmp_path / "s.yaml", bag=bag) == 1
    wrong = "/actors: expected messages that can be used, got none; /actors: expected frame_id 'map', got 'base_link'"
    error = capsys.readouterr().err
    assert wrong in error and "--actors-topic none leaves them out" in error
    assert not (tmp_path / "s.yaml").exists()
    assert make(world, tmp_path / "s.yaml", "--actors-topic", "none", bag=bag) == 0
    assert planned(tmp_path / "s.yaml").traffic.actors == ()


def test_what_is_left_out_is_counted(tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 41 arrays every tenth is in another frame: 5."""
    arrays = [
        recorded(
            "/actors", float(t), actor_array(float(t), frame="map" if k % 10 else "odom", a=(30.0, 2.5, 0.0, 0.0))
        )
        for k, t in enumerate(TIMES)
    ]
    bag = write_bag(tmp_path / "bag", [*drive(TIMES), *arrays])
    assert make(world, tmp_path / "s.yaml", bag=bag) == 0
    note = "note: /actors: expected frame_id 'map', got 'odom'; set frames.map (5 times)"
    assert note in capsys.readouterr().err
    np.testing.assert_allclose(at(planned(tmp_path / "s.yaml"), "a", 2.0).translation, [30.0, 2.5, 0.0])


def test_an_ego_of_another_frame_is_refused(tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_bag(tmp_path / "bag", ego(10 * TIMES + 500, frame="odom"))
    assert make(world, tmp_path / "s.yaml", "--ego-topic", "/odom", bag=bag) == 1
    wrong = "/odom: expected at least two poses that can be used, got 0; /odom: expected frame_id 'map', got 'odom'"
    assert wrong in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "number", "length_m", "x_m"), [([], 1, 40.0, 60.0), (["--pass", "2"], 2, 20.0, 90.0)]
)
def test_one_pass_of_time_is_a_drive(
    tmp_path: Path,
    world: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    number: int,
    length_m: float,
    x_m: float,
) -> None:
    """The ego drives with 10 m/s past a car at 60 m, and 10 s later at the same stamps with 5 m/s past one at 90 m."""
    passes = [
        replace(entry, log_ns=entry.log_ns + later_ns)
        for speed, x, later_ns in ((10.0, 60.0, 0), (5.0, 90.0, 10 * 10**9))
        for entry in (
            *ego(speed * TIMES),
            *(recorded("/actors", float(t), actor_array(float(t), a=(x, 3.5, 0.0, 0.0))) for t in TIMES),
        )
    ]
    bag = write_bag(tmp_path / "bag", passes)
    assert make(world, tmp_path / "s.yaml", *arguments, bag=bag) == 0
    plan = planned(tmp_path / "s.yaml")
    assert plan.reference.length_m == pytest.approx(length_m, abs=0.01)
    assert plan.spec.scenario.end.duration_s == pytest.approx(4.0)
    np.testing.assert_allclose(at(plan, "a", 2.0).translation, [x_m, 3.5, 0.0])
    assert f"note: time goes back: this is pass {number} of 2; --pass N takes another" in capsys.readouterr().err


def test_a_stray_stamp_does_not_lengthen_the_drive(
    tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After 2 s one pose says that it is 60 s."""
    (stray,) = ego([20.3], times=[60.0])
    bag = write_bag(tmp_path / "bag", [*drive(TIMES), replace(stray, log_ns=stray.log_ns - 57_970_000_000)])
    assert make(world, tmp_path / "s.yaml", bag=bag) == 0
    plan = planned(tmp_path / "s.yaml")
    assert plan.spec.scenario.end.duration_s == pytest.approx(4.0)
    assert plan.reference.length_m == pytest.approx(40.0, abs=0.01)
    error = capsys.readouterr().err
    assert "a message with the stray stamp 1700000060.000000000 s was taken out (1 times)" in error
    assert "no pose of the ego" not in error


def test_a_part_without_poses_is_told(tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_bag(tmp_path / "bag", drive([float(t) for t in TIMES if not 0.95 < t < 2.95]))
    assert make(world, tmp_path / "s.yaml", bag=bag) == 0
    assert "note: no pose of the ego for up to 2.1 s, from 0.9 s on" in capsys.readouterr().err


def test_objects_without_an_id_are_left_out(tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two cars stand at 30 and 60 m; which one comes first changes every half second. A third one has an id."""
    box = (4.0, 1.8, 1.5)
    seen = []
    for k, t in enumerate(TIMES):
        cars = [detection("", "car", pose(x, 3.5, 0.75), box) for x in (30.0, 60.0)]
        named = detection("7", "car", pose(45.0, 3.5, 0.75), box)
        cars = cars[::-1] if (k // 5) % 2 else cars
        seen.append(recorded("/seen", float(t), detections(float(t), [*cars, named])))
    bag = write_bag(tmp_path / "bag", [*drive(TIMES), *seen])
    assert make(world, tmp_path / "s.yaml", bag=bag) == 0
    plan = planned(tmp_path / "s.yaml")
    assert [actor.id for actor in plan.traffic.actors] == ["7"]
    np.testing.assert_allclose(at(plan, "7", 3.0).translation, [45.0, 3.5, 0.0], atol=1e-9)
    note = "note: an actor without an id is left out: nothing says where else it is (82 times)"
    assert note in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ego", "expected other ids than 'ego', which is the vehicle, got an actor 'ego'. --hide ego leaves it out"),
        ("i" * 201, "at most 200 characters"),
    ],
)
def test_what_cannot_be_run_is_not_written(
    tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str], name: str, expected: str
) -> None:
    """The bag has an actor that no scenario may have."""
    both = {name: (20.0, 9.0, 0.0, 0.0), "b": (30.0, 3.5, 0.0, 0.0)}
    arrays = [recorded("/actors", float(t), actor_array(float(t), **both)) for t in TIMES]
    bag = write_bag(tmp_path / "bag", [*drive(TIMES), *arrays])
    out = tmp_path / "new" / "s.yaml"
    assert make(world, out, bag=bag) == 1
    assert expected in capsys.readouterr().err
    assert not out.parent.exists()
    assert make(world, out, "--hide", name, bag=bag) == 0
    assert [actor.id for actor in planned(out).traffic.actors] == ["b"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--hide", "nobody"], "ids of this bag: comes, stands, got nobody"),
        (["--replace", "comes=tank"], "--replace comes: expected one of car, truck, got 'tank'"),
        (["--replace", "comes"], "--replace: expected ID=ASSET"),
        (["--start", "9"], "at least two poses of the ego in this part of the drive, got 0"),
        (["--duration", "1"], "a part of the drive that is longer than the warm-up of 1 s, got 1 s"),
        (["--pass", "2"], "--pass: expected 1 to 1, the passes of time of"),
        (["--ego-topic", "/nothing"], "/nothing"),
    ],
)
def test_what_cannot_be_used(
    world: Path, tmp_path: Path, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make(world, tmp_path / "s.yaml", *arguments) == 1
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "s.yaml").exists()


def test_an_existing_scenario_is_not_overwritten(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.yaml").write_text("precious")
    assert make(world, tmp_path / "s.yaml") == 1
    assert "expected the name of a new file" in capsys.readouterr().err
    assert (tmp_path / "s.yaml").read_text() == "precious"
