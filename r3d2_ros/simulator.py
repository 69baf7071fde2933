"""Simulator.step: the only way a picture is made. A frame set is a pure function of a world state."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from r3d2_ros.cameras import Camera, CameraView, Rig
from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer.pipeline import Harmonized, Harmonizer
from r3d2_ros.harmonizer.region import actor_boxes
from r3d2_ros.rendering.base import RenderedImage, Renderer
from r3d2_ros.rendering.rgb8 import to_rgb8
from r3d2_ros.scene import AssetLibrary, Scene
from r3d2_ros.world import EgoState, WorldState


@dataclass(frozen=True, eq=False)
class CameraFrame:
    """One camera's picture.

    rgb           [H, W, 3] uint8, after harmonizing
    rendered      [H, W, 3] uint8, before harmonizing; the same array where no harmonizer changed it
    mask          [H, W] float32 in [0, 1]: how much of the harmonizer's output each pixel has; None: nothing of it
    depth         [H, W] float32 z-depth in metres, NaN where nothing solid is seen
    instance      [H, W] uint16 actor numbers, or None when not asked for
    content_hash  xxh3_128 of the row-major rgb pixels, 32 hexadecimal digits
    render_ms, harmonize_ms  wall time; a call for several cameras is shared equally among them
    """

    camera: Camera
    rgb: NDArray[np.uint8]
    rendered: NDArray[np.uint8]
    mask: NDArray[np.float32] | None
    depth: NDArray[np.float32]
    instance: NDArray[np.uint16] | None
    content_hash: str
    render_ms: float
    harmonize_ms: float


@dataclass(frozen=True, eq=False)
class FrameSet:
    """The pictures of one moment, in the rig's order, and how far the ego is from what was captured.

    off_path_m, off_path_deg  deviation from the capture trajectory; NaN when the scene has none
    out_of_bounds_m           distance outside the scene's bounds; 0 inside, NaN when it states none
    """

    stamp_ns: int
    frames: tuple[CameraFrame, ...]
    instance_ids: tuple[str, ...]
    off_path_m: float
    off_path_deg: float
    out_of_bounds_m: float


@dataclass(frozen=True)
class History:
    """What a temporal harmonizer carries from one step to the next. Empty: no step depends on an earlier one."""


class Simulator:
    """Scene, assets, rig, renderer and harmonizer, put together once; `step` has no state of its own."""

    def __init__(
        self,
        *,
        scene: Scene,
        library: AssetLibrary,
        rig: Rig,
        renderer: Renderer,
        harmonizer: Harmonizer | None = None,
        instances: bool = False,
    ) -> None:
        self.scene, self.library, self.rig, self.renderer = scene, library, rig, renderer
        self.harmonizer, self.instances = harmonizer, instances

    def step(
        self, state: WorldState, history: History, *, cameras: Sequence[Camera] | None = None
    ) -> tuple[FrameSet, History]:
        """Pictures of `state` for `cameras` (default: the whole rig)."""
        cameras = self.rig.cameras if cameras is None else tuple(cameras)
        T_world_ego = state.ego.T_world_ego
        views = [camera.view(T_world_ego) for camera in cameras]
        start = time.perf_counter()
        placed = self.scene.compose(state.actors, self.library)
        images = self.renderer.render(placed, views, instances=self.instances)
        rendered = [to_rgb8(image.rgb) for image in images]
        render_ms = _share_ms(start, cameras)
        start = time.perf_counter()
        harmonized = self._harmonize(images, rendered, views, state)
        harmonize_ms = _share_ms(start, cameras) if self.harmonizer else 0.0
        frames = tuple(
            CameraFrame(
                camera=camera,
                rgb=after.rgb,
                rendered=before,
                mask=after.mask,
                depth=image.depth,
                instance=image.instance,
                content_hash=xxhash.xxh3_128_hexdigest(after.rgb.data),
                render_ms=render_ms,
                harmonize_ms=harmonize_ms,
            )
            for camera, image, before, after in zip(cameras, images, rendered, harmonized, strict=True)
        )
        path = self.scene.path
        off_path_m, off_path_deg = path.deviation(T_world_ego) if path else (math.nan, math.nan)
        frame_set = FrameSet(
            stamp_ns=state.stamp_ns,
            frames=frames,
            instance_ids=state.instance_ids,
            off_path_m=off_path_m,
            off_path_deg=off_path_deg,
            out_of_bounds_m=self.scene.distance_outside_bounds_m(T_world_ego.translation),
        )
        return frame_set, history

    def _harmonize(
        self,
        images: list[RenderedImage],
        rendered: list[NDArray[np.uint8]],
        views: list[CameraView],
        state: WorldState,
    ) -> list[Harmonized]:
        if self.harmonizer is None:
            return [Harmonized(rgb, None) for rgb in rendered]
        return self.harmonizer.apply(images, rendered, views, actor_boxes(state.actors, self.library))

    def warm_up(self) -> None:
        """Compile, and upload what stays, so that the first frame is as fast as the others."""
        pose = self.scene.path.poses[0] if self.scene.path else Rigid.identity()
        state = WorldState(0, EgoState(0, pose))
        placed = self.scene.compose(state.actors, self.library)
        self.renderer.warm_up(placed, [camera.view(pose) for camera in self.rig.cameras])
        self.step(state, History())
        if self.harmonizer is not None:
            self.harmonizer.warm_up([(camera.height_px, camera.width_px) for camera in self.rig.cameras])


def _share_ms(start: float, cameras: Sequence[Camera]) -> float:
    """Milliseconds since `start`, for each camera."""
    return (time.perf_counter() - start) * 1e3 / max(len(cameras), 1)
