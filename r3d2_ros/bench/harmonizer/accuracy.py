"""Is the fast path the same function? Its error against float32, beside the error that 16-bit numbers alone make."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from r3d2_ros.bench.harmonizer.faults import BrokenPathError
from r3d2_ros.harmonizer.base import ImageModel
from r3d2_ros.harmonizer.model.r3d2 import DTYPES, R3D2
from r3d2_ros.harmonizer.runtime.numerics import numerics

RATIO_L2, RATIO_MAX = 1.25, 1.5
"""A path in 16 bit may have this many times the error of the plain module in the same 16 bit."""

Outputs = list[tuple[str, Tensor]]
"""Name of a picture and its output [1, 3, H, W] float32 on the CPU."""


@dataclass(frozen=True)
class Error:
    """relative_l2: |out - reference| / |reference| over all images; max_abs: in units of the range [0, 1]."""

    relative_l2: float
    max_abs: float


@dataclass(frozen=True, eq=False)
class Reference:
    """What the outputs are compared with.

    pictures   name -> image [1, 3, H, W] float32 on the CPU
    outputs    name -> the plain module's output in float32 without TF32, on the CPU
    saturated  share of output values that are exactly 0 or 1, where errors cannot show
    """

    pictures: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    saturated: float


def make_reference(model: R3D2, pictures: Mapping[str, Tensor], device: torch.device) -> Reference:
    """`model` is on the CPU in float32 and stays there."""
    with numerics(device, deterministic=False):
        outputs = dict(checked_outputs(plain_path(model, torch.float32, device), pictures, device))
    values = torch.cat([out.flatten() for out in outputs.values()])
    saturated = float(((values == 0) | (values == 1)).float().mean())
    return Reference(pictures, outputs, saturated)


def plain_path(model: R3D2, dtype: torch.dtype, device: torch.device) -> ImageModel:
    """The module as PyTorch runs it, in `dtype`; nothing of the runtime has a part in it."""
    module = copy.deepcopy(model).to(device=device, dtype=dtype).requires_grad_(False).eval()
    return module


@torch.inference_mode()
def checked_outputs(
    path: ImageModel, pictures: Mapping[str, Tensor], device: torch.device, *, batch: int = 1
) -> Outputs:
    """Every picture at every place of a batch. BrokenPathError where an output is not all written or not finite.

    Before each pass the last output is filled with NaN and let go: a path that hands out one buffer again and again,
    or memory that it does not write, shows it.
    """
    names = list(pictures)
    outputs: list[tuple[str, Tensor]] = []
    for first in range(-1, len(names)):  # the first of all only leaves memory to poison
        members = [names[(first + k) % len(names)] for k in range(batch)]
        images = torch.cat([pictures[name] for name in members]).to(device)
        out = path(images)
        if out.shape != images.shape:
            raise BrokenPathError(f"expected an output of shape {list(images.shape)}, got {list(out.shape)}")
        if first >= 0:
            outputs += zip(members, out.float().cpu().clone().split(1), strict=True)
        out.fill_(math.nan)
        del out, images
    for name, out in outputs:
        missing = int((~out.isfinite()).sum())
        if missing:
            share = missing / out.numel()
            raise BrokenPathError(f"picture '{name}': {share:.2%} of the output is not written, NaN or infinite")
    return outputs


def error_of(outputs: Outputs, reference: Reference) -> Error:
    """Over all outputs together, in float64."""
    squares = difference_squares = worst = 0.0
    for name, out in outputs:
        expected = reference.outputs[name].double()
        difference = out.double() - expected
        difference_squares += float(difference.square().sum())
        squares += float(expected.square().sum())
        worst = max(worst, float(difference.abs().max()))
    return Error(math.sqrt(difference_squares / squares) if squares else math.inf, worst)


def judged(error: Error, *, dtype: str, yardstick: Error | None) -> dict[str, Any]:
    """Row entries: the error, the yardstick's, their ratios, and whether the limits are kept.

    yardstick     error of the plain module in the same 16-bit type, None for other types
    within_limit  None where there is no yardstick to judge by
    """
    facts: dict[str, Any] = {**asdict(error), "eager_16bit": None, "ratio_l2": None, "ratio_max": None}
    if yardstick is None:
        reason = {"float32": "float32 has no 16-bit yardstick", "float8": "8-bit numbers change the output"}
        overflow = f"the plain module in {dtype} gives NaN or infinity"
        return {**facts, "within_limit": None, "not_judged": reason.get(dtype, overflow)}
    ratio_l2, ratio_max = error.relative_l2 / yardstick.relative_l2, error.max_abs / yardstick.max_abs
    return {
        **facts,
        "eager_16bit": asdict(yardstick),
        "ratio_l2": ratio_l2,
        "ratio_max": ratio_max,
        "limit_l2": RATIO_L2,
        "limit_max": RATIO_MAX,
        "within_limit": ratio_l2 <= RATIO_L2 and ratio_max <= RATIO_MAX,
    }


SIXTEEN_BIT = tuple(name for name, dtype in DTYPES.items() if dtype.itemsize == 2)
