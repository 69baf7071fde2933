"""A released pipeline is run, and the checkpoint made of it gives the same pictures."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.convert.by_running import model_from_pipeline
from r3d2_ros.harmonizer.convert.choices import Choices
from r3d2_ros.harmonizer.convert.observed import watch_latents
from r3d2_ros.harmonizer.convert.released import model_from_released
from r3d2_ros.harmonizer.model import variants
from r3d2_ros.harmonizer.model.verify import verify
from r3d2_ros.harmonizer.pipelines.network import Pipeline, load_pipeline
from r3d2_ros.harmonizer.runtime.numerics import numerics
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from tests.harmonizer.released import edit_weights, write_released
from tests.harmonizer.small import KL, TINY, picture, seeded

CHOICES = {"tiny": Choices(variant="released-tiny"), "kl": Choices(variant="released-kl")}


@pytest.fixture(autouse=True)
def small_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published sizes take gigabytes; the classes are the same at these."""
    monkeypatch.setitem(variants.VARIANTS, "released-tiny", replace(TINY, variant="released-tiny"))
    monkeypatch.setitem(variants.VARIANTS, "released-kl", replace(KL, variant="released-kl"))


def load(folder: Path) -> Pipeline:
    return load_pipeline(HarmonizerConfig(backend="pipeline", checkpoint=str(folder), allow_remote_code=True))


@pytest.mark.parametrize("position", ["after_upsample", "after_convolution"])
def test_what_no_file_says_is_found(tmp_path: Path, position: Literal["after_upsample", "after_convolution"]) -> None:
    """The position of the skips, the timestep and the prompt, which only the code of this pipeline knows."""
    model = seeded(replace(TINY, timestep=499, skips=replace(TINY.skips, position=position)))
    pipeline = load(write_released(tmp_path / "released", model, early=position == "after_upsample"))
    released = model_from_pipeline(pipeline, CHOICES["tiny"])
    config = released.model.config
    assert (config.skips.position, config.timestep, config.input_range) == (position, 499, "signed")
    assert torch.equal(released.model.prompt_embedding, model.prompt_embedding)
    assert released.unmapped == ()
    assert "timestep 499" in released.notes[0] and "largest difference" in released.notes[1]
    assert len(released.notes) == 2
    assert verify(pipeline, released.model, [picture(40, 56)]).max_abs <= 1e-4
    assert not any(licence.commercial for licence in config.licences)


def test_an_image_too_small_for_some_paddings(tmp_path: Path) -> None:
    """32 pixels cannot be reflected to 64; all else is tried, and what was not is said."""
    folder = write_released(tmp_path / "released", seeded(replace(TINY, timestep=199)))
    notes = model_from_pipeline(load(folder), CHOICES["tiny"], size_px=(32, 32)).notes
    assert [note for note in notes if "not tried" in note] == [
        "not tried, because 32x32 is too small: padding reflect to multiples of 64 px"
    ]


def test_pictures_of_8_bits_have_the_wider_limit(tmp_path: Path) -> None:
    folder = write_released(tmp_path / "released", seeded(replace(TINY, timestep=199)))
    assert "; the limit is 0.001" in model_from_pipeline(load(folder), CHOICES["tiny"]).notes[1]
    code = folder / "pipeline.py"
    code.write_text(code.read_text().replace('image, output_type="pil"):', 'image):\n        output_type = "pil"'))
    notes = model_from_pipeline(load(folder), CHOICES["tiny"]).notes
    assert "; the limit is 0.0063, because its pictures have 8 bits" in notes[1]


def test_trials_are_compared_in_float32_without_tf32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def noted(device: torch.device, *, deterministic: bool) -> AbstractContextManager[None]:
        seen.append((device, deterministic))
        return numerics(device, deterministic=deterministic)

    monkeypatch.setattr("r3d2_ros.harmonizer.convert.by_running.numerics", noted)
    model_from_pipeline(load(write_released(tmp_path / "released", seeded(TINY))), CHOICES["tiny"])
    assert set(seen) == {(torch.device("cpu"), False)}


def test_skips_that_are_numbered_from_the_finest(tmp_path: Path) -> None:
    """All of TAESD's skips have one shape: the pictures tell which is which, the names would not."""
    model = seeded(replace(TINY, timestep=199))
    folder = write_released(tmp_path / "released", model)
    code = folder / "vae/skip_autoencoder.py"
    code.write_text(code.read_text().replace('f"skip_conv_{number}")(taps', 'f"skip_conv_{4 - number}")(taps'))
    weights = folder / "vae/diffusion_pytorch_model.safetensors"
    numbered = [load_file(weights)[f"decoder.skip_conv_{number}.weight"] for number in (1, 3)]
    edit_weights(weights, add={"decoder.skip_conv_3.weight": numbered[0], "decoder.skip_conv_1.weight": numbered[1]})
    pipeline = load(folder)
    by_name = model_from_released(folder, None, CHOICES["tiny"]).model
    assert verify(pipeline, by_name, [picture(40, 56)]).max_abs > 1e-2
    released = model_from_pipeline(pipeline, CHOICES["tiny"])
    assert "against their numbers" in released.notes[0]
    assert verify(pipeline, released.model, [picture(40, 56)]).max_abs <= 1e-4


def test_a_kl_pipeline_that_samples_its_latents(tmp_path: Path) -> None:
    """pix2pix-turbo's code samples even at inference; a checkpoint takes the mean, and that is said."""
    model = seeded(replace(KL, timestep=199))
    pipeline = load(write_released(tmp_path / "released", model))
    released = model_from_pipeline(pipeline, CHOICES["kl"])
    assert "samples its latents" in released.notes[-1]
    images = [picture(40, 56)]
    with watch_latents(use_mean=True) as latents:
        assert verify(pipeline, released.model, images).max_abs <= 1e-4
    assert latents.seen
    with watch_latents(use_mean=False):
        assert verify(pipeline, released.model, images).max_abs > 1e-3


def test_modules_that_the_first_call_adds(tmp_path: Path) -> None:
    """A pipeline may read its skips from a file of its own, when it is first used."""
    folder = write_released(tmp_path / "released", seeded(replace(TINY, timestep=199)))
    weights = folder / "vae/diffusion_pytorch_model.safetensors"
    skips = {key: tensor for key, tensor in load_file(weights).items() if "skip" in key}
    for key in skips:
        edit_weights(weights, drop=key)
    save_file(skips, folder / "adapters.safetensors")
    code = folder / "vae/skip_autoencoder.py"
    adding, _, rest = code.read_text().partition("        for number in (1, 2, 3):\n")
    line, _, rest = rest.partition("\n")
    code.write_text(adding + rest)
    lines = ["        if not hasattr(self.vae.decoder, 'skip_conv_1'):", "            self.add_skips()"]
    reading = f"""
    def add_skips(self):
        from safetensors.torch import load_file, save_file
        channels = self.vae.config.channels
        for number in (1, 2, 3):
    {line.replace("self.", "self.vae.").replace("nn.", "torch.nn.")}
        self.vae.load_state_dict(load_file({str(folder / "adapters.safetensors")!r}), strict=False)
"""
    text = (folder / "pipeline.py").read_text()
    text = text.replace("        x = self.processor", "\n".join([*lines, "        x = self.processor"]))
    (folder / "pipeline.py").write_text(text + reading)
    pipeline = load(folder)
    assert not hasattr(pipeline.pipe.vae.decoder, "skip_conv_1")
    released = model_from_pipeline(pipeline, CHOICES["tiny"])
    assert verify(pipeline, released.model, [picture(40, 56)]).max_abs <= 1e-4


def test_what_one_picture_cannot_tell_is_said(tmp_path: Path) -> None:
    """Skips of zeros add nothing, wherever and in whatever order they join."""
    model = seeded(replace(TINY, timestep=199))
    for skip in model.decoder.skips:
        skip.weight.zero_()
    notes = model_from_pipeline(load(write_released(tmp_path / "released", model)), CHOICES["tiny"]).notes
    assert [note.partition(": ")[2].partition(", ")[0] for note in notes if "does not tell it from" in note] == [
        "skips after_upsample and by their numbers",
        "skips after_convolution and against their numbers",
    ]


def test_a_pipeline_of_its_own_kind_is_refused(tmp_path: Path) -> None:
    """Halved skips are nothing that is tried: no checkpoint is made that would not equal the original."""
    folder = write_released(tmp_path / "released", seeded(replace(TINY, timestep=199)))
    code = folder / "vae/skip_autoencoder.py"
    code.write_text(code.read_text().replace("(taps.pop())", "(taps.pop()) / 2"))
    pipeline = load(folder)
    pipeline.pipe.scheduler.register_to_config(prediction_type="v_prediction")
    expected = "differ from the pipeline's by 0.001 at most, got .* at best, with skips"
    with pytest.raises(InputError, match=f"{expected}.*; .*prediction_type: expected 'epsilon', got 'v_prediction'"):
        model_from_pipeline(pipeline, CHOICES["tiny"])


def test_two_steps_are_refused(tmp_path: Path) -> None:
    folder = write_released(tmp_path / "released", seeded(replace(TINY, timestep=199)))
    steps = folder / "steps.py"
    steps.write_text(steps.read_text() + "\nonce = noise_of\n\ndef noise_of(*a):\n    once(*a)\n    return once(*a)\n")
    with pytest.raises(InputError, match="one call of the UNet per image, got 2"):
        model_from_pipeline(load(folder), CHOICES["tiny"])


@pytest.mark.parametrize("error", [ZeroDivisionError("no"), SystemExit(3)])
def test_code_that_fails_when_its_parts_are_read(error: BaseException, tmp_path: Path) -> None:
    pipeline = load(write_released(tmp_path / "released", seeded(replace(TINY, timestep=199))))

    def state_dict(*_: object, **__: object) -> None:
        raise error

    pipeline.pipe.vae.state_dict = state_dict
    with pytest.raises(InputError, match=f"released: .* parts can be read, got {type(error).__name__}: {error}"):
        model_from_pipeline(pipeline, CHOICES["tiny"])


def test_reading_by_names_agrees_too(tmp_path: Path) -> None:
    """Without running anything: the same tensors, where names suffice."""
    model = seeded(replace(TINY, timestep=199))
    folder = write_released(tmp_path / "released", model)
    by_name = model_from_released(folder, None, CHOICES["tiny"])
    assert (by_name.unmapped, by_name.model.config.timestep) == ((), 199)
    assert verify(load(folder), by_name.model, [picture(40, 56)]).max_abs <= 1e-4
