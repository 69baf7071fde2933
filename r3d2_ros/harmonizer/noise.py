"""Noise in the place of pictures."""

from __future__ import annotations

import torch
from torch import Tensor


def noise(images: int, height_px: int, width_px: int, *, seed: int = 0) -> Tensor:
    """Uniform [B,3,H,W] float32 in [0, 1] on the CPU, the same for the same seed."""
    return torch.rand(images, 3, height_px, width_px, generator=torch.Generator().manual_seed(seed))
