"""Renders as the simulator uses them: bytes on the host, and the floats where they were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.rendering.base import PlacedScene, Renderer
from r3d2_ros.rendering.rgb8 import to_rgb8

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class DeviceSurfaces:
    """What a camera sees, on the GPU that rendered it: `depth` [H, W] float32 and `instance` [H, W] int32."""

    depth: Tensor
    instance: Tensor


@dataclass(frozen=True, eq=False)
class RenderedFrame:
    """One camera's render; `depth`, `actor_weight` and `instance` are those of `RenderedImage`.

    rgb8      [H, W, 3] uint8, `rgb` rounded by `to_rgb8`: what is published where nothing harmonizes it
    rgb       [H, W, 3] float32, may exceed 1 slightly: an array, or a tensor on the GPU that rendered it
    surfaces  `depth` and `instance` once more, where a GPU rendered both; they take its memory as long as the frame
    """

    rgb8: NDArray[np.uint8]
    rgb: NDArray[np.float32] | Tensor
    depth: NDArray[np.float32]
    actor_weight: NDArray[np.float32]
    instance: NDArray[np.uint16] | None
    surfaces: DeviceSurfaces | None = None


@runtime_checkable
class DeviceRenderer(Protocol):
    """A renderer on a GPU, which brings bytes to the host and leaves the floats where a harmonizer can have them."""

    def render_frames(
        self, scene: PlacedScene, views: Sequence[CameraView], *, instances: bool = False
    ) -> list[RenderedFrame]: ...


def render_frames(
    renderer: Renderer, scene: PlacedScene, views: Sequence[CameraView], *, instances: bool = False
) -> list[RenderedFrame]:
    """`renderer.render` with the pictures rounded to bytes, on the device where that is a GPU."""
    if isinstance(renderer, DeviceRenderer):
        return renderer.render_frames(scene, views, instances=instances)
    images = renderer.render(scene, views, instances=instances)
    return [
        RenderedFrame(to_rgb8(image.rgb), image.rgb, image.depth, image.actor_weight, image.instance)
        for image in images
    ]
