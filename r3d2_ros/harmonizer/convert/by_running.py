"""A released pipeline converted by running it: whatever its files leave open is chosen so that the pictures agree.

Open are where skips join the decoder, their order where all have one shape, the range in which images enter the
autoencoder, and how sizes are padded. There are a few dozen combinations; each is tried on one small image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product

import torch

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.convert.choices import Choices, PromptInput
from r3d2_ros.harmonizer.convert.lora import take_apart
from r3d2_ros.harmonizer.convert.observed import Observed, observe
from r3d2_ros.harmonizer.convert.released import Released, build, likely_variant, merged, named, skip_orders
from r3d2_ros.harmonizer.model.checkpoints import assemble
from r3d2_ros.harmonizer.model.config import InputRange, ModelConfig, Padding, Position
from r3d2_ros.harmonizer.model.r3d2 import R3D2, pad_image
from r3d2_ros.harmonizer.model.variants import variant
from r3d2_ros.harmonizer.noise import noise
from r3d2_ros.harmonizer.pipelines.calls import ROUNDED
from r3d2_ros.harmonizer.pipelines.network import Pipeline
from r3d2_ros.harmonizer.runtime.numerics import numerics

PROBE_PX = (72, 104)
"""Rows and columns: multiples of 8 and of nothing larger, so that every padding rule gives another picture."""

EQUAL = 1e-3
"""Largest difference to the original that counts as the same picture, in float32."""

SURE = 1e-4
"""No other combination is tried once one comes this close."""

POSITIONS: tuple[Position, ...] = ("after_convolution", "after_upsample")
RANGES: tuple[InputRange, ...] = ("signed", "unit")
PADDINGS = (
    Padding(multiple_px=8),  # the probe's size needs none, whatever the mode
    *(Padding(mode="replicate", multiple_px=multiple) for multiple in (16, 32, 64)),
    *(Padding(mode="reflect", multiple_px=multiple) for multiple in (16, 32, 64)),
)


@dataclass(frozen=True)
class Trial:
    """A combination: the order of the skips is the one that their names say, or the other."""

    position: Position
    input_range: InputRange
    padding: Padding
    reverse_skips: bool

    def steps_to(self, other: Trial) -> int:
        """In how many of its choices `other` differs."""
        return sum(getattr(self, one.name) != getattr(other, one.name) for one in fields(self))

    def __str__(self) -> str:
        order = "against their numbers" if self.reverse_skips else "by their numbers"
        return f"skips {self.position} and {order}, input {self.input_range}, padding {_as_text(self.padding)}"


def _as_text(padding: Padding) -> str:
    return f"{padding.mode} to multiples of {padding.multiple_px} px"


def model_from_pipeline(pipeline: Pipeline, choices: Choices, *, size_px: tuple[int, int] = PROBE_PX) -> Released:
    """The model of a pipeline in the sizes of `choices.variant`, or of the one whose autoencoder it has.

    size_px  (height, width) of the image that the pipeline is run on
    InputError(s): tensors that the model has and the pipeline lacks, other shapes, or no combination whose picture is
    the pipeline's.
    """
    image = (noise(1, *size_px) * 255).round() / 255
    seen = observe(pipeline, image.to(pipeline.device))
    adapted = take_apart(named(seen.tensors, where=pipeline.where), where=pipeline.where)
    found = merged(adapted, seen.lora_alpha, pipeline.where)
    config = variant(choices.variant or likely_variant(found))
    config = replace(config, timestep=seen.timestep, schedule=seen.schedule or config.schedule)
    orders = skip_orders(found, config, pipeline.where)
    prompt = PromptInput(embedding=seen.prompt)
    released = build(found, config, prompt=prompt, choices=choices, order=orders[0], where=pipeline.where)
    best = _best(released.model, seen, both_orders=len(orders) == 2)
    eight_bit = pipeline.form is not None and pipeline.form.eight_bit
    limit = ROUNDED if eight_bit else EQUAL
    if not best.difference <= limit:
        hint = (
            "Something else than what is tried differs. A pipeline made for one size may need --size, such as "
            "1080x1920; without --allow-remote-code names alone decide"
        )
        got = f"{best.difference:.3g} at best, with {best.trial}"
        got += f"; {seen.other_diffusion}" if seen.other_diffusion else ""
        raise InputError(pipeline.where, f"pictures that differ from the pipeline's by {limit:.2g} at most", got, hint)
    return replace(released, model=best.model, notes=_notes(seen, best, limit=limit))


def _notes(seen: Observed, best: Choice, *, limit: float) -> tuple[str, ...]:
    height, width = seen.image.shape[-2:]
    bits = ", because its pictures have 8 bits" if limit == ROUNDED else ""
    tokens = seen.prompt.shape[1]
    notes = [
        f"the pipeline was run: timestep {seen.timestep}, prompt embedding of {tokens} tokens, {best.trial}",
        f"largest difference to the pipeline's picture of {height}x{width}: {best.difference:.2g}; "
        f"the limit is {limit:.2g}{bits}",
        *(f"this picture does not tell it from: {trial}" for trial in best.as_close),
        *(f"not tried, because {height}x{width} is too small: padding {_as_text(rule)}" for rule in _too_large(seen)),
    ]
    if seen.sampled:
        notes.append("the pipeline samples its latents from a distribution; a checkpoint takes its mean")
    return tuple(notes)


@dataclass(frozen=True)
class Choice:
    """The trial that comes closest, its model, and other trials, one step away from it, whose picture is as close."""

    trial: Trial
    model: R3D2
    difference: float
    as_close: tuple[Trial, ...]


def _best(model: R3D2, seen: Observed, *, both_orders: bool) -> Choice:
    built: dict[tuple[Position, bool], R3D2] = {}

    def tried(trial: Trial) -> R3D2:
        kind = trial.position, trial.reverse_skips
        if kind not in built:
            built[kind] = _with_skips(model, trial)
        return _with_rules(built[kind], trial)

    results: list[tuple[float, Trial]] = []
    trials = list(_trials(model.config, _fitting(seen), both_orders=both_orders))
    for trial in trials:
        results.append((_difference(tried(trial), seen), trial))
        if results[-1][0] <= SURE:
            break
    difference, best = min(results, key=lambda result: result[0])
    others = [trial for trial in trials if trial.steps_to(best) == 1]
    as_close = tuple(t for t in others if _difference(tried(t), seen) <= max(SURE, difference))
    return Choice(best, tried(best), difference, as_close)


def _difference(model: R3D2, seen: Observed) -> float:
    """Infinite where a model gives NaN, so that it compares as the worst."""
    with torch.inference_mode(), numerics(seen.image.device, deterministic=False):
        return float((model(seen.image) - seen.output).abs().nan_to_num(nan=math.inf).max())


def _fitting(seen: Observed) -> list[Padding]:
    """Paddings that the picture is large enough for."""

    def fits(padding: Padding) -> bool:
        try:
            pad_image(seen.image.to("meta"), padding)
        except InputError:
            return False
        return True

    return [padding for padding in PADDINGS if fits(padding)]


def _too_large(seen: Observed) -> list[Padding]:
    fitting = _fitting(seen)
    return [padding for padding in PADDINGS if padding not in fitting]


def _trials(config: ModelConfig, fitting: Sequence[Padding], *, both_orders: bool) -> Iterator[Trial]:
    """The configuration's own choices first."""
    positions = sorted(POSITIONS, key=lambda position: position != config.skips.position)
    paddings = sorted(fitting, key=lambda padding: padding != config.padding)
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
