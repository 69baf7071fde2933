"""What no weight file says, and the configuration and model of tensors that were read with it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.model.checkpoints import empty_model, float32_model
from r3d2_ros.harmonizer.model.config import (
    InputRange,
    KLConfig,
    Licence,
    ModelConfig,
    Padding,
    Prompt,
    Schedule,
    SkipOptions,
    TinyConfig,
    UNetConfig,
)
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.model.variants import VARIANTS, variant

CUSTOM = "custom"


@dataclass(frozen=True, kw_only=True)
class PromptInput:
    """An embedding [1, tokens, width] and the text it is of, where that is known."""

    embedding: Tensor
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What no weight file says; None where nothing was chosen. `variant` is checked, and found where it is None."""

    variant: str | None = None
    skips: SkipOptions | None = None
    input_range: InputRange | None = None
    padding: Padding | None = None
    timestep: int | None = None
    licences: tuple[Licence, ...] = ()


def configure(
    unet: UNetConfig,
    autoencoder: TinyConfig | KLConfig,
    *,
    prompt: PromptInput,
    choices: Choices,
    schedule: Schedule,
) -> ModelConfig:
    """The configuration of parts that were read. InputError when they are not those of the variant asked for."""
    name = choices.variant or next(
        (key for key, known in VARIANTS.items() if (known.unet, known.autoencoder) == (unet, autoencoder)), CUSTOM
    )
    known = None if name == CUSTOM else variant(name)
    for part, got in (("unet", unet), ("autoencoder", autoencoder)):
        if known and getattr(known, part) != got:
            raise InputError(f"{part} of variant {name}", str(getattr(known, part)), str(got))
    tokens, width = prompt.embedding.shape[1:]
    if width != unet.cross_attention_dim:
        raise InputError("prompt embedding", f"a width of {unet.cross_attention_dim}, the UNet's", str(width))
    return ModelConfig(
        variant=name,
        unet=unet,
        autoencoder=autoencoder,
        skips=choices.skips or SkipOptions(),
        timestep=ModelConfig.timestep if choices.timestep is None else choices.timestep,
        schedule=schedule,
        prompt=Prompt(text=prompt.text, tokens=tokens),
        padding=choices.padding or (known.padding if known else Padding()),
        input_range=choices.input_range or ModelConfig.input_range,
        licences=choices.licences,
    )


def complete(config: ModelConfig, tensors: dict[str, Tensor], *, prompt: PromptInput, where: str) -> R3D2:
    """The float32 model of `tensors`, the prompt, and zeros for skips that are not among them."""
    zeros = {
        key: torch.zeros(()).expand(tensor.shape)  # no memory before the other tensors are known to fit
        for key, tensor in empty_model(config).state_dict().items()
        if key.startswith("decoder.skips.")
    }
    return float32_model(config, zeros | tensors | {"prompt_embedding": prompt.embedding}, where=where)
