"""TAESD's original files, `taesd_encoder.pth` and `taesd_decoder.pth`, to diffusers' key layout."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from torch import Tensor

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.convert.pickles import read_pickle, tensor_dict
from r3d2_ros.harmonizer.diffusers_layout import WEIGHTS
from r3d2_ros.harmonizer.model.autoencoders import tiny_autoencoder
from r3d2_ros.harmonizer.model.config import Licence, TinyConfig
from r3d2_ros.harmonizer.model.licences import write_readme
from r3d2_ros.harmonizer.model.tensor_files import network_tensors, read_tensors, renamed, shapes_of, write_tensors
from r3d2_ros.schema import validate

ENCODER_NAME, DECODER_NAME = "taesd_encoder", "taesd_decoder"
SUFFIXES = (".pth", ".safetensors")


def taesd_keys(tensors: Mapping[str, Tensor], *, part: str) -> dict[str, Tensor]:
    """Keys of the `part` "encoder" or "decoder" as diffusers names them; the decoder's index 0 is its clamp."""

    def name(key: str) -> str:
        index, dot, rest = key.partition(".")
        if not (re.fullmatch("0|[1-9][0-9]{0,3}", index) and dot) or (part == "decoder" and index == "0"):
            raise InputError(f"{part}: {key[:200]}", "a key that begins with the number of a layer", f"'{key[:200]}'")
        return f"{part}.layers.{int(index) - (part == 'decoder')}.{rest}"

    return renamed(tensors, name, where=part)


def read_taesd(folder: Path) -> dict[str, Tensor]:
    """Both original files of `folder` in diffusers' keys. InputError(s): missing files or keys, other shapes."""
    tensors: dict[str, Tensor] = {}
    for part, name in (("encoder", ENCODER_NAME), ("decoder", DECODER_NAME)):
        path = find_part(folder, name)
        read = read_tensors(path) if path.suffix == ".safetensors" else tensor_dict(read_pickle(path), str(path))
        ours = taesd_keys(read, part=part)
        expected = _empty(tiny_config(ours, where=str(path))).state_dict()
        needed = {key: shape for key, shape in shapes_of(expected.items()).items() if key.startswith(part)}
        hint = "Files of other models in TAESD's repository (taef1, taesd3, taesana, ...) do not fit Stable Diffusion"
        tensors |= network_tensors(str(path), ours, needed=needed, hint=hint)
    return tensors


def _empty(config: TinyConfig) -> AutoencoderTiny:
    """The autoencoder without the memory for its numbers."""
    with torch.device("meta"):
        return tiny_autoencoder(config)


def find_part(folder: Path, name: str) -> Path:
    """The original file of one part, pickled or as safetensors. InputError when there is none."""
    for suffix in SUFFIXES:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    got = "no such file" if folder.is_dir() else "no such folder"
    raise InputError(str(folder / name), f"a file of that name and {' or '.join(SUFFIXES)}", got)


def tiny_config(tensors: Mapping[str, Tensor], *, where: str) -> TinyConfig:
    """TAESD's own block counts, with the channels that the files have. InputError when they are not TAESD's."""
    weights = [tensor for key, tensor in tensors.items() if re.fullmatch(r"(encoder|decoder)\.layers\.0\.weight", key)]
    if not weights or any(weight.ndim != 4 for weight in weights):
        raise InputError(where, "the weight of a first convolution", f"{len(tensors)} other tensors")
    return validate(TinyConfig, {"channels": weights[0].shape[0]}, where)


def write_taesd(tensors: Mapping[str, Tensor], folder: Path, licences: Sequence[Licence] = ()) -> None:
    """An `AutoencoderTiny` folder as diffusers writes it, which `r3d2 model init --autoencoder` reads, and with it
    `licences`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = _empty(tiny_config(tensors, where=str(folder)))
    config = {key: value for key, value in model.config.items() if not key.startswith("_")}
    config = {"_class_name": "AutoencoderTiny", **config}
    write_tensors(folder / f"{WEIGHTS}.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if licences:
        write_readme(folder, licences, text="TAESD in diffusers' layout, converted by `r3d2 model convert taesd`.")
