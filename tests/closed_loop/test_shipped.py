"""Shipped scenarios: all keys documented, three of each NeuroNCAP type, and nobody gets through without braking."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from r3d2_ros.cameras import Rig
from r3d2_ros.closed_loop import scenario as keys
from r3d2_ros.closed_loop.controllers import CONTROLLERS
from r3d2_ros.closed_loop.header import header
from r3d2_ros.closed_loop.in_process import run_in_process
from r3d2_ros.closed_loop.plan import plan_run
from r3d2_ros.closed_loop.run_log import LogWriter, read_log
from r3d2_ros.closed_loop.runs import RunSpec, load_runs, shipped_scenarios
from r3d2_ros.closed_loop.scores.data import SceneFacts
from r3d2_ros.closed_loop.scores.summary import summarise
from r3d2_ros.closed_loop.session import Scenes
from r3d2_ros.formats.libraries import load_library
from r3d2_ros.formats.scenes import find_scene
from r3d2_ros.lane_map import LaneMap, load_lane_map
from r3d2_ros.resources import config_dir
from r3d2_ros.simulator import Simulator
from r3d2_ros.street import cached_street
from tests.closed_loop.small_world import simulator

REFERENCE = config_dir() / "scenarios" / "reference.yaml"


def test_the_reference_shows_every_key() -> None:
    data = yaml.safe_load(REFERENCE.read_text())
    data["criteria"] = data.pop("pass")
    motions = {actor["motion"]["kind"]: actor["motion"] for actor in data["actors"]}
    path = {**motions["path"], **next(a["motion"] for a in data["actors"] if "times_s" in a["motion"])}
    seen: dict[type, dict[str, Any]] = {
        keys.Scenario: data,
        keys.EgoKeys: data["ego"],
        keys.ActorKeys: data["actors"][0],
        keys.LanePlace: data["actors"][0]["place"],
        keys.MapPlace: data["actors"][1]["place"],
        keys.Jitter: data["actors"][0]["jitter"],
        keys.ConstantVelocity: motions["constant_velocity"],
        keys.FollowPath: {**path, **next(a["motion"] for a in data["actors"] if a["id"] == "pulls_out")},
        keys.IdmFollower: {**motions["idm"], "start": None},
        keys.Phases: data["phases"],
        keys.ClockKeys: data["clock"],
        keys.ControlKeys: data["control"],
        keys.EndKeys: data["end"],
        keys.Validity: data["validity"],
        keys.Criteria: data["criteria"],
        keys.Vary: data["vary"],
    }
    for kind, shown in seen.items():
        assert {field.name for field in dataclasses.fields(kind)} == set(shown), kind.__name__
    text = REFERENCE.read_text()
    for name in ("points", "file", "times_s", "meets_reference", "distance_m", "time_s"):
        assert f"{name}" in text


def test_the_reference_states_the_defaults() -> None:
    data = yaml.safe_load(REFERENCE.read_text())
    for section, kind in (
        ("phases", keys.Phases),
        ("clock", keys.ClockKeys),
        ("control", keys.ControlKeys),
        ("validity", keys.Validity),
        ("pass", keys.Criteria),
        ("vary", keys.Vary),
    ):
        assert data[section] == dataclasses.asdict(kind()), section
    duration = data["end"].pop("duration_s")
    assert {"duration_s": duration, **data["end"]} == dataclasses.asdict(keys.EndKeys(duration_s=duration))


def test_three_of_each_type() -> None:
    assert Counter(load_runs(name)[0].scenario.type for name in shipped_scenarios()) == Counter(
        stationary=3, frontal=3, side=3
    )


def one_of_each_type(*types: str) -> list[Any]:
    """The shipped scenarios (of these types alone), all but the first of each type among the tests that take long."""
    parameters: list[Any] = []
    seen: set[str] = set()
    for name in shipped_scenarios():
        kind = name.partition("_")[0]
        if not types or kind in types:
            parameters.append(pytest.param(name, marks=pytest.mark.slow) if kind in seen else name)
            seen.add(kind)
    return parameters


@pytest.fixture(scope="module")
def street() -> Path:
    """Folder of the embedded street."""
    return cached_street()


@pytest.fixture(scope="module")
def cars_alone(street: Path) -> tuple[Simulator, LaneMap]:
    """The street's lanes and assets without its houses, seen by one small camera: quick to render."""
    files = find_scene(street)
    assert files.lane_map is not None and files.library is not None
    made = simulator()
    library = load_library(files.library)
    alone = Simulator(scene=made.scene, library=library, rig=made.rig, renderer=made.renderer)
    return alone, load_lane_map(files.lane_map)


def drive(path: Path, spec: RunSpec, name: str, made: tuple[Simulator, LaneMap]) -> dict[str, Any]:
    sim, lane_map = made
    plan = plan_run(spec, lane_map=lane_map, library=sim.library)
    with LogWriter(path) as log:
        log.write("header", **header(plan, controller=name, renderer=sim.renderer.name))
        run_in_process(plan, sim, CONTROLLERS[name](plan), log)
    return summarise(read_log(path), SceneFacts(lane_map))


@pytest.mark.parametrize("name", one_of_each_type())
def test_who_does_not_brake_crashes_whatever_is_drawn(
    tmp_path: Path, name: str, cars_alone: tuple[Simulator, LaneMap]
) -> None:
    """As in NeuroNCAP's own test. The target is hit, nobody else, and at about the reference speed."""
    (spec,) = load_runs(name)
    for seed in range(2):
        summary = drive(tmp_path / f"{seed}", replace(spec, seed=seed), "constant_velocity", cars_alone)
        assert (summary["collision_with"], summary["verdict"]) == ("target", "failed")
        assert summary["scores"]["neuroncap"]["value"] < 1.0
        assert not [reason for reason in summary["reasons"] if reason.startswith("on_road")]
        assert summary["outcome"]["t_s"] > 3.0  # there was time to see it


@pytest.mark.parametrize("name", one_of_each_type("stationary"))
def test_the_emergency_brake_stops_before_what_stands(
    tmp_path: Path, name: str, cars_alone: tuple[Simulator, LaneMap]
) -> None:
    (spec,) = load_runs(name)
    for seed in range(2):
        summary = drive(tmp_path / f"{seed}", replace(spec, seed=seed), "depth_aeb", cars_alone)
        assert (summary["verdict"], summary["outcome"]["reason"]) == ("passed", "standstill")
        assert summary["distance_min_m"] > 1.0


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", [name for name in shipped_scenarios() if name.startswith("stationary")])
def test_the_emergency_brake_in_the_whole_street(tmp_path: Path, name: str, street: Path) -> None:
    """With houses, trees and footways in the picture: it neither stops for them nor overlooks the target."""
    (spec,) = load_runs(name)
    scenes = Scenes()
    made = scenes.simulator(spec.sim).simulator
    camera = made.rig["front"].resized(240, 135)
    small = Simulator(scene=made.scene, library=made.library, rig=Rig("front", (camera,)), renderer=made.renderer)
    files = find_scene(street)
    assert files.lane_map is not None
    summary = drive(tmp_path / "log", spec, "depth_aeb", (small, load_lane_map(files.lane_map)))
    assert summary["verdict"] == "passed"
    assert summary["off_path"]["share"] == 0.0
