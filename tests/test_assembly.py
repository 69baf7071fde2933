"""A configuration becomes a simulator: what its parts want the user to know."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from r3d2_ros.assembly import assemble, load_harmonizer
from r3d2_ros.cli.main import main
from r3d2_ros.config import SimConfig, load_config
from r3d2_ros.errors import MissingPackageError
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.harmonizer.shipped import shipped_model
from r3d2_ros.scene import AssetLibrary
from tests.cli.small import RIG, write_inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A wall, a rig of one camera with 1 Hz, and a harmonizer with random weights."""
    write_inputs(tmp_path)
    (tmp_path / "rig.yaml").write_text(RIG.replace("    fov_x_deg: 60\n", "    fov_x_deg: 60\n    rate_hz: 1\n"))
    assert main(["model", "init", str(tmp_path / "nano"), "--variant", "nano", "--random", "0"]) == 0
    (tmp_path / "sim.yaml").write_text(
        "scene: {source: wall.ply}\nrig: {source: rig.yaml}\nrendering: {backend: cpu}\nassets: {library: street}\n"
        "harmonizer: {backend: r3d2, checkpoint: nano, temporal: {enabled: true}}\n"
    )
    return tmp_path


def test_a_camera_that_is_too_slow_for_the_temporal_mode_is_named(folder: Path) -> None:
    def notes(**changes: str) -> list[str]:
        config = load_config(folder / "sim.yaml", {name.replace("__", "."): v for name, v in changes.items()})
        return [note for note in assemble(config).notes if "temporal" in note]

    assert notes(sync__tick="rate") == [
        "camera 'eye': harmonizer.temporal carries nothing over, because 1 s between its exposures are more than "
        "max_gap_s, 0.5 s"
    ]
    assert notes(sync__tick="ego") == [], "the rate of the ego is not known"


def test_a_harmonizer_that_saw_procedural_streets_only_says_so_elsewhere(tmp_path: Path) -> None:
    """Once, where the scene is not one; and not of a checkpoint that says something else, or nothing."""
    write_inputs(tmp_path)

    def notes(checkpoint: str, backend: str = "r3d2") -> list[str]:
        (tmp_path / "sim.yaml").write_text(
            "scene: {source: wall.ply}\nrig: {source: rig.yaml}\nrendering: {backend: cpu}\n"
            f"harmonizer: {{backend: {backend}, checkpoint: {checkpoint}, device: cpu}}\n"
        )
        assembled = assemble(load_config(tmp_path / "sim.yaml"), library=AssetLibrary())
        return [note for note in assembled.notes if "trained" in note]

    assert notes("nano") == [
        "harmonizer 'nano' was trained on procedural streets only, and scene 'wall' is none: light and shadows may be "
        "wrong. Train one on pairs of such scenes (r3d2 train), or use R3D2's weights"
    ]
    assert notes("nano", backend="none") == []
    shutil.copytree(shipped_model("nano"), tmp_path / "mine")
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    for trained_on, count in (([], 0), (["procedural", "recorded"], 0), (["procedural"], 1)):
        (tmp_path / "mine" / "config.json").write_text(json.dumps(config | {"trained_on": trained_on}))
        assert len(notes("mine")) == count
    (tmp_path / "wall.yaml").write_text("procedural: true\n")
    assert notes("nano") == []


@pytest.mark.parametrize("package", ["torch", "diffusers", "safetensors"])
@pytest.mark.parametrize("backend", ["r3d2", "pipeline"])
def test_a_package_that_the_harmonizer_lacks_is_named(
    package: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_inputs(tmp_path)
    (tmp_path / "sim.yaml").write_text(f"harmonizer: {{backend: {backend}, checkpoint: nano, device: cpu}}\n")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=f"harmonizer.backend: {backend} needs the package '{package}'"):
        load_harmonizer(load_config(tmp_path / "sim.yaml"))


def test_a_fault_of_the_program_is_not_taken_for_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "r3d2_ros.harmonizer.runtime.runtime", None)
    config = SimConfig(harmonizer=HarmonizerConfig(backend="r3d2", checkpoint="nano", device="cpu"))
    with pytest.raises(ModuleNotFoundError, match="r3d2_ros.harmonizer.runtime.runtime"):
        load_harmonizer(config)
