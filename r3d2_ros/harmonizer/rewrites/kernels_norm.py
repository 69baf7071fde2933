"""The Triton kernels of `fuse_norm`: the norm of groups of channels as factors and summands, and normalising by them.

Programs take the moments of parts of the pixels, channel by channel, each with its own mean, so that nothing is lost
where the mean is large; then one program a group joins them (Chan, Golub and LeVeque, 1979). Channels last in memory.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor
from triton import language as tl

TILE_ROWS, TILE_CHANNELS = 64, 64
"""Of a tile of pixels that is normalised."""

MOMENT_ROWS = 4
"""Of a tile whose moments one warp takes: a thread has eight channels of one pixel, 16 bytes. Warps know nothing of
each other, and wait for none."""

PROGRAMS, LEAST_PIXELS = 3168, 32
"""That take moments: 24 a multiprocessor of a large GPU, all at the same time; and what one takes at least."""

JOINED_NUMBERS, JOINING_WARPS = 4096, 8
"""Of parts and channels that a program joins at a time, and by how many warps."""

NOT_SPECIALISED = ["PIXELS", "WIDTH", "PER_PART", "PER_GROUP", "PARTS"]
"""Strides and CHANNELS are: that 16 divides them is what lets a thread load 16 bytes at a time."""


@triton.jit
def _pixels(x, start, end, WIDTH, ROW, PIXEL, columns, known, other, DENSE: tl.constexpr, TILE_ROWS: tl.constexpr):
    """The numbers of TILE_ROWS pixels from `start` on in `columns`; `other` [channels] where `end` is behind."""
    pixels = start + tl.arange(0, TILE_ROWS)
    offsets = (pixels // WIDTH).to(tl.int64) * ROW + (pixels % WIDTH) * PIXEL
    if DENSE:
        offsets = pixels.to(tl.int64) * PIXEL
    there = (pixels < end)[:, None] & known[None, :]
    return tl.load(x + offsets[:, None] + columns[None, :], mask=there, other=other[None, :])


@triton.jit
def _taken(numbers, pivot, total, square, low, high):
    """Sums of differences from `pivot` and of their squares, and both extremes, with one tile more; nothing is joined
    across threads yet."""
    numbers = numbers.to(tl.float32)
    difference = numbers - pivot[None, :]
    return (
        total + difference,
        square + difference * difference,
        tl.minimum(low, numbers),
        tl.maximum(high, numbers),
    )


@triton.jit
def _both(total, square, low, high, other_total, other_square, other_low, other_high):
    """The same of two parts."""
    return total + other_total, square + other_square, tl.minimum(low, other_low), tl.maximum(high, other_high)


@triton.jit(do_not_specialize=NOT_SPECIALISED)
def channel_moments(
    x, means, squares, smallest, largest, PIXELS, WIDTH, CHANNELS, PER_PART, IMAGE, ROW, PIXEL,
    DENSE: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_CHANNELS: tl.constexpr,
):  # fmt: skip
    """Of each channel and part of the pixels the mean, the sum of squared differences from it, and both extremes.

    Each is [parts, B, C] float32. Differences are taken from the mean of the part's first pixels, near which the others
    lie: what the subtraction at the end loses is little. DENSE: one pixel lies behind the other, rows too.
    """
    part, image = tl.program_id(0), tl.program_id(2)
    channels = tl.program_id(1) * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    known = channels < CHANNELS
    x += image.to(tl.int64) * IMAGE
    begin = part * PER_PART
    end = tl.minimum(begin + PER_PART, PIXELS)
    nothing = tl.full((TILE_CHANNELS,), 0.0, x.dtype.element_ty)
    first = _pixels(x, begin, end, WIDTH, ROW, PIXEL, channels, known, nothing, DENSE, TILE_ROWS).to(tl.float32)
    # As a number of x it stands for pixels that are not there, and changes no sum and no extreme.
    pivot = (tl.sum(first, axis=0) / tl.minimum(end - begin, TILE_ROWS)).to(x.dtype.element_ty)
    centre = pivot.to(tl.float32)
    total = tl.full((TILE_ROWS, TILE_CHANNELS), 0.0, tl.float32)
    square = tl.full((TILE_ROWS, TILE_CHANNELS), 0.0, tl.float32)
    low = total + centre[None, :]
    high = total + centre[None, :]
    for start in range(begin, end, 4 * TILE_ROWS):
        # Four loads are on their way before the first one is waited for.
        a = _pixels(x, start, end, WIDTH, ROW, PIXEL, channels, known, pivot, DENSE, TILE_ROWS)
        b = _pixels(x, start + TILE_ROWS, end, WIDTH, ROW, PIXEL, channels, known, pivot, DENSE, TILE_ROWS)
        c = _pixels(x, start + 2 * TILE_ROWS, end, WIDTH, ROW, PIXEL, channels, known, pivot, DENSE, TILE_ROWS)
        d = _pixels(x, start + 3 * TILE_ROWS, end, WIDTH, ROW, PIXEL, channels, known, pivot, DENSE, TILE_ROWS)
        total, square, low, high = _taken(a, centre, total, square, low, high)
        total, square, low, high = _taken(b, centre, total, square, low, high)
        total, square, low, high = _taken(c, centre, total, square, low, high)
        total, square, low, high = _taken(d, centre, total, square, low, high)
    count = (end - begin) * 1.0
    sum_of, sum_of_squares, lowest, highest = tl.reduce((total, square, low, high), 0, _both)
    step = sum_of / count
    place = (part * tl.num_programs(2) + image) * CHANNELS + channels
    tl.store(means + place, centre + step, mask=known)
    tl.store(squares + place, sum_of_squares - step * step * count, mask=known)
    tl.store(smallest + place, lowest, mask=known)
    tl.store(largest + place, highest, mask=known)


@triton.jit(do_not_specialize=NOT_SPECIALISED)
def join_moments(
    means, squares, smallest, largest, before, weight, bias, gains, shifts, group_largest,
    EPS, PIXELS, PER_PART, PARTS, CHANNELS, PER_GROUP,
    BEFORE: tl.constexpr, TILE_PARTS: tl.constexpr, TILE_CHANNELS: tl.constexpr,
):  # fmt: skip
    """`fuse_norm.group_affine` of one group of an image."""
    group, image = tl.program_id(0), tl.program_id(1)
    within = tl.arange(0, TILE_CHANNELS)
    channels = group * PER_GROUP + within
    known = within < PER_GROUP
    added = tl.full((TILE_CHANNELS,), 0.0, tl.float32)
    if BEFORE:
        added = tl.load(before + channels, mask=known, other=0.0).to(tl.float32)
    # Near the mean: differences from it are taken, and what the subtraction at the end loses is little.
    firsts = tl.load(means + image * CHANNELS + channels, mask=known, other=0.0) + added
    centre = tl.sum(tl.where(known, firsts, 0.0), axis=0) / PER_GROUP
    total = tl.full((TILE_PARTS, TILE_CHANNELS), 0.0, tl.float32)
    square = tl.full((TILE_PARTS, TILE_CHANNELS), 0.0, tl.float32)
    low = tl.full((TILE_PARTS, TILE_CHANNELS), float("inf"), tl.float32)
    high = tl.full((TILE_PARTS, TILE_CHANNELS), -float("inf"), tl.float32)
    for start in range(0, PARTS, TILE_PARTS):
        parts = start + tl.arange(0, TILE_PARTS)
        there = (parts < PARTS)[:, None] & known[None, :]
        counts = tl.maximum(tl.minimum(PIXELS - parts * PER_PART, PER_PART), 0)[:, None] * 1.0
        place = (parts[:, None] * tl.num_programs(1) + image) * CHANNELS + channels[None, :]
        step = tl.load(means + place, mask=there, other=0.0) + (added - centre)[None, :]
        total += tl.where(there, counts * step, 0.0)
        square += tl.where(there, tl.load(squares + place, mask=there, other=0.0) + counts * step * step, 0.0)
        low = tl.minimum(low, tl.load(smallest + place, mask=there, other=float("inf")))
        high = tl.maximum(high, tl.load(largest + place, mask=there, other=-float("inf")))
    sums, sums_of_squares, low, high = tl.reduce((total, square, low, high), 0, _both)
    numbers = PIXELS * 1.0 * PER_GROUP
    step = tl.sum(sums, axis=0) / numbers
    mean = centre + step
    variance = tl.maximum(tl.sum(sums_of_squares, axis=0) / numbers - step * step, 0.0)
    gain = tl.load(weight + channels, mask=known, other=0.0).to(tl.float32) / tl.sqrt(variance + EPS)
    shift = tl.load(bias + channels, mask=known, other=0.0).to(tl.float32) + (added - mean) * gain
    tl.store(gains + image * CHANNELS + channels, gain, mask=known)
    tl.store(shifts + image * CHANNELS + channels, shift, mask=known)
    low, high = tl.where(known, low, 0.0), tl.where(known, high, 0.0)
    top = tl.maximum(low * gain, high * gain) + shift
    tl.store(group_largest + image * tl.num_programs(0) + group, tl.max(tl.where(known, top, -float("inf")), axis=0))


@triton.jit(do_not_specialize=NOT_SPECIALISED)
def normalise_tile(
    x, output, gains, shifts, PIXELS, WIDTH, CHANNELS, IMAGE, ROW, PIXEL,
    SILU: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_CHANNELS: tl.constexpr,
):  # fmt: skip
    """One tile of `fuse_norm.normalised`, in the dtype of x."""
    pixels = tl.program_id(0) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    channels = tl.program_id(1) * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    image = tl.program_id(2).to(tl.int64)
    known = channels < CHANNELS
    there = (pixels < PIXELS)[:, None] & known[None, :]
    offsets = (pixels // WIDTH).to(tl.int64) * ROW + (pixels % WIDTH) * PIXEL
    numbers = tl.load(x + image * IMAGE + offsets[:, None] + channels[None, :], mask=there, other=0.0).to(tl.float32)
    gain = tl.load(gains + image * CHANNELS + channels, mask=known, other=0.0)
    shift = tl.load(shifts + image * CHANNELS + channels, mask=known, other=0.0)
    result = numbers * gain[None, :] + shift[None, :]
    if SILU:
        result = result / (1.0 + tl.exp(-result))
    place = (image * PIXELS + pixels.to(tl.int64))[:, None] * CHANNELS + channels[None, :]
    tl.store(output + place, result.to(output.dtype.element_ty), mask=there)


def affine(
    x: Tensor, before: Tensor | None, weight: Tensor, bias: Tensor, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`fuse_norm.group_affine` of 16 bit or float32 on the device of x."""
    batch, channels, _, _ = x.shape
    size = sizes(x)
    blocks = triton.cdiv(channels, TILE_CHANNELS)
    parts = max(1, min(triton.cdiv(size["PIXELS"], LEAST_PIXELS), PROGRAMS // (blocks * batch)))
    per_part = triton.cdiv(triton.cdiv(size["PIXELS"], parts), MOMENT_ROWS) * MOMENT_ROWS
    parts = triton.cdiv(size["PIXELS"], per_part)
    measured = torch.empty((4, parts, batch, channels), dtype=torch.float32, device=x.device).unbind()
    channel_moments[(parts, blocks, batch)](
        x, *measured, **size, PER_PART=per_part, DENSE=size["ROW"] == size["WIDTH"] * size["PIXEL"],
        TILE_ROWS=MOMENT_ROWS, TILE_CHANNELS=TILE_CHANNELS, num_warps=1,
    )  # fmt: skip
    # Apart from each other: results of an operator may not share memory.
    gain = torch.empty((batch, channels), dtype=torch.float32, device=x.device)
    shift, largest = torch.empty_like(gain), torch.empty((batch, groups), dtype=torch.float32, device=x.device)
    per_group = channels // groups
    columns = triton.next_power_of_2(per_group)
    join_moments[(groups, batch)](
        *measured, bias if before is None else before, weight, bias, gain, shift, largest,
        EPS=eps, PIXELS=size["PIXELS"], PER_PART=per_part, PARTS=parts, CHANNELS=channels, PER_GROUP=per_group,
        BEFORE=before is not None, TILE_CHANNELS=columns,
        TILE_PARTS=max(1, min(triton.next_power_of_2(parts), JOINED_NUMBERS // columns)), num_warps=JOINING_WARPS,
    )  # fmt: skip
    return gain, shift, largest


def normalise(x: Tensor, gain: Tensor, shift: Tensor, *, silu: bool) -> Tensor:
    """`fuse_norm.normalised` on the device of x and in its dtype, dense with the channels last."""
    batch, channels, height, width = x.shape
    output = torch.empty((batch, height, width, channels), dtype=x.dtype, device=x.device)
    grid = triton.cdiv(height * width, TILE_ROWS), triton.cdiv(channels, TILE_CHANNELS), batch
    normalise_tile[grid](
        x, output, gain, shift, **sizes(x), SILU=silu, TILE_ROWS=TILE_ROWS, TILE_CHANNELS=TILE_CHANNELS
    )
    return output.permute(0, 3, 1, 2)


def sizes(x: Tensor) -> dict[str, Any]:
    """Of x [B, C, H, W] with the channels next to each other, as the kernels' arguments."""
    _, channels, height, width = x.shape
    image, channel, row, pixel = x.stride()
    assert channel == 1 or channels == 1, x.stride()
    size = {"PIXELS": height * width, "WIDTH": width, "CHANNELS": channels}
    return {**size, "IMAGE": image, "ROW": row, "PIXEL": pixel}
