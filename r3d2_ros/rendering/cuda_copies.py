"""Copies between a GPU and the host through page-locked memory; those to the host are waited for, all at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import NDArray
from torch import Tensor


def to_host(tensors: Sequence[Tensor]) -> list[NDArray]:
    """The tensors of one device as arrays, complete when this returns. On the CPU they share the tensors' memory.

    Page-locked memory makes copies from a GPU several times faster.
    """
    if not tensors or tensors[0].device.type != "cuda":
        return [tensor.numpy() for tensor in tensors]
    copies = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
    for copy, tensor in zip(copies, tensors, strict=True):
        copy.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensors[0].device).synchronize()
    return [copy.numpy() for copy in copies]


def to_device(array: NDArray, device: torch.device) -> Tensor:
    """The array as a tensor of a device, for work on the current stream. On the CPU they share the array's memory.

    A copy from memory that is not page-locked would wait for what the GPU has still to do.
    """
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor).to(device, non_blocking=True)


def rgb8_tensor(rgb: Tensor) -> Tensor:
    """`to_rgb8` on a device: clip(rgb, 0, 1) * 255, rounded half up, uint8; NaN gives 0. Any shape."""
    return (torch.nan_to_num(rgb * 255 + 0.5, nan=0.0).clamp_(0, 255)).to(torch.uint8)

