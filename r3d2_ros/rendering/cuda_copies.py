"""Copies between a GPU and the host through page-locked memory; those to the host are waited for, all at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
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


def to_host_aside(tensor: Tensor) -> NDArray:
    """A complete tensor as an array. On a GPU the copy does not wait for what it has still to do."""
    if tensor.device.type != "cuda":
        return tensor.numpy()
    with torch.cuda.stream(aside(tensor.device, waits=False)):
        return to_host([tensor])[0]


class CopyAside:
    """A copy on the host that is made beside the work that is queued behind this. What is on the host is not copied."""

    def __init__(self, image: NDArray | Tensor) -> None:
        self._image = image  # whose memory is not to be used again before it is copied
        self._copied: torch.cuda.Event | None = None
        if isinstance(image, np.ndarray) or image.device.type != "cuda":
            self._array = np.asarray(image)
            return
        stream = aside(image.device, waits=True)
        stream.wait_stream(torch.cuda.current_stream(image.device))
        with torch.cuda.stream(stream):
            copy = torch.empty(image.shape, dtype=image.dtype, pin_memory=True).copy_(image, non_blocking=True)
            self._copied = torch.cuda.Event(blocking=True)  # who waits for it leaves its core to others
            self._copied.record(stream)
        self._array = copy.numpy()

    def array(self) -> NDArray:
        """Waits until it is complete."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._array


@cache
def aside(device: torch.device, *, waits: bool) -> torch.cuda.Stream:
    """A stream of the device for copies beside its work. Those that wait for some of it have one of their own: all that
    is queued in a stream waits with them."""
    return torch.cuda.Stream(device)


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

