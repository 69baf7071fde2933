"""The shipped recipes are the paper's; faults name file, key and expected value; every key is in docs/training.md."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from r3d2_ros.errors import InputErrors
from r3d2_ros.resources import config_dir
from r3d2_ros.training import config as module
from r3d2_ros.training.config import TrainConfig, load_train_config

SHIPPED = config_dir() / "train"


@pytest.mark.parametrize(("name", "variant"), [("r3d2", "r3d2"), ("r3d2_big", "r3d2-big")])
def test_the_papers_recipe(name: str, variant: str) -> None:
    """Supplement A.2: 1080x1920, batch 1 on each GPU, AdamW at 1e-4 with 500 steps of warm-up, 1.0 LPIPS + 0.5 Gram."""
    config = load_train_config(SHIPPED / f"{name}.yaml")
    assert (config.model.variant, config.batch, config.data.crop_px, config.precision) == (variant, 1, 0, "bfloat16")
    assert (config.optimizer.learning_rate, config.optimizer.warmup_steps) == (1e-4, 500)
    assert (config.loss.lpips, config.loss.gram, config.loss.l1) == (1.0, 0.5, 0.0)
    assert config.gradient_checkpointing and config.autoencoder.steps == 0


def test_nano_needs_no_pretrained_weights() -> None:
    config = load_train_config(SHIPPED / "nano.yaml")
    assert config.model.checkpoint == "" and config.autoencoder.steps > 0 and not config.loss.needs_trunk
    assert config.licences == ()  # it may be given other data


def test_nano_1080_follows_nano_in_two_halves_and_sees_cameras_of_three_sizes() -> None:
    first, second = (load_train_config(SHIPPED / f"{name}.yaml") for name in ("nano_1080", "nano_1080_agree"))
    assert first.model.checkpoint == "nano"
    assert second.model.checkpoint == f"{first.out}/checkpoints/harmonizer_{first.steps:08d}"
    assert second.data == first.data and [round(540 * size) for size in first.data.sizes] == [540, 720, 1080]
    assert second.loss.agreement > first.loss.agreement > 0 and not second.loss.needs_trunk


def test_every_fault_is_named_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    wrong = "out: o\nmodel: {}\ndata: {folders: [d], crop: 3}\nsteps: 0\nloss: {lpips: 0, gram: 0}\nbatch: two\n"
    path.write_text(wrong)
    with pytest.raises(InputErrors) as caught:
        load_train_config(path)
    text = str(caught.value)
    assert len(caught.value.faults) == 5
    assert f"{path}: model: expected the folder of a checkpoint in 'checkpoint'" in text
    assert f"{path}: data.crop: expected one of the keys folders, crop_px" in text
    assert f"{path}: steps: expected greater than or equal to 1, got 0" in text
    assert f"{path}: loss: expected a weight above 0 in lpips, gram, l1 or l2" in text
    assert f"{path}: batch: expected" in text


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    begin = "out: out\nmodel: {variant: nano}\nsteps: 1\n"
    path.write_text(begin + "data: {folders: [pairs]}\nloss: {agreement: 1.0}\n")
    with pytest.raises(InputErrors, match="two data.sizes or more beside loss.agreement"):
        load_train_config(path)
    path.write_text(begin + "data: {folders: [pairs], sizes: [1.0, 2.0, 1.0]}\n")
    with pytest.raises(InputErrors, match="data.sizes that differ"):
        load_train_config(path)
    path.write_text(begin + "data: {folders: [pairs], sizes: [0.1]}\n")
    with pytest.raises(InputErrors, match="data.sizes.0: expected greater than or equal to 0.25"):
        load_train_config(path)


def test_every_key_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    table = page.split("## Keys")[1]
    documented = set(re.findall(r"^\| `([a-z0-9_.]+)` \|", table, re.MULTILINE))
    assert documented == set(_keys(TrainConfig, ""))


def _keys(cls: type, prefix: str) -> list[str]:
    found = []
    for field in fields(cls):
        inner = getattr(module, str(field.type), None)
        if inner is not None and is_dataclass(inner):
            found += _keys(inner, f"{field.name}.")
        else:
            found.append(prefix + field.name)
    return found
