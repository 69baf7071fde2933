"""Light on things that are put into a street: the street's own, or a foreign one that an asset may come with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.dataset.garage import Thing
from r3d2_ros.dataset.occupancy import disc_directions
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.street.build import LitStreet
from r3d2_ros.street.lighting import SKY_CELL_M, SkyView, radiance, shade
from r3d2_ros.street.options import Sun
from r3d2_ros.street.surfels import Surfels, to_gaussians

Rng = np.random.Generator

SELF_SHADOW_START_M = 0.12
"""Rays from a thing's own surface begin this far out: within it its cells are coarser than its shapes."""
SURFACE_RAYS = 4


@dataclass(frozen=True, eq=False)
class Insert:
    """A thing in a street, its pose in the scene's frame."""

    thing: Thing
    T_scene_thing: Rigid
    id: str
    instance: int

    @cached_property
    def gaussians(self) -> Gaussians:
        """In the thing's frame, grey."""
        return to_gaussians(self.thing.surfels, np.full((len(self.thing.surfels), 3), 0.5))

    def placed(self) -> Surfels:
        return self.thing.surfels.moved(self.T_scene_thing.rotation, self.T_scene_thing.translation)


def blocked_by(inserts: Sequence[Insert], points: NDArray, directions: Array, *, start_m: float) -> Array:
    """Share [N] of the rays from points [N, 3] in directions [K, 3] of the scene that meet the inserts.

    The shares of several inserts add up, at most to 1: in the sun's small disc their edges seldom cover each other.
    """
    total = np.zeros(len(points))
    for insert in inserts:
        T = insert.T_scene_thing.inverse()
        total += insert.thing.occupancy.blocked(T.apply(points), directions @ T.rotation.T, start_m=start_m)
    return np.minimum(total, 1.0)


def own_light(insert: Insert, inserts: Sequence[Insert], lit: LitStreet, *, sun_radius_rad: float) -> Array:
    """Displayed colours [N, 3] of an insert's surfels in the light of the street.

    The sun reaches what neither the street nor an insert, itself too, keeps it from; sky is seen past the houses.
    """
    samples = insert.placed()
    normal = samples.normal.astype(np.float64)
    rays = disc_directions(lit.sun.direction, sun_radius_rad, SURFACE_RAYS)
    facing = normal @ lit.sun.direction > 0
    hidden = np.zeros(len(samples))
    hidden[facing] = blocked_by(inserts, samples.position[facing], rays, start_m=SELF_SHADOW_START_M)
    sunlit = lit.shadows.lit(samples.position, normal) * (1 - hidden)
    return shade(samples, lit.sun, sunlit=sunlit, sky_view=_sky_view(samples.position, normal, lit.sky))


def _sky_view(position: NDArray, normal: Array, sky: SkyView) -> Array:
    """`SkyView.openness` [N] of a thing: its houses' horizon is that of places on a grid as coarse as the sky's own."""
    places, place_of = np.unique(np.round(position / SKY_CELL_M), axis=0, return_inverse=True)
    return sky.seen(sky.horizon(places * SKY_CELL_M)[:, place_of.reshape(-1)], normal)


@dataclass(frozen=True)
class ForeignLight:
    """The light in which an asset was made, in its own frame. self_shadow: whether it keeps the sun from itself."""

    kind: str
    sun: Sun
    self_shadow: bool


def draw_foreign_light(rng: Rng, here: Sun) -> ForeignLight:
    """A light that has nothing to do with the street's sun `here`.

    turned   the street's sun as if the asset looked along +x: what a library lit once for its street gives
    studio   nearly even light from everywhere: what image-to-3D and text-to-3D assets come with
    other    another sun: direction, colour, strength and sky
    """
    kind = str(rng.choice(["turned", "studio", "other"], p=[0.25, 0.25, 0.5]))
    if kind == "turned":
        return ForeignLight(kind, here, self_shadow=False)
    azimuth, elevation = rng.uniform(0, 360), rng.uniform(12, 85)
    strength = float(np.exp(rng.uniform(np.log(0.55), np.log(1.6))))
    if kind == "studio":
        power, sky = strength * rng.uniform(0.05, 0.35) * np.ones(3), strength * rng.uniform(0.5, 1.0) * np.ones(3)
    else:
        power, sky = strength * sun_colour(rng, elevation), strength * sky_colour(rng)
    sun = Sun(azimuth, elevation, _triple(power * _tint(rng)), _triple(sky * _tint(rng)))
    return ForeignLight(kind, sun, self_shadow=bool(rng.random() < 0.5))


def foreign_light(insert: Insert, light: ForeignLight) -> Array:
    """Displayed colours [N, 3] of an insert's surfels, lit as if it stood alone on an open plain."""
    samples, toward = insert.thing.surfels, light.sun.direction
    sunlit = np.ones(len(samples))
    if light.self_shadow:
        rays = disc_directions(toward, np.radians(1.0), SURFACE_RAYS)
        sunlit -= insert.thing.occupancy.blocked(samples.position, rays, start_m=SELF_SHADOW_START_M)
    return shade(samples, light.sun, sunlit=sunlit)


def sun_colour(rng: Rng, elevation_deg: float) -> Array:
    """Irradiance [3] of the sun: redder and weaker when it is low, now and then veiled."""
    low = np.clip((35.0 - elevation_deg) / 35.0, 0, 1)
    warm = np.array([1.18, 1.04 - 0.16 * low, 0.86 - 0.34 * low])
    return warm * rng.uniform(0.65, 1.15)


def sky_colour(rng: Rng) -> Array:
    """Irradiance [3] of the sky: from blue to a bright white haze."""
    blue, white = np.array([0.36, 0.43, 0.54]), np.array([0.50, 0.52, 0.54])
    share = rng.uniform(0, 1)
    return (blue * (1 - share) + white * share) * rng.uniform(0.75, 1.3)


def _tint(rng: Rng) -> Array:
    return np.exp(rng.normal(0, 0.07, 3))


def _triple(values: Array) -> tuple[float, float, float]:
    r, g, b = (float(v) for v in values)
    return r, g, b


@dataclass(frozen=True)
class CameraGrade:
    """How a camera exposes and balances: factors on linear radiance, red, green, blue."""

    gain: tuple[float, float, float]

    @classmethod
    def draw(cls, rng: Rng) -> CameraGrade:
        exposure = np.exp(rng.uniform(np.log(0.75), np.log(1.3)))
        return cls(_triple(exposure * np.exp(rng.normal(0, 0.03, 3))))

    def radiance(self, displayed: NDArray) -> Array:
        """Linear radiance as this camera takes it, of an image [..., 3] in displayed colours."""
        return radiance(displayed) * np.asarray(self.gain)
