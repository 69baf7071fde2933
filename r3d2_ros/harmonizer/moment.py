"""What is harmonized together. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

from r3d2_ros.cameras import CameraView
from r3d2_ros.harmonizer.region import ActorBox
from r3d2_ros.rendering.frames import RenderedFrame


@dataclass(frozen=True, eq=False)
class Moment:
    """The renders of one moment: of each camera its name, its view and its render, and the inserted actors."""

    stamp_ns: int
    names: tuple[str, ...]
    views: tuple[CameraView, ...]
    frames: tuple[RenderedFrame, ...]
    actors: tuple[ActorBox, ...]
