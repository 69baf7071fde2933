"""The Triton kernels of `fuse_norm`: moments of groups of channels, and normalising, with the channels last in memory.

Programs take the moments of parts of the pixels, channel by channel, each with its own mean, so that nothing is lost
where the mean is large; then one program a group joins them (Chan, Golub and LeVeque, 1979).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor
from triton import language as tl

ROWS, CHANNELS = 64, 64
"""Of a tile of pixels."""

PROGRAMS = 512
"""About four a multiprocessor of a large GPU."""

PARTS = 64
"""That are joined at a time."""

NOT_SPECIALISED = ["PIXELS", "WIDTH", "PER_PART", "PER_GROUP", "PARTS"]
"""Strides and CHANNELS are: that 16 divides them is what lets a thread load 16 bytes at a time."""


@triton.jit(do_not_specialize=NOT_SPECIALISED)
def channel_moments(
    x, means, squares, PIXELS, WIDTH, CHANNELS, PER_PART, IMAGE, ROW, PIXEL,
    TILE_ROWS: tl.constexpr, TILE_CHANNELS: tl.constexpr,
):  # fmt: skip
    """Mean and sum of squared differences from it, for each channel and part of the pixels: [parts, B, C] float32."""
    part, image = tl.program_id(0), tl.program_id(2)
    channels = tl.program_id(1) * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    known = channels < CHANNELS
    begin = part * PER_PART
    end = tl.minimum(begin + PER_PART, PIXELS)
    mean = tl.full((TILE_CHANNELS,), 0.0, tl.float32)
    square = tl.full((TILE_CHANNELS,), 0.0, tl.float32)
    for start in range(begin, end, TILE_ROWS):
        pixels = start + tl.arange(0, TILE_ROWS)
        there = (pixels < end)[:, None] & known[None, :]
        offsets = (pixels // WIDTH).to(tl.int64) * ROW + (pixels % WIDTH) * PIXEL
        pointers = x + image.to(tl.int64) * IMAGE + offsets[:, None] + channels[None, :]
        numbers = tl.load(pointers, mask=there, other=0.0).to(tl.float32)
        before = (start - begin) * 1.0
        count = tl.minimum(end - start, TILE_ROWS) * 1.0
        tile_mean = tl.sum(numbers, axis=0) / count
        differences = tl.where(there, numbers - tile_mean[None, :], 0.0)
        step = tile_mean - mean
        mean += step * count / (before + count)
        square += tl.sum(differences * differences, axis=0) + step * step * before * count / (before + count)
    place = (part * tl.num_programs(2) + image) * CHANNELS + channels
    tl.store(means + place, mean, mask=known)
    tl.store(squares + place, square, mask=known)


@triton.jit(do_not_specialize=NOT_SPECIALISED)
def join_moments(
    means, squares, group_means, deviations, EPS, PIXELS, PER_PART, PARTS, CHANNELS, PER_GROUP,
    TILE_PARTS: tl.constexpr, TILE_CHANNELS: tl.constexpr,
):  # fmt: skip
    """Mean and sqrt(variance + EPS) of each group: [B, groups] float32."""
    group, image = tl.program_id(0), tl.program_id(1)
    within = tl.arange(0, TILE_CHANNELS)
    channels = group * PER_GROUP + within
    total = tl.full((TILE_PARTS, TILE_CHANNELS), 0.0, tl.float32)
    for start in range(0, PARTS, TILE_PARTS):
        parts = start + tl.arange(0, TILE_PARTS)
        there = (parts < PARTS)[:, None] & (within < PER_GROUP)[None, :]
        counts = tl.maximum(tl.minimum(PIXELS - parts * PER_PART, PER_PART), 0) * 1.0
        place = (parts[:, None] * tl.num_programs(1) + image) * CHANNELS + channels[None, :]
        total += counts[:, None] * tl.load(means + place, mask=there, other=0.0)
    numbers = PIXELS * 1.0 * PER_GROUP
    mean = tl.sum(tl.sum(total, axis=1), axis=0) / numbers
    total = tl.full((TILE_PARTS, TILE_CHANNELS), 0.0, tl.float32)
    for start in range(0, PARTS, TILE_PARTS):
        parts = start + tl.arange(0, TILE_PARTS)
        there = (parts < PARTS)[:, None] & (within < PER_GROUP)[None, :]
        counts = tl.maximum(tl.minimum(PIXELS - parts * PER_PART, PER_PART), 0) * 1.0
        place = (parts[:, None] * tl.num_programs(1) + image) * CHANNELS + channels[None, :]
        step = tl.load(means + place, mask=there, other=0.0) - mean
        square = tl.load(squares + place, mask=there, other=0.0) + counts[:, None] * step * step
        total += tl.where(there, square, 0.0)
    variance = tl.sum(tl.sum(total, axis=1), axis=0) / numbers
    place = image * tl.num_programs(0) + group
    tl.store(group_means + place, mean)
    tl.store(deviations + place, tl.sqrt(variance + EPS))


@triton.jit(do_not_specialize=NOT_SPECIALISED)
def normalise_tile(
    x, output, group_means, deviations, weight, bias, GROUPS, PIXELS, WIDTH, CHANNELS, PER_GROUP, IMAGE, ROW, PIXEL,
    SILU: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_CHANNELS: tl.constexpr,
):  # fmt: skip
    """One tile of `fuse_norm.normalised`."""
    pixels = tl.program_id(0) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    channels = tl.program_id(1) * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    image = tl.program_id(2).to(tl.int64)
    known = channels < CHANNELS
    there = (pixels < PIXELS)[:, None] & known[None, :]
    offsets = (pixels // WIDTH).to(tl.int64) * ROW + (pixels % WIDTH) * PIXEL
    numbers = tl.load(x + image * IMAGE + offsets[:, None] + channels[None, :], mask=there, other=0.0).to(tl.float32)
    group = image * GROUPS + channels // PER_GROUP
    deviation = tl.load(deviations + group, mask=known, other=1.0)
    gain = tl.load(weight + channels, mask=known, other=0.0).to(tl.float32) / deviation
    shift = tl.load(bias + channels, mask=known, other=0.0).to(tl.float32)
    shift -= tl.load(group_means + group, mask=known, other=0.0) * gain
    result = numbers * gain[None, :] + shift[None, :]
    if SILU:
        result = result / (1.0 + tl.exp(-result))
    place = (image * PIXELS + pixels.to(tl.int64))[:, None] * CHANNELS + channels[None, :]
    tl.store(output + place, result.to(output.dtype.element_ty), mask=there)


def moments(x: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor]:
    """`fuse_norm.group_moments` of 16 bit or float32 on the device of x."""
    batch, channels, _, _ = x.shape
    size = _sizes(x)
    blocks = triton.cdiv(channels, CHANNELS)
    parts = max(1, min(triton.cdiv(size["PIXELS"], ROWS), PROGRAMS // (blocks * batch)))
    per_part = triton.cdiv(triton.cdiv(size["PIXELS"], parts), ROWS) * ROWS
    parts = triton.cdiv(size["PIXELS"], per_part)
    means, squares = torch.empty((2, parts, batch, channels), dtype=torch.float32, device=x.device).unbind()
    # Apart from each other: results of an operator may not share memory.
    group_means = torch.empty((batch, groups), dtype=torch.float32, device=x.device)
    deviations = torch.empty_like(group_means)
    channel_moments[(parts, blocks, batch)](
        x, means, squares, **size, PER_PART=per_part, TILE_ROWS=ROWS, TILE_CHANNELS=CHANNELS
    )
    per_group = channels // groups
    join_moments[(groups, batch)](
        means, squares, group_means, deviations, EPS=eps, PIXELS=size["PIXELS"], PER_PART=per_part, PARTS=parts,
        CHANNELS=channels, PER_GROUP=per_group,
        TILE_PARTS=PARTS, TILE_CHANNELS=triton.next_power_of_2(per_group),
    )  # fmt: skip
    return group_means, deviations


def normalise(x: Tensor, mean: Tensor, deviation: Tensor, weight: Tensor, bias: Tensor, *, silu: bool) -> Tensor:
    """`fuse_norm.normalised` on the device of x, dense with the channels last."""
    batch, channels, height, width = x.shape
    output = torch.empty((batch, height, width, channels), dtype=x.dtype, device=x.device)
    grid = triton.cdiv(height * width, ROWS), triton.cdiv(channels, CHANNELS), batch
    groups = mean.shape[1]
    normalise_tile[grid](
        x, output, mean, deviation, weight, bias, GROUPS=groups, **_sizes(x), PER_GROUP=channels // groups,
        SILU=silu, TILE_ROWS=ROWS, TILE_CHANNELS=CHANNELS,
    )  # fmt: skip
    return output.permute(0, 3, 1, 2)


def _sizes(x: Tensor) -> dict[str, Any]:
    _, channels, height, width = x.shape
    image, _, row, pixel = x.stride()
    size = {"PIXELS": height * width, "WIDTH": width, "CHANNELS": channels}
    return {**size, "IMAGE": image, "ROW": row, "PIXEL": pixel}
