"""The Triton kernel of `convolutions`: nine shifted matrix products over framed images.

Tiles of both factors come by the tensor memory accelerator where the GPU has one (Hopper and later); outside of the
tensor it gives zeros, which are the frame above the first image and below the last one. Sums are added to float32 once
in `STEP` inputs: of sums of 8-bit products Hopper's matrix units keep about 14 bits.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

from r3d2_ros.harmonizer.tiles import Arguments, TiledKernel, descriptor, product_grid, product_tile

TILES = [
    product_tile(128, 128, warps=8, stages=4),
    product_tile(128, 128, warps=4, stages=3),
    product_tile(128, 64, warps=4, stages=3),
    product_tile(256, 128, warps=8, stages=3),
    product_tile(64, 128, warps=4, stages=5),
    product_tile(64, 64, warps=4, stages=6),
    product_tile(64, 64, warps=4, stages=3),
]
"""All give the same bytes: each sums the same numbers in the same order. Adding to float32 waits for the matrix units;
with three stages two or three programs share a multiprocessor, and one multiplies while another adds."""

STEPS = (128, 64, 32)
"""Inputs that are multiplied at a time: the first of these that divides the channels."""


@triton.jit(do_not_specialize=["ROWS", "IMAGE_ROWS", "FRAME_WIDTH", "CHANNELS", "OUTPUTS"])
def convolve(
    inputs,  # [ROWS, channels], the pixels of framed images
    weight,  # [outputs, 9 channels]
    output,  # [ROWS, outputs]
    scale,  # [images]
    weight_scale,  # [outputs]
    bias,  # [outputs]
    ROWS,
    IMAGE_ROWS,
    FRAME_WIDTH,
    CHANNELS,
    OUTPUTS,
    STEP: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_OUTPUTS: tl.constexpr,
):
    """A row is a pixel of the framed images; one program computes a tile of the result."""
    first_output = tl.program_id(0) * TILE_OUTPUTS
    first_row = tl.program_id(1) * TILE_ROWS
    steps_per_tap = CHANNELS // STEP
    total = tl.full((TILE_ROWS, TILE_OUTPUTS), 0.0, tl.float32)
    for step in range(9 * steps_per_tap):
        tap = step // steps_per_tap
        row = first_row + (tap // 3 - 1) * FRAME_WIDTH + tap % 3 - 1
        pixels = inputs.load([row, step % steps_per_tap * STEP])
        weights = weight.load([first_output, step * STEP])
        total = tl.dot(pixels, weights.T, total, max_num_imprecise_acc=STEP)

    rows = first_row + tl.arange(0, TILE_ROWS)
    outputs = first_output + tl.arange(0, TILE_OUTPUTS)
    row_scale = tl.load(scale + rows // IMAGE_ROWS, mask=rows < ROWS, other=0.0)
    output_scale = tl.load(weight_scale + outputs, mask=outputs < OUTPUTS, other=0.0)
    shift = tl.load(bias + outputs, mask=outputs < OUTPUTS, other=0.0).to(tl.float32)
    result = total * row_scale[:, None] * output_scale[None, :] + shift[None, :]
    output.store([first_row, first_output], result.to(output.dtype))


CONVOLVE = TiledKernel(convolve, TILES, grid=product_grid, key=["ROWS", "CHANNELS", "OUTPUTS"])


def launch(images: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor) -> Tensor:
    """`convolutions.framed_convolution` on the device of its arguments."""
    output = torch.empty((*images.shape[:3], weight.shape[0]), dtype=bias.dtype, device=images.device)
    CONVOLVE(arguments_of(images, weight, output, scale, weight_scale, bias))
    return output


def arguments_of(
    images: Tensor, weight: Tensor, output: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor
) -> Arguments:
    """Of `convolve`, all but the sizes of its tiles, which the descriptors lack too."""
    count, frame_height, frame_width, channels = images.shape
    return {
        "inputs": descriptor(images.view(-1, channels)),
        "weight": descriptor(weight),
        "output": descriptor(output.view(-1, output.shape[-1])),
        "scale": scale,
        "weight_scale": weight_scale,
        "bias": bias,
        "ROWS": count * frame_height * frame_width,
        "IMAGE_ROWS": frame_height * frame_width,
        "FRAME_WIDTH": frame_width,
        "CHANNELS": channels,
        "OUTPUTS": weight.shape[0],
        "STEP": next(step for step in STEPS if channels % step == 0),
    }
