"""Folders in diffusers' layout (SD-Turbo, TAESD, SD's autoencoder): their configuration and tensors in our keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import Tensor

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.convert.defaults import constructor_defaults
from r3d2_ros.harmonizer.convert.taesd import DECODER_NAME, ENCODER_NAME, SUFFIXES, read_taesd, tiny_config
from r3d2_ros.harmonizer.diffusers_layout import WEIGHTS, in_one_precision, weight_file
from r3d2_ros.harmonizer.model.autoencoders import kl_autoencoder, tiny_autoencoder
from r3d2_ros.harmonizer.model.checkpoints import read_json
from r3d2_ros.harmonizer.model.config import KLConfig, TinyConfig, UNetConfig
from r3d2_ros.harmonizer.model.r3d2 import build_unet, check_part
from r3d2_ros.harmonizer.model.tensor_files import joined, modern_attention, read_tensors, renamed
from r3d2_ros.schema import validate

FREE_KEYS = {"sample_size", "upcast_attention", "force_upcast"}
"""Keys that change nothing here: sizes are free, attention and x0 are computed as the runtime says."""


@dataclass(frozen=True)
class UNetFolder:
    """A UNet: its configuration and tensors, keys without a prefix."""

    config: UNetConfig
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class AutoencoderFolder:
    """An autoencoder: its configuration and tensors, keys as in diffusers."""

    config: TinyConfig | KLConfig
    tensors: dict[str, Tensor]


def read_unet(folder: Path) -> UNetFolder:
    """The UNet of a pipeline folder (in `unet/`) or a UNet's own folder. InputError(s) for another architecture."""
    folder = folder / "unet" if (folder / "unet").is_dir() else folder
    path = folder / "config.json"
    data = _class_config(path, UNet2DConditionModel)
    heads = data["attention_head_dim"]
    fields = {
        "block_out_channels": data["block_out_channels"],
        "attention_heads": [heads] * 4 if isinstance(heads, int) else heads,
        "cross_attention_dim": data["cross_attention_dim"],
        "layers_per_block": data["layers_per_block"],
        "norm_groups": data["norm_num_groups"],
        "linear_projection": data["use_linear_projection"],
    }
    config = validate(UNetConfig, {key: _plain(value) for key, value in fields.items()}, str(path))
    check_part(config, where=str(path))
    built = _built_unet(config)
    _check_rest(path, data, built | {"attention_head_dim": heads})
    return UNetFolder(config, read_weights(folder))


def _built_unet(config: UNetConfig) -> dict[str, Any]:
    """diffusers' complete configuration of a UNet, without the memory for one."""
    with torch.device("meta"):
        return dict(build_unet(config).config)


def read_autoencoder(folder: Path) -> AutoencoderFolder:
    """AutoencoderTiny or AutoencoderKL from a pipeline folder (`vae/`), its own folder, or TAESD's original files."""
    if any((folder / f"{name}{suffix}").is_file() for name in (ENCODER_NAME, DECODER_NAME) for suffix in SUFFIXES):
        tensors = read_taesd(folder)
        return AutoencoderFolder(tiny_config(tensors, where=str(folder)), tensors)
    folder = folder / "vae" if (folder / "vae").is_dir() else folder
    path = folder / "config.json"
    data = _class_config(path, AutoencoderTiny, AutoencoderKL)
    config = _tiny_fields(data, path) if data["_class_name"] == "AutoencoderTiny" else _kl_fields(data, path)
    return AutoencoderFolder(config, modern_attention(read_weights(folder)))


def _tiny_fields(data: dict[str, Any], path: Path) -> TinyConfig:
    channels = _plain(data["encoder_block_out_channels"])
    fields = {
        "channels": channels[0] if isinstance(channels, list) and channels else channels,
        "encoder_blocks": _plain(data["num_encoder_blocks"]),
        "decoder_blocks": _plain(data["num_decoder_blocks"]),
    }
    config = validate(TinyConfig, fields, str(path))
    with torch.device("meta"):
        built = dict(tiny_autoencoder(config).config)
    _check_rest(path, data, built)
    return config


def _kl_fields(data: dict[str, Any], path: Path) -> KLConfig:
    names = {
        "block_out_channels": "block_out_channels",
        "layers_per_block": "layers_per_block",
        "norm_num_groups": "norm_groups",
        "scaling_factor": "scaling_factor",
    }
    config = validate(KLConfig, {ours: _plain(data[key]) for key, ours in names.items()}, str(path))
    check_part(config, where=str(path))
    with torch.device("meta"):
        built = dict(kl_autoencoder(config).config)
    _check_rest(path, data, built)
    return config


def _check_rest(path: Path, data: Mapping[str, Any], built: Mapping[str, Any]) -> None:
    """InputErrors for each setting that the built model does not have."""
    faults = []
    for key, value in data.items():
        if key.startswith("_") or key in FREE_KEYS or value is None or _plain(value) == _plain(built.get(key)):
            continue
        if key not in built and value is False:
            continue
        faults.append(InputError(f"{path}: {key}", repr(_plain(built.get(key))), repr(value)))
    if faults:
        raise InputErrors(faults)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


def _class_config(path: Path, *classes: type) -> dict[str, Any]:
    """The settings of a file, complete as diffusers completes them; null is taken as nothing."""
    data = read_json(path)
    name = data.get("_class_name") if isinstance(data, dict) else None
    known = next((one for one in classes if one.__name__ == name), None)
    if known is None:
        raise InputError(f"{path}: _class_name", " or ".join(one.__name__ for one in classes), repr(name))
    return constructor_defaults(known) | {key: value for key, value in data.items() if value is not None}


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a model folder: one safetensors file or its shards, of those in half precision only where there
    are no others.
    """
    every = {path.name: file for path in folder.glob("*.safetensors") if (file := weight_file(path.name))}
    names = in_one_precision(name for name, file in every.items() if file.network == WEIGHTS)
    for name in names:
        if every[name].shards is None:
            return read_tensors(folder / name)
    if not names:
        pickled = [path.name for path in folder.glob("*.bin")]
        got = f"only {', '.join(pickled)}" if pickled else "no such file"
        raise InputError(str(folder), f"{WEIGHTS}.safetensors", got, "Get the repository's safetensors files")
    total = every[names[0]].shards
    if len(names) != total:
        raise InputError(str(folder), f"{total} shards of {WEIGHTS}", f"{len(names)}")
    return joined((read_tensors(folder / name) for name in names), where=str(folder))


def own_autoencoder_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our keys: the two small convolutions on the latents belong to the encoder and the decoder."""
    return renamed(tensors, _own_name, where="an autoencoder")


def _own_name(key: str) -> str:
    part = {"quant_conv": "encoder.quant_conv", "post_quant_conv": "decoder.post_quant_conv"}
    head, dot, rest = key.partition(".")
    skip = re.fullmatch(r"decoder\.skip_conv_([1-9])\.(weight|bias)", key)
    return f"decoder.skips.{int(skip[1]) - 1}.{skip[2]}" if skip else f"{part.get(head, head)}{dot}{rest}"


def own_unet_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our keys: the UNet's under `unet.`."""
    return {f"unet.{key}": tensor for key, tensor in tensors.items()}
