"""A released R3D2 folder: its tensors mapped to our keys by name and shape, without running the code beside them.

The layout of the release is not documented, so whatever cannot be placed is listed, and so is whatever is assumed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.convert.choices import Choices, PromptInput
from r3d2_ros.harmonizer.convert.diffusers import own_autoencoder_keys, own_unet_keys
from r3d2_ros.harmonizer.convert.lora import Adapted, merge, take_apart
from r3d2_ros.harmonizer.convert.prompts import as_prompt
from r3d2_ros.harmonizer.convert.schedules import read_schedule, schedule_notes
from r3d2_ros.harmonizer.convert.taesd import taesd_keys
from r3d2_ros.harmonizer.diffusers_layout import INDEX_FILE, in_one_precision
from r3d2_ros.harmonizer.model.checkpoints import empty_model, float32_model, read_json
from r3d2_ros.harmonizer.model.config import Licence, ModelConfig, Prompt, SkipOptions
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.model.tensor_files import joined, listed, modern_attention, read_tensors, renamed
from r3d2_ros.harmonizer.model.variants import variant

WRAPPERS = {"model", "module", "_orig_mod", "base_model", "net", "pipeline"}
NAMES = {"unet": "unet", "denoiser": "unet", "vae": "vae", "autoencoder": "vae", "taesd": "vae", "tiny_vae": "vae"}
ELSEWHERE = ("text_encoder", "tokenizer", "safety_checker", "feature_extractor")
"""Parts of a pipeline folder that a model with a stored prompt does not have."""

RELEASED_LICENCES = (
    Licence(name="non-commercial: Waymo Dataset License", source="R3D2 weights", commercial=False),
    Licence(name="Stability AI Community License", source="SD-Turbo", commercial=False),
)


@dataclass(frozen=True)
class Released:
    """The model, the keys of the folder that have no place in it, and what had to be assumed."""

    model: R3D2
    unmapped: tuple[str, ...]
    notes: tuple[str, ...]


def model_from_released(
    folder: Path, prompt: PromptInput | None, choices: Choices, *, lora_alpha: float | None = None
) -> Released:
    """The model of a released folder in the sizes of `choices.variant`, or of the one whose autoencoder it has.

    InputError(s): keys of the model that the folder lacks, other shapes, adapters without `lora_alpha`, no prompt, a
    scheduler with another diffusion than checkpoints compute.
    """
    where, notes, stated = str(folder), [], read_schedule(folder)
    adapted = take_apart(named(_read_all(folder), where=where), where=where)
    if lora_alpha is not None and not adapted.pairs:
        raise InputError("--lora-alpha", "a folder with LoRA adapters", f"{where} without any")
    found = merged(adapted, lora_alpha, where)
    config = variant(choices.variant or likely_variant(found))
    prompt = prompt or _stored_prompt(found, config, where)
    given = choices.timestep if choices.timestep is not None else _stored_timestep(folder)
    if given is None:
        notes.append(f"no timestep in the folder: {config.timestep} is assumed")
    config = replace(
        config,
        timestep=config.timestep if given is None else given,
        schedule=stated.schedule if stated else config.schedule,
    )
    notes += schedule_notes(stated)
    orders = skip_orders(found, config, where)
    if len(orders) == 2:
        notes.append(f"skip convolutions taken as the coarsest first: {', '.join(orders[0])}")
    released = build(found, config, prompt=prompt, choices=choices, order=orders[0], where=where)
    return replace(released, notes=(*notes, *_assumed(released.model.config, choices)))


def _assumed(config: ModelConfig, choices: Choices) -> list[str]:
    """What neither a file nor the user said, and how to say it."""
    range_text = "[-1, 1]" if config.input_range == "signed" else "[0, 1]"
    padding = f"{config.padding.mode} to multiples of {config.padding.multiple_px} px"
    every = (
        (choices.skips, f"skips join {config.skips.position}", "--skip-position"),
        (choices.input_range, f"images enter the autoencoder in {range_text}", "--input-range"),
        (choices.padding, f"sizes are padded by {padding}", "--pad-mode and --pad-multiple"),
    )
    notes = [f"no file says, and it is assumed, that {text}: {option}" for chosen, text, option in every if not chosen]
    if notes:
        notes.append("prove what is assumed with `r3d2 model verify`; --allow-remote-code finds it by running IN")
    return notes


def build(
    found: Mapping[str, Tensor],
    config: ModelConfig,
    *,
    prompt: PromptInput,
    choices: Choices,
    order: list[str],
    where: str,
) -> Released:
    """The model of tensors under the keys that `named` gives, the skips in `order`. InputError(s): they do not fit."""
    skips, skip_keys = _placed_skips(found, order)
    rest = {key: t for key, t in found.items() if key not in skip_keys and not _holds(key, t, prompt, config)}
    config = replace(
        config,
        skips=_skip_options(skips, choices.skips or config.skips),
        input_range=choices.input_range or config.input_range,
        prompt=Prompt(text=prompt.text, tokens=prompt.embedding.shape[1]),
        padding=choices.padding or config.padding,
        licences=choices.licences or RELEASED_LICENCES,
    )
    placed, unmapped = _place(rest, config, where)
    tensors = placed | skips | {"prompt_embedding": prompt.embedding}
    model = float32_model(config, tensors, where=where)
    return Released(model, tuple(sorted(unmapped)), ())


def _read_all(folder: Path) -> dict[str, Tensor]:
    """Every tensor under `folder` except the text encoder's, keys begun with the names of the folders in between."""
    if not folder.is_dir():
        raise InputError(str(folder), "a folder with safetensors files", "no such folder")
    parts: list[dict[str, Tensor]] = []
    for name in in_one_precision(path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors")):
        between = name.split("/")[:-1]
        if between and between[0] in ELSEWHERE:
            continue
        parts.append({".".join([*between, key]): tensor for key, tensor in read_tensors(folder / name).items()})
    if not any(parts):
        raise InputError(str(folder), "safetensors files", "none")
    return joined(parts, where=str(folder))


def named(tensors: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """Keys that begin with `unet.` or `vae.` where any of their first words says so, without wrappers.

    InputError for tensors that come to have one key.
    """
    return renamed(tensors, _without_wrappers, where=where)


def _without_wrappers(key: str) -> str:
    words, part = [word for word in key.split(".") if word != "_orig_mod"], ""
    while words and (words[0] in WRAPPERS or words[0] in NAMES):
        part = NAMES.get(words.pop(0), part)
    return ".".join([part, *words] if part else words)


def merged(adapted: Adapted, alpha: float | None, where: str) -> dict[str, Tensor]:
    """The tensors with adapters merged into their weights. InputError for adapters whose `alpha` is not known."""
    if adapted.pairs and alpha is None:
        hint = "State the alpha of their training with --lora-alpha"
        raise InputError(where, "whole weights", f"LoRA adapters of {listed(sorted(adapted.pairs))}", hint)
    return merge({}, adapted, alpha=alpha or 0.0, where=where)


def _is_prompt(key: str, tensor: Tensor, config: ModelConfig) -> bool:
    outside = not key.startswith(("unet.", "vae."))
    called_so = "prompt" in key or (outside and "embed" in key)
    return called_so and tensor.ndim in (2, 3) and tensor.shape[-1] == config.unet.cross_attention_dim


def _holds(key: str, tensor: Tensor, prompt: PromptInput, config: ModelConfig) -> bool:
    """Whether a tensor is the very embedding that the model has."""
    embedding = prompt.embedding.flatten(0, -2)
    if not _is_prompt(key, tensor, config) or tensor.numel() != embedding.numel():
        return False
    return torch.equal(tensor.flatten(0, -2).to(embedding), embedding)


def _stored_prompt(tensors: Mapping[str, Tensor], config: ModelConfig, where: str) -> PromptInput:
    keys = [key for key, tensor in tensors.items() if _is_prompt(key, tensor, config)]
    if len(keys) != 1:
        hint = (
            "Give it with --prompt-embedding FILE, or with --prompt TEXT, which the folder's text encoder embeds; "
            "--allow-remote-code takes it from the pipeline itself"
        )
        raise InputError(where, "one prompt embedding", listed(keys) or "none", hint)
    return PromptInput(embedding=as_prompt(tensors[keys[0]], where=f"{where}: {keys[0]}"))


def _stored_timestep(folder: Path) -> int | None:
    for name in (INDEX_FILE, "config.json"):
        data = read_json(folder / name) if (folder / name).is_file() else None
        value = data.get("timestep") if isinstance(data, dict) else None
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
            raise InputError(f"{folder / name}: timestep", "a whole number", repr(value)[:100])
        return int(value)
    return None


def likely_variant(found: Mapping[str, Tensor]) -> str:
    """The published size that has the autoencoder whose keys are there."""
    return "r3d2-big" if any(key.startswith("vae.encoder.down_blocks.") for key in found) else "r3d2"


def skip_orders(found: Mapping[str, Tensor], config: ModelConfig, where: str) -> list[list[str]]:
    """Keys of the skip convolutions' weights, the coarsest first: by their numbers, or against them, as shapes allow.

    Two orders where all have one shape. InputError when none fits.
    """
    weights = [key for key, tensor in found.items() if tensor.ndim == 4 and re.search("skip|zero", key)]
    weights.sort(key=_numbers)
    needed = [
        tuple(tensor.shape[:2])
        for key, tensor in empty_model(config).state_dict().items()
        if key.startswith("decoder.skips.")
    ]
    orders = [order for order in (weights, weights[::-1]) if [tuple(found[key].shape[:2]) for key in order] == needed]
    if not orders:
        got = "; ".join(f"{key} {list(found[key].shape)}" for key in weights) or "none"
        raise InputError(where, f"skip convolutions with [out, in] {needed}, the coarsest first", got)
    return orders


def _placed_skips(found: Mapping[str, Tensor], order: list[str]) -> tuple[dict[str, Tensor], set[str]]:
    """Skip convolutions in our keys, and their keys in `found`."""
    skips, keys = {}, set()
    for level, key in enumerate(order):
        for kind in ("weight", "bias"):
            source = f"{key.removesuffix('weight')}{kind}"
            if source in found:
                skips[f"decoder.skips.{level}.{kind}"] = found[source]
                keys.add(source)
    return skips, keys


def _skip_options(skips: Mapping[str, Tensor], asked: SkipOptions) -> SkipOptions:
    sizes = {tensor.shape[-1] for tensor in skips.values() if tensor.ndim == 4}
    size = next(iter(sizes)) if len(sizes) == 1 else 0
    if size not in (1, 3):
        raise InputError("skip convolutions", "one kernel size, 1 or 3", str(sorted(sizes)))
    return replace(asked, kernel_size=size, bias="decoder.skips.0.bias" in skips)  # type: ignore[arg-type]


def _place(tensors: Mapping[str, Tensor], config: ModelConfig, where: str) -> tuple[dict[str, Tensor], set[str]]:
    """Tensors under our keys in the shapes that the model has, and the keys without a place.

    InputError for two with one place.
    """
    needed = {key: tuple(tensor.shape) for key, tensor in empty_model(config).state_dict().items()}
    placed: dict[str, Tensor] = {}
    sources: dict[str, str] = {}
    unmapped = set()
    for key, tensor in tensors.items():
        for ours, value in _ours(key, tensor).items():
            if ours in needed:
                if (first := sources.setdefault(ours, key)) != key:
                    raise InputError(where, f"one tensor for {ours}", f"{first} and {key}")
                placed[ours] = _shaped(value, needed[ours])
            else:
                unmapped.add(key)
    return placed, unmapped


def _ours(key: str, tensor: Tensor) -> dict[str, Tensor]:
    """One tensor under the name it has with us, or would have; TAESD's original names are understood too."""
    part, _, rest = key.partition(".")
    if part != "vae":
        return own_unet_keys({rest: tensor}) if part == "unet" else {key: tensor}
    original = re.fullmatch(r"(encoder|decoder)\.([0-9]+\..+)", rest)
    known = taesd_keys({original[2]: tensor}, part=original[1]) if original else {rest: tensor}
    return own_autoencoder_keys(modern_attention(known))


def _shaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """1x1 convolutions and linear layers hold the same numbers."""
    core = tuple(tensor.shape)
    same = core[:2] == shape[:2] and {*core[2:], *shape[2:]} <= {1} and min(len(core), len(shape)) == 2
    return tensor.reshape(shape) if same else tensor


def _numbers(key: str) -> tuple[Iterable[int], str]:
    return [int(number) for number in re.findall(r"[0-9]{1,9}", key)], key
