"""Actors in a street as a camera sees them, made without a renderer: weights and depths for tests of regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera, CameraView
from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer.compositing.region import ActorBox, Region, find_region
from r3d2_ros.harmonizer.settings import RegionConfig

if TYPE_CHECKING:
    from r3d2_ros.rendering.frames import DeviceSurfaces

CAMERA_M, WALL_M, FAR_M = 1.6, 12.0, 40.0
CAR_M = (4.5, 1.8, 1.5)


@dataclass(frozen=True, eq=False)
class SeenActors:
    """actor_weight, depth: [H, W] float32 of a `RenderedImage`."""

    view: CameraView
    boxes: tuple[ActorBox, ...]
    actor_weight: NDArray[np.float32]
    depth: NDArray[np.float32]

    def region(self, boxes: Sequence[ActorBox], config: RegionConfig) -> Region | None:
        """What the CPU finds."""
        return find_region(
            actor_weight=self.actor_weight, depth=self.depth, view=self.view, boxes=boxes, config=config
        )

    def surfaces(self, device: str) -> DeviceSurfaces:
        """As a renderer on that device gives them, in front of a picture that is black."""
        import torch

        from r3d2_ros.rendering.frames import DeviceSurfaces

        black = torch.zeros((*self.depth.shape, 3), dtype=torch.uint8, device=device)
        depth, weight = (torch.from_numpy(image).to(device) for image in (self.depth, self.actor_weight))
        return DeviceSurfaces(black, depth, weight, None)


def seen_actors(seed: int, size: tuple[int, int]) -> SeenActors:
    """Five cars before a camera above a road, with a wall to the left and the sky above."""
    rng, (height, width) = np.random.default_rng(seed), size
    K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
    front = Camera("front", width, height, K, Rigid(R_BODY_OPTICAL, np.array([0.0, 0.0, CAMERA_M])))
    view = front.view(Rigid.identity())
    places = zip(rng.uniform(2, 30, 5), rng.uniform(-4, 4, 5), rng.uniform(0, 6, 5), strict=True)
    boxes = tuple(ActorBox(Rigid.from_xyz_yaw(x, y, 0.0, yaw), CAR_M) for x, y, yaw in places)
    v, u = np.mgrid[:height, :width] + 0.5
    below = v - height / 2
    depth = np.where(below > 0, np.minimum(CAMERA_M * width / np.maximum(below, 0.1), FAR_M), np.nan)
    depth = np.where((u < width / 4) & (v > height / 4), np.fmin(depth, WALL_M), depth)
    weight = np.zeros(size)
    for box in boxes:
        x, y, z = view.T_camera_world.apply(box.T_world_actor.translation + [0, 0, CAR_M[2] / 2])
        (column, row, _), across = K @ [x / z, y / z, 1], width / z
        inside = (np.abs(u - column) < across) & (np.abs(v - row) < 0.7 * across)
        weight[inside], depth[inside] = 0.9, z
    return SeenActors(view, boxes, weight.astype(np.float32), depth.astype(np.float32))
