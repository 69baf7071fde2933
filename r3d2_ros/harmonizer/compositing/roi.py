"""Regions of interest: run the network only on crops around inserted actors.

The sizes of crops come from a small fixed set, so that compiled graphs are reused. Crops lie on the grid of the latent
image, so that the network sees the same blocks of pixels in a crop as in the whole frame. One at the end of a frame
whose rows or columns are no multiple of the grid ends with the frame, off the grid. Here crops are chosen; `crops.py`
runs the network on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.harmonizer.settings import listed_sizes
from r3d2_ros.rendering.numba_cache import kernel

BLOCK_PX = 8
"""Parts of the region that touch the same or neighbouring blocks of this size are one
cluster."""

MOST_CLUSTERS = 128
"""To join clusters takes the time of all pairs of them: 1 ms for these, 300 for 1000."""

MOST_ROWS = 2**16
"""Frames of fewer rows have a scale that is told from every other (`grid_of`)."""

Size = tuple[int, int]
"""Rows and columns."""

Bounds = NDArray[np.int64]
"""[N, 4]: top, left, bottom, right, the last two exclusive."""


def parse_sizes(text: str) -> tuple[Size, ...]:
    """The crop sizes of `RoiConfig.sizes`, smallest first. InputError for what is no such list."""
    return tuple(sorted(set(listed_sizes(text)), key=lambda size: (size[0] * size[1], size)))


@dataclass(frozen=True, order=True)
class Crop:
    """A rectangle of an image, in pixels. Crops sort by size, then from top to bottom and left to right."""

    height: int
    width: int
    top: int
    left: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def grid_of(scale: float, latent_px: int) -> int:
    """Pixels of a frame that are whole latents of the frame reduced by `scale`, and of the frame itself."""
    return latent_px * Fraction(scale).limit_denominator(MOST_ROWS).denominator


def crop_sizes(sizes: Sequence[Size], frame: Size, *, grid_px: int) -> list[Size]:
    """`sizes`, rounded up to the grid, that fit into a frame (rows, columns) and are not all of it; smallest first."""
    rounded = {(-(-rows // grid_px) * grid_px, -(-columns // grid_px) * grid_px) for rows, columns in sizes}
    fitting = [size for size in rounded if size != frame and size[0] <= frame[0] and size[1] <= frame[1]]
    return sorted(fitting, key=lambda size: (size[0] * size[1], size))


def crops_cost(crops: Sequence[Crop]) -> int:
    """Pixels the network has to process: its time is nearly proportional to them."""
    return sum(crop.height * crop.width for crop in crops)


def choose_crops(
    blocks: NDArray[np.uint8], frame: Size, *, sizes: Sequence[Size], margin_px: int, grid_px: int
) -> tuple[Crop, ...]:
    """Crops that cover a region of a frame with `margin_px` around it, as far as the image goes; sorted.

    Each cluster of the region gets the smallest of `crop_sizes` that holds it, else the whole frame; clusters share a
    crop where that costs no more than one each. An empty region needs no crop. Of more than MOST_CLUSTERS clusters
    near ones count as one.

    blocks   [rows, columns] of `BLOCK_PX` pixels, 1 for those with a part of the region (`occupied_blocks`)
    grid_px  crops begin at its multiples, a multiple of `BLOCK_PX`, or end with the image
    """
    table = np.array([*crop_sizes(sizes, frame, grid_px=grid_px), frame], np.int64)
    clusters, block_px = _clusters(blocks), BLOCK_PX
    while len(clusters) > MOST_CLUSTERS:
        blocks, block_px = _halved(blocks), 2 * block_px
        clusters = _clusters(blocks)
    if not len(clusters):
        return ()
    around = -(-margin_px // BLOCK_PX) * BLOCK_PX * np.array([-1, -1, 1, 1])
    grown = np.clip(_on_grid(clusters * block_px + around, grid_px), 0, np.array([*frame, *frame]))
    merged = _merge(grown, table)
    crops = sorted({_place(box, table, frame, grid_px) for box in merged})
    whole = Crop(*frame, 0, 0)
    return tuple(crops) if crops_cost(crops) < crops_cost([whole]) else (whole,)


def _on_grid(boxes: Bounds, grid_px: int) -> Bounds:
    """The smallest boxes on the grid around `boxes`."""
    first, last = boxes[:, :2] // grid_px, -(-boxes[:, 2:] // grid_px)
    return np.concatenate([first, last], axis=1) * grid_px


def _halved(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """In blocks of twice the size."""
    even = np.pad(blocks, [(0, length % 2) for length in blocks.shape])
    rows, columns = even.shape
    return even.reshape(rows // 2, 2, columns // 2, 2).max(axis=(1, 3))


@kernel()
def _clusters(blocks: NDArray[np.uint8]) -> Bounds:
    """Bounds, in blocks, of the connected parts of the region.

    Row by row: a run of blocks joins the boxes of those above that it touches, corners included.
    """
    rows, columns = blocks.shape
    boxes, count = np.empty((rows * (columns // 2 + 1), 4), np.int64), 0
    whole = np.empty(len(boxes), np.int64)  # number of a box -> a smaller one that it is part of, or itself
    above, here = np.empty((2, columns, 3), np.int64)  # runs: first column, end, number of a box
    runs_above = 0
    for row in range(rows):
        runs, column = 0, 0
        while column < columns:
            if blocks[row, column] == 0:
                column += 1
                continue
            first = column
            while column < columns and blocks[row, column] != 0:
                column += 1
            box = count
            boxes[box] = row, first, row + 1, column
            whole[box] = box
            count += 1
            for k in range(runs_above):
                if above[k, 0] <= column and above[k, 1] >= first:
                    other = above[k, 2]
                    while whole[other] != other:
                        other = whole[other]
                    kept, gone = min(box, other), max(box, other)
                    whole[gone] = kept
                    boxes[kept, :2] = np.minimum(boxes[kept, :2], boxes[gone, :2])
                    boxes[kept, 2:] = np.maximum(boxes[kept, 2:], boxes[gone, 2:])
                    box = kept
            here[runs] = first, column, box
            runs += 1
        above, here, runs_above = here, above, runs
    return boxes[:count][whole[:count] == np.arange(count)]


@kernel()
def occupied_blocks(mask: NDArray[np.float32], top: int, left: int, bottom: int, right: int) -> NDArray[np.uint8]:
    """[rows, columns] 1 for blocks with a pixel of the region, which lies within the bounds."""
    height, width = mask.shape
    out = np.zeros((-(-height // BLOCK_PX), -(-width // BLOCK_PX)), np.uint8)
    for row in range(top, bottom):
        blocks = out[row // BLOCK_PX]
        for block in range(left // BLOCK_PX, -(-right // BLOCK_PX)):
            if blocks[block] == 0:
                column, end = block * BLOCK_PX, min((block + 1) * BLOCK_PX, width)
                while column < end and not mask[row, column] > 0:
                    column += 1
                blocks[block] = column < end
    return out


@kernel()
def _size_index(top: int, left: int, bottom: int, right: int, table: Bounds) -> int:
    """The first of sizes [S, 2] that holds a box; the last one is the frame's."""
    for k in range(len(table) - 1):
        if bottom - top <= table[k, 0] and right - left <= table[k, 1]:
            return k
    return len(table) - 1


@kernel()
def _pixels(a: Bounds, b: Bounds, table: Bounds) -> int:
    """Of the crop that holds both boxes [4]."""
    k = _size_index(min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]), table)
    return table[k, 0] * table[k, 1]


@kernel()
def _saving(boxes: Bounds, i: int, k: int, table: Bounds) -> int:
    """Pixels saved by joining two boxes; below zero where joining costs some."""
    apart = _pixels(boxes[i], boxes[i], table) + _pixels(boxes[k], boxes[k], table)
    return apart - _pixels(boxes[i], boxes[k], table)


@kernel()
def _merge(boxes: Bounds, table: Bounds) -> Bounds:
    """Join the pair of boxes that saves most pixels, again and again, while joining costs no more than two crops."""
    count = len(boxes)
    boxes, alive = boxes.copy(), np.ones(count, np.bool_)
    saving = np.full((count, count), -1, np.int64)  # of pairs i < k
    for i in range(count):
        for k in range(i + 1, count):
            saving[i, k] = _saving(boxes, i, k, table)
    while True:
        best = int(np.argmax(saving)) if count > 1 else 0
        i, k = best // count, best % count
        if saving[i, k] < 0:
            return boxes[alive]
        boxes[i, :2] = np.minimum(boxes[i, :2], boxes[k, :2])
        boxes[i, 2:] = np.maximum(boxes[i, 2:], boxes[k, 2:])
        alive[k] = False
        saving[k], saving[:, k] = -1, -1
        for other in range(count):
            if alive[other] and other != i:
                saving[min(i, other), max(i, other)] = _saving(boxes, i, other, table)


def _place(box: NDArray[np.int64], table: NDArray[np.int64], frame: Size, grid_px: int) -> Crop:
    """The smallest size that holds the box, about its middle, on the grid and in the image."""
    height, width = (int(n) for n in table[_size_index(*box, table)])

    def start(first: int, last: int, length: int, limit: int) -> int:
        begin = (first + last - length) // 2 // grid_px * grid_px
        # The box ends on the grid, and so would the crop, or it ends with an image that itself does not.
        return min(max(begin, last - length, 0), limit - length)

    top, left, bottom, right = (int(n) for n in box)
    return Crop(height, width, start(top, bottom, height, frame[0]), start(left, right, width, frame[1]))
