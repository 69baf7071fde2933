"""Tensors of strangers: of a wrong kind, not finite or larger than any model, they are refused before they cost memory.

A pickle can state a tensor of a million rows with one stored number (stride 0), and a configuration any size at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.convert.choices import Choices, PromptInput
from r3d2_ros.harmonizer.convert.diffusers import read_autoencoder, read_unet
from r3d2_ros.harmonizer.convert.taesd import read_taesd
from r3d2_ros.harmonizer.convert.untrained import model_from_base
from r3d2_ros.harmonizer.model.autoencoders import tiny_autoencoder
from r3d2_ros.harmonizer.model.checkpoints import in_dtype
from r3d2_ros.harmonizer.model.config import TinyConfig
from tests.harmonizer.small import TINY, seeded, write_base, write_tiny
from tests.harmonizer.test_convert_turbo import LINEAR, PROMPT, convert, pix2pix

KEY = "conv_in.weight"
UNET_FILE = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "sd-turbo")


def promised(*shape: int) -> Tensor:
    """A tensor of any size in two bytes."""
    return torch.zeros(1, dtype=torch.float16).as_strided(shape, (0,) * len(shape))


def quantised(tensor: Tensor) -> Tensor:
    return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore")  # of torch, that some of these kinds will go
@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (Tensor.int, "int32"),
        (Tensor.to_sparse, "sparse"),
        (quantised, "qint8"),
        (lambda tensor: tensor.to(torch.complex64), "complex64"),
        (lambda tensor: tensor.to(torch.float8_e4m3fn), "float8_e4m3fn"),
        (lambda tensor: tensor.to("meta"), "no numbers: meta device"),
    ],
)
def test_kinds_of_tensors(change: Callable[[Tensor], Tensor], kind: str, base: Path, tmp_path: Path) -> None:
    data = pix2pix(base)
    data["state_dict_unet"][KEY] = change(data["state_dict_unet"][KEY])
    with pytest.raises(InputError, match=rf"dense floating-point tensors .* got 1 .*unet.conv_in.weight \({kind}\)"):
        convert(data, base, tmp_path, "pix2pix-turbo")
    data = pix2pix(base)
    half = f"{LINEAR}.lora_A.default.weight"
    data["state_dict_unet"][half] = change(data["state_dict_unet"][half])
    with pytest.raises(InputError, match=rf"attn1.to_q: expected dense floating-point .*lora_A \({kind}\)"):
        convert(data, base, tmp_path, "pix2pix-turbo")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_numbers_that_float32_does_not_have(value: float, base: Path, tmp_path: Path) -> None:
    data = pix2pix(base)
    data["state_dict_unet"][KEY] = data["state_dict_unet"][KEY].double() * value
    with pytest.raises(InputError, match="finite numbers in each tensor, got NaN or infinite ones in 1: unet.conv_in"):
        convert(data, base, tmp_path, "pix2pix-turbo")


def test_sizes_that_are_only_promised(base: Path, tmp_path: Path) -> None:
    data = pix2pix(base)
    data["state_dict_unet"][KEY] = promised(10**6, 10**6)
    with pytest.raises(InputErrors, match=r"unet.conv_in.weight \[1000000, 1000000\]"):
        convert(data, base, tmp_path, "pix2pix-turbo")
    data = pix2pix(base)
    data["state_dict_vae"]["decoder.skip_conv_1.base_layer.weight"] = promised(10**6, 10**6, 1, 1)
    data["state_dict_vae"]["decoder.skip_conv_1.lora_A.vae_skip.weight"] = promised(4, 10**6, 1, 1)
    data["state_dict_vae"]["decoder.skip_conv_1.lora_B.vae_skip.weight"] = promised(10**6, 4, 1, 1)
    with pytest.raises(InputErrors, match=r"decoder.skips.0.weight \[1000000, 1000000, 1, 1\]"):
        convert(data, base, tmp_path, "pix2pix-turbo")


def with_pair(base: Path, a: Tensor, b: Tensor, rank: Any) -> dict[str, Any]:
    data = pix2pix(base)
    pair = {f"{LINEAR}.lora_A.default.weight": a, f"{LINEAR}.lora_B.default.weight": b}
    return {**data, "rank_unet": rank, "state_dict_unet": {KEY: data["state_dict_unet"][KEY], **pair}}


@pytest.mark.parametrize(
    ("a", "b", "rank", "fault"),
    [
        (promised(8, 10**6), promised(10**6, 8), 8, r"an adapter for \[8, 8\], got \[1000000, 1000000\]"),
        (promised(10**9, 8), promised(8, 10**9), 10**9, "a rank of 1 to 4096, got 1000000000"),
        (torch.zeros(0, 8), torch.zeros(8, 0), 0, "a rank of 1 to 4096, got 0"),
        (torch.zeros(8), torch.zeros(8, 8), 8, r"lora_A \[rank, in, ...\] and lora_B"),
        (torch.tensor(1.0), torch.zeros(8, 8), 8, r"lora_A \[rank, in, ...\], got a single number"),
        (torch.zeros(8, 8), torch.zeros(8, 8), torch.ones(3), "rank_unet: expected .* a whole number, got Tensor"),
        (torch.zeros(8, 8), torch.zeros(8, 8), True, "rank_unet: expected .* a whole number, got bool"),
        (torch.zeros(8, 8), torch.zeros(8, 8), None, "rank_unet: expected .* a whole number, got nothing"),
    ],
)
def test_adapters_that_are_none(a: Tensor, b: Tensor, rank: Any, fault: str, base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=fault):
        convert(with_pair(base, a, b, rank), base, tmp_path, "pix2pix-turbo")


def edit_weights(path: Path, change: Callable[[Tensor], Tensor]) -> None:
    tensors = load_file(path)
    save_file({**tensors, KEY: change(tensors[KEY])}, path)


def test_folders(base: Path, tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    edit_weights(base / UNET_FILE, lambda tensor: tensor * float("nan"))
    with pytest.raises(InputError, match="NaN or infinite ones in 1: unet.conv_in.weight"):
        model_from_base(base, tiny, PROMPT, Choices())
    edit_weights(base / UNET_FILE, lambda tensor: tensor.nan_to_num().int())
    with pytest.raises(InputError, match=r"unet.conv_in.weight \(int32\)"):
        model_from_base(base, tiny, PROMPT, Choices())


def test_a_configuration_larger_than_the_memory(base: Path, tmp_path: Path) -> None:
    """Hundreds of GB, if any of it were made: the tensors of the file do not fit, which their shapes say."""
    tiny = write_tiny(tmp_path / "tiny")
    path = tiny / "config.json"
    sizes = {"encoder_block_out_channels": [4096] * 4, "decoder_block_out_channels": [4096] * 4}
    sizes |= {"num_encoder_blocks": [16] * 4, "num_decoder_blocks": [16] * 4, "block_out_channels": [4096] * 4}
    path.write_text(json.dumps({**json.loads(path.read_text()), **sizes}))
    with pytest.raises(InputErrors, match="missing: decoder.layers"):
        model_from_base(base, tiny, PROMPT, Choices())


@pytest.mark.parametrize(
    ("part", "changes", "fault"),
    [
        ("unet", {"norm_num_groups": 3}, "unet/config.json: norm_groups: expected a divisor of 8 channels, got 3"),
        ("unet", {"block_out_channels": [8, 8, 16, 17]}, "attention_heads: expected a divisor of 17 channels, got 2"),
        ("vae", {"norm_num_groups": 3}, "vae/config.json: norm_groups: expected a divisor of 8 channels, got 3"),
        ("vae", {"block_out_channels": [8, 8, 16, 17]}, "norm_groups: expected a divisor of 17 channels, got 4"),
    ],
)
def test_sizes_that_do_not_divide(part: str, changes: dict[str, Any], fault: str, base: Path) -> None:
    path = base / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(InputErrors, match=fault):
        read_unet(base) if part == "unet" else read_autoencoder(base)


def write_taesd_files(folder: Path, encoder_changes: dict[str, Tensor]) -> Path:
    state = tiny_autoencoder(TinyConfig(channels=8)).state_dict()
    for part, shift in (("encoder", 0), ("decoder", 1)):
        numbered = {}
        for key, tensor in state.items():
            name, _, rest = key.partition(".layers.")
            index, _, kind = rest.partition(".")
            if name == part:
                numbered[f"{int(index) + shift}.{kind}"] = tensor
        torch.save(numbered | (encoder_changes if part == "encoder" else {}), folder / f"taesd_{part}.pth")
    return folder


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"14.bias": torch.ones(4, dtype=torch.int32)}, r"encoder.layers.14.bias \(int32\)"),
        ({"14.bias": torch.full((4,), float("nan"))}, "NaN or infinite ones in 1: encoder.layers.14.bias"),
        ({"0.weight": promised(20_000, 3, 3, 3)}, "channels: expected less than or equal to 4096, got 20000"),
        ({"0.weight": promised(4096, 3, 3, 3)}, r"encoder.layers.0.bias \[4096\]"),
        ({"².weight": torch.ones(1)}, "a key that begins with the number of a layer"),
        ({"9" * 5000 + ".weight": torch.ones(1)}, "a key that begins with the number of a layer"),
    ],
)
def test_original_taesd_files(changes: dict[str, Tensor], fault: str, tmp_path: Path) -> None:
    with pytest.raises((InputError, InputErrors), match=fault):
        read_taesd(write_taesd_files(tmp_path, changes))


def test_what_could_not_be_read_again_is_not_made(base: Path, tmp_path: Path) -> None:
    long = PromptInput(embedding=promised(1, 5000, 8))
    with pytest.raises(InputErrors, match="prompt.tokens: expected less than or equal to 4096, got 5000"):
        model_from_base(base, write_tiny(tmp_path / "tiny"), long, Choices())


def test_weights_beyond_the_range_of_a_dtype() -> None:
    """float16 ends at 65504."""
    model = seeded(TINY)
    model.unet.conv_in.weight[0, 0, 0, 0] = 70_000
    with pytest.raises(InputError, match="--dtype: expected .* got float16, too small for unet.conv_in.weight"):
        in_dtype(model, torch.float16, where="--dtype")
    model = seeded(TINY)
    model.unet.conv_in.weight[0, 0, 0, 0] = 70_000
    assert in_dtype(model, torch.bfloat16, where="--dtype").dtype == torch.bfloat16
