"""`r3d2 check` finds what is wrong with a configuration's harmonizer before the program starts with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs torch, which is not installed here")
pytest.importorskip("diffusers", reason="needs diffusers, which is not installed here")

from r3d2_ros.cli.main import main
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.backends import load_network
from r3d2_ros.harmonizer.model import checkpoints
from r3d2_ros.harmonizer.model.checkpoints import save_checkpoint
from r3d2_ros.harmonizer.model.config import Licence
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RuntimeConfig
from tests.harmonizer.released import write_released
from tests.harmonizer.small import TINY, seeded


def check(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    """Faults and notes of a configuration."""
    path = folder / "sim.yaml"
    path.write_text(text)
    status = main(["check", str(path), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["kind"] == "configuration" and status == (1 if result["faults"] else 0)
    return [f"{f['where']}: expected {f['expected']}, got {f['got']}" for f in result["faults"]], result["notes"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a checkpoint `own`, whose licence does not allow commercial use."""
    model = seeded(TINY)
    model.config = replace(model.config, licences=(Licence(name="theirs", source="elsewhere", commercial=False),))
    save_checkpoint(model, tmp_path / "own")
    return tmp_path


def test_a_checkpoint_beside_the_file_and_a_shipped_one_are_good(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for checkpoint in ("own", "nano"):
        assert check(f"harmonizer: {{backend: r3d2, checkpoint: {checkpoint}}}\n", folder, capsys)[0] == []


def test_what_is_no_checkpoint_is_named_with_file_and_key(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faults, _ = check("harmonizer: {backend: r3d2, checkpoint: /nope}\n", folder, capsys)
    assert len(faults) == 1
    assert faults[0].startswith(f"{folder}/sim.yaml: harmonizer.checkpoint: expected the folder of a checkpoint")
    faults, _ = check("harmonizer: {backend: pipeline, checkpoint: nano}\n", folder, capsys)
    assert len(faults) == 1 and "expected a pipeline folder with model_index.json, got none in it" in faults[0]


def test_damage_is_found_without_a_network(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "read_tensors", lambda *args, **keywords: pytest.fail("it was loaded"))
    text, weights = "harmonizer: {backend: r3d2, checkpoint: own}\n", folder / "own/model.safetensors"
    whole = weights.read_bytes()
    assert check(text, folder, capsys)[0] == []
    weights.write_bytes(whole[:-100])
    faults, _ = check(text, folder, capsys)
    assert len(faults) == 1 and f"{weights}: expected a complete safetensors file" in faults[0]
    weights.write_bytes(whole[:-4] + b"\x00\x00\xc0\x7f")  # the last number becomes NaN
    faults, _ = check(text, folder, capsys)
    assert len(faults) == 1 and f"{weights}: expected finite numbers, got NaN or infinity in " in faults[0]
    (folder / "own/config.json").write_text("{}")
    faults, _ = check(f"{text[:-2]}, require_commercial: true}}\n", folder, capsys)
    assert len(faults) == 1 and "own/config.json: format: expected" in faults[0]


def test_all_faults_are_listed_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "harmonizer: {backend: r3d2, checkpoint: own, device: abacus, require_commercial: true,\n"
        "  roi: {enabled: true, sizes: 100x100}}\nsync: {mode: lockstep}\nrig: {source: nope}\n"
    )
    faults, _ = check(text, folder, capsys)
    path = folder / "sim.yaml"
    assert [fault.split(": expected")[0] for fault in faults] == [
        f"{path}: harmonizer.roi.sizes",
        f"{path}: rig.source",
        f"{path}: harmonizer.device",
        f"{folder}/own/config.json: licences",
    ]


def test_a_rule_between_two_sections_is_listed_once_and_hides_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harmonizer = "harmonizer: {backend: r3d2, checkpoint: /nope, on_deadline: drop}\n"
    for mode, key in (("lockstep", "harmonizer.on_deadline"), ("lates", "sync.mode")):
        faults, _ = check(f"sync: {{mode: {mode}}}\n{harmonizer}", folder, capsys)
        named = [fault.removeprefix(f"{folder}/sim.yaml: ").split(": expected")[0] for fault in faults]
        assert named == [key, "harmonizer.checkpoint"]


def test_a_pipeline_folder_has_its_faults_listed_and_its_code_not_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = folder / "executed"
    path = write_released(folder / "released", seeded(replace(TINY, timestep=199)), marker=marker)
    text = "harmonizer: {backend: pipeline, checkpoint: released, allow_remote_code: true}\n"
    assert check(text, folder, capsys)[0] == []
    weights = path / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    text = "harmonizer: {backend: pipeline, checkpoint: released, require_commercial: true, dtype: float8}\n"
    faults, _ = check(text, folder, capsys)
    assert [fault.split(": expected")[0] for fault in faults] == [
        f"{folder}/sim.yaml: harmonizer.dtype", f"{path}: licences", str(path), str(weights)
    ]  # fmt: skip
    assert not marker.exists()


def test_the_harmonizer_of_a_scenario(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "scenario.yaml"
    path.write_text(
        "sim: {harmonizer: {backend: r3d2, checkpoint: /nope}}\n"
        "ego: {reference: {points: [[0, 0], [20, 0]]}, speed_mps: 5}\nend: {duration_s: 5}\nvary: {seed: [0, 1]}\n"
    )
    assert main(["check", str(path), "--json"]) == 1
    faults = json.loads(capsys.readouterr().out)["faults"]
    assert [fault["where"] for fault in faults] == [f"{path}: harmonizer.checkpoint"]


def test_without_pytorch_a_note_says_that_it_was_not_looked_at(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("r3d2_ros.harmonizer.packages.find_spec", lambda name: None)
    faults, notes = check("harmonizer: {backend: r3d2, checkpoint: /nope}\n", folder, capsys)
    assert not faults
    assert len(notes) == 1 and "harmonizer.checkpoint is not checked: " in notes[0] and "'torch'" in notes[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"checkpoint": "/nope"},
        {"backend": "pipeline"},
        {"device": "abacus"},
        {"require_commercial": True},
        {"backend": "pipeline", "runtime": RuntimeConfig(kind="torch-compile")},
    ],
    ids=str,
)
def test_the_start_finds_the_first_of_these_faults(folder: Path, changes: dict[str, Any]) -> None:
    from r3d2_ros.harmonizer.checking import harmonizer_faults

    config = replace(HarmonizerConfig(backend="r3d2", checkpoint=str(folder / "own"), device="cpu"), **changes)
    with pytest.raises((InputError, InputErrors)) as caught:
        load_network(config)
    assert str(caught.value) == str(harmonizer_faults(config)[0])
