"""pix2pix-turbo and Difix checkpoints (.pkl), which hold changes to SD-Turbo, with the SD-Turbo folder they change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.convert.choices import CUSTOM, Choices, PromptInput, configure
from r3d2_ros.harmonizer.convert.diffusers import own_autoencoder_keys, own_unet_keys, read_autoencoder, read_unet
from r3d2_ros.harmonizer.convert.lora import PEFT_DEFAULT_ALPHA, Adapted, check_rank, merge, take_apart
from r3d2_ros.harmonizer.convert.pickles import read_pickle, tensor_dict
from r3d2_ros.harmonizer.convert.schedules import read_schedule
from r3d2_ros.harmonizer.model.checkpoints import empty_model, float32_model
from r3d2_ros.harmonizer.model.config import InputRange, KLConfig, Licence, ModelConfig, Schedule, SkipOptions
from r3d2_ros.harmonizer.model.licences import licences_of
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.model.tensor_files import check_keys, check_kinds, shapes_of

PIX2PIX_TURBO, DIFIX = "pix2pix-turbo", "difix"


@dataclass(frozen=True, kw_only=True)
class TurboLayout:
    """How a project runs its model: https://github.com/GaParmar/img2img-turbo, https://github.com/nv-tlabs/Difix3D."""

    timestep: int
    input_range: InputRange
    licence: Licence


LAYOUTS = {
    PIX2PIX_TURBO: TurboLayout(
        timestep=999, input_range="unit", licence=Licence(name="MIT", source="img2img-turbo", commercial=True)
    ),
    DIFIX: TurboLayout(
        timestep=199,
        input_range="signed",
        licence=Licence(name="NVIDIA License (non-commercial)", source="Difix3D", commercial=False),
    ),
}


def model_from_turbo(path: Path, base: Path, prompt: PromptInput, choices: Choices, *, layout: str) -> R3D2:
    """The model with every adapter merged. Both projects sample the latents' distribution; here its mean is taken.

    InputError(s): a file of another layout, a part that is missing, adapters that do not fit `base`, a scheduler of
    `base` with another diffusion than checkpoints compute.
    """
    stated = read_schedule(base)
    how, data, unet, images = LAYOUTS[layout], read_pickle(path), read_unet(base), read_autoencoder(base)
    if not isinstance(images.config, KLConfig):
        raise InputError(str(base), "a folder with AutoencoderKL", "AutoencoderTiny")
    changes = {part: _changes(data, part, path) for part in ("unet", "vae")}
    if layout == DIFIX:
        _check_full(data["state_dict_unet"], unet.tensors, path)
    elif not changes["unet"].pairs:
        expected = "adapters (LoRA) of the UNet, which pix2pix-turbo trains"
        hint = "A whole UNet is Difix's layout: `r3d2 model convert difix`"
        raise InputError(f"{path}: state_dict_unet", expected, "none", hint)
    choices = replace(
        choices,
        variant=CUSTOM,
        skips=SkipOptions(),
        timestep=how.timestep if choices.timestep is None else choices.timestep,
        licences=choices.licences or (how.licence, *licences_of(base)),
    )
    schedule = stated.schedule if stated else Schedule()
    config = configure(unet.config, images.config, prompt=prompt, choices=choices, schedule=schedule)
    config = replace(config, variant=layout, input_range=how.input_range)
    weights = {"unet": unet.tensors, "vae": images.tensors}
    # Of the pairs merging checks that they fit their weights, so first these must be the model's.
    _check_shapes(config, {part: weights[part] | changes[part].plain for part in weights}, prompt, path)
    merged = {
        part: merge(weights[part], changes[part], alpha=PEFT_DEFAULT_ALPHA, where=f"{path}: state_dict_{part}")
        for part in weights
    }
    return float32_model(config, _own_keys(merged, prompt), where=str(path))


def _own_keys(parts: dict[str, dict[str, Tensor]], prompt: PromptInput) -> dict[str, Tensor]:
    tensors = own_unet_keys(parts["unet"]) | own_autoencoder_keys(parts["vae"])
    return tensors | {"prompt_embedding": prompt.embedding}


def _check_shapes(config: ModelConfig, parts: dict[str, dict[str, Tensor]], prompt: PromptInput, path: Path) -> None:
    """InputError(s) for weights, adapters aside, that are not the model's. No number is looked at."""
    tensors = _own_keys(parts, prompt)
    check_kinds(str(path), tensors)
    needed = shapes_of(empty_model(config).state_dict().items())
    check_keys(str(path), needed=needed, present=shapes_of(tensors.items()))


def _changes(data: dict[str, Any], part: str, path: Path) -> Adapted:
    """What the file changes in one part of the base model."""
    key = f"state_dict_{part}"
    where = f"{path}: {key}"
    if key not in data:
        raise InputError(where, "a dictionary of tensors", f"only the keys {', '.join(sorted(map(str, data)))}")
    adapted = take_apart(tensor_dict(data[key], where), where=where)
    if adapted.pairs:
        check_rank(adapted, data.get(f"rank_{part}"), where=where, key=f"rank_{part}")
    return adapted


def _check_full(given: dict[str, Tensor], weights: dict[str, Tensor], path: Path) -> None:
    """Difix trains the whole UNet; one of its two ways to save drops most of it."""
    missing = sorted(weights.keys() - given.keys())
    if missing:
        got = f"{len(missing)} of {len(weights)} missing, such as {missing[0]}"
        raise InputError(f"{path}: state_dict_unet", "the whole UNet, which Difix trains", got)
