"""The Triton kernels of `device_region`: actors' surroundings in renders on a GPU, and their soft edges."""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

TILE = 512
"""Pixels of a row for one program."""

PIXELS = 1024
"""For one program, of all images."""

LARGEST, SMALLEST, NEAREST, NEAREST_OF_LINES = (tl.constexpr(number) for number in range(4))
"""What `look_along` looks for in the pixels up to `reach` away along rows or columns, as far as they are in the image:
the largest value, the smallest one, how far the nearest 0 is, and how far it is by the chessboard's measure where that
is known of each line."""


@triton.jit(do_not_specialize=["HEIGHT", "WIDTH"])
def mark(around, depth, spans, planes, starts, HEIGHT, WIDTH, ANYWHERE: tl.constexpr, TILE: tl.constexpr):
    """Polygons starts[k] to starts[k + 1] are camera k's.

    `planes` is [P, 3, 5]: a, b, c, and the lowest and the highest depth * (a * u + b * v + c).
    """
    row, begin, camera = tl.program_id(0), tl.program_id(1) * TILE, tl.program_id(2)
    columns = begin + tl.arange(0, TILE)
    there = columns < WIDTH
    pixels = (camera.to(tl.int64) * HEIGHT + row) * WIDTH + columns
    z = tl.load(depth + pixels, mask=there, other=0.0)
    u, v = columns.to(tl.float32) + 0.5, row.to(tl.float32) + 0.5
    marked = columns < 0
    for polygon in range(tl.load(starts + camera), tl.load(starts + camera + 1)):
        span = spans + (polygon * HEIGHT + row) * 2
        first, end = tl.load(span), tl.load(span + 1)
        if (first < begin + TILE) & (end > begin):
            within = (columns >= first) & (columns < end)
            if not ANYWHERE:
                for axis in tl.static_range(3):
                    plane = planes + (polygon * 3 + axis) * 5
                    along = z * (tl.load(plane) * u + (tl.load(plane + 1) * v + tl.load(plane + 2)))
                    # NaN, which is the sky, fails both.
                    within &= (along >= tl.load(plane + 3)) & (along <= tl.load(plane + 4))
            marked |= within
    tl.store(around + pixels, marked.to(tl.uint8), mask=there)


def launch(depth: Tensor, spans: Tensor, planes: Tensor, starts: Tensor, *, anywhere: bool) -> Tensor:
    """[C, H, W] uint8, 1 in a camera's spans where the surfaces of depth [C, H, W] float32 are between its planes.

    spans     [P, H, 2] int32, planes [P, 3, 5] float32, of all cameras, which begin at starts [C + 1] int32
    anywhere  wherever the surfaces are
    """
    cameras, height, width = depth.shape
    around = torch.empty((cameras, height, width), dtype=torch.uint8, device=depth.device)
    mark[height, triton.cdiv(width, TILE), cameras](
        around, depth, spans, planes, starts, HEIGHT=height, WIDTH=width, ANYWHERE=anywhere, TILE=TILE
    )
    return around


@triton.jit(do_not_specialize=["LENGTH", "STRIDE", "PIXELS_IN_ALL", "REACH"])
def look_along(values, output, LENGTH, STRIDE, PIXELS_IN_ALL, REACH, WHAT: tl.constexpr, PIXELS: tl.constexpr):
    """Along lines of LENGTH pixels that are STRIDE apart."""
    pixels = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    there = pixels < PIXELS_IN_ALL
    places = pixels // STRIDE % LENGTH
    found = tl.zeros((PIXELS,), tl.int32)
    if WHAT != LARGEST:
        found += REACH + 1
    for step in range(-REACH, REACH + 1):
        inside = there & (places + step >= 0) & (places + step < LENGTH)
        value = tl.load(values + pixels + step * STRIDE, mask=inside, other=0).to(tl.int32)
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
    height, width = images.shape[1:]
    for what, length, stride in ((rows, width, 1), (columns, height, width)):
        output = torch.empty_like(images)
        look_along[(triton.cdiv(images.numel(), PIXELS),)](
            images, output, LENGTH=length, STRIDE=stride, PIXELS_IN_ALL=images.numel(), REACH=reach,
            WHAT=what, PIXELS=PIXELS,
        )  # fmt: skip
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
