"""A configuration becomes a simulator: what its parts want the user to know."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
import torch

from r3d2_ros.assembly import assemble, harmonizer_notes, load_config_library, load_harmonizer
from r3d2_ros.cli.main import main
from r3d2_ros.config import SimConfig, load_config
from r3d2_ros.errors import InputErrors, MissingPackageError
from r3d2_ros.harmonizer.model.shipped import shipped_model
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.scene import AssetLibrary, Scene
from tests.cli.small import RIG, blobs, write_inputs
from tests.formats.plys import gaussian_columns, write_ply
from tests.harmonizer.released import write_released
from tests.harmonizer.small import TINY, seeded

PROCEDURAL = Scene("street", blobs([(0.0, 0.0, 0.0)], [(0.5, 0.5, 0.5)], 0.1), procedural=True)
DType = Literal["checkpoint", "float32", "float16", "bfloat16", "float8"]


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


@pytest.mark.parametrize("lens, said", [("distorted", 1), ("rectified", 0)])
def test_what_is_rendered_for_a_lens_is_said_and_rectified_rigs_have_none(folder: Path, lens: str, said: int) -> None:
    (folder / "rig.yaml").write_text(RIG.replace("fov_x_deg: 60\n", "fov_x_deg: 60\n    D: [-0.2, 0.02, 0, 0, 0]\n"))
    lines: list[str] = []
    config = load_config(folder / "sim.yaml", {"rig.lens": lens, "harmonizer.backend": "none"})
    (camera,) = assemble(config, lines.append).simulator.rig.cameras
    found = [line for line in lines if line.startswith("lenses: eye as 1 pinhole with 1.")]
    assert len(found) == said and camera.is_distorted is bool(said)


def test_what_is_known_of_the_librarys_files_is_noted(folder: Path) -> None:
    car = write_ply(folder / "car.ply", gaussian_columns(4, rest=72))
    (folder / "assets.yaml").write_text("assets: {car: {file: car.ply}}\n")
    library = str(folder / "assets.yaml")
    config = load_config(folder / "sim.yaml", {"assets.library": library, "harmonizer.backend": "none"})
    assert f"{car}: spherical harmonics of degree 4 cut to degree 3" in assemble(config).notes


def test_all_assets_that_cannot_be_read_are_named(folder: Path) -> None:
    (folder / "assets.yaml").write_text("assets:\n  a: {file: a.ply}\n  car: {file: car.ply}\n  b: {file: b.ply}\n")
    for name in "ab":
        (folder / f"{name}.ply").write_bytes(b"ply\n")
    with pytest.raises(InputErrors) as caught:
        load_config_library(load_config(folder / "sim.yaml", {"assets.library": str(folder / "assets.yaml")}))
    assert [fault.where for fault in caught.value.faults] == [str(folder / "a.ply"), str(folder / "b.ply")]


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


@pytest.fixture
def slow_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU with instructions for bfloat16 and none for float16."""
    for name, has in (("bf16", True), ("fp16", False)):
        monkeypatch.setattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", lambda has=has: has, raising=False)


@pytest.mark.usefixtures("slow_cpu")
def test_a_dtype_that_the_cpu_has_no_instructions_for_is_named(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    (tmp_path / "sim.yaml").write_text(
        "scene: {source: wall.ply}\nrig: {source: rig.yaml}\nrendering: {backend: cpu}\n"
        "harmonizer: {backend: r3d2, checkpoint: nano, device: cpu, dtype: float16}\n"
    )
    config = load_config(tmp_path / "sim.yaml")
    notes = assemble(config, library=AssetLibrary(), warm_harmonizer=False).notes
    assert [note for note in notes if "computes" in note] == [
        "harmonizer computes in float16 on a CPU that has no instructions for it: harmonizer.dtype float32 is faster "
        "there"
    ]


@pytest.mark.usefixtures("slow_cpu")
@pytest.mark.parametrize(
    ("device", "dtype", "expected"),
    [
        ("cuda:0", "checkpoint", "float32 on cuda:0, without tensor cores: harmonizer.dtype float16 is much faster"),
        ("cuda:0", "float32", "float32 on cuda:0"),
        ("cuda:0", "float16", None),
        ("cuda:0", "float8", None),
        ("cpu", "checkpoint", None),
        ("cpu", "bfloat16", None),
        ("cpu", "float8", "float16 on a CPU"),
    ],
)
def test_a_dtype_that_is_slow_on_its_device(
    device: str, dtype: DType, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("r3d2_ros.harmonizer.runtime.device.find_device", lambda name: torch.device(name))
    config = HarmonizerConfig(backend="r3d2", checkpoint="nano", device=device, dtype=dtype)
    notes = harmonizer_notes(config, PROCEDURAL)
    assert len(notes) == (expected is not None) and all(expected in note for note in notes if expected)
    assert harmonizer_notes(HarmonizerConfig(backend="none", device=device, dtype=dtype), PROCEDURAL) == []


def test_the_dtype_of_a_pipeline_is_that_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r3d2_ros.harmonizer.runtime.device.find_device", lambda name: torch.device(name))
    for dtype, count in ((torch.float32, 1), (torch.float16, 0)):
        folder = write_released(tmp_path / str(dtype), seeded(TINY).to(dtype))
        config = HarmonizerConfig(backend="pipeline", checkpoint=str(folder), device="cuda:0")
        assert len(harmonizer_notes(config, PROCEDURAL)) == count


def test_a_pytorch_that_does_not_say_what_the_cpu_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    config = HarmonizerConfig(backend="r3d2", checkpoint="nano", device="cpu", dtype="float16")
    assert harmonizer_notes(config, PROCEDURAL) == []


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
