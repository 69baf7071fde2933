"""Seeded random numbers for a model: for benchmarks and tests, where the speed counts and not the picture."""

from __future__ import annotations

import math
import reprlib
from dataclasses import replace

import torch
from torch import Tensor

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.model.checkpoints import empty_model, filled
from r3d2_ros.harmonizer.model.config import Licence, ModelConfig
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.model.tensor_files import shapes_of

RANDOM_LICENCE = Licence(name="none needed", source="random numbers", commercial=True)


def is_random(config: ModelConfig) -> bool:
    """Whether a checkpoint's weights are random numbers that no training has changed."""
    return RANDOM_LICENCE in config.licences and not config.trained_on


def random_model(config: ModelConfig, *, seed: int) -> R3D2:
    """A model on the CPU in float32 whose weights keep variances about level, none of them zero, the skips included.

    The same seed gives the same numbers everywhere; each tensor has a stream of its own in the order of the keys.
    InputError for a seed that PyTorch does not take.
    """
    if not -(2**63) <= seed < 2**64:
        raise InputError("seed of random weights", "a whole number from -2**63 to 2**64 - 1", reprlib.repr(seed))
    generator = torch.Generator().manual_seed(seed)
    model = empty_model(replace(config, licences=(RANDOM_LICENCE,)))
    shapes = shapes_of(model.state_dict().items())
    return filled(model, {key: _numbers(key, shapes[key], generator) for key in sorted(shapes)})


def _numbers(key: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    values = torch.randn(shape, generator=generator)
    if key == "prompt_embedding":
        return values
    if len(shape) > 1:
        return values / math.sqrt(math.prod(shape[1:]))
    # One-dimensional weights are the gains of normalisations, which rest at 1; the others are biases, which rest at 0.
    return values * 0.02 + (1.0 if key.endswith(".weight") else 0.0)
