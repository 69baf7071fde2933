"""`find_region` for renders that lie on a GPU. What the host has to know of them comes to it in two small copies.

    actor weights on the GPU -> which pixels see an actor        1 byte a pixel to the host
    host: outlines of the actors' surroundings, row by row       some KB an actor to the GPU
    GPU: surfaces within reach, small holes closed, soft edge    which 8x8 blocks and rows and columns to the host
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from r3d2_ros.cameras import CameraView
from r3d2_ros.geometry import Array
from r3d2_ros.harmonizer.region import ActorBox, PlacedBoxes, placed_boxes, surroundings
from r3d2_ros.harmonizer.roi import BLOCK_PX
from r3d2_ros.harmonizer.settings import RegionConfig
from r3d2_ros.rendering.cuda_copies import to_device, to_host
from r3d2_ros.rendering.frames import DeviceSurfaces

Bounds = tuple[int, int, int, int]

Outline = tuple[NDArray[np.int32], Array]
"""What `surroundings` gives."""

Spread = Callable[..., Iterable[Outline | None]]
"""`map`, or that of a pool of threads."""


@dataclass(frozen=True, eq=False)
class DeviceRegion:
    """`Region` of camera `number`, its mask on the GPU.

    blocks  [rows, columns] uint8 on the host, 1 for blocks of `BLOCK_PX` pixels with a part of the region
    """

    number: int
    mask: Tensor
    bounds: Bounds
    blocks: NDArray[np.uint8]


def can_find(device: torch.device) -> bool:
    """Whether `find_device_regions` works there; it is written in Triton, which PyTorch brings along for GPUs."""
    return device.type == "cuda" and find_spec("triton") is not None


def find_device_regions(
    surfaces: Sequence[DeviceSurfaces],
    views: Sequence[CameraView],
    boxes: Sequence[ActorBox],
    config: RegionConfig,
    *,
    spread: Spread = map,
) -> list[DeviceRegion]:
    """Of each camera whose picture may be changed, where: what `find_region` finds, but for rounding in float32.

    All is on one GPU. `spread` gives the host's part of each camera to a thread.
    """
    sizes = list(dict.fromkeys(one.depth.shape for one in surfaces))
    groups = [[number for number, one in enumerate(surfaces) if one.depth.shape == size] for size in sizes]
    seen = [(_stack(surfaces, group, "actor_weight") >= config.min_weight).to(torch.uint8) for group in groups]
    anything = [marks.flatten(1).amax(dim=1) for marks in seen]
    placed = placed_boxes(boxes, views, config) if boxes else [None] * len(views)  # while the GPU is at work
    copies = to_host([*seen, *anything])

    def outlined(marks: NDArray[np.uint8], something: int, before: PlacedBoxes | None) -> Outline | None:
        if not something:
            return None
        if before is None:
            return np.empty((0, len(marks), 2), np.int32), np.empty((0, 3, 6))
        return surroundings(marks, before, config)

    found = []
    for group, marks, on_host, something in zip(groups, seen, copies[: len(seen)], copies[len(seen) :], strict=True):
        every = zip(group, marks, spread(outlined, on_host, something, [placed[k] for k in group]), strict=True)
        shown = [(number, marks, outline) for number, marks, outline in every if outline is not None]
        if shown:
            numbers, part, outlines = zip(*shown, strict=True)
            around = _around(_stack(surfaces, numbers, "depth"), outlines)
            found += _regions(numbers, torch.stack(part), around, config)
    return sorted(found, key=lambda region: region.number)


def _stack(surfaces: Sequence[DeviceSurfaces], numbers: Sequence[int], name: str) -> Tensor:
    return torch.stack([getattr(surfaces[number], name) for number in numbers])


def _around(depth: Tensor, outlines: Sequence[Outline]) -> Tensor:
    """[C, H, W] uint8, 1 where `mark_spans` marks."""
    from r3d2_ros.harmonizer import kernels_surroundings

    starts = np.cumsum([0, *(len(spans) for spans, _ in outlines)], dtype=np.int32)
    spans = np.concatenate([spans for spans, _ in outlines])
    reaches = np.concatenate([reaches for _, reaches in outlines])
    anywhere = bool(np.isinf(reaches[:, :, 4:]).any())
    planes = np.concatenate([reaches[:, :, :3], reaches[:, :, 4:] - reaches[:, :, 3:4]], axis=2).astype(np.float32)
    on_device = [to_device(part, depth.device) for part in (spans, planes, starts)]
    return kernels_surroundings.launch(depth, *on_device, anywhere=anywhere)


def _regions(numbers: Sequence[int], seen: Tensor, around: Tensor, config: RegionConfig) -> list[DeviceRegion]:
    """Of cameras of one size that see an actor: `seen` and `around` are [C, H, W] uint8, 1 in the region."""
    from r3d2_ros.harmonizer import kernels_surroundings

    masks = kernels_surroundings.feathered(seen, around, config.feather_px)
    regions = []
    for number, mask, rows, columns, blocks in zip(numbers, masks, *to_host(_summaries(masks)), strict=True):
        (top, bottom), (left, right) = _ends(rows), _ends(columns)
        regions.append(DeviceRegion(number, mask, (top, left, bottom, right), blocks))
    return regions


def _summaries(masks: Tensor) -> list[Tensor]:
    """uint8, 1 where something of masks [C, H, W] is: rows [C, H], columns [C, W], and blocks of `BLOCK_PX`."""
    height, width = masks.shape[1:]
    inside = functional.pad((masks > 0).to(torch.uint8), (0, -width % BLOCK_PX, 0, -height % BLOCK_PX))
    blocks = inside.unflatten(1, (-1, BLOCK_PX)).unflatten(3, (-1, BLOCK_PX)).amax(dim=(2, 4))
    return [inside.amax(dim=2)[:, :height], inside.amax(dim=1)[:, :width], blocks]


def _ends(line: NDArray[np.uint8]) -> tuple[int, int]:
    """The first place where something is, and the one behind the last."""
    places = np.flatnonzero(line)
    return int(places[0]), int(places[-1]) + 1
