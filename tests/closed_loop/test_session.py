"""What runs share: scenes and libraries that are loaded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from r3d2_ros.assembly import Assembled
from r3d2_ros.closed_loop import session
from r3d2_ros.closed_loop.runs import load_runs
from r3d2_ros.config import SimConfig
from r3d2_ros.scene import AssetLibrary
from tests.closed_loop.small_world import simulator
from tests.closed_loop.worlds import write_world


def test_notes_of_rig_and_scene_are_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "assemble", lambda sim, say, library: Assembled(simulator(), ("no sidecar",)))
    said: list[str] = []
    scenes = session.Scenes(said.append)
    for _ in range(2):
        scenes.simulator(SimConfig())
    assert said == ["no sidecar"]


def test_the_library_of_the_plan_is_that_of_the_simulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[AssetLibrary | None] = []

    def assemble(sim: SimConfig, say: Any, *, library: AssetLibrary | None = None) -> Assembled:
        given.append(library)
        return Assembled(simulator(), ())

    monkeypatch.setattr(session, "assemble", assemble)
    (spec,) = load_runs(write_world(tmp_path))
    said: list[str] = []
    scenes = session.Scenes(said.append)
    scenes.plan(spec)
    scenes.simulator(spec.sim)
    assert given[0] is not None and {"car", "truck"} <= set(given[0].assets)
    assert [line for line in said if "assets from" in line] == [said[0]]
