"""What runs share: scenes and libraries that are loaded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r3d2_ros.assembly import Assembled
from r3d2_ros.closed_loop import session
from r3d2_ros.closed_loop.runs import load_runs
from r3d2_ros.config import SimConfig
from r3d2_ros.formats.ply import write_inria_ply
from r3d2_ros.formats.scenes import find_scene
from r3d2_ros.gaussians import Gaussians
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


def test_labels_stay_with_their_gaussians_when_one_is_dropped(tmp_path: Path) -> None:
    """The one at x = 7 is not finite: the labels of those after it are not moved up."""
    count = 200
    means = np.zeros((count, 3), np.float32)
    means[:, 0] = np.arange(count)
    gaussians = Gaussians(
        means=means,
        quats=np.tile(np.float32([1, 0, 0, 0]), (count, 1)),
        scales=np.full((count, 3), 0.1, np.float32),
        opacities=np.full(count, 0.9, np.float32),
        sh=np.zeros((count, 1, 3), np.float32),
    )
    means[7] = np.nan
    write_inria_ply(tmp_path / "scene.ply", gaussians)
    np.save(tmp_path / "labels.npy", np.arange(count).astype(np.uint8) % 19)
    (tmp_path / "scene.yaml").write_text("gaussians: scene.ply\nlabels: labels.npy\n")
    facts = session.scene_facts(find_scene(tmp_path))
    assert facts.means is not None and facts.labels is not None and len(facts.labels) == count - 1
    np.testing.assert_array_equal(facts.labels, facts.means[:, 0] % 19)


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
