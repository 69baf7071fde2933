"""Images in other sizes."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def enlarged(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images [B, C, h, w] at a larger `size` (rows, columns), bilinear."""
    return functional.interpolate(images, size=size, mode="bilinear", align_corners=False)


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
