"""Editing models of diffusers as rows, with random weights of a few thousand parameters."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.evaluation.editing import EditingNetwork, load_editing
from r3d2_ros.evaluation.rows import EditingRow

WIDTH = 16


@pytest.fixture(scope="module")
def text() -> dict[str, Any]:
    """A text encoder and a tokenizer of single letters."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    vocabulary = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    numbers = {token: k for k, token in enumerate(vocabulary)}
    config = transformers.CLIPTextConfig(
        vocab_size=len(numbers), hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=77, projection_dim=WIDTH,
        bos_token_id=numbers["<|startoftext|>"], eos_token_id=numbers["<|endoftext|>"],
    )  # fmt: skip
    torch.manual_seed(0)
    return {
        "tokenizer": lambda: transformers.CLIPTokenizer(vocab=numbers, merges=[], model_max_length=77),
        "text_encoder": transformers.CLIPTextModel(config),
        "projected": transformers.CLIPTextModelWithProjection(config),
    }


def unet(channels: int, **more: Any) -> UNet2DConditionModel:
    torch.manual_seed(1)
    return UNet2DConditionModel(
        in_channels=channels, out_channels=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2, sample_size=16, **more,
    )  # fmt: skip


def vae() -> AutoencoderKL:
    torch.manual_seed(2)
    return AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, latent_channels=4, sample_size=32,
    )  # fmt: skip


def write(folder: Path, kind: str, text: dict[str, Any]) -> Path:
    """A folder as `save_pretrained` writes it."""
    import diffusers

    common = {"vae": vae(), "tokenizer": text["tokenizer"](), "text_encoder": text["text_encoder"]}
    if kind == "cosxl-edit":
        ids = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
        sizes = {"cross_attention_dim": 2 * WIDTH, "projection_class_embeddings_input_dim": WIDTH + 6 * 8, **ids}
        pipe = diffusers.StableDiffusionXLInstructPix2PixPipeline(
            **common, tokenizer_2=text["tokenizer"](), text_encoder_2=text["projected"], unet=unet(8, **sizes),
            scheduler=DDIMScheduler(steps_offset=1, clip_sample=False), add_watermarker=False,
        )  # fmt: skip
    else:
        cls, channels = {
            "sdedit": (diffusers.StableDiffusionPipeline, 4),
            "instruct-pix2pix": (diffusers.StableDiffusionInstructPix2PixPipeline, 8),
        }[kind]
        checks = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        model = unet(channels, cross_attention_dim=WIDTH)
        pipe = cls(**common, unet=model, scheduler=DDIMScheduler(steps_offset=1, clip_sample=False), **checks)
    pipe.save_pretrained(folder)
    return folder


def row(kind: Any, folder: Path, **more: Any) -> EditingRow:
    return EditingRow(kind=kind, checkpoint=str(folder), prompt="a road", steps=2, strength=0.9, **more)


@pytest.mark.parametrize("kind", ["sdedit", "instruct-pix2pix", "cosxl-edit"])
def test_an_editing_model_is_an_image_network_of_its_prompt_and_seed(
    kind: str, tmp_path: Path, text: dict[str, Any]
) -> None:
    folder = write(tmp_path / kind, kind, text)
    images = torch.rand(2, 3, 36, 52, generator=torch.Generator().manual_seed(0))
    out = load_editing(row(kind, folder), device="cpu", name=kind)(images)
    assert out.shape == images.shape and out.dtype == torch.float32
    assert out.min() >= 0 and out.max() <= 1 and out.std() > 0.01
    again = load_editing(row(kind, folder), device="cpu", name=kind)(images[1:])
    assert torch.equal(out[1:], again)
    other = load_editing(row(kind, folder, seed=1), device="cpu", name=kind)(images[1:])
    assert not torch.allclose(again, other, atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "given"),
    [("sdedit", {}), ("instruct-pix2pix", {}), ("cosxl-edit", {"height": 32, "width": 48})],
)
def test_pictures_keep_their_shape(kind: str, given: dict[str, int]) -> None:
    """CosXL-Edit would make a square of its model's size of them, unless it is told theirs, in multiples of 8."""
    calls: list[dict[str, Any]] = []

    def pipe(**words: Any) -> Any:
        calls.append(words)
        return SimpleNamespace(images=[words["image"]])

    network = EditingNetwork(pipe, row(kind, Path("folder")), torch.device("cpu"))
    images = torch.rand(1, 3, 36, 52, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(network(images), images, atol=1 / 255)
    assert {key: calls[0][key] for key in ("height", "width") if key in calls[0]} == given


def test_a_pipeline_that_fails_is_named() -> None:
    def pipe(**words: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    network = EditingNetwork(pipe, row("sdedit", Path("folder")), torch.device("cpu"))
    with pytest.raises(InputError, match="folder: expected .* settings of sdedit, got .*out of memory"):
        network(torch.zeros(1, 3, 8, 8))


def test_a_pipeline_of_another_kind_is_refused(tmp_path: Path, text: dict[str, Any]) -> None:
    folder = write(tmp_path / "sd", "sdedit", text)
    with pytest.raises(InputError, match="StableDiffusionInstructPix2PixPipeline, got StableDiffusionPipeline"):
        load_editing(row("instruct-pix2pix", folder), device="cpu", name="instruct-pix2pix")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load_editing(row("sdedit", tmp_path / "nowhere"), device="cpu", name="sdedit")
    (tmp_path / "model_index.json").write_text(
        json.dumps({"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]})
    )
    with pytest.raises(InputErrors, match="unet: expected the folder of a part, got no such folder"):
        load_editing(row("sdedit", tmp_path), device="cpu", name="sdedit")
