"""Light: sun with cast shadows, sky seen past the houses, light from the ground, and the tone curve of the camera.

Geometry and materials come as surfels; nothing here changes them. Radiance is linear until `display`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from r3d2_ros.geometry import Array
from r3d2_ros.street.meshes import FILL
from r3d2_ros.street.noise import smoothstep
from r3d2_ros.street.options import Sun
from r3d2_ros.street.surfels import F32, Surfels

GROUND_ALBEDO = 0.18
EXPOSURE = 1.5
BRIGHTEST = 0.998
SHADOW_CELL_M = 0.09
SHADOW_BIAS_M = 0.16
SHADOW_CHUNK = 30_000
"""Surfels drawn into the shadow map at once."""
SKY_CELL_M = 0.5
SKY_AZIMUTHS = np.arange(8) * np.pi / 4 + 0.3
SKY_STEPS_M = (0.8, 1.6, 3.0, 5.0, 8.0, 13.0, 20.0)


def display(radiance: NDArray) -> Array:
    """Linear radiance -> displayed value in [0, 1): exponential shoulder, then the sRGB curve (IEC 61966-2-1)."""
    x = 1.0 - np.exp(-EXPOSURE * np.maximum(radiance, 0.0))
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-6) ** (1 / 2.4) - 0.055)


def radiance(displayed: NDArray) -> Array:
    """The inverse of `display`; values above BRIGHTEST count as that, because the shoulder has no inverse at 1."""
    s = np.clip(displayed, 0.0, BRIGHTEST)
    return -np.log(1.0 - linear(s)) / EXPOSURE


def linear(srgb: ArrayLike) -> Array:
    """An sRGB colour in [0, 1] as linear reflectance."""
    s = np.asarray(srgb, np.float64)
    return np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)


@dataclass(frozen=True, eq=False)
class ShadowMap:
    """Height of the first surface that the sun meets, on a grid across the sun's direction (max of p . sun)."""

    sun: Array
    across: Array
    low: Array
    height: NDArray[np.float32]

    @classmethod
    def of(cls, samples: Surfels, sun: Sun) -> ShadowMap:
        """From surfels that cast shadows; each is filled in at the grid's spacing."""
        toward = sun.direction
        side = np.cross([0.0, 0.0, 1.0], toward)
        side /= np.linalg.norm(side)
        axes = np.stack([side, np.cross(toward, side), toward])
        centre, u, v = (
            (vectors @ axes.T).astype(np.float32)
            for vectors in (samples.position, samples.tangent_u, samples.tangent_v)
        )
        half = (0.5 * samples.scale[:, :2] / FILL).astype(np.float32)
        reach = half.sum(axis=1, keepdims=True)
        low = (centre - reach).min(axis=0)[:2].astype(np.float64) - 1.0
        size = np.ceil(((centre + reach).max(axis=0)[:2] + 1.0 - low) / SHADOW_CELL_M).astype(int)
        height = np.full(size[0] * size[1], -1e9, np.float32)
        for start in range(0, len(samples), SHADOW_CHUNK):
            part = slice(start, start + SHADOW_CHUNK)
            points = filled(centre[part], u[part], v[part], half[part], spacing_m=SHADOW_CELL_M)
            index = ((points[:, :2] - low) / SHADOW_CELL_M).astype(np.int64)
            np.maximum.at(height, index[:, 0] * size[1] + index[:, 1], points[:, 2])
        return cls(toward, axes[:2], low, height.reshape(size))

    def lit(self, position: NDArray, normal: NDArray) -> Array:
        """Share [N] of the sun that reaches each point, with a soft edge of about 20 cm."""
        raised = position + 0.07 * normal
        plane = (raised @ self.across.T - self.low) / SHADOW_CELL_M - 0.5
        depth = raised @ self.sun
        base = np.floor(plane).astype(np.int64)
        fraction = plane - base
        lit = np.zeros(len(position))
        for i in (-1, 0, 1, 2):
            for j in (-1, 0, 1, 2):
                # A cubic-shaped window over 4x4 grid cells: smooth in the sub-cell position.
                weight = _tent(fraction[:, 0] - i) * _tent(fraction[:, 1] - j)
                a = np.clip(base[:, 0] + i, 0, self.height.shape[0] - 1)
                b = np.clip(base[:, 1] + j, 0, self.height.shape[1] - 1)
                lit += weight * (self.height[a, b] < depth + SHADOW_BIAS_M)
        return lit


def _tent(offset: Array) -> Array:
    return np.maximum(0.0, 2.0 - np.abs(offset)) / 4.0


def filled(centre: F32, u: F32, v: F32, half: F32, *, spacing_m: float) -> F32:
    """Points [M, 3] that cover the cells centre +- half * (u, v) at most `spacing_m` apart."""
    counts = np.maximum(1, np.ceil(2 * half / spacing_m)).astype(np.int64)
    total = counts.prod(axis=1)
    row = np.repeat(np.arange(len(centre)), total)
    local = np.arange(len(row)) - np.repeat(np.cumsum(total) - total, total)
    place = np.stack([local % counts[row, 0], local // counts[row, 0]], axis=1)
    a, b = (((2 * place + 1) / counts[row] - 1).astype(np.float32) * half[row]).T
    return centre[row] + a[:, None] * u[row] + b[:, None] * v[row]


@dataclass(frozen=True, eq=False)
class SkyView:
    """How much of the sky is seen past tall things: a height field on the ground plane."""

    low: Array
    height: NDArray[np.float32]

    @classmethod
    def of(cls, samples: Surfels) -> SkyView:
        low = samples.position[:, :2].min(axis=0).astype(np.float64) - 1.0
        index = ((samples.position[:, :2] - low) / SKY_CELL_M).astype(np.int64)
        size = index.max(axis=0) + 2
        height = np.full(size[0] * size[1], -1e9, np.float32)
        np.maximum.at(height, index[:, 0] * size[1] + index[:, 1], samples.position[:, 2])
        return cls(low, height.reshape(size))

    def openness(self, position: NDArray, normal: NDArray) -> Array:
        """Visible share [N] of the sky hemisphere above each surface, weighted towards its normal."""
        return self.seen(self.horizon(position), normal)

    def horizon(self, position: NDArray) -> Array:
        """Slopes [8, N] up to the highest thing in each of the directions, at positions [N, 3]."""
        slopes = np.zeros((len(SKY_AZIMUTHS), len(position)))
        for slope, azimuth in zip(slopes, SKY_AZIMUTHS, strict=True):
            direction = np.array([np.cos(azimuth), np.sin(azimuth)])
            for step in SKY_STEPS_M:
                index = ((position[:, :2] + step * direction - self.low) / SKY_CELL_M).astype(np.int64)
                i = np.clip(index[:, 0], 0, self.height.shape[0] - 1)
                j = np.clip(index[:, 1], 0, self.height.shape[1] - 1)
                np.maximum(slope, (self.height[i, j] - position[:, 2] - 0.2) / step, out=slope)
        return slopes

    @staticmethod
    def seen(horizon: Array, normal: NDArray) -> Array:
        """`openness` of surfaces with these normals [N, 3] and the slopes [8, N] of their horizons."""
        total, weights = np.zeros(len(normal)), np.zeros(len(normal))
        for slope, azimuth in zip(horizon, SKY_AZIMUTHS, strict=True):
            direction = np.array([np.cos(azimuth), np.sin(azimuth)])
            weight = np.clip(0.5 + 0.5 * normal[:, 2] + 0.6 * (normal[:, :2] @ direction), 0.02, None)
            total += weight * (1.0 - slope / np.sqrt(1.0 + slope * slope))
            weights += weight
        return total / weights


def shade(samples: Surfels, sun: Sun, *, sunlit: ArrayLike = 1.0, sky_view: ArrayLike = 1.0) -> Array:
    """Displayed colour [N, 3] of surfels under a sun.

    sunlit [N] is the share of the sun that is not in a cast shadow, sky_view [N] the visible share of the sky.
    """
    normal = samples.normal.astype(np.float64)
    sunlit, sky_view = np.asarray(sunlit, np.float64), np.asarray(sky_view, np.float64) * samples.openness
    cosine = normal @ sun.direction
    # Leaves scatter forward and wrap; solid surfaces follow Lambert.
    facing = np.where(samples.leafy > 0, 0.35 + 0.5 * np.clip(0.5 + 0.5 * cosine, 0, 1), np.clip(cosine, 0, None))
    power, sky = np.asarray(sun.power), np.asarray(sun.sky)
    above = (0.5 + 0.5 * normal[:, 2]) * sky_view
    ground = GROUND_ALBEDO * (0.55 * power + sky)
    below = 0.5 - 0.5 * normal[:, 2]
    # What the sky does not give, sunlit facades partly give back.
    street = 0.48 * (1.0 - sky_view) * samples.openness
    light = (
        (facing * sunlit)[:, None] * power
        + above[:, None] * sky
        + (below * (0.4 + 0.6 * samples.openness))[:, None] * ground
        + street[:, None] * (0.45 * sky + 0.18 * power)
    )
    mirror = samples.gloss[:, None] * reflection(normal, sun)
    return display(samples.albedo * light + mirror + samples.glow)


def reflection(normal: Array, sun: Sun) -> Array:
    """Radiance [N, 3] that a mirror with this normal shows to somebody who looks at it horizontally.

    The reflected ray rises by twice the normal's elevation: road below, houses at the horizon, sky above.
    """
    rise = 2.0 * normal[:, 2] * np.sqrt(np.clip(1.0 - normal[:, 2] ** 2, 0, 1))
    road, houses, sky = (
        np.array([0.07, 0.07, 0.075]),
        np.array([0.30, 0.29, 0.27]),
        np.array([0.78, 0.90, 1.05]),
    )
    upper = smoothstep(0.12, 0.55, rise)[:, None]
    lower = smoothstep(-0.03, -0.12, rise)[:, None]
    out = houses * (1 - upper) + sky * upper * (0.6 + np.mean(sun.sky))
    return out * (1 - lower) + road * lower
