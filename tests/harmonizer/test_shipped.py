"""Checkpoints that come with the program: found by their names everywhere, complete, and free to use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from r3d2_ros.cli.main import main
from r3d2_ros.config import load_config
from r3d2_ros.errors import InputError
from r3d2_ros.evaluation.rows import HarmonizerRow, load_eval_config
from r3d2_ros.harmonizer.backends import load_network
from r3d2_ros.harmonizer.model.checkpoints import load_checkpoint
from r3d2_ros.harmonizer.model.licences import licence_of
from r3d2_ros.harmonizer.model.shipped import model_folder, shipped_model, shipped_models
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.training.config import load_train_config
from r3d2_ros.training.sources import initial_model
from tests.harmonizer.small import picture

CONFIG = Path(__file__).resolve().parents[2] / "config"
NANO, NANO_1080 = (CONFIG / "models" / name for name in ("nano", "nano_1080"))


def test_a_name_alone_is_the_shipped_one_and_a_path_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nano").mkdir()
    monkeypatch.chdir(tmp_path)
    assert shipped_models() == ["nano", "nano_1080"]
    assert model_folder("nano", "x") == shipped_model("nano") == NANO
    for path in ("./nano", str(tmp_path / "nano")):
        assert model_folder(path, "x") == tmp_path / "nano"


def test_what_is_neither_is_refused_with_the_shipped_names(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    expected = "expected the folder of a checkpoint or of a pipeline, or one of nano, nano_1080, got"
    with pytest.raises(InputError, match=f"harmonizer.checkpoint: {expected} 'nana': no such folder"):
        model_folder("nana", "harmonizer.checkpoint")
    with pytest.raises(InputError, match=rf"x: {expected} '{tmp_path}/file': a file"):
        model_folder(str(tmp_path / "file"), "x")
    with pytest.raises(InputError, match="one of nano, nano_1080, got 'nana'"):
        shipped_model("nana")


def test_beside_a_configuration_file_a_folder_of_that_name_is_meant(tmp_path: Path) -> None:
    (tmp_path / "sim.yaml").write_text("harmonizer: {backend: r3d2, checkpoint: nano}\n")
    assert load_config(tmp_path / "sim.yaml").harmonizer.checkpoint == "nano"
    (tmp_path / "nano").mkdir()
    assert load_config(tmp_path / "sim.yaml").harmonizer.checkpoint == str(tmp_path / "nano")


@pytest.mark.parametrize("folder", [NANO, NANO_1080], ids=lambda folder: folder.name)
def test_they_are_small_free_and_say_what_they_were_trained_on(folder: Path) -> None:
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 10e6
    model = load_checkpoint(folder)
    assert model.config.variant == "nano"
    assert model.config.trained_on == ("procedural",)
    assert model.config.licences and all(licence.commercial for licence in model.config.licences)
    assert licence_of(folder).name == "apache-2.0", "the card says so too"
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


@pytest.mark.parametrize("folder", [NANO, NANO_1080], ids=lambda folder: folder.name)
def test_they_compute_in_float16(folder: Path) -> None:
    """Their sums stay where float16 has numbers, and near enough to float32: one of 255 grey levels is 0.0039."""
    image = picture(64, 96)
    exact, half = (load_checkpoint(folder, dtype=dtype)(image) for dtype in (torch.float32, torch.float16))
    torch.testing.assert_close(half, exact, rtol=0, atol=0.01)


@pytest.mark.parametrize(("folder", "count"), [(NANO, 6), (NANO_1080, 10)], ids=["nano", "nano_1080"])
def test_their_cards_name_the_commands_that_are_shipped(folder: Path, count: int) -> None:
    card, recipe = (folder / "README.md").read_text(), (CONFIG / "train" / f"{folder.name}.yaml").read_text()
    commands = [line.removeprefix("#").strip() for line in recipe.splitlines() if line.startswith("#   r3d2 ")]
    assert len(commands) == count
    assert "@" not in card, "every figure is filled in"
    for command in commands:
        assert command in card


def test_every_user_of_checkpoints_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    network = load_network(HarmonizerConfig(backend="r3d2", checkpoint="nano", device="cpu"))
    image = picture(64, 96)
    assert network(image).shape == image.shape
    row = load_eval_config(None).rows["nano"]
    assert isinstance(row, HarmonizerRow) and row.checkpoint == "nano"
    assert main(["model", "info", "nano", "--json", "--require-commercial", "--size", "64x64"]) == 0
    assert json.loads(capsys.readouterr().out)["trained_on"] == ["procedural"]
    assert main(["model", "verify", "nano", str(NANO), "--size", "64x64", "--tolerance", "0"]) == 0
    (tmp_path / "train.yaml").write_text(
        "out: out\nmodel: {checkpoint: nano}\ndata: {folders: [pairs]}\nsteps: 1\nloss: {lpips: 0, gram: 0, l1: 1}\n"
    )
    begun = initial_model(load_train_config(tmp_path / "train.yaml"))
    torch.testing.assert_close(begun.state_dict(), load_checkpoint(NANO, dtype=torch.float32).state_dict())
