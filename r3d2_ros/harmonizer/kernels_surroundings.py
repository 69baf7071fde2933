"""The Triton kernel that marks an actor's surroundings where a GPU rendered the depth: `kernels_region.mark_spans`."""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

TILE = 512
"""Pixels of a row for one program."""


@triton.jit(do_not_specialize=["HEIGHT", "WIDTH", "POLYGONS"])
def mark(around, depth, spans, planes, HEIGHT, WIDTH, POLYGONS, ANYWHERE: tl.constexpr, TILE: tl.constexpr):
    """`planes` is [P, 3, 5]: a, b, c, and the lowest and the highest depth * (a * u + b * v + c)."""
    row, begin = tl.program_id(0), tl.program_id(1) * TILE
    columns = begin + tl.arange(0, TILE)
    there = columns < WIDTH
    pixels = row.to(tl.int64) * WIDTH + columns
    z = tl.load(depth + pixels, mask=there, other=0.0)
    u, v = columns.to(tl.float32) + 0.5, row.to(tl.float32) + 0.5
    marked = columns < 0
    for polygon in range(POLYGONS):
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


def launch(depth: Tensor, spans: Tensor, planes: Tensor, *, anywhere: bool) -> Tensor:
    """[H, W] uint8, 1 in `spans` [P, H, 2] int32 where the surfaces of depth [H, W] float32 are between the `planes`.

    anywhere  wherever the surfaces are
    """
    height, width = depth.shape
    around = torch.empty((height, width), dtype=torch.uint8, device=depth.device)
    mark[height, triton.cdiv(width, TILE)](
        around, depth.contiguous(), spans, planes, HEIGHT=height, WIDTH=width, POLYGONS=len(spans),
        ANYWHERE=anywhere, TILE=TILE,
    )  # fmt: skip
    return around
