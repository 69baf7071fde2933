"""The Triton kernel of 8-bit products: of rows, for linear layers, and of nine shifted rows, for 3x3 convolutions.

Tiles of both factors come by the tensor memory accelerator where the GPU has one (Hopper and later); outside of the
tensor it gives zeros, which are the frame above the first image and below the last one. Sums stay in Hopper's matrix
units, which keep about 14 bits of sums of 8-bit products: a small part of what 4 bits of each factor lose, and adding
to float32 on the way would have the units wait. Scales, bias and what the result is added to come last, before it is
rounded once.
"""

from __future__ import annotations

import triton
from torch import Tensor
from triton import language as tl

from r3d2_ros.harmonizer.triton_tiles import Arguments, TiledKernel, descriptor, product_grid, product_tile

TILES = [
    product_tile(128, 128, warps=8, stages=4),
    product_tile(128, 128, warps=4, stages=3),
    product_tile(128, 64, warps=4, stages=3),
    product_tile(256, 128, warps=8, stages=3),
    product_tile(128, 256, warps=8, stages=3),
    product_tile(64, 128, warps=4, stages=5),
    product_tile(64, 64, warps=4, stages=6),
    product_tile(64, 64, warps=4, stages=3),
]
"""All give the same bytes: each sums the same numbers in the same order. With three stages two or three programs share
a multiprocessor, and one multiplies while another stores."""

STEPS = (128, 64, 32)
"""Inputs that are multiplied at a time: the first of these that divides the channels."""


@triton.jit(do_not_specialize=["ROWS", "IMAGE_ROWS", "FRAME_WIDTH", "CHANNELS"])
def multiply(
    inputs,  # [ROWS, CHANNELS], rows of a linear layer or the pixels of framed images
    weight,  # [OUTPUTS, TAPS * CHANNELS]
    output,  # [rows or pixels without the frames, OUTPUTS]
    added,  # the same, if ADDED
    scale,  # [rows or images]
    weight_scale,  # [OUTPUTS]
    bias,  # [OUTPUTS]
    ROWS,
    IMAGE_ROWS,
    FRAME_WIDTH,
    CHANNELS,
    OUTPUTS,
    TAPS: tl.constexpr,
    ADDED: tl.constexpr,
    STEP: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_OUTPUTS: tl.constexpr,
):
    """One program computes a tile of the result. TAPS is 1 for a linear layer, 9 for a convolution."""
    first_output = tl.program_id(0) * TILE_OUTPUTS
    first_row = (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)) * TILE_ROWS
    steps_per_tap = CHANNELS // STEP
    total = tl.full((TILE_ROWS, TILE_OUTPUTS), 0.0, tl.float32)
    for step in range(TAPS * steps_per_tap):
        row = first_row
        if TAPS == 9:
            tap = step // steps_per_tap
            row += (tap // 3 - 1) * FRAME_WIDTH + tap % 3 - 1
        pixels = inputs.load([row, step % steps_per_tap * STEP])
        weights = weight.load([first_output, step * STEP])
        total = tl.dot(pixels, weights.T, total)

    rows = first_row + tl.arange(0, TILE_ROWS)
    there = rows < ROWS
    scales, places = rows, rows
    if TAPS == 9:
        scales, within = rows // IMAGE_ROWS, rows % IMAGE_ROWS
        height, width = IMAGE_ROWS // FRAME_WIDTH - 1, FRAME_WIDTH - 1
        there &= (within < height * FRAME_WIDTH) & (within % FRAME_WIDTH < width)
        places = rows - scales * (height + FRAME_WIDTH) - within // FRAME_WIDTH  # less the frames before it
    outputs = first_output + tl.arange(0, TILE_OUTPUTS)
    known = outputs < OUTPUTS
    row_scale = tl.load(scale + scales, mask=there, other=0.0)
    output_scale = tl.load(weight_scale + outputs, mask=known, other=0.0)
    shift = tl.load(bias + outputs, mask=known, other=0.0).to(tl.float32)
    result = total * row_scale[:, None] * output_scale[None, :] + shift[None, :]
    # Near the first place of the tile 32 bits are enough, and need half the registers.
    origin = tl.min(places, axis=0)
    start = origin.to(tl.int64) * OUTPUTS
    place = (places - origin)[:, None] * OUTPUTS + outputs[None, :]
    mask = there[:, None] & known[None, :]
    if ADDED:
        result += tl.load(added + start + place, mask=mask, other=0.0).to(tl.float32)
    tl.store(output + start + place, result.to(output.dtype.element_ty), mask=mask)


MULTIPLY = TiledKernel(multiply, TILES, grid=product_grid, key=["ROWS", "CHANNELS", "OUTPUTS", "TAPS", "ADDED"])


def launch_convolution(
    images: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor, added: Tensor | None
) -> Tensor:
    """`convolutions.framed_convolution` on the device of its arguments."""
    batch, frame_height, frame_width, _ = images.shape
    output = bias.new_empty((batch, frame_height - 1, frame_width - 1, weight.shape[0]))
    MULTIPLY(
        arguments_of(
            images, weight, output=output, scale=scale, weight_scale=weight_scale, bias=bias, added=added
        )
    )
    return output


def launch_product(rows: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor) -> Tensor:
    """`linears.product` on the device of its arguments."""
    output = bias.new_empty((rows.shape[0], weight.shape[0]))
    MULTIPLY(arguments_of(rows, weight, output=output, scale=scale, weight_scale=weight_scale, bias=bias, added=None))
    return output


def arguments_of(
    inputs: Tensor,
    weight: Tensor,
    *,
    output: Tensor,
    scale: Tensor,
    weight_scale: Tensor,
    bias: Tensor,
    added: Tensor | None,
) -> Arguments:
    """Of `multiply` for rows [R, C] or framed images [B, H + 1, W + 1, C], all but the sizes of its tiles."""
    assert added is None or added.is_contiguous()
    channels = inputs.shape[-1]
    _, frame_height, frame_width = inputs.shape[:3] if inputs.ndim == 4 else (0, 1, 1)
    rows = inputs.view(-1, channels)
    return {
        "inputs": descriptor(rows),
        "weight": descriptor(weight),
        "output": output,
        "added": output if added is None else added,
        "scale": scale,
        "weight_scale": weight_scale,
        "bias": bias,
        "ROWS": rows.shape[0],
        "IMAGE_ROWS": frame_height * frame_width,
        "FRAME_WIDTH": frame_width,
        "CHANNELS": channels,
        "OUTPUTS": weight.shape[0],
        "TAPS": weight.shape[1] // channels,
        "ADDED": added is not None,
        "STEP": next(step for step in STEPS if channels % step == 0),
    }
