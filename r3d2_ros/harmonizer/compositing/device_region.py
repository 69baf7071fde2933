"""`find_region` for renders that lie on a GPU. The host draws outlines, which need no pixel, and waits once.

    host: windows and footprints of the actors' boxes            some KB an actor to the GPU
    GPU: what is seen of each; surfaces within reach around it, small holes closed, soft edge
    which 8x8 blocks, rows and columns are in the region         some KB a camera to the host
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from r3d2_ros.cameras import CameraView
from r3d2_ros.harmonizer.compositing.region import ActorBox, Outlines, outlined, placed_boxes
from r3d2_ros.harmonizer.compositing.roi import BLOCK_PX
from r3d2_ros.harmonizer.settings import RegionConfig
from r3d2_ros.rendering.cuda_copies import to_device, to_host
from r3d2_ros.rendering.frames import DeviceSurfaces

Bounds = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class DeviceRegion:
    """`Region` of camera `number`, its mask on the GPU.

    blocks  [rows, columns] uint8 on the host, 1 for blocks of `BLOCK_PX` pixels with a part of the region
    """

    number: int
    mask: Tensor
    bounds: Bounds
    blocks: NDArray[np.uint8]


def find_device_regions(
    surfaces: Sequence[DeviceSurfaces],
    views: Sequence[CameraView],
    boxes: Sequence[ActorBox],
    config: RegionConfig,
) -> list[DeviceRegion]:
    """Of each camera whose picture may be changed, where: what `find_region` finds, but for rounding in float32.

    Surfaces and views go by position. All is on one GPU that `kernels_run_on`, whose errors pass, out of memory among
    them. The host's part takes 0.2 ms a camera: handing it to threads would take longer.
    """
    from r3d2_ros.harmonizer.compositing import kernels_device_region as kernels

    shapes = [(view.height_px, view.width_px) for view in views]
    placed = zip(placed_boxes(boxes, views, config), shapes, strict=True) if boxes else ()
    outlines = [outlined(*one, config) for one in placed]
    groups = [[k for k, shape in enumerate(shapes) if shape == size] for size in dict.fromkeys(shapes)]
    masks, summaries = [], []
    for group in groups:
        seen = (_stack(surfaces, group, "actor_weight") >= config.min_weight).to(torch.uint8)
        outlined_here = [outlines[k] for k in group] if boxes else []
        around = _around(seen, _stack(surfaces, group, "depth"), outlined_here, config)
        masks.append(kernels.feathered(seen, around, config.feather_px))
        summaries.append([seen.flatten(1).amax(dim=1), *_summaries(masks[-1])])
    on_host = iter(to_host(list(itertools.chain(*summaries))))
    found = []
    for group, mask, summary in zip(groups, masks, summaries, strict=True):
        parts = [next(on_host) for _ in summary]
        found += [_region(*one) for one in zip(group, mask, *parts, strict=True)]
    return sorted((region for region in found if region), key=lambda region: region.number)


def _stack(surfaces: Sequence[DeviceSurfaces], numbers: Sequence[int], name: str) -> Tensor:
    return torch.stack([getattr(surfaces[number], name) for number in numbers])


def _around(seen: Tensor, depth: Tensor, outlines: Sequence[Outlines], config: RegionConfig) -> Tensor:
    """[C, H, W] uint8, 1 where `mark_surroundings` marks."""
    from r3d2_ros.harmonizer.compositing import kernels_device_region as kernels

    if not outlines:
        return torch.zeros_like(seen)
    starts = np.cumsum([0, *(len(one.windows) for one in outlines)], dtype=np.int32)
    cameras = np.repeat(np.arange(len(outlines)), np.diff(starts))
    windows = np.column_stack([cameras, np.concatenate([one.windows for one in outlines])]).astype(np.int32)
    margins, footprints, reaches = (
        np.concatenate([getattr(one, name) for one in outlines]) for name in ("margins_px", "footprints", "reaches")
    )
    origins = -reaches[:, :, 3:4]
    planes = np.concatenate([reaches[:, :, :3], origins, reaches[:, :, 4:] + origins], axis=2).astype(np.float32)
    on_device = [to_device(part, depth.device) for part in (windows, margins, footprints, planes, starts)]
    # By the configuration and not by the bounds, of which there are none where no actor is in view: a kernel each.
    return kernels.marked(seen, depth, *on_device, slope=config.shadow_length, anywhere=not config.depth_test)


def _region(
    number: int, mask: Tensor, seen: np.uint8, rows: NDArray[np.uint8], columns: NDArray[np.uint8],
    blocks: NDArray[np.uint8],
) -> DeviceRegion | None:  # fmt: skip
    """None where no actor is `seen`; the others: `_summaries`."""
    if not seen:
        return None
    (top, bottom), (left, right) = _ends(rows), _ends(columns)
    return DeviceRegion(number, mask, (top, left, bottom, right), blocks)


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
