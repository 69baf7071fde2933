"""Where a thing is: cells of a grid in its own frame, through which rays towards the light are followed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from r3d2_ros.dataset.kernels_occupancy import blocked_share
from r3d2_ros.geometry import Array
from r3d2_ros.street.lighting import filled
from r3d2_ros.street.meshes import FILL
from r3d2_ros.street.surfels import Surfels

CELL_M = 0.04
RAY_START_M = 0.02
"""Rays begin this far from the surface that they light."""


@dataclass(frozen=True, eq=False)
class Occupancy:
    """Cells [X, Y, Z] uint8 that are not 0 where there is something; cell (0, 0, 0) begins at `low` [3], in metres."""

    low: Array
    cells: NDArray[np.uint8]
    cell_m: float = CELL_M

    @classmethod
    def of(cls, samples: Surfels, cell_m: float = CELL_M) -> Occupancy:
        """Of the surfaces that surfels sample: what they enclose is empty, and no ray can reach it."""
        half = (0.5 * samples.scale[:, :2] / FILL).astype(np.float32)
        points = filled(samples.position, samples.tangent_u, samples.tangent_v, half, spacing_m=0.6 * cell_m)
        low = points.min(axis=0).astype(np.float64)
        index = np.floor((points - low) / cell_m).astype(np.int64)
        cells = np.zeros(index.max(axis=0) + 1, np.uint8)
        cells[tuple(index.T)] = 1
        return cls(low, cells, cell_m)

    def blocked(self, points: ArrayLike, directions: ArrayLike, *, start_m: float = RAY_START_M) -> Array:
        """Share [N] of the rays from each point [N, 3] in all of the unit directions [K, 3] that meet something."""
        origins = (np.asarray(points, np.float64).reshape(-1, 3) - self.low) / self.cell_m
        rays = np.ascontiguousarray(np.asarray(directions, np.float64).reshape(-1, 3))
        shape = np.array(self.cells.shape, np.int64)
        return blocked_share(self.cells.reshape(-1), shape, origins, rays, start_m / self.cell_m)


def disc_directions(direction: ArrayLike, radius_rad: float, count: int) -> Array:
    """Unit vectors [count, 3], evenly over a disc of the sky with this angular radius around `direction` [3].

    The places are those of a sunflower (Vogel 1979), the same for every call.
    """
    toward = np.asarray(direction, np.float64)
    aside = np.cross(toward, np.eye(3)[int(np.argmin(np.abs(toward)))])
    aside /= np.linalg.norm(aside)
    up = np.cross(toward, aside)
    k = np.arange(count)
    radius = np.tan(radius_rad) * np.sqrt((k + 0.5) / count)
    angle = k * np.pi * (3 - np.sqrt(5))
    rays = toward + (radius * np.cos(angle))[:, None] * aside + (radius * np.sin(angle))[:, None] * up
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def sky_directions(count: int) -> Array:
    """Unit vectors [count, 3] over the upper hemisphere, as dense as the cosine to the vertical (Malley's method)."""
    k = np.arange(count)
    radius, angle = np.sqrt((k + 0.5) / count), k * np.pi * (3 - np.sqrt(5))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)], axis=1)


@dataclass(frozen=True, eq=False)
class ContactShade:
    """Share of the sky that a thing hides from a level surface beneath and close beside it, on a grid in its frame.

    share [X, Y, Z] at low + index * step_m in x and y, and at heights_m [Z]; 0 outside the grid
    """

    low: Array
    share: NDArray[np.float32]
    heights_m: tuple[float, ...] = (-0.15, 0.0, 0.15, 0.5)
    step_m: float = 0.12

    @classmethod
    def of(cls, thing: Occupancy, *, margin_m: float = 2.0, rays: int = 64) -> ContactShade:
        size = np.array(thing.cells.shape) * thing.cell_m
        low = thing.low[:2] - margin_m
        counts = np.ceil((size[:2] + 2 * margin_m) / cls.step_m).astype(int) + 1
        x, y = (low[k] + np.arange(counts[k]) * cls.step_m for k in range(2))
        grid = np.stack(np.meshgrid(x, y, np.array(cls.heights_m), indexing="ij"), axis=-1)
        share = thing.blocked(grid.reshape(-1, 3), sky_directions(rays)).reshape(grid.shape[:3])
        beside = np.hypot(_outside(x, thing.low[0], size[0])[:, None], _outside(y, thing.low[1], size[1]))
        # Farther off the light that the thing throws back makes up for what it hides, and the grid must end softly.
        fade = np.clip(2 - 2 * beside / margin_m, 0, 1)
        return cls(low, (share * fade[..., None]).astype(np.float32))

    def at(self, points: Array) -> Array:
        """Share [N] at points [N, 3] of the thing's frame; linear between the grid's points."""
        x, y = ((points[:, :2] - self.low) / self.step_m).T
        z = np.interp(points[:, 2], self.heights_m, np.arange(len(self.heights_m)))
        # Above the grid a surface is no longer beside the foot of the thing.
        fade = np.clip(2 - points[:, 2] / self.heights_m[-1], 0, 1)
        inside = (x >= 0) & (y >= 0) & (x <= self.share.shape[0] - 1) & (y <= self.share.shape[1] - 1)
        i, j, k = (
            np.clip(np.floor(v).astype(np.int64), 0, n - 2) for v, n in zip((x, y, z), self.share.shape, strict=True)
        )
        total = np.zeros(len(points))
        for di in (0, 1):
            for dj in (0, 1):
                for dk in (0, 1):
                    weight = np.abs(1 - di - (x - i)) * np.abs(1 - dj - (y - j)) * np.abs(1 - dk - (z - k))
                    total += weight * self.share[i + di, j + dj, k + dk]
        return np.where(inside, fade * total, 0.0)


def _outside(v: Array, low: float, size: float) -> Array:
    """Distance of each number to the interval low..low + size."""
    return np.maximum(np.maximum(low - v, v - low - size), 0.0)
