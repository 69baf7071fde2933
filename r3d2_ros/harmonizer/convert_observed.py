"""A released pipeline converted by running it: whatever its files leave open is chosen so that the pictures agree.

Open are where skips join the decoder, their order where all have one shape, the range in which images enter the
autoencoder, and how sizes are padded. There are a few dozen combinations; each is tried on one small image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import torch

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.base import ModelConfig, Padding
from r3d2_ros.harmonizer.checkpoints import assemble
from r3d2_ros.harmonizer.convert_base import Choices, PromptInput
from r3d2_ros.harmonizer.convert_released import Released, build, likely_variant, merged, named, skip_orders
from r3d2_ros.harmonizer.diffusers_pipeline import Pipeline
from r3d2_ros.harmonizer.model import R3D2
from r3d2_ros.harmonizer.observed import Observed, observe
from r3d2_ros.harmonizer.pipeline_calls import ROUNDED
from r3d2_ros.harmonizer.variants import variant

PROBE_PX = (72, 104)
"""Rows and columns: multiples of 8 and of nothing larger, so that every padding rule gives another picture."""

EQUAL = 1e-3
"""Largest difference to the original that counts as the same picture, in float32."""

SURE = 1e-4
"""No other combination is tried once one comes this close."""


Position = Literal["after_upsample", "after_convolution"]
Range = Literal["signed", "unit"]
POSITIONS: tuple[Position, ...] = ("after_convolution", "after_upsample")
RANGES: tuple[Range, ...] = ("signed", "unit")
PADDINGS = (
    Padding(multiple_px=8),  # the probe's size needs none, whatever the mode
    *(Padding(mode="replicate", multiple_px=multiple) for multiple in (16, 32, 64)),
    *(Padding(mode="reflect", multiple_px=multiple) for multiple in (16, 32, 64)),
)


@dataclass(frozen=True)
class Trial:
    """A combination: the order of the skips is the one that their names say, or the other."""

    position: Position
    input_range: Range
    padding: Padding
    reverse_skips: bool

    def __str__(self) -> str:
        order = "against their numbers" if self.reverse_skips else "by their numbers"
        padding = f"{self.padding.mode} to multiples of {self.padding.multiple_px} px"
        return f"skips {self.position} and {order}, input {self.input_range}, padding {padding}"


def model_from_pipeline(pipeline: Pipeline, choices: Choices, *, size_px: tuple[int, int] = PROBE_PX) -> Released:
    """The model of a pipeline in the sizes of `choices.variant`, or of the one whose autoencoder it has.

    size_px  (height, width) of the image that the pipeline is run on
    InputError(s): tensors that the model has and the pipeline lacks, other shapes, or no combination whose picture is
    the pipeline's.
    """
    generator = torch.Generator().manual_seed(0)
    image = (torch.rand(1, 3, *size_px, generator=generator) * 255).round() / 255
    seen = observe(pipeline, image.to(pipeline.device))
    found = merged(named(seen.tensors), seen.lora_alpha, pipeline.where)
    config = variant(choices.variant or likely_variant(found))
    config = replace(config, timestep=seen.timestep, schedule=seen.schedule or config.schedule)
    orders = skip_orders(found, config, pipeline.where)
    prompt = PromptInput(embedding=seen.prompt)
    released = build(found, config, prompt=prompt, choices=choices, order=orders[0], where=pipeline.where)
    trial, model, difference = _best(released.model, seen, both_orders=len(orders) == 2)
    eight_bit = pipeline.form is not None and pipeline.form.eight_bit
    limit = ROUNDED if eight_bit else EQUAL
    if not difference <= limit:
        hint = (
            "Something else than what is tried here differs; without --allow-remote-code the folder is mapped by names"
        )
        got = f"{difference:.3g} at best, with {trial}"
        raise InputError(pipeline.where, f"pictures that differ from the pipeline's by {limit:.2g} at most", got, hint)
    bits = " (its pictures have 8 bits)" if eight_bit else ""
    notes = [
        f"the pipeline was run: timestep {seen.timestep}, prompt embedding of {seen.prompt.shape[1]} tokens, {trial}",
        f"largest difference to the pipeline's picture of {size_px[0]}x{size_px[1]}: {difference:.2g}{bits}",
    ]
    if seen.sampled:
        notes.append("the pipeline samples its latents from a distribution; a checkpoint takes its mean")
    return replace(released, model=model, notes=tuple(notes))


def _best(model: R3D2, seen: Observed, *, both_orders: bool) -> tuple[Trial, R3D2, float]:
    built: dict[tuple[Position, bool], R3D2] = {}
    results: list[tuple[float, Trial]] = []
    for trial in _trials(model.config, both_orders=both_orders):
        kind = trial.position, trial.reverse_skips
        if kind not in built:
            built[kind] = _with_skips(model, trial)
        difference = _difference(_with_rules(built[kind], trial), seen)
        results.append((difference, trial))
        if difference <= SURE:
            break
    difference, trial = min(results, key=lambda result: result[0])
    return trial, _with_rules(built[trial.position, trial.reverse_skips], trial), difference


def _difference(model: R3D2, seen: Observed) -> float:
    with torch.inference_mode():
        return float((model(seen.image) - seen.output).abs().max())


def _trials(config: ModelConfig, *, both_orders: bool) -> Iterator[Trial]:
    """The configuration's own choices first."""
    positions = sorted(POSITIONS, key=lambda position: position != config.skips.position)
    paddings = sorted(PADDINGS, key=lambda padding: padding != config.padding)
    for padding, input_range, reverse, position in product(
        paddings, RANGES, (False, True) if both_orders else (False,), positions
    ):
        yield Trial(position, input_range, padding, reverse)


def _with_skips(model: R3D2, trial: Trial) -> R3D2:
    """A model of the same tensors, the skips where and as the trial says."""
    config = replace(model.config, skips=replace(model.config.skips, position=trial.position))
    tensors = model.state_dict()
    if trial.reverse_skips:
        last = len(model.decoder.skips) - 1
        for key in [key for key in tensors if key.startswith("decoder.skips.")]:
            level, _, kind = key.removeprefix("decoder.skips.").partition(".")
            tensors[key] = model.state_dict()[f"decoder.skips.{last - int(level)}.{kind}"]
    return assemble(config, tensors, where="the converted model")


def _with_rules(model: R3D2, trial: Trial) -> R3D2:
    """The very model, its padding and the range of its images as the trial says."""
    model.config = replace(model.config, input_range=trial.input_range, padding=trial.padding)
    return model
