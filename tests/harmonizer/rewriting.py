"""What the tests of the rewrites share: chosen rewrites, the parts of a model one by one, and the operators it ran."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.rewrites import REWRITES, rewritten
from r3d2_ros.harmonizer.settings import RewritesConfig

EXACT = 1e-12
"""Relative, in float64, where rounding is 1e-16."""


def with_only(model: R3D2, *names: str) -> R3D2:
    """The model with these rewrites and no other."""
    return rewritten(model, RewritesConfig(**{name: name in names for name in REWRITES}))


@torch.no_grad()
def worst_difference(model: R3D2, other: R3D2, image: Tensor) -> float:
    """The largest relative difference of any part's output, each part fed with what `model` makes."""
    latents, taps = model.encoder(image)
    other_latents, other_taps = other.encoder(image)
    pairs = [
        (latents, other_latents),
        *zip(taps, other_taps, strict=True),
        (model.predict_epsilon(latents), other.predict_epsilon(latents)),
        (model.decoder(latents, taps), other.decoder(latents, taps)),
    ]
    return max(relative(a, b) for a, b in pairs)


def relative(expected: Tensor, got: Tensor) -> float:
    assert expected.shape == got.shape and expected.dtype == got.dtype
    with torch.no_grad():
        return float((got - expected).abs().max() / expected.abs().max())


class Operators(TorchDispatchMode):
    """Counts the operators that run, and keeps the most elements that a result of each had."""

    def __init__(self) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.largest: dict[str, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        self.count[name] = self.count.get(name, 0) + 1
        if isinstance(result, Tensor):
            self.largest[name] = max(self.largest.get(name, 0), result.numel())
        return result


def operators(call: Callable[[], object]) -> Operators:
    """What ran in `call`."""
    with torch.no_grad(), Operators() as ran:
        call()
    return ran
