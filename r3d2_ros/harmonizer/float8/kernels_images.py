"""The Triton kernel of `convolutions.quantised_images`: norm, SiLU, rounding to 8 bit and the frame in one pass."""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

from r3d2_ros.harmonizer.float8.numbers import FLOAT8, LARGEST, SILU_DEPTH, TINY
from r3d2_ros.harmonizer.rewrites.kernels_norm import sizes

TILE_ROWS, TILE_CHANNELS = 64, 64
"""Of a tile of pixels."""


@triton.jit(do_not_specialize=["FRAME_PIXELS", "FRAME_WIDTH", "PIXELS", "WIDTH", "GROUPS"])
def quantise_tile(
    x, output, scales, gains, shifts, largest,
    FRAME_PIXELS, FRAME_WIDTH, PIXELS, WIDTH, CHANNELS, IMAGE, ROW, PIXEL, GROUPS,
    LARGEST: tl.constexpr, SILU_DEPTH: tl.constexpr, TINY: tl.constexpr,
    TILE_GROUPS: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_CHANNELS: tl.constexpr,
):  # fmt: skip
    """One tile of the framed image. Every program forms the image's scale, and the first one stores it."""
    image = tl.program_id(2).to(tl.int64)
    groups = tl.arange(0, TILE_GROUPS)
    top = tl.max(tl.load(largest + image * GROUPS + groups, mask=groups < GROUPS, other=-float("inf")), axis=0)
    top = tl.maximum(top / (1.0 + tl.exp(-top)), SILU_DEPTH)
    scale = tl.maximum(top / LARGEST, TINY)
    if tl.program_id(0) + tl.program_id(1) == 0:
        tl.store(scales + image, scale)

    pixels = tl.program_id(0) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    channels = tl.program_id(1) * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    rows, columns = pixels // FRAME_WIDTH, pixels % FRAME_WIDTH
    known = channels < CHANNELS
    there = ((columns < WIDTH) & (rows * WIDTH < PIXELS))[:, None] & known[None, :]
    offsets = rows.to(tl.int64) * ROW + columns * PIXEL
    numbers = tl.load(x + image * IMAGE + offsets[:, None] + channels[None, :], mask=there, other=0.0).to(tl.float32)
    gain = tl.load(gains + image * CHANNELS + channels, mask=known, other=0.0)
    shift = tl.load(shifts + image * CHANNELS + channels, mask=known, other=0.0)
    result = numbers * gain[None, :] + shift[None, :]
    result = result / (1.0 + tl.exp(-result)) * (1.0 / scale)
    # NaN stays NaN, for whoever looks for it.
    result = tl.minimum(result, LARGEST, propagate_nan=tl.PropagateNan.ALL)
    result = tl.maximum(result, -LARGEST, propagate_nan=tl.PropagateNan.ALL)
    result = tl.where(there, result, 0.0)
    place = (image * FRAME_PIXELS + pixels.to(tl.int64))[:, None] * CHANNELS + channels[None, :]
    inside = (pixels < FRAME_PIXELS)[:, None] & known[None, :]
    tl.store(output + place, result.to(output.dtype.element_ty), mask=inside)


def launch(x: Tensor, gain: Tensor, shift: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    """`convolutions.quantised_images` on the device of its arguments."""
    batch, channels, height, width = x.shape
    output = torch.empty((batch, height + 1, width + 1, channels), dtype=FLOAT8, device=x.device)
    scale = torch.empty(batch, dtype=torch.float32, device=x.device)
    frame_pixels, groups = (height + 1) * (width + 1), largest.shape[1]
    grid = triton.cdiv(frame_pixels, TILE_ROWS), triton.cdiv(channels, TILE_CHANNELS), batch
    quantise_tile[grid](
        x, output, scale, gain, shift, largest, **sizes(x),
        FRAME_PIXELS=frame_pixels, FRAME_WIDTH=width + 1, GROUPS=groups,
        LARGEST=LARGEST, SILU_DEPTH=SILU_DEPTH, TINY=TINY,
        TILE_GROUPS=triton.next_power_of_2(groups), TILE_ROWS=TILE_ROWS, TILE_CHANNELS=TILE_CHANNELS,
    )  # fmt: skip
    return output, scale
