"""What our Triton kernels share that take their tiles by tensor descriptors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

_timed = partial(triton.testing.do_bench, warmup=5, rep=20)  # milliseconds


def fastest(kernel: Any, tiles: list[triton.Config], key: list[str]) -> Any:
    """`kernel` with the tile that is fastest for each set of values of the arguments `key`, measured at the first."""
    return triton.autotune(tiles, key=key, do_bench=_timed)(kernel)


def tile(
    sizes: dict[str, int], *, blocks: Callable[[dict[str, Any]], dict[str, list[int]]], warps: int, stages: int
) -> triton.Config:
    """`blocks` gives each descriptor's part of a tile, by the arguments of the call and `sizes`."""

    def set_blocks(arguments: dict[str, Any]) -> None:
        for name, shape in blocks(arguments).items():
            arguments[name].block_shape = shape

    return triton.Config(sizes, num_warps=warps, num_stages=stages, pre_hook=set_blocks)


def descriptor(tensor: Tensor) -> TensorDescriptor:
    """Of a dense tensor whose rows begin at multiples of 16 bytes. The part of a tile is set for each call."""
    return TensorDescriptor.from_tensor(tensor, [1] * tensor.ndim)
