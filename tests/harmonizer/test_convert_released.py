"""A released folder may name and nest its tensors in several ways; what cannot be placed is listed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.convert.choices import Choices, PromptInput
from r3d2_ros.harmonizer.convert.released import model_from_released
from r3d2_ros.harmonizer.model import variants
from r3d2_ros.harmonizer.model.config import Padding, Prompt, SkipOptions
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.model.verify import verify
from tests.harmonizer.small import KL, TINY, picture, seeded

NO_SCHEDULER = "no scheduler in the folder: SD-Turbo's betas, and a network that predicts the noise, are assumed"
ASSUMED = (
    "no file says, and it is assumed, that skips join after_convolution: --skip-position",
    "no file says, and it is assumed, that images enter the autoencoder in [-1, 1]: --input-range",
    "no file says, and it is assumed, that sizes are padded by replicate to multiples of 8 px: "
    "--pad-mode and --pad-multiple",
    "prove what is assumed with `r3d2 model verify`; --allow-remote-code finds it by running IN",
)
CHOICES = {"tiny": Choices(variant="released-tiny"), "kl": Choices(variant="released-kl")}


@pytest.fixture(autouse=True)
def small_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published sizes take gigabytes; the layouts are the same at these."""
    monkeypatch.setitem(variants.VARIANTS, "released-tiny", replace(TINY, variant="released-tiny"))
    monkeypatch.setitem(variants.VARIANTS, "released-kl", replace(KL, variant="released-kl"))


def parts(model: R3D2) -> tuple[dict[str, Tensor], dict[str, Tensor], list[Tensor]]:
    """UNet and autoencoder as diffusers names them, and the skip weights, the coarsest first."""
    state = model.state_dict()
    unet = {key.removeprefix("unet."): tensor for key, tensor in state.items() if key.startswith("unet.")}
    vae = {
        key.replace("encoder.quant_conv", "quant_conv").replace("decoder.post_quant_conv", "post_quant_conv"): tensor
        for key, tensor in state.items()
        if key.startswith(("encoder.", "decoder.")) and ".skips." not in key
    }
    return unet, vae, [skip.weight for skip in model.decoder.skips]


def write(folder: Path, name: str, tensors: dict[str, Tensor]) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, path)


def write_pipeline(folder: Path, model: R3D2, *, prompt: bool = True) -> Path:
    """unet/, vae/ with the skips beside the decoder, and the prompt in a file of its own."""
    unet, vae, skips = parts(model)
    write(folder, "unet/diffusion_pytorch_model.safetensors", unet)
    named = {f"decoder.skip_conv_{number}.weight": weight for number, weight in enumerate(skips, start=1)}
    write(folder, "vae/diffusion_pytorch_model.safetensors", vae | named)
    if prompt:
        write(folder, "prompt_embeds.safetensors", {"prompt_embeds": model.prompt_embedding})
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "SomePipeline", "timestep": 199}))
    return folder


@pytest.mark.parametrize("name", ["tiny", "kl"])
def test_a_pipeline_folder_gives_the_same_pictures(name: str, tmp_path: Path) -> None:
    model = seeded(replace({"tiny": TINY, "kl": KL}[name], timestep=199))
    released = model_from_released(write_pipeline(tmp_path, model), None, CHOICES[name])
    assert released.unmapped == ()
    assert released.model.config.timestep == 199
    assert not any(licence.commercial for licence in released.model.config.licences)
    assert verify(model, released.model, [picture(40, 56)]).max_abs == 0


@pytest.mark.parametrize("stated", [199, 199.0, [199]])
def test_a_timestep_may_be_stated_as_any_whole_number(stated: object, tmp_path: Path) -> None:
    folder = write_pipeline(tmp_path, seeded(TINY))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "SomePipeline", "timestep": stated}))
    assert model_from_released(folder, None, CHOICES["tiny"]).model.config.timestep == 199


@pytest.mark.parametrize("stated", ["199", 199.5, True, [1, 2], 1e999])
def test_what_is_no_timestep_is_named(stated: object, tmp_path: Path) -> None:
    folder = write_pipeline(tmp_path, seeded(TINY))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "SomePipeline", "timestep": stated}))
    with pytest.raises(InputError, match="model_index.json: timestep: expected a whole number, got "):
        model_from_released(folder, None, CHOICES["tiny"])


def test_an_alpha_without_adapters_is_refused(tmp_path: Path) -> None:
    folder = write_pipeline(tmp_path, seeded(TINY))
    with pytest.raises(InputError, match="--lora-alpha: expected a folder with LoRA adapters, got .* without any"):
        model_from_released(folder, None, CHOICES["tiny"], lora_alpha=4.0)


def test_shards_in_full_precision_are_read_and_their_copies_in_half_are_not(tmp_path: Path) -> None:
    model = seeded(replace(TINY, timestep=199))
    folder = write_pipeline(tmp_path, model)
    unet = parts(model)[0]
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    for number in (1, 2):
        part = {key: unet[key] for key in sorted(unet)[number - 1 :: 2]}
        halves = {key: tensor.half() for key, tensor in part.items()}
        write(folder, f"unet/model-{number:05d}-of-00002.safetensors", part)
        write(folder, f"unet/model.fp16-{number:05d}-of-00002.safetensors", halves)
    write(folder, "unet/model.fp16.safetensors", halves)
    released = model_from_released(folder, None, CHOICES["tiny"])
    assert verify(model, released.model, [picture(40, 56)]).max_abs == 0


def test_the_autoencoder_tells_the_variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, config in (("r3d2", TINY), ("r3d2-big", KL)):
        monkeypatch.setitem(variants.VARIANTS, name, replace(config, variant=name))
        folder = write_pipeline(tmp_path / name, seeded(config))
        assert model_from_released(folder, None, Choices()).model.config.variant == name


def test_one_file_of_a_wrapped_module(tmp_path: Path) -> None:
    """Everything under wrappers' names, the skips in a list of the other order, which the shapes reveal."""
    model = seeded(KL)
    unet, vae, skips = parts(model)
    every = {f"module.unet._orig_mod.{key}": tensor for key, tensor in unet.items()}
    every |= {f"module.autoencoder.{key}": tensor for key, tensor in vae.items()}
    every |= {f"module.zero_convs.{level}.weight": weight for level, weight in enumerate(reversed(skips))}
    write(tmp_path, "model.safetensors", every | {"module.text_embed": model.prompt_embedding[0]})
    released = model_from_released(tmp_path, None, CHOICES["kl"])
    assert released.unmapped == ()
    assert released.notes == ("no timestep in the folder: 999 is assumed", NO_SCHEDULER, *ASSUMED)
    assert verify(model, released.model, [picture(40, 56)]).max_abs == 0


def test_ambiguous_order_is_said(tmp_path: Path) -> None:
    """TAESD's three skips have one shape: only the names tell them apart."""
    released = model_from_released(write_pipeline(tmp_path, seeded(TINY)), None, CHOICES["tiny"])
    assert released.notes == (
        NO_SCHEDULER,
        "skip convolutions taken as the coarsest first: vae.decoder.skip_conv_1.weight, "
        "vae.decoder.skip_conv_2.weight, vae.decoder.skip_conv_3.weight",
        *ASSUMED,
    )


def test_what_is_chosen_is_not_assumed(tmp_path: Path) -> None:
    folder = write_pipeline(tmp_path, seeded(TINY))
    choices = replace(
        CHOICES["tiny"],
        skips=SkipOptions(position="after_upsample"),
        input_range="unit",
        padding=Padding(mode="reflect", multiple_px=32),
    )
    released = model_from_released(folder, None, choices)
    assert not any("assumed, that" in note or "prove" in note for note in released.notes)
    config = released.model.config
    assert (config.skips.position, config.input_range, config.padding) == ("after_upsample", "unit", choices.padding)
    one = model_from_released(folder, None, replace(choices, input_range=None)).notes
    assert [note for note in one if "assumed, that" in note] == [ASSUMED[1]]


def test_convolutions_for_linear_layers(tmp_path: Path) -> None:
    model = seeded(replace(TINY, timestep=199))
    folder = write_pipeline(tmp_path, model)
    unet, _, _ = parts(model)
    square = {key: t[:, :, None, None] if ".proj_in.weight" in key else t for key, t in unet.items()}
    write(folder, "unet/diffusion_pytorch_model.safetensors", square)
    assert verify(model, model_from_released(folder, None, CHOICES["tiny"]).model, [picture(16, 16)]).max_abs == 0


def test_what_has_no_place_is_listed(tmp_path: Path) -> None:
    folder = write_pipeline(tmp_path, seeded(TINY))
    write(folder, "extra.safetensors", {"gram.weight": torch.ones(2), "vae.encoder.mystery": torch.ones(3)})
    write(folder, "text_encoder/model.safetensors", {"text_model.embeddings.weight": torch.ones(4, 8)})
    released = model_from_released(folder, None, CHOICES["tiny"])
    assert released.unmapped == ("gram.weight", "vae.encoder.mystery")


def test_two_tensors_for_one_place_are_refused(tmp_path: Path) -> None:
    folder = write_pipeline(tmp_path, seeded(TINY))
    write(folder, "other.safetensors", {"module.unet.unet.conv_in.weight": torch.ones(8, 4, 3, 3)})
    with pytest.raises(
        InputError, match="one tensor for unet.conv_in.weight, got module.unet.unet.conv_in.weight and unet.conv_in"
    ):
        model_from_released(folder, None, CHOICES["tiny"])
    write(folder, "other.safetensors", {"vae.encoder.0.weight": torch.ones(8, 3, 3, 3)})
    with pytest.raises(InputError, match="one tensor for encoder.layers.0.weight, got vae.encoder.0.weight and vae."):
        model_from_released(folder, None, CHOICES["tiny"])
    write(folder, "other.safetensors", {})
    write(folder, "unet/second.safetensors", {"conv_in.weight": torch.ones(8, 4, 3, 3)})
    with pytest.raises(InputError, match="each tensor once, got 1 twice: unet.conv_in.weight"):
        model_from_released(folder, None, CHOICES["tiny"])


def test_a_number_that_no_integer_holds(tmp_path: Path) -> None:
    folder = write_pipeline(tmp_path, seeded(TINY))
    write(folder, "other.safetensors", {f"skip{'9' * 5000}": torch.ones(1, 1, 1, 1)})
    with pytest.raises(InputError, match="skip convolutions with"):
        model_from_released(folder, None, CHOICES["tiny"])


def test_three_by_three_skips_with_bias(tmp_path: Path) -> None:
    model = seeded(replace(TINY, skips=replace(TINY.skips, kernel_size=3, bias=True)))
    unet, vae, _ = parts(model)
    skips = {f"skips.{key}": tensor for key, tensor in model.decoder.skips.state_dict().items()}
    write(tmp_path, "unet/model.safetensors", unet)
    write(tmp_path, "vae/model.safetensors", vae)
    write(tmp_path, "adapter.safetensors", skips | {"prompt": model.prompt_embedding})
    released = model_from_released(tmp_path, None, CHOICES["tiny"])
    assert (released.model.config.skips.kernel_size, released.model.config.skips.bias) == (3, True)
    assert verify(model, released.model, [picture(16, 16)]).max_abs == 0


def test_adapters_need_their_alpha(tmp_path: Path) -> None:
    model = seeded(TINY)
    folder, (unet, _, _) = write_pipeline(tmp_path, model), parts(model)
    a, b = torch.randn(2, 8), torch.randn(8, 2)
    module = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    adapted = {key.replace(f"{module}.", f"{module}.base_layer."): tensor for key, tensor in unet.items()}
    adapted |= {f"{module}.lora_A.default.weight": a, f"{module}.lora_B.default.weight": b}
    write(folder, "unet/diffusion_pytorch_model.safetensors", adapted)
    with pytest.raises(InputError, match="LoRA adapters of unet.down_blocks.*--lora-alpha"):
        model_from_released(folder, None, CHOICES["tiny"])
    released = model_from_released(folder, None, CHOICES["tiny"], lora_alpha=6)
    expected = unet[f"{module}.weight"] + 6 / 2 * (b @ a)
    torch.testing.assert_close(released.model.state_dict()[f"unet.{module}.weight"], expected)


def test_a_prompt_of_the_users_own(tmp_path: Path) -> None:
    folder = write_pipeline(tmp_path, seeded(TINY), prompt=False)
    with pytest.raises(InputError, match="one prompt embedding, got none. Give it with --prompt-embedding"):
        model_from_released(folder, None, CHOICES["tiny"])
    prompt = PromptInput(embedding=torch.ones(1, 7, 8), text="a street")
    model = model_from_released(folder, prompt, CHOICES["tiny"]).model
    assert model.config.prompt == Prompt(text="a street", tokens=7)


def test_of_what_looks_like_a_prompt_only_the_one_that_is_used_has_a_place(tmp_path: Path) -> None:
    folder = write_pipeline(tmp_path, seeded(TINY))
    assert model_from_released(folder, None, CHOICES["tiny"]).unmapped == ()
    used = PromptInput(embedding=torch.full((1, 3, 8), 0.5))
    others = {"embedder.weight": torch.ones(3, 8), "vae.prompt_gate": torch.ones(8, 8), "embedding": torch.ones(5, 8)}
    write(folder, "extra.safetensors", others | {"text_embeds": used.embedding[0].half()})
    unmapped = model_from_released(folder, used, CHOICES["tiny"]).unmapped
    assert unmapped == ("embedder.weight", "embedding", "prompt_embeds", "vae.prompt_gate")


def test_missing_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="safetensors files, got none"):
        model_from_released(tmp_path, None, CHOICES["tiny"])
    model = seeded(TINY)
    folder, (unet, vae, _) = write_pipeline(tmp_path, model), parts(model)
    write(folder, "unet/diffusion_pytorch_model.safetensors", {k: t for k, t in unet.items() if k != "conv_in.bias"})
    with pytest.raises(InputErrors, match="1 missing: unet.conv_in.bias"):
        model_from_released(folder, None, CHOICES["tiny"])
    write(folder, "vae/diffusion_pytorch_model.safetensors", vae)
    with pytest.raises(InputError, match="skip convolutions with .* got none"):
        model_from_released(folder, None, CHOICES["tiny"])
