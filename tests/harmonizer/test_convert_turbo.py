"""pix2pix-turbo and Difix: adapters merged by hand, element by element, against what the converter makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.convert.choices import Choices, PromptInput
from r3d2_ros.harmonizer.convert.diffusers import read_autoencoder, read_unet
from r3d2_ros.harmonizer.convert.turbo import model_from_turbo
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from tests.harmonizer.small import picture, write_base

PROMPT = PromptInput(embedding=torch.ones(1, 5, 8), text="remove degradation")
LINEAR = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
CONVOLUTION = "down_blocks.0.resnets.0.conv1"
VAE_CONVOLUTION = "decoder.up_blocks.1.resnets.0.conv1"
SKIPS = {1: (16, 16), 2: (16, 8), 3: (16, 8), 4: (8, 8)}
"""k -> out and in channels of skip_conv_k, the coarsest first, for the KL autoencoder of the tests."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("turbo") / "sd-turbo")


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pair(module: str, weight: Tensor, *, rank: int, adapter: str) -> dict[str, Tensor]:
    """peft's two matrices for a module with this weight."""
    out, into, *kernel = weight.shape
    ones = [1] * len(kernel)
    return {
        f"{module}.lora_A.{adapter}.weight": numbers(rank, into, *kernel, seed=1),
        f"{module}.lora_B.{adapter}.weight": numbers(out, rank, *ones, seed=2),
    }


def vae_changes(base: Path) -> dict[str, Tensor]:
    tensors = read_autoencoder(base).tensors
    changes = pair(VAE_CONVOLUTION, tensors[f"{VAE_CONVOLUTION}.weight"], rank=4, adapter="vae_skip")
    for k, (out, into) in SKIPS.items():
        weight = numbers(out, into, 1, 1, seed=10 + k)
        changes[f"decoder.skip_conv_{k}.base_layer.weight"] = weight
        changes |= pair(f"decoder.skip_conv_{k}", weight, rank=4, adapter="vae_skip")
    return changes


def pix2pix(base: Path) -> dict[str, Any]:
    unet = read_unet(base).tensors
    changes = {"conv_in.weight": unet["conv_in.weight"] + 1, "conv_in.bias": unet["conv_in.bias"] + 2}
    for module in (LINEAR, CONVOLUTION):
        changes |= pair(module, unet[f"{module}.weight"], rank=8, adapter="default")
    return {
        "unet_lora_target_modules": ["to_q", "conv1"],
        "vae_lora_target_modules": ["conv1", "skip_conv_1"],
        "rank_unet": 8,
        "rank_vae": 4,
        "state_dict_unet": changes,
        "state_dict_vae": vae_changes(base),
    }


def convert(data: Any, base: Path, tmp_path: Path, layout: str) -> R3D2:
    torch.save(data, tmp_path / "model.pkl")
    return model_from_turbo(tmp_path / "model.pkl", base, PROMPT, Choices(), layout=layout)


def merged_by_hand(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """The sum over the rank, one element after the other."""
    result = weight.clone()
    for out in range(weight.shape[0]):
        for rank in range(a.shape[0]):
            result[out] += scale * float(b[out, rank].sum()) * a[rank]
    return result


def test_pix2pix_turbo_adapters_are_merged(base: Path, tmp_path: Path) -> None:
    data = pix2pix(base)
    state = convert(data, base, tmp_path, "pix2pix-turbo").state_dict()
    unet, changes = read_unet(base).tensors, data["state_dict_unet"]
    assert torch.equal(state["unet.conv_in.bias"], unet["conv_in.bias"] + 2)
    for module in (LINEAR, CONVOLUTION):
        a, b = (changes[f"{module}.lora_{side}.default.weight"] for side in "AB")
        expected = merged_by_hand(unet[f"{module}.weight"], a, b, scale=8 / 8)
        torch.testing.assert_close(state[f"unet.{module}.weight"], expected, rtol=1e-5, atol=1e-5)
    untouched = "mid_block.resnets.0.conv1.weight"
    assert torch.equal(state[f"unet.{untouched}"], unet[untouched])


def test_pix2pix_turbo_skips_and_decoder_have_scale_two(base: Path, tmp_path: Path) -> None:
    data = pix2pix(base)
    model = convert(data, base, tmp_path, "pix2pix-turbo")
    state, changes = model.state_dict(), data["state_dict_vae"]
    for k in SKIPS:
        name = f"decoder.skip_conv_{k}"
        a, b = (changes[f"{name}.lora_{side}.vae_skip.weight"] for side in "AB")
        expected = merged_by_hand(changes[f"{name}.base_layer.weight"], a, b, scale=8 / 4)
        torch.testing.assert_close(state[f"decoder.skips.{k - 1}.weight"], expected, rtol=1e-5, atol=1e-5)
    vae = read_autoencoder(base).tensors
    a, b = (changes[f"{VAE_CONVOLUTION}.lora_{side}.vae_skip.weight"] for side in "AB")
    expected = merged_by_hand(vae[f"{VAE_CONVOLUTION}.weight"], a, b, scale=8 / 4)
    torch.testing.assert_close(state[f"{VAE_CONVOLUTION}.weight"], expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(state["encoder.quant_conv.weight"], vae["quant_conv.weight"])
    assert torch.equal(state["decoder.post_quant_conv.bias"], vae["post_quant_conv.bias"])


def test_pix2pix_turbo_configuration(base: Path, tmp_path: Path) -> None:
    model = convert(pix2pix(base), base, tmp_path, "pix2pix-turbo")
    assert (model.config.variant, model.config.timestep, model.config.input_range) == ("pix2pix-turbo", 999, "unit")
    assert [(licence.name, licence.commercial) for licence in model.config.licences] == [
        ("MIT", True),
        ("stability-ai-community", False),
    ]
    assert model.config.prompt.text == "remove degradation" and model.config.prompt.tokens == 5
    assert bool(model(picture(32, 40)).isfinite().all())


def difix(base: Path) -> dict[str, Any]:
    unet = {key: tensor + 0.5 for key, tensor in read_unet(base).tensors.items()}
    return {
        "vae_lora_target_modules": [VAE_CONVOLUTION],
        "rank_vae": 4,
        "state_dict_unet": unet,
        "state_dict_vae": vae_changes(base),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 2e-5, "betas": (0.9, 0.999)}]},
    }


def test_difix_replaces_the_unet(base: Path, tmp_path: Path) -> None:
    model = convert(difix(base), base, tmp_path, "difix")
    assert (model.config.variant, model.config.timestep, model.config.input_range) == ("difix", 199, "signed")
    assert not model.config.licences[0].commercial
    for key, tensor in read_unet(base).tensors.items():
        assert torch.equal(model.state_dict()[f"unet.{key}"], tensor + 0.5)
    assert torch.equal(model.prompt_embedding, PROMPT.embedding)


def test_difix_without_most_of_the_unet_is_refused(base: Path, tmp_path: Path) -> None:
    data = difix(base)
    data["state_dict_unet"] = {key: t for key, t in data["state_dict_unet"].items() if "conv_in" in key}
    with pytest.raises(InputError, match="the whole UNet, which Difix trains"):
        convert(data, base, tmp_path, "difix")


def test_difix_is_not_taken_for_pix2pix_turbo(base: Path, tmp_path: Path) -> None:
    """It would have another timestep, another range of images and a licence that allows commercial use."""
    with pytest.raises(InputError, match=r"state_dict_unet: expected adapters .* got none. .*convert difix"):
        convert(difix(base), base, tmp_path, "pix2pix-turbo")


def test_faults_are_named(base: Path, tmp_path: Path) -> None:
    data = pix2pix(base)
    with pytest.raises(InputError, match="state_dict_unet: expected a dictionary of tensors, got only the keys step"):
        convert({"step": 1}, base, tmp_path, "pix2pix-turbo")
    with pytest.raises(InputError, match="expected rank 4, as the file states, got rank 8"):
        convert({**data, "rank_unet": 4}, base, tmp_path, "pix2pix-turbo")
    lonely = {key: tensor for key, tensor in data["state_dict_unet"].items() if "lora_B" not in key}
    with pytest.raises(InputError, match="expected lora_A and lora_B, got only lora_A"):
        convert({**data, "state_dict_unet": lonely}, base, tmp_path, "pix2pix-turbo")
    elsewhere = {"nowhere.lora_A.x.weight": torch.ones(8, 2), "nowhere.lora_B.x.weight": torch.ones(2, 8)}
    with pytest.raises(InputError, match="nowhere: expected a module of the base model"):
        convert({**data, "state_dict_unet": elsewhere}, base, tmp_path, "pix2pix-turbo")
    other = {f"{LINEAR}.lora_A.x.weight": torch.ones(8, 3), f"{LINEAR}.lora_B.x.weight": torch.ones(8, 8)}
    with pytest.raises(InputError, match=r"an adapter for \[8, 8\], got \[8, 3\]"):
        convert({**data, "state_dict_unet": other}, base, tmp_path, "pix2pix-turbo")
    no_skips = {key: t for key, t in data["state_dict_vae"].items() if "skip_conv" not in key}
    with pytest.raises(InputErrors, match="4 missing: decoder.skips.0.weight"):
        convert({**data, "state_dict_vae": no_skips}, base, tmp_path, "pix2pix-turbo")
    weight = torch.ones(8, 8)
    twice = data["state_dict_unet"] | {f"{LINEAR}.weight": weight, f"{LINEAR}.base_layer.weight": weight}
    with pytest.raises(InputError, match=f"one tensor for {LINEAR}.weight, got"):
        convert({**data, "state_dict_unet": twice}, base, tmp_path, "pix2pix-turbo")
    second = data["state_dict_unet"] | {f"{LINEAR}.lora_A.second.weight": numbers(8, 8, seed=3)}
    with pytest.raises(InputError, match="expected one adapter per module, got another lora_A: .*second.weight"):
        convert({**data, "state_dict_unet": second}, base, tmp_path, "pix2pix-turbo")
