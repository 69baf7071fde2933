"""What our Triton kernels share that take their tiles by tensor descriptors."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
import triton
from torch import Tensor
from triton.runtime.errors import OutOfResources
from triton.tools.tensor_descriptor import TensorDescriptor

Arguments = dict[str, Any]

MOST_PROGRAMS = 65_535
"""CUDA's, in every dimension but the first."""


class TiledKernel:
    """A Triton kernel with the tiles that it can be run with.

    The fastest one is measured at the first call with each set of values of the arguments `key`; where results are to
    repeat it is the first one for which the GPU has room.
    """

    def __init__(
        self, kernel: Any, tiles: list[triton.Config], *, grid: Callable[[Arguments], tuple[int, ...]], key: list[str]
    ) -> None:
        """`grid` gives the numbers of programs, by the arguments of a call and the sizes of a tile."""
        self.kernel, self.tiles, self._grid = kernel, tiles, grid
        timed = partial(triton.testing.do_bench, warmup=5, rep=20)  # milliseconds
        # One for each combination of dtypes, which the autotuner does not see in descriptors.
        self._fastest = cache(lambda dtypes: triton.autotune(tiles, key=key, do_bench=timed)(kernel))

    def __call__(self, arguments: Arguments) -> None:
        """Run with all arguments but the sizes of a tile."""
        if torch.are_deterministic_algorithms_enabled():
            self._run_first(arguments)
        else:
            dtypes = tuple(value.base.dtype for value in arguments.values() if isinstance(value, TensorDescriptor))
            self._fastest(dtypes)[self._grid](**arguments)

    def _run_first(self, arguments: Arguments) -> None:
        """With the first tile that the GPU has room for, the same one on each GPU of a kind."""
        for number, tile in enumerate(self.tiles):
            try:
                return self.run(tile, arguments)
            except OutOfResources:
                if number + 1 == len(self.tiles):
                    raise

    def run(self, tile: triton.Config, arguments: Arguments) -> None:
        """The same with one tile."""
        arguments = arguments | tile.kwargs
        tile.pre_hook(arguments)
        self.kernel[self._grid(arguments)](**arguments, num_warps=tile.num_warps, num_stages=tile.num_stages)


def tile(
    sizes: dict[str, int], *, blocks: Callable[[Arguments], dict[str, list[int]]], warps: int, stages: int
) -> triton.Config:
    """`blocks` gives each descriptor's part of a tile, by the arguments of the call and `sizes`. What the kernel takes
    by pointers needs none."""

    def set_blocks(arguments: Arguments) -> None:
        for name, shape in blocks(arguments).items():
            if isinstance(arguments[name], TensorDescriptor):
                arguments[name].block_shape = shape

    return triton.Config(sizes, num_warps=warps, num_stages=stages, pre_hook=set_blocks)


def product_tile(rows: int, outputs: int, *, warps: int, stages: int) -> triton.Config:
    """A tile of a matrix product: `inputs` [rows, STEP] times `weight` [outputs, STEP], into `output`."""

    def blocks(arguments: Arguments) -> dict[str, list[int]]:
        step = arguments["STEP"]
        return {"inputs": [rows, step], "weight": [outputs, step], "output": [rows, outputs]}

    return tile({"TILE_ROWS": rows, "TILE_OUTPUTS": outputs}, blocks=blocks, warps=warps, stages=stages)


def product_grid(arguments: Arguments) -> tuple[int, int, int]:
    """Of tiles of a matrix product: of outputs, then of rows in two dimensions, since each but the first has an end.

    Neighbours in the first dimension run at the same time and share their inputs.
    """
    rows = triton.cdiv(arguments["ROWS"], arguments["TILE_ROWS"])
    parts = triton.cdiv(rows, MOST_PROGRAMS)
    return triton.cdiv(arguments["OUTPUTS"], arguments["TILE_OUTPUTS"]), triton.cdiv(rows, parts), parts


def descriptor(tensor: Tensor) -> TensorDescriptor:
    """Of a dense tensor whose rows begin at multiples of 16 bytes. The part of a tile is set for each call."""
    assert tensor.is_contiguous(), tensor.stride()
    shape = list(tensor.shape)
    strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]  # a dimension of 1 may have any
    return TensorDescriptor(tensor, shape, strides, [1] * len(shape))
