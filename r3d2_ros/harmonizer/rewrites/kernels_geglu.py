"""The Triton kernel of `fuse_geglu` and of `float8.linears.gated_product`.

Two matrix products of the same inputs, and what becomes of them, in one pass.
"""

from __future__ import annotations

import triton
from torch import Tensor
from triton import language as tl

from r3d2_ros.harmonizer.triton_tiles import Arguments, TiledKernel, descriptor, product_grid, product_tile

STEPS = {2: (64,), 1: (128, 64, 32)}
"""Inputs that are multiplied at a time, by the bytes of a number: 128 bytes of a row, or what divides their count."""

TILES = [
    product_tile(128, 128, warps=8, stages=4),
    product_tile(128, 64, warps=4, stages=4),
    product_tile(128, 64, warps=8, stages=4),
    product_tile(64, 128, warps=4, stages=4),
    product_tile(64, 64, warps=4, stages=5),
    product_tile(128, 64, warps=8, stages=3),
    product_tile(64, 128, warps=4, stages=2),
]
"""Of the last two, two programs share a multiprocessor, and one multiplies while another forms its gates."""


@triton.jit(do_not_specialize=["ROWS", "INPUTS", "OUTPUTS"])
def multiply(
    inputs,  # [ROWS, INPUTS]
    weight,  # [2 OUTPUTS, INPUTS]
    bias,  # [2 OUTPUTS]
    scale,  # [ROWS], if SCALED
    weight_scale,  # [2 OUTPUTS], if SCALED
    output,  # [ROWS, OUTPUTS]
    ROWS,
    INPUTS,
    OUTPUTS,
    SCALED: tl.constexpr,
    STEP: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_OUTPUTS: tl.constexpr,
):
    """One program computes a tile of the result."""
    first_output = tl.program_id(0) * TILE_OUTPUTS
    first_row = (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)) * TILE_ROWS
    value = tl.full((TILE_ROWS, TILE_OUTPUTS), 0.0, tl.float32)
    gate = tl.full((TILE_ROWS, TILE_OUTPUTS), 0.0, tl.float32)
    for start in range(0, INPUTS, STEP):
        tokens = inputs.load([first_row, start])
        values, gates = weight.load([first_output, start]), weight.load([OUTPUTS + first_output, start])
        value = tl.dot(tokens, values.T, value)
        gate = tl.dot(tokens, gates.T, gate)
    outputs = first_output + tl.arange(0, TILE_OUTPUTS)
    known = outputs < OUTPUTS
    if SCALED:
        rows = first_row + tl.arange(0, TILE_ROWS)
        row_scale = tl.load(scale + rows, mask=rows < ROWS, other=0.0)[:, None]
        value *= row_scale * tl.load(weight_scale + outputs, mask=known, other=0.0)[None, :]
        gate *= row_scale * tl.load(weight_scale + OUTPUTS + outputs, mask=known, other=0.0)[None, :]
    value += tl.load(bias + outputs, mask=known, other=0.0).to(tl.float32)[None, :]
    gate += tl.load(bias + OUTPUTS + outputs, mask=known, other=0.0).to(tl.float32)[None, :]
    result = value * gate * 0.5 * (1.0 + tl.erf(gate * 0.7071067811865476))
    output.store([first_row, first_output], result.to(output.dtype))


MULTIPLY = TiledKernel(multiply, TILES, grid=product_grid, key=["ROWS", "INPUTS", "OUTPUTS"])


def launch(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`fuse_geglu.geglu` on the device of its arguments, dense, in 16 bit."""
    rows = inputs.view(-1, inputs.shape[-1])
    output = rows.new_empty((rows.shape[0], weight.shape[0] // 2))
    MULTIPLY(arguments_of(rows, weight, bias=bias, output=output))
    return output.view(*inputs.shape[:-1], -1)


def launch_8_bit(rows: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor) -> Tensor:
    """`float8.linears.gated_product` on the device of its arguments."""
    output = bias.new_empty((rows.shape[0], weight.shape[0] // 2))
    MULTIPLY(
        arguments_of(rows, weight, bias=bias, output=output, scale=scale, weight_scale=weight_scale)
    )
    return output


def arguments_of(
    rows: Tensor,
    weight: Tensor,
    *,
    bias: Tensor,
    output: Tensor,
    scale: Tensor | None = None,
    weight_scale: Tensor | None = None,
) -> Arguments:
    """Of `multiply`, all but the sizes of its tiles."""
    inputs = rows.shape[1]
    steps = STEPS[rows.dtype.itemsize]
    return {
        "inputs": descriptor(rows),
        "weight": descriptor(weight),
        "bias": bias,
        "scale": bias if scale is None else scale,
        "weight_scale": bias if weight_scale is None else weight_scale,
        "output": descriptor(output),
        "ROWS": rows.shape[0],
        "INPUTS": inputs,
        "OUTPUTS": output.shape[1],
        "SCALED": scale is not None,
        "STEP": next((step for step in steps if inputs % step == 0), steps[-1]),
    }
