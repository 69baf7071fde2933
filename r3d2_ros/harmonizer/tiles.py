"""What our Triton kernels share that take their tiles by tensor descriptors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

Arguments = dict[str, Any]


class TiledKernel:
    """A Triton kernel with the tiles that it can be run with.

    The fastest one is measured at the first call with each set of values of the arguments `key`; where results are to
    repeat it is the first one.
    """

    def __init__(
        self, kernel: Any, tiles: list[triton.Config], *, grid: Callable[[Arguments], tuple[int, ...]], key: list[str]
    ) -> None:
        """`grid` gives the numbers of programs, by the arguments of a call and the sizes of a tile."""
        self.kernel, self.tiles, self._grid = kernel, tiles, grid
        timed = partial(triton.testing.do_bench, warmup=5, rep=20)  # milliseconds
        self._fastest = triton.autotune(tiles, key=key, do_bench=timed)(kernel)

    def __call__(self, arguments: Arguments) -> None:
        """Run with all arguments but the sizes of a tile."""
        if torch.are_deterministic_algorithms_enabled():
            self.run(self.tiles[0], arguments)
        else:
            self._fastest[self._grid](**arguments)

    def run(self, tile: triton.Config, arguments: Arguments) -> None:
        """The same with one tile."""
        arguments = arguments | tile.kwargs
        tile.pre_hook(arguments)
        self.kernel[self._grid(arguments)](**arguments, num_warps=tile.num_warps, num_stages=tile.num_stages)


def tile(
    sizes: dict[str, int], *, blocks: Callable[[Arguments], dict[str, list[int]]], warps: int, stages: int
) -> triton.Config:
    """`blocks` gives each descriptor's part of a tile, by the arguments of the call and `sizes`."""

    def set_blocks(arguments: Arguments) -> None:
        for name, shape in blocks(arguments).items():
            arguments[name].block_shape = shape

    return triton.Config(sizes, num_warps=warps, num_stages=stages, pre_hook=set_blocks)


def descriptor(tensor: Tensor) -> TensorDescriptor:
    """Of a dense tensor whose rows begin at multiples of 16 bytes. The part of a tile is set for each call."""
    return TensorDescriptor.from_tensor(tensor, [1] * tensor.ndim)
