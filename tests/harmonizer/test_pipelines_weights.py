"""Parts whose files lack tensors are refused by the names of these, before code runs where their class is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import ModelMixin
from safetensors.torch import load_file, save_file

from r3d2_ros.errors import InputErrors
from r3d2_ros.harmonizer.pipelines.network import Pipeline, load_pipeline
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from tests.harmonizer.released import edit_index, edit_weights, write_released
from tests.harmonizer.small import TINY, picture, seeded

MODEL = replace(TINY, timestep=199)
WEIGHTS = "diffusion_pytorch_model.safetensors"


def load(folder: Path) -> Pipeline:
    return load_pipeline(HarmonizerConfig(backend="pipeline", checkpoint=str(folder), allow_remote_code=True))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "executed"


@pytest.fixture
def folder(tmp_path: Path, marker: Path) -> Path:
    return write_released(tmp_path / "released", seeded(MODEL), marker=marker)


@pytest.fixture(params=["accelerate", "no accelerate"])
def loading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With accelerate what a file lacks has no numbers, without it random ones."""
    if request.param == "accelerate":
        pytest.importorskip("accelerate")
    else:
        monkeypatch.setattr("r3d2_ros.harmonizer.pipelines.network.find_spec", lambda name: None)


@pytest.mark.parametrize("key", ["conv_in.weight", "up_blocks.3.resnets.0.conv1.bias"])
def test_a_part_of_diffusers_own_class_before_any_code(folder: Path, marker: Path, key: str) -> None:
    edit_weights(folder / "unet" / WEIGHTS, drop=key, add={"mystery": torch.ones(2)})
    with pytest.raises(InputErrors) as caught:
        load(folder)
    assert f"{folder / 'unet'}: expected 440 tensors, got 1 missing: {key}. Get the" in str(caught.value)
    assert "1 unexpected: mystery" in str(caught.value)
    assert not marker.exists()


def test_tensors_of_another_shape(folder: Path, marker: Path) -> None:
    edit_weights(folder / "unet" / WEIGHTS, add={"conv_in.bias": torch.ones(9)})
    with pytest.raises(InputErrors, match=r"shapes conv_in.bias \[8\], got conv_in.bias \[9\]"):
        load(folder)
    assert not marker.exists()


def test_a_shard_that_lacks_what_its_index_names(folder: Path, marker: Path) -> None:
    """The vae is of a class of the folder, of which only the index says what it has."""
    for part, key in (("unet", "conv_in.bias"), ("vae", "prompt_embeds")):
        weights = folder / part / WEIGHTS
        tensors = load_file(weights)
        names = [weights.name.replace(".s", f"-0000{number}-of-00002.s") for number in (1, 2)]
        files = {name: names[number % 2] for number, name in enumerate(sorted(tensors))}
        for shard in names:
            save_file({k: t for k, t in tensors.items() if files[k] == shard and k != key}, folder / part / shard)
        weights.unlink()
        index = folder / part / f"{WEIGHTS}.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    with pytest.raises(InputErrors) as caught:
        load(folder)
    for part, key in (("unet", "conv_in.bias"), ("vae", "prompt_embeds")):
        assert f"{part}/{WEIGHTS}.index.json: expected " in str(caught.value)
        assert f"tensors in the files that it names, got 1 missing: {key}" in str(caught.value)
    assert not marker.exists()


def test_what_only_code_may_read_is_no_fault(folder: Path) -> None:
    edit_weights(folder / "unet" / WEIGHTS, add={"skip_conv_1.weight": torch.ones(2)})
    torch.testing.assert_close(load(folder)(picture(16, 16)), seeded(MODEL)(picture(16, 16)), atol=1e-5, rtol=0)


@pytest.mark.usefixtures("loading")
def test_a_part_of_a_class_of_the_folder(folder: Path) -> None:
    edit_weights(folder / "vae" / WEIGHTS, drop="prompt_embeds")
    expected = f"{folder / 'vae'}: expected files with all tensors of SkipAutoencoder, got 1 missing: prompt_embeds"
    with pytest.raises(InputErrors, match=expected):
        load(folder)


@pytest.mark.usefixtures("loading")
@pytest.mark.parametrize("key", ["to_q", "to_out.0"])
def test_weights_below_an_adapter_that_no_code_puts_on(folder: Path, key: str) -> None:
    """To know how many there are takes the code, so these are found when they are loaded."""
    module = f"down_blocks.0.attentions.0.transformer_blocks.0.attn1.{key}"
    weights = folder / "unet" / WEIGHTS
    tensor = load_file(weights)[f"{module}.weight"]
    edit_weights(weights, drop=f"{module}.weight", add={f"{module}.base_layer.weight": tensor})
    with pytest.raises(InputErrors, match=f"all tensors of UNet2DConditionModel, got 1 missing: {module}.weight"):
        load(folder)


@pytest.mark.usefixtures("loading")
def test_what_code_fills_from_elsewhere_is_no_fault(folder: Path) -> None:
    weights = folder / "vae" / WEIGHTS
    save_file({"prompt_embeds": load_file(weights)["prompt_embeds"]}, folder / "prompt.safetensors")
    edit_weights(weights, drop="prompt_embeds")
    code = folder / "pipeline.py"
    filling = f"""        from safetensors.torch import load_file
        prompt = load_file({str(folder / "prompt.safetensors")!r})
        vae.load_state_dict(prompt, strict=False, assign=vae.prompt_embeds.is_meta)
        self.processor"""
    code.write_text(code.read_text().replace("        self.processor", filling, 1))
    torch.testing.assert_close(load(folder)(picture(16, 16)), seeded(MODEL)(picture(16, 16)), atol=1e-5, rtol=0)


def test_loading_is_as_it_was_afterwards(folder: Path) -> None:
    before = ModelMixin.__dict__["from_pretrained"]
    load(folder)
    assert ModelMixin.__dict__["from_pretrained"] is before


def test_a_part_of_transformers(folder: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")
    config = transformers.CLIPTextConfig(
        hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, vocab_size=10,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    transformers.CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    edit_index(folder, text_encoder=["transformers", "CLIPTextModel"])
    code = folder / "pipeline.py"
    text = code.read_text().replace("scheduler, timestep=999", "scheduler, text_encoder, timestep=999")
    code.write_text(text.replace("scheduler=scheduler", "scheduler=scheduler, text_encoder=text_encoder"))
    load(folder)
    weights = folder / "text_encoder/model.safetensors"
    key = next(key for key in load_file(weights) if key.endswith("final_layer_norm.bias"))
    tensors = {name: tensor for name, tensor in load_file(weights).items() if name != key}
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(InputErrors, match=f"text_encoder: expected files with all tensors of CLIPTextModel.*{key}"):
        load(folder)
