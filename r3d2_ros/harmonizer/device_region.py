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
from r3d2_ros.harmonizer.region import ActorBox, surroundings
from r3d2_ros.harmonizer.roi import BLOCK_PX
from r3d2_ros.harmonizer.settings import RegionConfig
from r3d2_ros.rendering.cuda_copies import to_device, to_host
from r3d2_ros.rendering.frames import DeviceSurfaces

Bounds = tuple[int, int, int, int]

Spread = Callable[..., Iterable[tuple[NDArray[np.int32], Array] | None]]
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
    seen = to_host([(one.actor_weight >= config.min_weight).to(torch.uint8) for one in surfaces])

    def outlined(marks: NDArray[np.uint8], view: CameraView) -> tuple[NDArray[np.int32], Array] | None:
        return surroundings(marks, view, boxes, config) if marks.any() else None

    found = []
    outlines = [(n, outline) for n, outline in enumerate(spread(outlined, seen, views)) if outline is not None]
    for size in dict.fromkeys(surfaces[number].depth.shape for number, _ in outlines):
        group = [(number, outline) for number, outline in outlines if surfaces[number].depth.shape == size]
        weights = torch.stack([surfaces[number].actor_weight for number, _ in group])
        around = torch.stack([_around(surfaces[number].depth, *outline) for number, outline in group])
        masks = _feathered(weights >= config.min_weight, around, config.feather_px)
        summaries = to_host(_summaries(masks))
        for (number, _), mask, rows, columns, blocks in zip(group, masks, *summaries, strict=True):
            (top, bottom), (left, right) = _ends(rows), _ends(columns)
            found.append(DeviceRegion(number, mask, (top, left, bottom, right), blocks))
    return sorted(found, key=lambda region: region.number)


def _around(depth: Tensor, spans: NDArray[np.int32], reaches: Array) -> Tensor:
    """[H, W] uint8, 1 where `mark_spans` marks."""
    from r3d2_ros.harmonizer import kernels_surroundings

    anywhere = bool(np.isinf(reaches[:, :, 4:]).any())
    planes = np.concatenate([reaches[:, :, :3], reaches[:, :, 4:] - reaches[:, :, 3:4]], axis=2).astype(np.float32)
    on_device = [to_device(np.ascontiguousarray(part), depth.device) for part in (spans, planes)]
    return kernels_surroundings.launch(depth, *on_device, anywhere=anywhere)


def _feathered(seen: Tensor, around: Tensor, feather_px: int) -> Tensor:
    """Masks [C, H, W] float32 of the pixels that see an actor and those around: `region._feathered`."""
    either = torch.maximum(_largest(seen.half(), feather_px), around.half())
    left = _smallest(_largest(either, feather_px), feather_px)
    survived = left.clone()
    for _ in range(feather_px):
        left = _smallest(left, 1)
        survived += left
    return (survived.float() / (feather_px + 1)).clamp_(max=1)


def _largest(images: Tensor, reach_px: int) -> Tensor:
    """Of the square of `reach_px` around each pixel of [C, H, W], as far as it is in the image."""
    size = 2 * reach_px + 1
    rows = functional.max_pool2d(images, (size, 1), stride=1, padding=(reach_px, 0))
    return functional.max_pool2d(rows, (1, size), stride=1, padding=(0, reach_px))


def _smallest(images: Tensor, reach_px: int) -> Tensor:
    return -_largest(-images, reach_px)


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
