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
    from r3d2_ros.harmonizer import kernels_surroundings

    marks = [(one.actor_weight >= config.min_weight).to(torch.uint8) for one in surfaces]

    def outlined(seen: NDArray[np.uint8], view: CameraView) -> tuple[NDArray[np.int32], Array] | None:
        return surroundings(seen, view, boxes, config) if seen.any() else None

    outlines = list(enumerate(spread(outlined, to_host(marks), views)))
    found = []
    for size in dict.fromkeys(one.depth.shape for one in surfaces):
        group = [(k, outline) for k, outline in outlines if outline is not None and surfaces[k].depth.shape == size]
        if not group:
            continue
        seen = torch.stack([marks[number] for number, _ in group])
        around = torch.stack([_around(surfaces[number].depth, *outline) for number, outline in group])
        masks = kernels_surroundings.feathered(seen, around, config.feather_px)
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
