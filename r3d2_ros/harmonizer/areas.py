"""Where the pictures of a moment are harmonized: found on the CPU, of several cameras at the same time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.harmonizer.moment import Moment
from r3d2_ros.harmonizer.region import ActorBox, find_region
from r3d2_ros.harmonizer.residual import scale_of
from r3d2_ros.harmonizer.roi import Crop, choose_crops, grid_of, parse_sizes
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.harmonizer.temporal.patch import Window
from r3d2_ros.rendering.frames import RenderedFrame

MOST_THREADS = 8


@dataclass(frozen=True, eq=False)
class Area:
    """Where a camera's picture is harmonized.

    mask    [H, W] float32 in [0, 1], how much of the output is shown; None where all of it is
    window  of the picture, outside of which the mask is 0
    crops   that the network runs on, where `harmonizer.roi` is on
    """

    mask: NDArray[np.float32] | None
    window: Window
    crops: tuple[Crop, ...] = ()


class AreaFinder:
    """Finds areas as the configuration says. Its threads work beside each other: OpenCV and numba release the GIL."""

    def __init__(self, config: HarmonizerConfig, *, latent_px: int) -> None:
        self._config, self._latent_px = config, latent_px
        self._crop_sizes = parse_sizes(config.roi.sizes)
        self._pool = ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1), thread_name_prefix="areas")

    def areas(self, moment: Moment) -> Iterator[tuple[int, Area]]:
        """Numbers and areas of the cameras that have to be harmonized, in their order, each as soon as it is there."""
        found = self._pool.map(self._area, moment.frames, moment.views, repeat(moment.actors))
        return ((number, area) for number, area in enumerate(found) if area is not None)

    def _area(self, frame: RenderedFrame, view: CameraView, actors: tuple[ActorBox, ...]) -> Area | None:
        if self._config.composite == "full":
            return Area(None, Window(0, 0, view.height_px, view.width_px))
        found = find_region(
            actor_weight=frame.actor_weight, depth=frame.depth, view=view, boxes=actors, config=self._config.region
        )
        if found is None:
            return None
        crops: tuple[Crop, ...] = ()
        if self._config.roi.enabled:
            grid_px = grid_of(scale_of(self._config.resolution, view.height_px), self._latent_px)
            margin_px = self._config.roi.margin_px
            crops = choose_crops(
                found.mask, sizes=self._crop_sizes, margin_px=margin_px, grid_px=grid_px, bounds=found.bounds
            )
        return Area(found.mask, Window(*found.bounds), crops)
