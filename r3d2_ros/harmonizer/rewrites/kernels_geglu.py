"""The Triton kernel of `fuse_geglu`: two matrix products of the same inputs, and what becomes of them, in one pass."""

from __future__ import annotations

import triton
from torch import Tensor
from triton import language as tl

from r3d2_ros.harmonizer.tiles import Arguments, TiledKernel, descriptor, product_grid, product_tile

STEP = 64
"""Inputs that are multiplied at a time: 128 bytes of a row in 16 bit."""


TILES = [
    product_tile(128, 128, warps=8, stages=4),
    product_tile(128, 64, warps=4, stages=4),
    product_tile(128, 64, warps=8, stages=4),
    product_tile(64, 128, warps=4, stages=4),
    product_tile(64, 64, warps=4, stages=5),
]


@triton.jit(do_not_specialize=["ROWS", "INPUTS", "OUTPUTS"])
def multiply(
    inputs,  # [ROWS, INPUTS]
    weight,  # [2 OUTPUTS, INPUTS]
    bias,  # [2 OUTPUTS]
    output,  # [ROWS, OUTPUTS]
    ROWS,
    INPUTS,
    OUTPUTS,
    STEP: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_OUTPUTS: tl.constexpr,
):
    """One program computes a tile of the result."""
    first_output = tl.program_id(0) * TILE_OUTPUTS
    first_row = tl.program_id(1) * TILE_ROWS
    value = tl.full((TILE_ROWS, TILE_OUTPUTS), 0.0, tl.float32)
    gate = tl.full((TILE_ROWS, TILE_OUTPUTS), 0.0, tl.float32)
    for start in range(0, INPUTS, STEP):
        tokens = inputs.load([first_row, start])
        value = tl.dot(tokens, weight.load([first_output, start]).T, value)
        gate = tl.dot(tokens, weight.load([OUTPUTS + first_output, start]).T, gate)
    outputs = first_output + tl.arange(0, TILE_OUTPUTS)
    known = outputs < OUTPUTS
    value += tl.load(bias + outputs, mask=known, other=0.0).to(tl.float32)[None, :]
    gate += tl.load(bias + OUTPUTS + outputs, mask=known, other=0.0).to(tl.float32)[None, :]
    result = value * gate * 0.5 * (1.0 + tl.erf(gate * 0.7071067811865476))
    output.store([first_row, first_output], result.to(output.dtype))


MULTIPLY = TiledKernel(multiply, TILES, grid=product_grid, key=["ROWS", "INPUTS", "OUTPUTS"])


def launch(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`fuse_geglu.geglu` on the device of its arguments, dense, in 16 bit."""
    rows = inputs.view(-1, inputs.shape[-1])
    output = rows.new_empty((rows.shape[0], weight.shape[0] // 2))
    MULTIPLY(arguments_of(rows, weight, bias, output))
    return output.view(*inputs.shape[:-1], -1)


def arguments_of(rows: Tensor, weight: Tensor, bias: Tensor, output: Tensor) -> Arguments:
    """Of `multiply`, all but the sizes of its tiles."""
    return {
        "inputs": descriptor(rows),
        "weight": descriptor(weight),
        "bias": bias,
        "output": descriptor(output),
        "ROWS": rows.shape[0],
        "INPUTS": rows.shape[1],
        "OUTPUTS": output.shape[1],
        "STEP": STEP,
    }
