"""Scenario files: every fault in one pass, and what `vary` expands to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from r3d2_ros.closed_loop.runs import described, load_runs, with_seeds
from r3d2_ros.closed_loop.scenario import ConstantVelocity, LanePlace, MapPlace, Scenario
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.schema import validate

SMALL = """
ego: {reference: {lane: ego}, speed_mps: 8}
end: {duration_s: 5}
"""

FULL = """
name: crossing
type: side
sim: {scene: {source: town}, rig: {source: demo3}}
ego:
  reference: {lane: ego, from_m: 10, to_m: 120}
  speed_mps: 8
  vehicle: van
  jitter: {longitudinal_m: 1.0}
actors:
  - {id: target, asset: car, target: true, place: {lane: reference, s_m: 40, left_m: 0.5},
     motion: {kind: constant_velocity, speed_mps: 4, start: {distance_m: 25}}}
  - {id: other, asset: bus, place: {x: 80, y: 3.5, yaw_deg: 180}}
end: {duration_s: 9, standstill_s: 1}
pass: {no_collision: true, neuroncap_min: 4.5}
seed: 3
vary: {asset: [car, bus], offset_m: [-0.5, 0, 0.5], speed_mps: [6, 8], seed: [0, 1]}
"""


def write(tmp_path: Path, text: str, name: str = "s.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_defaults_and_name_of_the_file(tmp_path: Path) -> None:
    (run,) = load_runs(write(tmp_path, SMALL, "quiet.yaml"))
    assert (run.run_id, run.scenario.name, run.seed, run.vehicle.name) == ("quiet-s0", "quiet", 0, "car")
    assert (run.scenario.clock.clock_rate_hz, run.scenario.control.max_age_s) == (100.0, 0.0)


def test_every_combination_becomes_a_run(tmp_path: Path) -> None:
    (tmp_path / "town").mkdir()
    runs = load_runs(write(tmp_path, FULL))
    assert len(runs) == 2 * 3 * 2 * 2 == len({run.run_id for run in runs})
    run = next(run for run in runs if run.run_id == "crossing-bus-o-0.5-v6-s1")
    target = run.scenario.target
    assert target is not None and isinstance(target.place, LanePlace)
    assert (target.asset, target.place.left_m, run.scenario.ego.speed_mps, run.seed) == ("bus", 0.0, 6.0, 1)
    assert run.variation == {"asset": "bus", "offset_m": -0.5, "speed_mps": 6.0, "seed": 1}
    assert run.vehicle.name == "van"
    assert run.sim.scene.source == str(tmp_path / "town")  # relative to the file


def test_seeds_instead_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "town").mkdir()
    runs = with_seeds(load_runs(write(tmp_path, FULL)), 3, "--seeds")
    assert len(runs) == 2 * 3 * 2 * 3 == len({run.run_id for run in runs})
    assert [run.run_id for run in runs[:2]] == ["crossing-car-o-0.5-v6-s0", "crossing-car-o-0.5-v6-s1"]


def test_seeds_of_a_run_file_of_a_campaign(tmp_path: Path) -> None:
    """Stack and configuration stay behind the seed, whatever they are called."""
    (plain,) = load_runs(write(tmp_path, SMALL, "quiet.yaml"))
    run = replace(plain, run_id="quiet-s0.my-stack.plain", group="my-stack.plain")
    file = write(tmp_path, json.dumps(described(run)))
    assert [spec.run_id for spec in with_seeds(load_runs(file), 2, "--seeds")] == [
        "quiet-s0.my-stack.plain", "quiet-s1.my-stack.plain"
    ]  # fmt: skip


@pytest.mark.parametrize(("yaw_deg", "x", "y"), [(0, 10.0, 21.0), (90, 9.0, 20.0), (180, 10.0, 19.0)])
def test_an_offset_is_to_the_left_of_a_place_in_the_map(tmp_path: Path, yaw_deg: int, x: float, y: float) -> None:
    actor = f"{{id: a, asset: car, target: true, place: {{x: 10, y: 20, yaw_deg: {yaw_deg}}}}}"
    (run,) = load_runs(write(tmp_path, f"{SMALL}\nactors: [{actor}]\nvary: {{offset_m: [1.0]}}\n"))
    place = run.scenario.actors[0].place
    assert isinstance(place, MapPlace) and (place.x, place.y) == (pytest.approx(x), pytest.approx(y))


@pytest.mark.parametrize(("frame", "first"), [("map", (0.0, 0.0)), ("ego", (1.0, 1.0))])
def test_an_offset_moves_all_points_of_a_path(tmp_path: Path, frame: str, first: tuple[float, float]) -> None:
    """A path along +y of the map goes to -x; on a lane (s, left) it goes to the left of the lane."""
    motion = f"{{kind: path, frame: {frame}, points: [[1, 0], [1, 10]], speed_mps: 3}}"
    text = f"{SMALL}\nactors: [{{id: a, asset: car, target: true, motion: {motion}}}]\nvary: {{offset_m: [1.0]}}\n"
    (run,) = load_runs(write(tmp_path, text))
    moved = run.scenario.actors[0].motion.points
    assert moved[0] == pytest.approx(first)
    assert moved[1] == pytest.approx((first[0], first[1] + 10.0))


FAULTS = {
    "ego: {reference: {lane: ego, file: a.csv}, speed_mps: 8}": "ego.reference: expected exactly one of lane, points",
    "ego: {reference: {points: [[0, 0]]}, speed_mps: 8}": "ego.reference: expected at least two points",
    "ego: {reference: {lane: ego}}": "ego: expected either speed_mps or a reference with times_s",
    "ego: {reference: {lane: ego}, speed_mps: 8, vehicel: van}": "Did you mean 'vehicle'?",
    "ego: {reference: {lane: ego}, speed_mps: -1}": "ego.speed_mps: expected greater than or equal to 0, got -1",
    "ego: {reference: {lane: ego}, speed_mps: 8, vehicle: cart}": "ego.vehicle: expected a vehicle file or one of car",
    "clock: {clock_rate_hz: 95}": "clock: expected a clock_rate_hz that is a whole multiple of frame_rate_hz",
    "clock: {clock_rate_hz: 300, frame_rate_hz: 10}": "whose period is a whole number of nanoseconds",
    "end: {duration_s: 0}": "end.duration_s: expected greater than 0, got 0",
    "pass: {no_crash: true}": "pass.no_crash: expected one of the keys no_collision",
    "control: {on_miss: pray}": "control.on_miss: expected 'hold', 'stop' or 'abort', got 'pray'",
    "sim: {rigg: 3}": "sim: rigg: expected one of the keys scene",
    "actors: [{id: a, asset: car, place: {lane: ego, ss: 1, s_m: 2}}]": "place.lane.ss: expected one of the keys lane",
    "actors: [{id: a, asset: car, place: {x: 0, y: 0}, motion: {kind: parked, speed: 1}}]": (
        "motion.parked.speed: expected one of the keys kind, got"
    ),
    "seed: -1": "seed: expected greater than or equal to 0",
    "vary: {asset: [bus]}": "an actor with target: true, which vary.asset and vary.offset_m change",
    "vary: {seed: [1, 1]}": "expected values that differ, got s-s1 more than once",
    "name: ../up": "name: expected String should match pattern",
    "actors: [{id: a, asset: car}]": "actors.0: expected a place",
    "actors: [{id: ego, asset: car, place: {x: 0, y: 0}}]": "another id than 'ego'",
    "actors: [{id: a, asset: c, place: {x: 0, y: 0}}, {id: a, asset: c, place: {x: 0, y: 0}}]": "a more than once",
    "actors: [{id: a, asset: car, place: {x: 0, y: .nan}}]": "actors.0.place.map.y: expected a finite number",
    "actors: [{id: a, asset: car, place: {lane: ego}}]": "actors.0.place.lane.s_m: expected a value",
    "actors: [{id: a, asset: car, place: {x: 0, y: 0}, motion: {kind: fly}}]": (
        "actors.0.motion: expected keys with a kind: parked, constant_velocity, path or idm, got {'kind': 'fly'}"
    ),
    "actors: [{id: a, asset: car, place: {x: 0, y: 0}, motion: {speed_mps: 3}}]": (
        "actors.0.motion: expected keys with a kind: parked, constant_velocity, path or idm, got {'speed_mps': 3}"
    ),
    "phases: {warmup_s: 5}": (
        "phases.warmup_s: expected a warm-up that is over, at a frame set, before end.duration_s (5), got 5"
    ),
    # The first frame set after 4.95 s is at 5 s, when the run is over.
    "phases: {warmup_s: 4.95}": "got 4.95: the stack would take over at 5 s",
    "ego: {reference: {points: [[0, 0], [9, 0]], times_s: [0, 1]}, jitter: {longitudinal_m: 1}}": (
        "ego: expected no jitter of an ego whose reference has times_s"
    ),
    "ego: {reference: {points: [[0, 0], [9, 0]], times_s: [0, 1]}, jitter: {lateral_m: 1}}": "ego: expected no jitter",
    "actors: [{id: a, asset: c, place: {x: 0, y: 0}, motion: {kind: path, points: [[0, 0], [1, 1]], speed_mps: 1}}]": (
        "no place: a path begins at its first point"
    ),
    "actors: [{id: a, asset: car, motion: {kind: path, points: [[0, 0], [1, 1]]}}]": "either speed_mps or times_s",
    "actors: [{id: a, asset: car, motion: {kind: path, points: [[0, 0], [1, 1]], times_s: [1, 1]}}]": "that increase",
    "actors: [{id: a, asset: car, place: {x: 0, y: 0}, motion: {kind: idm, desired_speed_mps: 5}}]": "on a lane",
    "actors: [{id: a, asset: car, place: {x: 0, y: 0}, motion: {kind: constant_velocity, speed_mps: 1, start: {}}}]": (
        "exactly one of time_s, distance_m and meets_reference: true"
    ),
}


@pytest.mark.parametrize("line", FAULTS)
def test_faults_name_file_and_key(tmp_path: Path, line: str) -> None:
    data = {**yaml.safe_load(SMALL), **yaml.safe_load(line)}
    path = write(tmp_path, yaml.safe_dump(data))
    with pytest.raises((InputError, InputErrors)) as caught:
        load_runs(path)
    assert FAULTS[line] in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_the_hand_over_is_at_a_frame_set(tmp_path: Path) -> None:
    (run,) = load_runs(write(tmp_path, f"{SMALL}\nphases: {{warmup_s: 4.85}}\n"))
    assert run.scenario.hand_over_s == pytest.approx(4.9)


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    data = {"ego": {"reference": {"lane": "ego"}, "speed_mps": "fast"}, "end": {}, "nmae": "x"}
    with pytest.raises(InputErrors) as caught:
        load_runs(write(tmp_path, yaml.safe_dump(data)))
    assert len(caught.value.faults) == 3


def test_a_scenario_that_is_not_there() -> None:
    with pytest.raises(InputError, match="expected a scenario file or one of .*, got 'nowhere': no such file"):
        load_runs("nowhere")


def test_motions_are_told_apart_by_kind() -> None:
    motion = {"kind": "constant_velocity", "speed_mps": 3}
    actor = {"id": "a", "asset": "car", "place": {"x": 0, "y": 0}, "motion": motion}
    scenario = validate(Scenario, {**yaml.safe_load(SMALL), "actors": [actor]}, "x")
    assert isinstance(scenario.actors[0].motion, ConstantVelocity)
