"""One run of a released pipeline, watched: what its files do not say is seen in what its UNet is called with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.convert.prompts import as_prompt
from r3d2_ros.harmonizer.convert.released import ELSEWHERE
from r3d2_ros.harmonizer.convert.schedules import stated_in
from r3d2_ros.harmonizer.model.config import Schedule
from r3d2_ros.harmonizer.pipelines.code import reported
from r3d2_ros.harmonizer.pipelines.network import Pipeline


@dataclass(frozen=True)
class Observed:
    """A pipeline's networks and one run of it.

    tensors     of its networks and of itself, keys begun with the names that the pipeline has for its parts
    lora_alpha  of adapters among them; None where there are none
    prompt      embedding [1, tokens, width] that the UNet was called with
    schedule    that its scheduler states; None where there is none, or where it states `other_diffusion`, which no
                checkpoint computes
    sampled     the pipeline samples its latents; in this run it had their mean
    image       [1, 3, H, W] that the run was given, output: [1, 3, H, W] that came out
    """

    tensors: dict[str, Tensor]
    lora_alpha: float | None
    timestep: int
    prompt: Tensor
    schedule: Schedule | None
    other_diffusion: str
    sampled: bool
    image: Tensor
    output: Tensor


@dataclass
class LatentSamples:
    """Whether an autoencoder was asked for a sample of its latents."""

    seen: bool = False


@contextmanager
def watch_latents(*, use_mean: bool) -> Iterator[LatentSamples]:
    """Notes inside whether diffusers' autoencoders are asked for samples of their latents.

    With `use_mean` they give the mean of the distribution instead, which is what checkpoints here compute.
    """
    samples, original = LatentSamples(), DiagonalGaussianDistribution.sample

    def sample(distribution: DiagonalGaussianDistribution, *args: Any, **keywords: Any) -> Tensor:
        samples.seen = True
        return distribution.mode() if use_mean else original(distribution, *args, **keywords)

    with patch.object(DiagonalGaussianDistribution, "sample", sample):
        yield samples


def observe(pipeline: Pipeline, image: Tensor) -> Observed:
    """Run `pipeline` on `image` [1, 3, H, W]. InputError when it does not call one UNet once, at one timestep, or
    its code raises anything.
    """
    with reported(pipeline.where, "a pipeline whose parts can be read"):
        return _observe(pipeline, image)


def _observe(pipeline: Pipeline, image: Tensor) -> Observed:
    pipeline.warm_up([(1, *image.shape[-2:])])  # a first call may still read files, or add modules
    networks = _networks(pipeline.pipe)
    unets = [module for part in networks.values() for module in part.modules() if _is_unet(module)]
    if len(unets) != 1:
        raise InputError(pipeline.where, "one UNet2DConditionModel among its parts", f"{len(unets)}")
    calls: list[tuple[Any, Any]] = []

    def note(module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        given = {**dict(zip(("sample", "timestep", "encoder_hidden_states"), args, strict=False)), **keywords}
        calls.append((given.get("timestep"), given.get("encoder_hidden_states")))

    handle = unets[0].register_forward_pre_hook(note, with_kwargs=True)
    try:
        with watch_latents(use_mean=True) as latents:
            output = pipeline(image)
    finally:
        handle.remove()
    if len(calls) != 1:
        raise InputError(pipeline.where, "one call of the UNet per image", f"{len(calls)}")
    timestep, prompt = calls[0]
    if not isinstance(prompt, Tensor):
        raise InputError(pipeline.where, "a prompt embedding that its UNet is called with", type(prompt).__name__)
    alphas = {alpha for part in networks.values() for alpha in _lora_alphas(part)}
    if len(alphas) > 1:
        raise InputError(pipeline.where, "adapters with one alpha", f"alphas {sorted(alphas)}")
    schedule, other_diffusion = _schedule(pipeline.pipe, pipeline.where)
    return Observed(
        tensors=_tensors(pipeline.pipe, networks),
        lora_alpha=next(iter(alphas), None),
        timestep=_one_timestep(timestep, pipeline.where),
        prompt=as_prompt(prompt.detach().clone(), where=f"{pipeline.where}: prompt embedding"),
        schedule=schedule,
        other_diffusion=other_diffusion,
        sampled=latents.seen,
        image=image,
        output=output,
    )


def _is_unet(module: nn.Module) -> bool:
    return isinstance(module, UNet2DConditionModel)


def _networks(pipe: Any) -> dict[str, nn.Module]:
    """Name -> network, of registered parts and of plain attributes."""
    every = {**vars(pipe), **pipe.components}
    networks = {name: part for name, part in every.items() if isinstance(part, nn.Module) and name not in ELSEWHERE}
    return dict(sorted(networks.items()))


def _tensors(pipe: Any, networks: dict[str, nn.Module]) -> dict[str, Tensor]:
    tensors = {name: value.detach() for name, value in vars(pipe).items() if isinstance(value, Tensor)}
    for name, part in networks.items():
        tensors |= {f"{name}.{key}": tensor for key, tensor in part.state_dict().items()}
    return tensors


def _lora_alphas(part: nn.Module) -> Iterator[float]:
    """alpha = scale * rank of each adapter that peft holds."""
    for module in part.modules():
        scaling, rank = getattr(module, "scaling", None), getattr(module, "r", None)
        if isinstance(scaling, dict) and isinstance(rank, dict):
            yield from (float(scaling[name] * rank[name]) for name in scaling if name in rank)


def _one_timestep(timestep: Any, where: str) -> int:
    steps = torch.as_tensor(timestep).flatten().unique()
    if len(steps) != 1:
        raise InputError(where, "one timestep", str(steps.tolist()))
    return round(float(steps[0]))


def _schedule(pipe: Any, where: str) -> tuple[Schedule | None, str]:
    """The schedule that the pipeline's scheduler states, or what it states that no checkpoint computes.

    The latter is no error: whether its code uses the scheduler at all, its picture says.
    """
    scheduler = getattr(pipe, "scheduler", None)
    if scheduler is None:
        return None, ""
    try:
        return stated_in(dict(getattr(scheduler, "config", {})), f"{where}: scheduler").schedule, ""
    except InputErrors as errors:
        return None, "; ".join(f"{fault.where}: expected {fault.expected}, got {fault.got}" for fault in errors.faults)
