"""Reduced resolution: harmonize a smaller image, and add what changed, enlarged, to the full one.

Light and shadow are smooth, texture is not: the residual (output minus input) of the small image carries the former,
the full-resolution render keeps the latter. A residual is added, so that a shadow on fine texture dims its mean but
not its contrast.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Network = Callable[[Tensor], Tensor]
"""Images [B, 3, H, W] float32 in [0, 1] to images of the same shape, on the same device."""


def scale_of(resolution: str, height_px: int) -> float:
    """Factor in (0, 1] between a frame of `height_px` rows and what the network sees; rows such as 720p never enlarge.

    resolution  of `HarmonizerConfig`
    """
    if resolution in ("full", "half"):
        return 1.0 if resolution == "full" else 0.5
    return min(1.0, int(resolution.removesuffix("p")) / height_px)


def reduced_size(height_px: int, width_px: int, scale: float) -> tuple[int, int]:
    """Rows and columns of an image at `scale`, at least one of each."""
    return max(1, round(height_px * scale)), max(1, round(width_px * scale))


def run_reduced(images: Tensor, network: Network, scale: float) -> Tensor:
    """`network` at `scale` (see `scale_of`): images [B, 3, H, W] in [0, 1] to the same, clamped to [0, 1].

    With a scale of 1 this is the network itself. A network that changes nothing changes no bit.
    """
    if scale == 1.0:
        return network(images)
    height, width = images.shape[-2:]
    small = area_mean(images, reduced_size(height, width, scale))
    return (images + enlarged(network(small) - small, (height, width))).clamp(0, 1)


def enlarged(residual: Tensor, size: tuple[int, int]) -> Tensor:
    """What was changed in small images, [B, C, h, w], at a larger `size` (rows, columns)."""
    return functional.interpolate(residual, size=size, mode="bilinear", align_corners=False)


def area_mean(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images [B, C, H, W] at a smaller `size` (rows, columns): each pixel the mean of the area that it covers."""
    for dim, length in zip((-2, -1), size, strict=True):
        if length != images.shape[dim]:
            images = _mean_along(images, dim, length)
    return images


def _mean_along(images: Tensor, dim: int, length: int) -> Tensor:
    """One axis: output k covers [k, k + 1) * (input length / length); pixels at its ends count in part."""
    total = None
    for index, weights in _steps(images.shape[dim], length, images.dtype, images.device):
        part = images.index_select(dim, index) * (weights[:, None] if dim == -2 else weights)
        total = part if total is None else total + part
    assert total is not None
    return total


@lru_cache(maxsize=64)
def _steps(whole: int, length: int, dtype: torch.dtype, device: torch.device) -> tuple[tuple[Tensor, Tensor], ...]:
    """What `length` means of `whole` pixels are summed from: int64 indices [length] and weights [length] on the device.

    Kept, because each upload waits for the device.
    """
    ratio = whole / length
    starts = np.arange(length) * ratio
    steps = []
    for step in range(math.ceil(ratio) + 1):
        index = np.floor(starts).astype(np.int64) + step
        covered = np.minimum(starts + ratio, index + 1) - np.maximum(starts, index)
        if covered.max() < 1e-9:
            continue
        with torch.inference_mode(False):  # others may need gradients of images that are multiplied with them
            weights = torch.tensor(np.maximum(covered, 0) / ratio, dtype=dtype, device=device)
            steps.append((torch.tensor(np.minimum(index, whole - 1), device=device), weights))
    return tuple(steps)
