"""The Triton kernels of `device_region`: actors in renders on a GPU, their surroundings, and soft edges."""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

TILE = 512
"""Pixels of a row for one program."""

PARTS = 32
"""Programs that look for one actor."""

LARGEST, SMALLEST, NEAREST, NEAREST_OF_LINES = (tl.constexpr(number) for number in range(4))
"""What `look_along` looks for in the pixels up to `reach` away along rows or columns, as far as they are in the image:
the largest value, the smallest one, how far the nearest 0 is, and how far it is by the chessboard's measure where that
is known of each line."""


@triton.jit(do_not_specialize=["HEIGHT", "WIDTH"])
def bound(seen, windows, bounds, HEIGHT, WIDTH, PARTS: tl.constexpr, TILE: tl.constexpr):
    """Every PARTS-th row of an actor's window; `windows` is [P, 5]: camera, left, top, right, bottom."""
    actor, part = tl.program_id(0), tl.program_id(1)
    window = windows + actor * 5
    camera, first, end = tl.load(window), tl.load(window + 1), tl.load(window + 3)
    columns = tl.arange(0, TILE)
    left, top = tl.full((TILE,), WIDTH, tl.int32), tl.full((TILE,), HEIGHT, tl.int32)
    right, bottom = tl.zeros((TILE,), tl.int32), tl.zeros((TILE,), tl.int32)
    for row in range(tl.load(window + 2) + part, tl.load(window + 4), PARTS):
        line = seen + (camera.to(tl.int64) * HEIGHT + row) * WIDTH
        for begin in range(first, end, TILE):
            u = begin + columns
            here = tl.load(line + u, mask=u < end, other=0) != 0
            left, right = tl.where(here, tl.minimum(left, u), left), tl.where(here, tl.maximum(right, u + 1), right)
            top, bottom = tl.where(here, tl.minimum(top, row), top), tl.where(here, tl.maximum(bottom, row + 1), bottom)
    tl.atomic_min(bounds + actor * 4, tl.min(left))
    tl.atomic_min(bounds + actor * 4 + 1, tl.min(top))
    tl.atomic_max(bounds + actor * 4 + 2, tl.max(right))
    tl.atomic_max(bounds + actor * 4 + 3, tl.max(bottom))


@triton.jit
def first_pixel(position, size):
    """`region_cpu._first_pixel` in float64."""
    within = tl.minimum(tl.maximum(position - 0.5, 0.0), size.to(tl.float64))
    whole = within.to(tl.int32)
    return whole + (whole < within).to(tl.int32)


@triton.jit(do_not_specialize=["HEIGHT", "WIDTH", "SLOPE"])
def mark(
    around, depth, bounds, margins, footprints, planes, starts,
    HEIGHT, WIDTH, SLOPE, ANYWHERE: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Actors starts[k] to starts[k + 1] are camera k's.

    `planes` is [P, 3, 6]: a, b, c, where the origin's is, and the lowest and the highest depth * (a * u + b * v + c).
    """
    row, begin, camera = tl.program_id(0), tl.program_id(1) * TILE, tl.program_id(2)
    columns = begin + tl.arange(0, TILE)
    there = columns < WIDTH
    pixels = (camera.to(tl.int64) * HEIGHT + row) * WIDTH + columns
    z = tl.load(depth + pixels, mask=there, other=0.0)
    u, v = columns.to(tl.float32) + 0.5, row.to(tl.float32) + 0.5
    marked = columns < 0
    for actor in range(tl.load(starts + camera), tl.load(starts + camera + 1)):
        right = tl.load(bounds + actor * 4 + 2)
        if right > 0:  # something is seen of it
            side, above = tl.load(margins + actor * 3), tl.load(margins + actor * 3 + 1)
            below = tl.load(margins + actor * 3 + 2)
            top, bottom = tl.load(bounds + actor * 4 + 1), tl.load(bounds + actor * 4 + 3)
            first = first_pixel(tl.load(bounds + actor * 4).to(tl.float64) - side, WIDTH)
            end = first_pixel(right.to(tl.float64) + side, WIDTH)
            if (row < first_pixel(top.to(tl.float64) - above, HEIGHT)) | (
                row >= first_pixel(bottom.to(tl.float64) + below, HEIGHT)
            ):
                end = first
            span = footprints + (actor * HEIGHT + row) * 2
            first_below, end_below = tl.load(span), tl.load(span + 1)
            if (tl.minimum(first, first_below) < begin + TILE) & (tl.maximum(end, end_below) > begin):
                within = ((columns >= first) & (columns < end)) | ((columns >= first_below) & (columns < end_below))
                if not ANYWHERE:
                    less = tl.zeros((TILE,), tl.float32)  # of z itself
                    for axis in tl.static_range(2, -1, -1):
                        plane = planes + (actor * 3 + axis) * 6
                        along = z * (tl.load(plane) * u + (tl.load(plane + 1) * v + tl.load(plane + 2)))
                        # NaN, which is the sky, fails both.
                        within &= (along >= tl.load(plane + 4) + less) & (along <= tl.load(plane + 5) - less)
                        if axis == 2:
                            less = SLOPE * tl.maximum(along - tl.load(plane + 3), 0.0)
                marked |= within
    tl.store(around + pixels, marked.to(tl.uint8), mask=there)


def marked(
    seen: Tensor, depth: Tensor, windows: Tensor, margins: Tensor, footprints: Tensor, planes: Tensor, starts: Tensor,
    *, slope: float, anywhere: bool,
) -> Tensor:  # fmt: skip
    """What `region_cpu.mark_surroundings` marks in cameras of one size, 1 there: [C, H, W] uint8.

    seen        [C, H, W] uint8, 1 where any actor is seen; depth [C, H, W] float32
    windows     [P, 5] int32: camera and window of each actor, whose margins [P, 3] are float64, footprints
                [P, H, 2] int32, planes [P, 3, 6] float32; camera k's begin at starts[k], of [C + 1] int32
    slope       how much nearer the bounds of x and y are for each metre of z
    anywhere    wherever the surfaces are
    """
    cameras, height, width = depth.shape
    bounds = windows.new_zeros((len(windows), 4))
    bounds[:, 0], bounds[:, 1] = width, height
    if len(windows):
        bound[len(windows), PARTS](seen, windows, bounds, HEIGHT=height, WIDTH=width, PARTS=PARTS, TILE=TILE)
    around = torch.empty((cameras, height, width), dtype=torch.uint8, device=depth.device)
    mark[height, triton.cdiv(width, TILE), cameras](
        around, depth, bounds, margins, footprints, planes, starts,
        HEIGHT=height, WIDTH=width, SLOPE=slope, ANYWHERE=anywhere, TILE=TILE,
    )  # fmt: skip
    return around


@triton.jit(do_not_specialize=["HEIGHT", "WIDTH", "REACH"])
def look_along(
    values, output, HEIGHT, WIDTH, REACH, WHAT: tl.constexpr, ALONG_ROWS: tl.constexpr, TILE: tl.constexpr
):
    """In images [C, HEIGHT, WIDTH]."""
    row, columns = tl.program_id(0), tl.program_id(1) * TILE + tl.arange(0, TILE)
    there = columns < WIDTH
    pixels = (tl.program_id(2).to(tl.int64) * HEIGHT + row) * WIDTH + columns
    found = tl.zeros((TILE,), tl.int32)
    if WHAT != LARGEST:
        found += REACH + 1
    for step in range(-REACH, REACH + 1):
        if ALONG_ROWS:
            inside, place = (columns + step >= 0) & (columns + step < WIDTH), pixels + step
        else:
            inside, place = there & (row + step >= 0) & (row + step < HEIGHT), pixels + step * WIDTH
        value = tl.load(values + place, mask=inside, other=0).to(tl.int32)
        if WHAT == LARGEST:
            found = tl.maximum(found, value)
        else:
            if WHAT == SMALLEST:
                seen = value
            elif WHAT == NEAREST:
                seen = tl.where(value == 0, tl.abs(step), REACH + 1)
            else:
                seen = tl.maximum(value, tl.abs(step))
            found = tl.where(inside, tl.minimum(found, seen), found)
    tl.store(output + pixels, found.to(tl.uint8), mask=there)


def looked_along(images: Tensor, reach: int, *, rows: tl.constexpr, columns: tl.constexpr) -> Tensor:
    """Images [C, H, W] uint8 to the same: along rows, then along columns. Values are at most `reach` + 1."""
    cameras, height, width = images.shape
    for what, along_rows in ((rows, True), (columns, False)):
        output = torch.empty_like(images)
        look_along[height, triton.cdiv(width, TILE), cameras](
            images, output, HEIGHT=height, WIDTH=width, REACH=reach, WHAT=what, ALONG_ROWS=along_rows, TILE=TILE
        )
        images = output
    return images


def feathered(seen: Tensor, around: Tensor, feather_px: int) -> Tensor:
    """Masks [C, H, W] float32 of `region._feathered`: seen and around are [C, H, W] uint8, 1 in the region."""

    def largest(images: Tensor) -> Tensor:
        return looked_along(images, feather_px, rows=LARGEST, columns=LARGEST)

    region = looked_along(
        largest(torch.maximum(largest(seen), around)), feather_px, rows=SMALLEST, columns=SMALLEST
    )
    edge = looked_along(region, feather_px, rows=NEAREST, columns=NEAREST_OF_LINES)
    return edge.float() / (feather_px + 1)
