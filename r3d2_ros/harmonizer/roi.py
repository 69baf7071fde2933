"""Regions of interest: run the network only on crops around inserted actors.

The sizes of crops come from a small fixed set, so that compiled graphs are reused. What the network changed in a crop
is added to the image, fading to nothing over the crop's margin, so that no crop leaves an edge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.residual import Images, Network
from r3d2_ros.rendering.numba_cache import kernel
from r3d2_ros.schema import STRICT

BLOCK_PX = 8
"""Parts of the region that touch the same or neighbouring blocks of this size are one cluster."""

Size = tuple[int, int]
"""Rows and columns."""

Bounds = NDArray[np.int64]
"""[N, 4]: top, left, bottom, right in pixels, the last two exclusive."""


@dataclass(frozen=True)
class RoiConfig:
    """Crops around inserted actors instead of whole frames."""

    __pydantic_config__ = STRICT
    enabled: Annotated[bool, Field(description="run the network on crops around inserted actors only")] = False
    sizes: Annotated[
        str,
        Field(description="sizes a crop can have besides the whole frame: ROWSxCOLUMNS, multiples of 8, by commas"),
    ] = "256x256, 256x512, 384x384, 384x768, 512x512, 512x960, 768x1280"
    margin_px: Annotated[
        int,
        Field(ge=0, le=256, description="a crop reaches this far beyond the region; its effect fades out there"),
    ] = 32


def parse_sizes(text: str) -> tuple[Size, ...]:
    """The crop sizes of `RoiConfig.sizes`, smallest first. InputError for what is no such list."""
    sizes = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(\d{1,5})\s*x\s*(\d{1,5})", part)
        rows, columns = (int(match[1]), int(match[2])) if match else (0, 0)
        if not rows or not columns or rows % 8 or columns % 8:
            raise InputError(
                "roi.sizes", "ROWSxCOLUMNS, multiples of 8, such as 512x960", f"'{part}'", "Separate sizes by commas."
            )
        sizes.add((rows, columns))
    return tuple(sorted(sizes, key=lambda size: (size[0] * size[1], size)))


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


def crops_cost(crops: Sequence[Crop]) -> int:
    """Pixels the network has to process: its time is nearly proportional to them."""
    return sum(crop.height * crop.width for crop in crops)


def choose_crops(
    mask: NDArray[np.float32] | None, *, sizes: Sequence[Size], margin_px: int
) -> tuple[Crop, ...]:
    """Crops that cover where `mask` [H, W] is above 0 with `margin_px` around it, as far as the image goes; sorted.

    Each cluster of the region gets the smallest size of `sizes` that holds it, else the whole frame; clusters share a
    crop where that costs no more than one each. Sizes that do not fit into the image are not used. An empty region, or
    None, needs no crop.
    """
    if mask is None:
        return ()
    frame: Size = (mask.shape[0], mask.shape[1])
    fitting = [size for size in sizes if size[0] <= frame[0] and size[1] <= frame[1]]
    table = np.array(sorted([*fitting, frame], key=lambda size: size[0] * size[1]), np.int64)
    bounds = _clusters(np.ascontiguousarray(mask))
    if not len(bounds):
        return ()
    grown = np.clip(bounds + margin_px * np.array([-1, -1, 1, 1]), 0, np.array([*frame, *frame]))
    merged = _merge(grown, table)
    crops = sorted({_place(box, table, frame) for box in merged})
    whole = Crop(*frame, 0, 0)
    return tuple(crops) if crops_cost(crops) < crops_cost([whole]) else (whole,)


def run_on_crops(
    image: NDArray[np.float32], crops: Sequence[Crop], network: Network, *, margin_px: int
) -> NDArray[np.float32]:
    """The image [H, W, 3] in [0, 1] with what `network` changes in `crops`; it gets crops of one size as one batch.

    What it changed has full effect from `margin_px` inside a crop's edges, and up to the edges of the image; where
    crops overlap, their weighted mean. A network that changes nothing changes no bit. `crops` are those of
    `choose_crops` with the same margin.
    """
    out = image.copy()
    change = np.zeros_like(image)
    weights = np.zeros(image.shape[:2], np.float32)
    for size in sorted({(crop.height, crop.width) for crop in crops}):
        group = [crop for crop in crops if (crop.height, crop.width) == size]
        batch: Images = np.stack([image[crop.slices] for crop in group])
        for crop, residual in zip(group, network(batch) - batch, strict=True):
            weight = _weight(crop, image.shape[:2], margin_px)
            change[crop.slices] += weight[..., None] * residual
            weights[crop.slices] += weight
    for crop in crops:
        mean = change[crop.slices] / np.maximum(weights[crop.slices], np.float32(1))[..., None]
        np.clip(image[crop.slices] + mean, 0.0, 1.0, out=out[crop.slices])
    return out


def _weight(crop: Crop, frame: tuple[int, ...], margin_px: int) -> NDArray[np.float32]:
    """[h, w] float32: 1 inside, falling linearly over `margin_px` towards edges that are not the image's."""

    def ramp(length: int, start: int, total: int) -> NDArray[np.float32]:
        steps = np.arange(1, length + 1, dtype=np.float32) / np.float32(margin_px + 1)
        rise = steps if start > 0 else np.ones_like(steps)
        fall = steps[::-1] if start + length < total else np.ones_like(steps)
        return np.minimum(np.minimum(rise, fall), np.float32(1))

    return np.outer(ramp(crop.height, crop.top, frame[0]), ramp(crop.width, crop.left, frame[1]))


def _clusters(mask: NDArray[np.float32]) -> Bounds:
    """Pixel bounds of the connected parts of the region, joined over blocks of BLOCK_PX."""
    boxes = _block_bounds(mask)
    _, labels = cv2.connectedComponents((boxes[..., 2] > 0).astype(np.uint8), connectivity=8)
    labels = labels[boxes[..., 2] > 0]
    boxes = boxes[boxes[..., 2] > 0]
    if not len(boxes):
        return np.zeros((0, 4), np.int64)
    first = np.full((labels.max() + 1, 2), np.iinfo(np.int64).max)
    last = np.zeros((labels.max() + 1, 2), np.int64)
    np.minimum.at(first, labels, boxes[:, :2])
    np.maximum.at(last, labels, boxes[:, 2:])
    return np.concatenate([first, last], axis=1)[1:]


@kernel()
def _block_bounds(mask: NDArray[np.float32]) -> Bounds:
    """[rows, columns, 4] bounds of the region's pixels in each block; bottom = 0 where there are none."""
    height, width = mask.shape
    out = np.zeros((-(-height // BLOCK_PX), -(-width // BLOCK_PX), 4), np.int64)
    for row in range(height):
        for block in range(out.shape[1]):
            box = out[row // BLOCK_PX, block]
            start, end = block * BLOCK_PX, min((block + 1) * BLOCK_PX, width)
            while start < end and not mask[row, start] > 0:
                start += 1
            if start == end:
                continue
            while not mask[row, end - 1] > 0:
                end -= 1
            if box[2] == 0:
                box[0], box[1] = row, start
            box[1] = min(box[1], start)
            box[2], box[3] = row + 1, max(box[3], end)
    return out


def _costs(boxes: Bounds, table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pixels of the smallest size of `table` [S, 2] (ascending, ending with the whole frame) that holds each box."""
    return table.prod(axis=1)[_size_index(boxes, table)]


def _size_index(boxes: Bounds, table: NDArray[np.int64]) -> NDArray[np.int64]:
    extent = boxes[..., 2:] - boxes[..., :2]
    return np.argmax((extent[..., None, :] <= table).all(axis=-1), axis=-1)


def _merge(boxes: Bounds, table: NDArray[np.int64]) -> Bounds:
    """Join the pair of boxes that saves most, again and again, while joining costs no more than two crops."""
    while len(boxes) > 1:
        a, b = np.triu_indices(len(boxes), 1)
        joint = np.concatenate(
            [np.minimum(boxes[a, :2], boxes[b, :2]), np.maximum(boxes[a, 2:], boxes[b, 2:])], axis=1
        )
        costs = _costs(boxes, table)
        saving = costs[a] + costs[b] - _costs(joint, table)
        best = int(np.argmax(saving))
        if saving[best] < 0:
            break
        rest = np.delete(boxes, [a[best], b[best]], axis=0)
        boxes = np.concatenate([rest, joint[best : best + 1]])
    return boxes


def _place(box: NDArray[np.int64], table: NDArray[np.int64], frame: Size) -> Crop:
    """The smallest size that holds the box, centred on it, moved into the image."""
    height, width = (int(n) for n in table[_size_index(box, table)])
    top = int(np.clip((box[0] + box[2] - height) // 2, 0, frame[0] - height))
    left = int(np.clip((box[1] + box[3] - width) // 2, 0, frame[1] - width))
    return Crop(height, width, top, left)
