"""Renders as the simulator uses them: bytes on the host, and all else where it was made."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.rendering.base import PlacedScene, RenderedImage, Renderer
from r3d2_ros.rendering.rgb8 import to_rgb8

if TYPE_CHECKING:
    from torch import Tensor


class HostImage:
    """[H, W] float32 on the host. A GPU's is brought here when it is first asked for, and then let go there.

    Any thread may ask. The tensor must be complete: whoever gives it has waited for the GPU.
    """

    def __init__(self, image: NDArray[np.float32] | Tensor) -> None:
        self._image = image
        self._lock = threading.Lock()

    @property
    def array(self) -> NDArray[np.float32]:
        with self._lock:
            if not isinstance(self._image, np.ndarray):
                from r3d2_ros.rendering.cuda_copies import to_host_aside

                self._image = to_host_aside(self._image)
            return self._image


@dataclass(frozen=True, eq=False)
class DeviceSurfaces:
    """What a camera sees, on the GPU that rendered it.

    rgb8                 [H, W, 3] uint8, the frame's
    depth, actor_weight  [H, W] float32, those of `RenderedImage`
    instance             [H, W] int32; None when not asked for
    """

    rgb8: Tensor
    depth: Tensor
    actor_weight: Tensor
    instance: Tensor | None


@dataclass(frozen=True, eq=False)
class RenderedFrame:
    """One camera's render.

    rgb8       [H, W, 3] uint8, `rgb` rounded by `to_rgb8`: what is published where nothing harmonizes it
    rgb        [H, W, 3] float32, may exceed 1 slightly: an array, or a tensor on the GPU that rendered it
    instance   that of `RenderedImage`
    surfaces   where a GPU rendered it; they take its memory as long as the frame
    """

    rgb8: NDArray[np.uint8]
    rgb: NDArray[np.float32] | Tensor
    depth_image: HostImage
    weight_image: HostImage
    instance: NDArray[np.uint16] | None
    surfaces: DeviceSurfaces | None = None

    @property
    def depth(self) -> NDArray[np.float32]:
        """That of `RenderedImage`."""
        return self.depth_image.array

    @property
    def actor_weight(self) -> NDArray[np.float32]:
        """That of `RenderedImage`."""
        return self.weight_image.array


def frame_of(image: RenderedImage) -> RenderedFrame:
    """Of a render on the host."""
    depth, weight = HostImage(image.depth), HostImage(image.actor_weight)
    return RenderedFrame(to_rgb8(image.rgb), image.rgb, depth, weight, image.instance)


@runtime_checkable
class DeviceRenderer(Protocol):
    """A renderer on a GPU, which brings bytes to the host and leaves all else where a harmonizer can have it."""

    def render_frames(
        self, scene: PlacedScene, views: Sequence[CameraView], *, instances: bool = False
    ) -> list[RenderedFrame]: ...

    def warm_up(self, scene: PlacedScene, views: Sequence[CameraView]) -> None:
        """Upload what stays and load the kernels, before the first frame makes room for the others."""
        ...


def render_frames(
    renderer: Renderer, scene: PlacedScene, views: Sequence[CameraView], *, instances: bool = False
) -> list[RenderedFrame]:
    """`renderer.render` with the pictures rounded to bytes, on the device where that is a GPU."""
    if isinstance(renderer, DeviceRenderer):
        return renderer.render_frames(scene, views, instances=instances)
    return [frame_of(image) for image in renderer.render(scene, views, instances=instances)]
