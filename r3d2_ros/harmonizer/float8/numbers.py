"""Rounding to 8 bit with a scale."""

from __future__ import annotations

import torch
from torch import Tensor

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
"""448"""

TINY = torch.finfo(torch.float32).tiny

SILU_DEPTH = 0.2784646
"""No value of SiLU is below minus this."""


def scale_of(largest: Tensor) -> Tensor:
    """The float32 scale by which numbers up to `largest` use all that 8 bits can hold; never 0."""
    return (largest.float() / LARGEST).clamp(min=TINY)


def scaled(numbers: Tensor, scale: Tensor) -> Tensor:
    """numbers / scale in float32, within what 8 bits can hold."""
    return (numbers.float() / scale).clamp(-LARGEST, LARGEST)


def quantised(rows: Tensor) -> tuple[Tensor, Tensor]:
    """[R, K] as 8-bit numbers of the same shape and float32 scales [R, 1]; their product is near `rows`."""
    scale = scale_of(rows.abs().amax(dim=1, keepdim=True))
    return scaled(rows, scale).to(FLOAT8), scale
