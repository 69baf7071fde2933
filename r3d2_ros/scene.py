"""Scene: a static reconstruction with its place in the map, and its composition with actors for one moment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import Affine, Array, Rigid, Similarity
from r3d2_ros.rendering.base import PlacedGaussians, PlacedScene
from r3d2_ros.sky import Sky
from r3d2_ros.world import ActorState

LIMIT_QUANTILES = (0.01, 0.99)
"""A scene without bounds is taken to reach as far as this part of its Gaussians, per axis."""


@dataclass(frozen=True, eq=False)
class Asset:
    """A named object in the vehicle frame: x forward, y left, z up, origin at the ground centre of its box.

    size_m is (length, width, height) of the box; notes are what the loader wants the user to know once.
    """

    name: str
    gaussians: Gaussians
    size_m: tuple[float, float, float]
    category: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()


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

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of all assets, each once. Assets that have not been read are read for it."""
        return tuple(dict.fromkeys(note for asset in self.assets.values() for note in asset.notes))


@dataclass(frozen=True, eq=False)
class Scene:
    """A static background in its own frame ("scene"), and what is known of its capture.

    T_map_scene     similarity, float64: rotation, translation in metres, metres per scene unit
    trajectory      [M] poses of base_link during the capture, in the scene frame; may be empty
    bounds          [2, 3] float64 lower and upper corner in the scene frame where the reconstruction is usable, or None
    procedural      made by a program, like the embedded street, and not reconstructed from pictures
    notes           what the loader wants the user to know once
    """

    name: str
    background: Gaussians
    T_map_scene: Similarity = field(default_factory=Similarity.identity)
    sky: Sky = field(default_factory=Sky)
    trajectory: tuple[Rigid, ...] = ()
    bounds: NDArray[np.float64] | None = None
    antialiased: bool = False
    procedural: bool = False
    licence: str = ""
    notes: tuple[str, ...] = ()

    @cached_property
    def path(self) -> CapturePath | None:
        """The capture trajectory in the map frame; None when the scene has none."""
        if not self.trajectory:
            return None
        rotation = self.T_map_scene.rotation
        return CapturePath(
            positions=self.T_map_scene.apply([pose.translation for pose in self.trajectory]),
            poses=tuple(
                Rigid(rotation @ p.rotation, self.T_map_scene.apply(p.translation)) for p in self.trajectory
            ),
        )

    def distance_outside_bounds_m(self, position_map: Array) -> float:
        """Metres from `position_map` [3] to the box of `bounds`; 0 inside, NaN when the scene states no bounds."""
        if self.bounds is None:
            return math.nan
        position = self.T_map_scene.inverse().apply(position_map)
        outside = np.maximum(np.maximum(self.bounds[0] - position, position - self.bounds[1]), 0.0)
        return float(np.linalg.norm(outside)) * self.T_map_scene.scale

    def outside_m(self, points: Array) -> tuple[Array, str]:
        """Metres from each of `points` [N, 3] in the map to the scene, 0 inside, and what its limits are.

        Those are its bounds, else the box that holds 98 % of its Gaussians on each axis.
        """
        if self.bounds is not None:
            return np.array([self.distance_outside_bounds_m(point) for point in points]), "the scene's bounds"
        if len(self.background) == 0:
            return np.zeros(len(points)), "the scene"
        means = self.background.means[:: max(1, len(self.background) // 100_000)]
        low, high = self.background.origin + np.quantile(means, LIMIT_QUANTILES, axis=0)
        local = self.T_map_scene.inverse().apply(points)
        distance = np.linalg.norm(np.maximum(np.maximum(low - local, local - high), 0.0), axis=1)
        return distance * self.T_map_scene.scale, "the scene (the box that holds 98 % of it)"

    def compose(self, actors: Sequence[ActorState], library: AssetLibrary) -> PlacedScene:
        """The static background with every actor placed. Nothing is copied: nodes refer to the loaded arrays.

        KeyError for an actor whose asset is not in the library.
        """
        background = PlacedGaussians(self.background, self.T_map_scene.affine(), self.T_map_scene.rotation)
        return PlacedScene(
            background, tuple(_place(actor, library[actor.asset]) for actor in actors), self.sky
        )


def _place(actor: ActorState, asset: Asset) -> PlacedGaussians:
    """The asset at the actor's pose, stretched per axis where the actor overrides the asset's size."""
    size_m = asset.size_m if actor.size_m is None else actor.size_m
    stretch = np.asarray(size_m, np.float64) / np.asarray(asset.size_m, np.float64)
    T = actor.T_world_actor
    return PlacedGaussians(
        asset.gaussians, Affine(T.rotation * stretch, T.translation), T.rotation, actor.instance
    )


@dataclass(frozen=True, eq=False)
class CapturePath:
    """The vehicle's path during the capture, in the map frame: positions [M, 3] float64 and poses of base_link."""

    positions: Array
    poses: tuple[Rigid, ...]

    def deviation(self, T_world_ego: Rigid) -> tuple[float, float]:
        """Distance in metres to the path (as a polyline) and angle in degrees to its orientation at that point."""
        point = T_world_ego.translation
        if len(self.poses) == 1:
            nearest = self.poses[0]
        else:
            start, step = self.positions[:-1], np.diff(self.positions, axis=0)
            length2 = np.maximum(np.einsum("ij,ij->i", step, step), 1e-12)
            along = np.clip(np.einsum("ij,ij->i", point - start, step) / length2, 0.0, 1.0)
            i = int(np.argmin(np.linalg.norm(start + along[:, None] * step - point, axis=1)))
            nearest = self.poses[i].interpolate(self.poses[i + 1], float(along[i]))
        cosine = (np.trace(nearest.rotation.T @ T_world_ego.rotation) - 1.0) / 2.0
        angle_deg = math.degrees(math.acos(min(1.0, max(-1.0, cosine))))
        return float(np.linalg.norm(nearest.translation - point)), angle_deg
