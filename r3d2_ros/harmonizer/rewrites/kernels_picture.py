"""The Triton kernels of `fuse_picture`: 3x3 convolutions from and to a picture's three channels.

From it is one matrix product of 27 inputs. To it, a program goes down a strip of the image row by row, so that each
pixel is read once: the channels of a row of pixels times the weights of all nine taps, whose results then move one
pixel aside and wait for the rows below.
"""

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
    x, weight, bias, output, HEIGHT, WIDTH, OUTPUTS, IMAGE, CHANNEL, ROW, PIXEL, TO, FROM, TAP_ROW, TAP_COLUMN,
    INPUTS: tl.constexpr, TILE_PIXELS: tl.constexpr, TILE_OUTPUTS: tl.constexpr,
):  # fmt: skip
    """One program computes TILE_OUTPUTS outputs of TILE_PIXELS pixels of an image.

    `weight` is [outputs, 3, 3, 3] with the strides TO, FROM, TAP_ROW, TAP_COLUMN.
    """
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
    factors = weight + outputs[:, None] * TO + (channels * FROM + taps // 3 * TAP_ROW + taps % 3 * TAP_COLUMN)[None, :]
    weights = tl.load(factors, mask=there[:, None] & known, other=0.0)
    result = tl.dot(numbers, weights.T)
    result += tl.load(bias + outputs, mask=there, other=0.0).to(tl.float32)[None, :]
    place = (image * HEIGHT * WIDTH + pixels)[:, None] * OUTPUTS + outputs[None, :]
    mask = (pixels < HEIGHT * WIDTH)[:, None] & there[None, :]
    tl.store(output + place, result.to(output.dtype.element_ty), mask=mask)


STRIP = 128
"""Pixels of a row that a program reads, of which it has all neighbours but for the first and the last."""

STRIP_ROWS = 34
"""Rows of the result for which a program reads two more."""

BLOCK, BLOCKS = 4, 4
"""Places for the three channels of the result, and for the rows that a row of pixels has a part in, three of them."""


@triton.jit(do_not_specialize=["HEIGHT", "WIDTH"])
def convolve_to_picture(
    x, weight, bias, output, HEIGHT, WIDTH, IMAGE, ROW, PIXEL, TO, FROM, TAP_ROW, TAP_COLUMN,
    CHANNELS: tl.constexpr, STRIP: tl.constexpr, STRIP_ROWS: tl.constexpr, BLOCK: tl.constexpr, PLACES: tl.constexpr,
):  # fmt: skip
    """`weight` is [3, CHANNELS, 3, 3] with the strides TO, FROM, TAP_ROW, TAP_COLUMN.

    Of PLACES the one of a tap's row and an output is BLOCK times the row, plus the output.
    """
    columns = tl.program_id(0) * (STRIP - 2) - 1 + tl.arange(0, STRIP)
    first, image = tl.program_id(1) * STRIP_ROWS, tl.program_id(2).to(tl.int64)
    channels, places, strip = tl.arange(0, CHANNELS), tl.arange(0, PLACES), tl.arange(0, STRIP)
    factors = weight + channels[:, None] * FROM + (places // BLOCK * TAP_ROW + places % BLOCK * TO)[None, :]
    filled = ((places // BLOCK < 3) & (places % BLOCK < 3))[None, :]
    left = tl.load(factors, mask=filled, other=0.0)
    middle = tl.load(factors + TAP_COLUMN, mask=filled, other=0.0)
    right = tl.load(factors + 2 * TAP_COLUMN, mask=filled, other=0.0)
    zeros = tl.zeros((STRIP, PLACES), tl.int32)
    before, after = zeros + tl.maximum(strip - 1, 0)[:, None], zeros + tl.minimum(strip + 1, STRIP - 1)[:, None]
    above = zeros + tl.maximum(places - BLOCK, 0)[None, :]
    inside = (columns >= 0) & (columns < WIDTH)
    colour = places - 2 * BLOCK
    shift = tl.load(bias + colour, mask=(colour >= 0) & (colour < 3), other=0.0).to(tl.float32)
    kept = inside & (strip > 0) & (strip < STRIP - 1)
    total = tl.zeros((STRIP, PLACES), tl.float32)
    for step in range(STRIP_ROWS + 2):
        row = first - 1 + step
        there = inside & (row >= 0) & (row < HEIGHT)
        pixels = x + image * IMAGE + row.to(tl.int64) * ROW + columns[:, None] * PIXEL + channels[None, :]
        numbers = tl.load(pixels, mask=there[:, None], other=0.0)
        # A pixel's part in the results to its right comes of the left tap.
        moved = tl.gather(tl.dot(numbers, left), before, axis=0) + tl.dot(numbers, middle)
        moved += tl.gather(tl.dot(numbers, right), after, axis=0)
        # Block b: what is known of row + 1 - b. The last one is complete.
        total = tl.where((places >= BLOCK)[None, :], tl.gather(total, above, axis=1), 0.0) + moved
        place = ((image * HEIGHT + row - 1) * WIDTH + columns)[:, None] * 3 + colour[None, :]
        mask = (kept & (row > first) & (row <= HEIGHT))[:, None] & ((colour >= 0) & (colour < 3))[None, :]
        tl.store(output + place, (total + shift[None, :]).to(output.dtype.element_ty), mask=mask)


def launch_to_picture(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`fuse_picture.convolved_to_picture` in 16 bit on the device of x, dense with the channels last."""
    batch, channels, height, width = x.shape
    output = torch.empty((batch, height, width, 3), dtype=x.dtype, device=x.device)
    image, channel, row, pixel = x.stride()
    assert channel == 1, x.stride()
    convolve_to_picture[triton.cdiv(width, STRIP - 2), triton.cdiv(height, STRIP_ROWS), batch](
        x, weight, bias, output, HEIGHT=height, WIDTH=width, IMAGE=image, ROW=row, PIXEL=pixel, **_strides(weight),
        CHANNELS=channels, STRIP=STRIP, STRIP_ROWS=STRIP_ROWS, BLOCK=BLOCK, PLACES=BLOCK * BLOCKS,
        num_warps=8, num_stages=3 if channels <= 64 else 2,
    )  # fmt: skip
    return output.permute(0, 3, 1, 2)


def launch(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`fuse_picture.convolved_picture` in 16 bit on the device of x, dense with the channels last."""
    batch, _, height, width = x.shape
    outputs = weight.shape[0]
    output = torch.empty((batch, height, width, outputs), dtype=x.dtype, device=x.device)
    tile = min(MOST_OUTPUTS, max(16, triton.next_power_of_2(outputs)))
    image, channel, row, pixel = x.stride()
    convolve[triton.cdiv(height * width, TILE_PIXELS), triton.cdiv(outputs, tile), batch](
        x, weight, bias, output, HEIGHT=height, WIDTH=width, OUTPUTS=outputs,
        IMAGE=image, CHANNEL=channel, ROW=row, PIXEL=pixel, **_strides(weight),
        INPUTS=INPUTS, TILE_PIXELS=TILE_PIXELS, TILE_OUTPUTS=tile, num_warps=8 if tile == MOST_OUTPUTS else 4,
    )  # fmt: skip
    return output.permute(0, 3, 1, 2)


def _strides(weight: Tensor) -> dict[str, int]:
    """As the kernels' arguments: it is read as it lies, in whichever order the model's tensors do."""
    return dict(zip(("TO", "FROM", "TAP_ROW", "TAP_COLUMN"), weight.stride(), strict=True))
