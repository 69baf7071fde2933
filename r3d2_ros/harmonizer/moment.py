"""What goes into `Harmonizer.apply` and what comes out of it. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.harmonizer.compositing.region import ActorBox
from r3d2_ros.rendering.frames import RenderedFrame
from r3d2_ros.rendering.rgb8 import content_hash


@dataclass(frozen=True, eq=False)
class Moment:
    """The renders of one moment: of each camera its name, its view and its render, and the inserted actors."""

    stamp_ns: int
    names: tuple[str, ...]
    views: tuple[CameraView, ...]
    frames: tuple[RenderedFrame, ...]
    actors: tuple[ActorBox, ...]


@dataclass(frozen=True, eq=False)
class Harmonized:
    """One camera's picture after harmonizing.

    rgb           [H, W, 3] uint8; the very bytes of the render where `mask` is 0
    mask          [H, W] float32 in [0, 1]: how much of the harmonizer's output each pixel has; None when it has none
    content_hash  of `rgb`
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.float32] | None
    content_hash: str

    @classmethod
    def of(cls, rgb: NDArray[np.uint8], mask: NDArray[np.float32] | None = None) -> Harmonized:
        return cls(rgb, mask, content_hash(rgb))


@dataclass(frozen=True)
class Failed:
    """The network gave this camera nothing that could be shown."""

    reason: str
