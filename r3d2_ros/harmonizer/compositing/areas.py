"""Where the pictures of a moment are harmonized: found on the CPU, or on the GPU that rendered them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r3d2_ros.cameras import CameraView
from r3d2_ros.harmonizer.compositing.device_region import find_device_regions
from r3d2_ros.harmonizer.compositing.reduced import scale_of
from r3d2_ros.harmonizer.compositing.region import ActorBox, find_region
from r3d2_ros.harmonizer.compositing.roi import Crop, choose_crops, grid_of, occupied_blocks, parse_sizes
from r3d2_ros.harmonizer.moment import Moment
from r3d2_ros.harmonizer.packages import kernels_run_on
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.harmonizer.windows import Window
from r3d2_ros.rendering.frames import DeviceSurfaces, RenderedFrame


@dataclass(frozen=True, eq=False)
class Area:
    """Where a camera's picture is harmonized.

    mask    [H, W] float32 in [0, 1], how much of the output is shown; None where all of it is. On the network's GPU
            where the picture was rendered there, else on the host
    window  of the picture, outside of which the mask is 0
    crops   that the network runs on, where `harmonizer.roi` is on
    """

    mask: NDArray[np.float32] | Tensor | None
    window: Window
    crops: tuple[Crop, ...] = ()


class AreaFinder:
    """Finds areas as the configuration says."""

    def __init__(self, config: HarmonizerConfig, *, device: torch.device, latent_px: int, pool: Executor) -> None:
        """`device` and `latent_px` are the network's; `pool` is for pictures on the host."""
        self._config, self._device, self._latent_px = config, device, latent_px
        self._crop_sizes = parse_sizes(config.roi.sizes)
        self._pool = pool

    def areas(self, moment: Moment) -> Iterable[tuple[int, Area]]:
        """Numbers and areas of the cameras that have to be harmonized, in their order, each as soon as it is there."""
        if self._config.composite == "full":
            return [(number, Area(None, whole_window(view))) for number, view in enumerate(moment.views)]
        if not moment.frames:
            return []
        surfaces = [frame.surfaces for frame in moment.frames if frame.surfaces is not None]
        if len(surfaces) == len(moment.frames) and all(self._is_here(one) for one in surfaces):
            return self._areas_on_device(moment, surfaces)
        found = self._pool.map(self._area, moment.frames, moment.views, repeat(moment.actors))
        return ((number, area) for number, area in enumerate(found) if area is not None)

    def _is_here(self, surfaces: DeviceSurfaces) -> bool:
        return kernels_run_on(self._device) and surfaces.depth.device == self._device

    def _areas_on_device(self, moment: Moment, surfaces: Sequence[DeviceSurfaces]) -> Iterator[tuple[int, Area]]:
        for region in find_device_regions(surfaces, moment.views, moment.actors, self._config.region):
            crops = self._crops(region.blocks, moment.views[region.number]) if self._config.roi.enabled else ()
            yield region.number, Area(region.mask, Window(*region.bounds), crops)

    def _area(self, frame: RenderedFrame, view: CameraView, actors: tuple[ActorBox, ...]) -> Area | None:
        found = find_region(
            actor_weight=frame.actor_weight, depth=frame.depth, view=view, boxes=actors, config=self._config.region
        )
        if found is None:
            return None
        crops = self._crops(occupied_blocks(found.mask, *found.bounds), view) if self._config.roi.enabled else ()
        return Area(found.mask, Window(*found.bounds), crops)

    def _crops(self, blocks: NDArray[np.uint8], view: CameraView) -> tuple[Crop, ...]:
        grid_px = grid_of(scale_of(self._config.resolution, view.height_px), self._latent_px)
        frame, margin_px = (view.height_px, view.width_px), self._config.roi.margin_px
        return choose_crops(blocks, frame, sizes=self._crop_sizes, margin_px=margin_px, grid_px=grid_px)


def whole_window(view: CameraView) -> Window:
    return Window(0, 0, view.height_px, view.width_px)
