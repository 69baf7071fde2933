"""A training goes on only with what its weights follow from: threads, samples and settings as they were."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from r3d2_ros.errors import InputErrors
from r3d2_ros.harmonizer.model.checkpoints import save_checkpoint
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.training import stages
from r3d2_ros.training.config import LoraConfig, TrainConfig
from r3d2_ros.training.train import train
from tests.harmonizer.small import seeded
from tests.training.small import MODEL, NO_PEFT, StopAfter, config, run, write_pairs


def begun(tmp_path: Path, **changes: Any) -> TrainConfig:
    """A training of three steps that was ended after the first."""
    settings = config(tmp_path, pairs=write_pairs(tmp_path / "pairs"), steps=3, **changes)
    assert not train(settings, resume=False, stop=StopAfter(1)).complete
    return settings


def facts_of(settings: TrainConfig) -> Path:
    return Path(settings.out) / "checkpoints" / "harmonizer_00000001" / "training.json"


def test_another_number_of_threads_is_refused(tmp_path: Path) -> None:
    """The fixture's one thread counts, not the key: `threads: 0` is what it began with, too."""
    settings = begun(tmp_path)
    assert settings.threads == 0 and json.loads(facts_of(settings).read_text())["threads"] == 1
    two = config(tmp_path, pairs=tmp_path / "pairs", steps=3, threads=2)
    with pytest.raises(InputErrors, match=r"json: threads: expected 1 on the CPU, got 2. Set threads to 1"):
        run(two, resume=True)
    assert torch.get_num_threads() == 2
    with pytest.raises(InputErrors, match="threads: expected 1 on the CPU, got 2"):
        run(settings, resume=True)
    run(config(tmp_path, pairs=tmp_path / "pairs", steps=3, threads=1), resume=True)


def added(pairs: Path) -> None:
    place = shutil.copytree(pairs / "train" / "train_005", pairs / "train" / "train_006")
    meta = json.loads((place / "meta.json").read_text())
    (place / "meta.json").write_text(json.dumps({**meta, "name": "train_006", "sequence": "train_006"}))


def renamed(pairs: Path) -> None:
    added(pairs)
    shutil.rmtree(pairs / "train" / "train_002")


def made_again(pairs: Path) -> None:
    """As by other options: the names are the same, what is known of a sample is not."""
    path = pairs / "train" / "train_003" / "meta.json"
    path.write_text(path.read_text().replace('"car"', '"van"'))


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (added, "7"),
        (lambda pairs: shutil.rmtree(pairs / "train" / "train_000"), "5"),
        (renamed, "6 others"),
        (made_again, "6 others"),
    ],
    ids=["added", "removed", "renamed", "made again"],
)
def test_other_samples_are_refused(tmp_path: Path, change: Any, got: str) -> None:
    settings = begun(tmp_path)
    change(tmp_path / "pairs")
    expected = f"samples: expected the 6 training samples that it began with, got {got}. Put the dataset back"
    with pytest.raises(InputErrors, match=expected):
        run(settings, resume=True)


def test_the_order_of_the_datasets_counts_but_not_their_place(tmp_path: Path) -> None:
    """Two datasets change places; then both are moved. The val split has no part in the weights."""
    write_pairs(tmp_path / "more", train=2)
    both = [str(tmp_path / "pairs"), str(tmp_path / "more")]
    begun(tmp_path, data={"folders": both})
    swapped = config(tmp_path, pairs=tmp_path, steps=3, data={"folders": both[::-1]})
    with pytest.raises(InputErrors, match="expected the 8 training samples that it began with, got 8 others"):
        run(swapped, resume=True)
    moved = [str(Path(folder).rename(tmp_path / f"moved{n}")) for n, folder in enumerate(both)]
    shutil.rmtree(tmp_path / "moved0" / "val")
    run(config(tmp_path, pairs=tmp_path, steps=3, data={"folders": moved}), resume=True)


def test_keys_that_only_one_of_two_versions_has_are_named(tmp_path: Path) -> None:
    settings = begun(tmp_path)
    facts = json.loads(facts_of(settings).read_text())
    del facts["config"]["loss.agreement"]
    facts["config"]["data.half_size_steps"] = 3
    facts_of(settings).write_text(json.dumps(facts))
    with pytest.raises(InputErrors) as caught:
        run(settings, resume=True)
    hint = "Another version began it: resume with that, or train into another folder"
    assert [str(fault) for fault in caught.value.faults] == [
        f"{facts_of(settings)}: data.half_size_steps: expected 3, got no such key. {hint}",
        f"{facts_of(settings)}: loss.agreement: expected no such key, got 0.0. {hint}",
    ]


def change_timestep(start: Path) -> None:
    path = start / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "timestep": 500}))


def change_licences(start: Path) -> None:
    path = start / "config.json"
    free = {"name": "MIT", "source": "nobody", "commercial": True}
    path.write_text(json.dumps({**json.loads(path.read_text()), "licences": [free]}))


@pytest.mark.parametrize(
    ("change", "told"),
    [(change_timestep, "timestep: expected 199, got 500"), (change_licences, "licences: expected .*, got .*'MIT'")],
)
def test_another_checkpoint_under_the_name_of_the_first_is_refused(tmp_path: Path, change: Any, told: str) -> None:
    """Its numbers are not read again, but what it says of itself would go into the trained model."""
    save_checkpoint(seeded(MODEL), tmp_path / "start")
    settings = begun(tmp_path, model={"checkpoint": str(tmp_path / "start"), "variant": "", "timestep": -1})
    change(tmp_path / "start")
    with pytest.raises(InputErrors, match=f"json: model.checkpoint.{told}.*Resume it as it was begun"):
        run(settings, resume=True)
    assert [path.name for path in facts_of(settings).parent.parent.iterdir()] == ["harmonizer_00000001"]


@pytest.mark.parametrize(
    ("file", "left"), [("training.safetensors", 900), ("training.json", 20), ("training.json", 0)]
)
def test_a_damaged_checkpoint_is_told_with_the_one_to_go_on_from(tmp_path: Path, file: str, left: int) -> None:
    pairs = write_pairs(tmp_path / "pairs")
    settings = config(tmp_path, pairs=pairs, steps=3, save={"every": 1, "keep": 3})
    run(settings)
    one, two, three = sorted((tmp_path / "out" / "checkpoints").iterdir())
    cut(three / file, left)
    with pytest.raises(InputErrors, match=f"Remove {three}: --resume then goes on from {two}"):
        run(settings, resume=True)
    cut(two / file, left)
    with pytest.raises(InputErrors, match=f"Remove {three} and {two}: --resume then goes on from {one}"):
        run(settings, resume=True)
    cut(one / file, left)
    with pytest.raises(InputErrors, match="No other checkpoint of this training can be read"):
        run(settings, resume=True)


def cut(path: Path, left: int) -> None:
    path.write_bytes(path.read_bytes()[:left])


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut can leave the name with empty files, and the checkpoint before it is gone already."""
    done: list[str] = []
    sync, rename = os.fsync, Path.rename

    def noted(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    def renamed_to(self: Path, target: Path) -> Path:
        done.append(f"-> {target.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "rename", renamed_to)
    run(config(tmp_path, pairs=write_pairs(tmp_path / "pairs"), steps=1))
    files = ["config.json", "model.safetensors", "training.json", "training.safetensors"]
    written = done[-7:]
    assert sorted(written[:4]) == files and written[4:] == [".making", "-> harmonizer_00000001", "checkpoints"]


@pytest.mark.parametrize("adapters", ["stand-ins", "peft's"])
def test_a_run_that_was_killed_behind_the_autoencoder_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapters: str
) -> None:
    """The adapters are drawn as the second stage begins, whatever the process has drawn before."""
    if adapters == "peft's":
        pytest.importorskip("peft", reason=NO_PEFT)
    else:
        monkeypatch.setattr(stages, "add_lora", stand_in)
    pairs = write_pairs(tmp_path / "pairs")
    settings = config(tmp_path, pairs=pairs, autoencoder={"steps": 2}, steps=2, lora={"rank": 2}, save={"keep": 9})
    files = ("model.safetensors", "training.safetensors")
    whole = run(settings)
    expected = [(whole / file).read_bytes() for file in files]
    for folder in whole.parent.glob("harmonizer_*"):
        shutil.rmtree(folder)
    torch.manual_seed(99)
    again = run(settings, resume=True)
    assert [(again / file).read_bytes() for file in files] == expected


def test_adapters_of_a_checkpoint_follow_from_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "add_lora", stand_in)
    pairs = write_pairs(tmp_path / "pairs")
    start = {"checkpoint": str(run(config(tmp_path, pairs=pairs, out="start", steps=1))), "variant": "", "timestep": -1}
    weights = []
    for out, seed in (("one", 3), ("two", 3), ("three", 4)):
        torch.seed()
        settings = config(tmp_path, pairs=pairs, out=out, steps=1, seed=seed, model=start, lora={"rank": 2})
        weights.append((run(settings) / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def stand_in(model: R3D2, lora: LoraConfig) -> None:
    """In place of adapters: draws from PyTorch's generator as peft does."""
    with torch.no_grad():
        model.unet.conv_in.weight.add_(0.01 * torch.randn(model.unet.conv_in.weight.shape))
