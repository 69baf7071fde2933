"""Moments that a harmonizer is tried with before the first frame: grey pictures of two actors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from r3d2_ros.cameras import CameraView
from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer.compositing.region import ActorBox
from r3d2_ros.harmonizer.compositing.roi import Size
from r3d2_ros.harmonizer.moment import Moment
from r3d2_ros.rendering.base import RenderedImage
from r3d2_ros.rendering.frames import DeviceSurfaces, frame_of

DISTANCE_M = 30.0
"""Of the actors: near enough for a region around them, and too far for it to fill the picture."""


def grey_moment(
    size: Size, renderer: torch.device, *, cameras: int = 1, seen: int = 2, stamp_ns: int = 0, moved_m: float = 0.0
) -> Moment:
    """Grey frames from a renderer on a device, of cameras in one place, with two actors of a metre that are far apart.

    seen     of the actors: with both a picture has several crops, with one a single one, which other kernels make
    moved_m  to the right
    """
    rows, columns = size
    grey, weight = np.full((*size, 3), 0.5, np.float32), np.zeros(size, np.float32)
    depth, instance = np.full(size, DISTANCE_M, np.float32), np.zeros(size, np.uint16)
    actors = []
    for number, place in enumerate((0.15, 0.85), start=1):
        first = int(place * columns)
        middle = np.s_[rows // 2 : rows // 2 + 8, first : first + 8]
        if number <= seen:
            weight[middle], instance[middle] = 1, number
        x_m = (place - 0.5) * DISTANCE_M + moved_m
        T_world_actor = Rigid(np.eye(3), np.array([x_m, 0.0, DISTANCE_M]))
        actors.append(ActorBox(T_world_actor, (1.0, 1.0, 1.0), f"warm-up {number}", number))
    frames = [frame_of(RenderedImage(grey, depth, weight, weight, instance))] * cameras
    if renderer.type != "cpu":
        arrays = (frames[0].rgb8, depth, weight, instance.astype(np.int32))
        # Parts of one tensor, as a renderer gives them: not all begin where Triton's fastest loads do.
        stacks = [torch.from_numpy(np.stack([array] * cameras)).to(renderer) for array in arrays]
        surfaces = [DeviceSurfaces(*parts) for parts in zip(*stacks, strict=True)]
        frames = [replace(frame, surfaces=one) for frame, one in zip(frames, surfaces, strict=True)]
    K = np.array([[columns, 0, columns / 2], [0, columns, rows / 2], [0, 0, 1]], np.float64)
    view = CameraView(K, width_px=columns, height_px=rows, T_camera_world=Rigid.identity())
    names = tuple(f"warm-up {k}" for k in range(cameras))
    return Moment(stamp_ns, names, (view,) * cameras, tuple(frames), tuple(actors))
