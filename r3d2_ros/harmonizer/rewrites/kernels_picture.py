"""The Triton kernel of `fuse_picture`: a 3x3 convolution of three channels as one matrix product of 27 inputs."""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

TILE_PIXELS = 128
MOST_OUTPUTS = 128
"""Of a tile."""

INPUTS = 32
"""27 and zeros: the matrix units take multiples of 16."""


@triton.jit(do_not_specialize=["HEIGHT", "WIDTH"])
def convolve(
    x, weight, bias, output, HEIGHT, WIDTH, OUTPUTS, IMAGE, CHANNEL, ROW, PIXEL,
    INPUTS: tl.constexpr, TILE_PIXELS: tl.constexpr, TILE_OUTPUTS: tl.constexpr,
):  # fmt: skip
    """One program computes TILE_OUTPUTS outputs of TILE_PIXELS pixels of an image. `weight` is [outputs, 3, 3, 3]."""
    pixels = tl.program_id(0) * TILE_PIXELS + tl.arange(0, TILE_PIXELS)
    outputs = tl.program_id(1) * TILE_OUTPUTS + tl.arange(0, TILE_OUTPUTS)
    image = tl.program_id(2).to(tl.int64)
    inputs = tl.arange(0, INPUTS)
    channels, taps = inputs // 9, inputs % 9
    rows = (pixels // WIDTH)[:, None] + (taps // 3 - 1)[None, :]
    columns = (pixels % WIDTH)[:, None] + (taps % 3 - 1)[None, :]
    known = (inputs < 27)[None, :]
    inside = (rows >= 0) & (rows < HEIGHT) & (columns >= 0) & (columns < WIDTH) & known
    offsets = rows * ROW + columns * PIXEL + channels[None, :] * CHANNEL
    numbers = tl.load(x + image * IMAGE + offsets, mask=inside, other=0.0)
    there = outputs < OUTPUTS
    weights = tl.load(weight + outputs[:, None] * 27 + inputs[None, :], mask=there[:, None] & known, other=0.0)
    result = tl.dot(numbers, weights.T)
    result += tl.load(bias + outputs, mask=there, other=0.0).to(tl.float32)[None, :]
    place = (image * HEIGHT * WIDTH + pixels)[:, None] * OUTPUTS + outputs[None, :]
    mask = (pixels < HEIGHT * WIDTH)[:, None] & there[None, :]
    tl.store(output + place, result.to(output.dtype.element_ty), mask=mask)


def launch(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`fuse_picture.convolved_picture` in 16 bit on the device of x, dense with the channels last."""
    batch, _, height, width = x.shape
    outputs = weight.shape[0]
    output = torch.empty((batch, height, width, outputs), dtype=x.dtype, device=x.device)
    tile = min(MOST_OUTPUTS, max(16, triton.next_power_of_2(outputs)))
    image, channel, row, pixel = x.stride()
    convolve[triton.cdiv(height * width, TILE_PIXELS), triton.cdiv(outputs, tile), batch](
        x, weight.contiguous(), bias, output, HEIGHT=height, WIDTH=width, OUTPUTS=outputs,
        IMAGE=image, CHANNEL=channel, ROW=row, PIXEL=pixel,
        INPUTS=INPUTS, TILE_PIXELS=TILE_PIXELS, TILE_OUTPUTS=tile, num_warps=8 if tile == MOST_OUTPUTS else 4,
    )  # fmt: skip
    return output.permute(0, 3, 1, 2)
