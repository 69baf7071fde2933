"""Scene: a static reconstruction with its place in the map, assets, and the composition of both for one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import Affine, Rigid, Similarity
from r3d2_ros.rendering.base import PlacedGaussians, PlacedScene
from r3d2_ros.sky import Sky
from r3d2_ros.world import ActorState, WorldState


@dataclass(frozen=True, eq=False)
class Asset:
    """A named object in the vehicle frame: x forward, y left, z up, origin at the ground centre of its box.

    size_m is (length, width, height) of the box.
    """

    name: str
    gaussians: Gaussians
    size_m: tuple[float, float, float]
    category: str = ""
    licence: str = ""


@dataclass(frozen=True, eq=False)
class AssetLibrary:
    """Assets by name."""

    assets: Mapping[str, Asset] = field(default_factory=dict)

    def __contains__(self, name: object) -> bool:
        return name in self.assets

    def __getitem__(self, name: str) -> Asset:
        if name not in self.assets:
            raise KeyError(f"unknown asset '{name}', known: {', '.join(sorted(self.assets)) or 'none'}")
        return self.assets[name]


@dataclass(frozen=True, eq=False)
class Scene:
    """A static background in its own frame ("scene"), and what is known of its capture.

    T_map_scene     similarity, float64: rotation, translation in metres, metres per scene unit
    trajectory      [M] poses of base_link during the capture, in the scene frame; may be empty
    bounds          [2, 3] float64 lower and upper corner in the scene frame where the reconstruction is usable, or None
    time_offset_s   map time minus capture time
    notes           what the loader wants the user to know once
    """

    name: str
    background: Gaussians
    T_map_scene: Similarity = field(default_factory=Similarity.identity)
    sky: Sky = field(default_factory=Sky)
    trajectory: tuple[Rigid, ...] = ()
    bounds: NDArray[np.float64] | None = None
    time_offset_s: float = 0.0
    antialiased: bool = False
    licence: str = ""
    notes: tuple[str, ...] = ()
