"""Trainings of a few steps: what is trained, what is written, and that an interruption leaves no trace."""

from __future__ import annotations

import errno
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from r3d2_ros.dataset.samples import open_dataset
from r3d2_ros.errors import InputError, InputErrors, MissingPackageError
from r3d2_ros.harmonizer.model.checkpoints import load_checkpoint, save_checkpoint
from r3d2_ros.harmonizer.model.config import Padding, SkipOptions
from r3d2_ros.harmonizer.model.tensor_files import read_tensors
from r3d2_ros.locks import lock
from r3d2_ros.training import states
from r3d2_ros.training.config import LoraConfig
from r3d2_ros.training.sources import initial_model
from r3d2_ros.training.stages import AutoencoderStage, HarmonizerStage
from r3d2_ros.training.train import Run, learning_rate, train
from tests.harmonizer.small import KL, TINY, picture, seeded
from tests.training.small import NO_PEFT, StopAfter, config, run, write_pairs


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("data") / "pairs")


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_checkpoint_names_the_kinds_of_data_that_it_has_seen(tmp_path: Path, pairs: Path) -> None:
    first = run(config(tmp_path, pairs=pairs, steps=1))
    assert load_checkpoint(first).config.trained_on == ("test",)
    second = write_pairs(tmp_path / "more")
    made = json.loads((second / "dataset.json").read_text())
    (second / "dataset.json").write_text(json.dumps({key: made[key] for key in made if key != "kind"}))
    begin = {"checkpoint": str(first), "variant": "", "timestep": -1}
    last = run(config(tmp_path, pairs=second, out="on", steps=1, model=begin))
    assert load_checkpoint(last).config.trained_on == ("test", "not stated")


@pytest.mark.slow
def test_the_middle_of_the_unet_learns_where_the_sun_is(tmp_path: Path, pairs: Path) -> None:
    """It stands at (-0.6, -0.8, 0): zeros would be off by 1/3. Nothing is learnt of it where it has no weight."""
    losses = {"lpips": 0.0, "gram": 0.0, "l1": 1.0}
    for out, weight in (("asked", 1.0), ("not", 0.0)):
        settings = config(
            tmp_path, pairs=pairs, out=out, steps=40, data={"flip": False}, loss={**losses, "sun": weight}
        )
        run(settings)
    terms = [entry.get("sun") for entry in log(tmp_path / "asked")]
    assert terms[0] > 0.15 and terms[-1] < 0.05
    assert all("sun" not in entry for entry in log(tmp_path / "not"))


def test_asked_for_a_sun_that_no_sample_knows(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs")
    for path in pairs.glob("train/*/meta.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "sun": None}))
    with pytest.raises(InputError, match=r"loss.sun: .*none of 6 training samples"):
        run(config(tmp_path, pairs=pairs, loss={"lpips": 0.0, "gram": 0.0, "l1": 1.0, "sun": 0.1}))


def test_several_datasets_are_trained_on_together(tmp_path: Path, pairs: Path) -> None:
    """With a batch of all samples, a faulty loss names every one of them."""
    more = write_pairs(tmp_path / "more", train=2)
    made = json.loads((more / "dataset.json").read_text())
    (more / "dataset.json").write_text(json.dumps({**made, "kind": "another"}))
    both = {"folders": [str(pairs), str(more)]}
    last = run(config(tmp_path, pairs=pairs, data=both, steps=1))
    assert load_checkpoint(last).config.trained_on == ("test", "another")
    count = len(open_dataset(pairs).split("train"))
    settings = config(tmp_path, pairs=pairs, out="all", data=both, batch=count + 2, steps=1)
    settings = replace(settings, loss=replace(settings.loss, l1=float("inf")))
    with pytest.raises(InputError) as caught:
        run(settings)
    assert str(caught.value).count("train/train_") == count + 2
    (more / "train").rename(more / "val_too")
    with pytest.raises(InputError, match="more: train: expected at least one sample, got none"):
        run(config(tmp_path, pairs=pairs, out="none", data=both))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nTried"), "got CUDA out of memory. Tried; .*no checkpoint"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "data.workers: .*no checkpoint yet"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
    ],
)
def test_what_ends_a_training_from_outside_is_told_and_faults_of_the_program_are_not(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError, told: str | None
) -> None:
    def step(*_: object) -> None:
        raise error

    monkeypatch.setattr(Run, "step", step)
    with pytest.raises(InputError if told else RuntimeError, match=told or "mat1 and mat2"):
        run(config(tmp_path, pairs=pairs))


def test_the_loss_falls_and_the_checkpoint_is_a_model(tmp_path: Path, pairs: Path) -> None:
    settings = config(tmp_path, pairs=pairs, steps=60, save={"every": 60, "pictures_every": 60})
    checkpoint = run(settings)
    lines = [line for line in log(tmp_path / "out") if "l1" in line]
    assert lines[-1]["l1"] < 0.6 * lines[0]["l1"]
    looked = next(line for line in log(tmp_path / "out") if "val/psnr" in line)
    assert looked["step"] == 60 and looked["val/psnr"] > 5 and looked["val/psnr_naive"] > 5
    assert (tmp_path / "out" / "pictures" / "harmonizer_00000060.png").stat().st_size > 500
    model = load_checkpoint(checkpoint)
    before = initial_model(settings)
    assert all(torch.equal(a, b) for a, b in zip(model.encoder.parameters(), before.encoder.parameters(), strict=True))
    assert torch.equal(model.prompt_embedding, before.prompt_embedding)
    for part in (model.unet, model.decoder.layers, model.decoder.skips):
        same = [
            torch.equal(p, dict(before.named_parameters())[n])
            for n, p in model.named_parameters()
            if p in set(part.parameters())
        ]
        assert same and not any(same[:1])
    assert all(float(skip.weight.abs().max()) > 0 for skip in model.decoder.skips)


WHOLE = {"train_encoder": True, "loss": {"lpips": 0.0, "gram": 0.0, "l1": 1.0, "sun": 0.1}}
LORA = {"lora": {"rank": 2}, "gradient_checkpointing": True}


@pytest.mark.parametrize(
    ("stop_at", "changes"),
    [(1, {}), (2, {}), (4, {}), (4, LORA), (3, WHOLE)],
    ids=["first", "at the seam", "second", "lora", "whole model"],
)
def test_interrupted_and_resumed_is_bit_for_bit_uninterrupted(
    tmp_path: Path, pairs: Path, stop_at: int, changes: dict[str, Any]
) -> None:
    """Both stages, with crops, mirroring, a running mean and a decaying rate. Steps 1 and 2 are the autoencoder's."""
    if "lora" in changes:
        pytest.importorskip("peft", reason=NO_PEFT)
    changes = {
        **changes,
        "data": {"crop_px": 16, **changes.get("data", {})},
        "autoencoder": {"steps": 2},
        "steps": 3,
        "optimizer": {"decay": "cosine"},
    }
    whole = run(config(tmp_path, pairs=pairs, out="whole", **changes))
    parts = config(tmp_path, pairs=pairs, out="parts", **changes)
    ended = train(parts, resume=False, stop=StopAfter(stop_at))
    assert not ended.complete
    torch.manual_seed(99)  # whatever the process did in between
    torch.rand(7)
    resumed = run(parts, resume=True)
    for file in ("model.safetensors", "training.safetensors"):
        assert (resumed / file).read_bytes() == (whole / file).read_bytes(), file
    numbers = [
        [{k: v for k, v in line.items() if k != "seconds_per_step"} for line in log(tmp_path / out)]
        for out in ("whole", "parts")
    ]
    assert numbers[0] == numbers[1] and len(numbers[0]) == 5


def test_other_settings_and_used_folders_are_refused(tmp_path: Path, pairs: Path) -> None:
    settings = config(tmp_path, pairs=pairs, steps=2)
    with pytest.raises(InputError, match="a training to go on with, got no checkpoint.*Leave --resume out"):
        run(settings, resume=True)
    run(settings)
    with pytest.raises(InputError, match="harmonizer_00000002. Go on with it by --resume"):
        run(settings)
    other = replace(settings, batch=1, optimizer=replace(settings.optimizer, learning_rate=0.5))
    with pytest.raises(
        InputErrors, match=r"(?s)batch: expected 2, got 1.*optimizer.learning_rate: expected 0.002, got 0.5"
    ):
        run(other, resume=True)
    assert run(replace(settings, save=replace(settings.save, keep=5)), resume=True).name == "harmonizer_00000002"


def test_a_folder_that_another_training_writes_is_refused(tmp_path: Path, pairs: Path) -> None:
    settings = config(tmp_path, pairs=pairs)
    (tmp_path / "out").mkdir()
    held = lock(tmp_path / "out")
    try:
        with pytest.raises(
            InputError, match="a folder that no other run is writing, got one that a training is writing"
        ):
            run(settings)
    finally:
        os.close(held)


def test_an_unfinished_checkpoint_is_not_one(tmp_path: Path, pairs: Path) -> None:
    """As after kill -9 while one was written."""
    settings = config(tmp_path, pairs=pairs)
    train(settings, resume=False, stop=StopAfter(3))
    making = tmp_path / "out" / "checkpoints" / ".making"
    making.mkdir()
    (making / "training.json").write_text("{")
    assert run(settings, resume=True).name == "harmonizer_00000006"
    assert not making.exists()


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(tmp_path, pairs=pairs)
    write = states.write_tensors

    def full(path: Path, tensors: dict[str, torch.Tensor]) -> None:
        if "step" not in path.name and (tmp_path / "out" / "checkpoints" / "harmonizer_00000002").exists():
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, tensors)

    monkeypatch.setattr(states, "write_tensors", full)
    with pytest.raises(
        InputError, match=r"harmonizer_00000004: expected room .* no space left.*harmonizer_00000002 is complete"
    ):
        run(settings)
    monkeypatch.setattr(states, "write_tensors", write)
    assert sorted(p.name for p in (tmp_path / "out" / "checkpoints").iterdir()) == ["harmonizer_00000002"]
    assert run(settings, resume=True).name == "harmonizer_00000006"


def test_only_the_newest_checkpoints_stay(tmp_path: Path, pairs: Path) -> None:
    last = run(config(tmp_path, pairs=pairs, save={"keep": 2}))
    assert sorted(path.name for path in last.parent.iterdir()) == ["harmonizer_00000004", "harmonizer_00000006"]


def test_a_loss_that_is_not_finite_stops_with_the_samples(tmp_path: Path, pairs: Path) -> None:
    """The second batch goes through weights that overflowed: the first update was far too large."""
    settings = config(
        tmp_path, pairs=pairs, optimizer={"learning_rate": 1.0, "warmup_steps": 0}, steps=50, save={"every": 1}
    )
    samples = {sample.name for sample in open_dataset(pairs).split("train")}
    model = initial_model(settings)
    model.unet.conv_in.weight.data[:] = float("nan")
    save_checkpoint(model, tmp_path / "broken")
    broken = config(tmp_path, pairs=pairs, model={"checkpoint": str(tmp_path / "broken"), "timestep": -1}, ema=0.0)
    with pytest.raises(
        InputError, match="step 1 of the harmonizer: samples .*: expected a finite loss and gradient, got l1 nan"
    ) as caught:
        run(broken)
    named = caught.value.where.split("samples ")[1].split(", ")
    assert len(named) == 2 and set(named) <= samples
    assert not list((tmp_path / "out").glob("checkpoints/*"))


def test_the_running_mean_is_what_is_written(tmp_path: Path, pairs: Path) -> None:
    """mean = 0.75 mean + 0.25 weights after each of two steps, from the initial weights on."""
    settings = config(tmp_path, pairs=pairs, ema=0.75, steps=2, save={"every": 1})
    start = initial_model(settings).state_dict()
    last = run(settings)
    one, two = (read_tensors(last.parent / f"harmonizer_0000000{n}" / "training.safetensors") for n in (1, 2))
    model = load_checkpoint(last)
    for name, parameter in model.named_parameters():
        weights = [tensors[f"weight/{name}"] for tensors in (one, two)]
        expected = 0.75 * (0.75 * start[name] + 0.25 * weights[0]) + 0.25 * weights[1]
        torch.testing.assert_close(parameter.data, expected, rtol=1e-5, atol=1e-7)


def test_lora_leaves_the_unets_own_weights_and_is_merged(tmp_path: Path, pairs: Path) -> None:
    """Merged means: what it changed has the adapters' rank, in every adapted layer."""
    pytest.importorskip("peft", reason=NO_PEFT)
    settings = config(tmp_path, pairs=pairs, lora={"rank": 2, "alpha": 4.0}, ema=0.0, steps=4)
    start = initial_model(settings).state_dict()
    last = run(settings)
    model, tensors = load_checkpoint(last), read_tensors(last / "training.safetensors")
    adapted = 0
    for name, parameter in model.unet.named_parameters():
        change = (
            (parameter.data - start[f"unet.{name}"]).flatten(1)
            if parameter.ndim > 1
            else parameter.data - start[f"unet.{name}"]
        )
        down = tensors.get(f"weight/unet.{name.removesuffix('.weight')}.lora_A.default.weight")
        if down is None:
            assert not change.any(), name
        elif parameter.ndim > 1 and change.any():
            adapted += 1
            up = tensors[f"weight/unet.{name.removesuffix('.weight')}.lora_B.default.weight"]
            torch.testing.assert_close(change, 4.0 / 2 * up.flatten(1) @ down.flatten(1), rtol=1e-3, atol=1e-6)
    assert adapted > 20


def test_lora_without_peft_says_what_to_install(tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'r3d2_ros\[lora\]'"):
        run(config(tmp_path, pairs=pairs, lora={"rank": 2}))


@pytest.mark.parametrize("train_encoder", [False, True])
@pytest.mark.parametrize("kind", ["tiny", "kl"])
def test_checkpointed_activations_give_the_same_gradients(
    tmp_path: Path, pairs: Path, kind: str, train_encoder: bool
) -> None:
    settings = config(tmp_path, pairs=pairs, steps=1, ema=0.0, train_encoder=train_encoder)
    if kind == "kl":
        save_checkpoint(seeded(KL), tmp_path / "kl")
        settings = replace(
            settings, model=replace(settings.model, checkpoint=str(tmp_path / "kl"), variant="", timestep=-1)
        )
    results = [
        read_tensors(
            run(replace(settings, out=str(tmp_path / name), gradient_checkpointing=on)) / "training.safetensors"
        )
        for name, on in (("kept", False), ("again", True))
    ]
    moments = [key for key in results[0] if key.startswith("exp_avg/")]
    assert len(moments) > 50
    for key in moments:
        torch.testing.assert_close(results[0][key], results[1][key], rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_training_in_bfloat16_keeps_float32_weights(tmp_path: Path, pairs: Path) -> None:
    last = run(config(tmp_path, pairs=pairs, precision="bfloat16"))
    assert {t.dtype for t in read_tensors(last / "training.safetensors").values()} == {torch.float32}
    losses = [line["l1"] for line in log(tmp_path / "out")]
    exact = run(config(tmp_path, pairs=pairs, out="exact"))
    assert exact.name == last.name
    assert losses == pytest.approx([line["l1"] for line in log(tmp_path / "exact")], rel=0.05)


def test_the_autoencoder_stage_trains_the_encoder_and_leaves_the_skips_at_zero(tmp_path: Path, pairs: Path) -> None:
    settings = config(tmp_path, pairs=pairs, autoencoder={"steps": 3}, save={"every": 1, "keep": 9})
    start = initial_model(settings).state_dict()
    run(settings)
    first = load_checkpoint(tmp_path / "out" / "checkpoints" / "autoencoder_00000003")
    last = load_checkpoint(tmp_path / "out" / "checkpoints" / "harmonizer_00000006")
    changed = {name for name, tensor in first.state_dict().items() if not torch.equal(tensor, start[name])}
    assert {name.split(".")[0] for name in changed} == {"encoder", "decoder"}
    assert not any(skip.weight.any() for skip in first.decoder.skips)
    assert all(skip.weight.any() for skip in last.decoder.skips)
    for one, other in zip(first.encoder.parameters(), last.encoder.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_trained_encoder_changes_with_the_rest(tmp_path: Path, pairs: Path) -> None:
    settings = config(tmp_path, pairs=pairs, steps=4, ema=0.0, train_encoder=True)
    start, last = initial_model(settings), load_checkpoint(run(settings))
    # Behind the skips, which begin at zero, every weight of the encoder has a gradient from the second step on.
    for (name, one), other in zip(start.encoder.named_parameters(), last.encoder.parameters(), strict=True):
        assert not torch.equal(one, other), name


def test_rate_by_hand(tmp_path: Path, pairs: Path) -> None:
    """Warm-up of 4: 1/4, 2/4, 3/4, 4/4. Cosine over the 8 steps behind: half of the peak in the middle, step 8."""
    constant = config(tmp_path, pairs=pairs, optimizer={"warmup_steps": 4})
    falling = config(tmp_path, pairs=pairs, optimizer={"warmup_steps": 4, "decay": "cosine"})
    assert [learning_rate(constant, 8.0, step, 12) for step in (0, 1, 2, 3, 4, 11)] == [2, 4, 6, 8, 8, 8]
    assert [learning_rate(falling, 8.0, step, 12) for step in (3, 4, 8)] == pytest.approx([8, 8, 4])


def test_a_dataset_without_training_samples(tmp_path: Path) -> None:
    empty = write_pairs(tmp_path / "empty", train=0)
    with pytest.raises(InputError, match="train: expected at least one sample, got none"):
        run(config(tmp_path, pairs=empty))


def test_a_checkpoint_of_other_sizes_than_said(tmp_path: Path, pairs: Path) -> None:
    save_checkpoint(seeded(KL), tmp_path / "kl")
    settings = config(
        tmp_path, pairs=pairs, model={"checkpoint": str(tmp_path / "kl"), "variant": "nano", "timestep": -1}
    )
    with pytest.raises(InputError, match="model.checkpoint: expected a checkpoint of nano, got kl test"):
        run(settings)


def test_a_checkpoint_goes_on_with_another_reduction(tmp_path: Path, pairs: Path) -> None:
    """The same weights see the means of squares of 2x2 pixels; a training step computes what the model computes."""
    sizes = replace(TINY, padding=Padding(multiple_px=16), skips=SkipOptions(image=True))
    save_checkpoint(seeded(sizes), tmp_path / "image")
    save_checkpoint(seeded(TINY), tmp_path / "plain")
    change: dict[str, Any] = {"variant": "", "timestep": -1, "reduction": 2}
    settings = config(tmp_path, pairs=pairs, model={**change, "checkpoint": str(tmp_path / "image")})
    model = initial_model(settings)
    assert model.config.skips.reduction == 2
    torch.testing.assert_close(model.state_dict(), load_checkpoint(tmp_path / "image").state_dict())
    image = picture(36, 52)
    output = HarmonizerStage(model, LoraConfig(), train_encoder=False, tell_sun=False)(image).image
    torch.testing.assert_close(output.clamp(0, 1), model(image))
    autoencoder = AutoencoderStage(model)(image).image
    assert autoencoder.shape == image.shape
    wrong = config(tmp_path, pairs=pairs, model={**change, "checkpoint": str(tmp_path / "plain")})
    with pytest.raises(InputError, match="model.reduction: expected reduction 1 where the input image is not added"):
        initial_model(wrong)


def test_with_an_image_skip_the_harmonizer_begins_with_the_input(tmp_path: Path, pairs: Path) -> None:
    """Behind the autoencoder's stage; a rate of almost 0 keeps it there."""
    changes = {"model": {"image_skip": True}, "optimizer": {"learning_rate": 1e-12}}
    settings = config(tmp_path, pairs=pairs, autoencoder={"steps": 2}, steps=1, ema=0.0, **changes)
    model = load_checkpoint(run(settings))
    image = picture(32, 48)
    torch.testing.assert_close(model(image), image, rtol=0, atol=1e-6)
    first = load_checkpoint(tmp_path / "out" / "checkpoints" / "autoencoder_00000002")
    assert float((first(image) - image).abs().mean()) > 0.01
