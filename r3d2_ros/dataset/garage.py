"""Things to insert: vehicles and people in random colours, with the cells that they occupy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from r3d2_ros.dataset.occupancy import ContactShade, Occupancy
from r3d2_ros.geometry import Array
from r3d2_ros.street.people import Clothes, cyclist, pedestrian
from r3d2_ros.street.shapes import HATCHBACK, SALOON, SUV
from r3d2_ros.street.surfels import F32, Surfels
from r3d2_ros.street.vehicles import bus, car, colour, truck, van

Rng = np.random.Generator

CAR_PAINTS = (
    (0.90, 0.90, 0.89), (0.62, 0.65, 0.68), (0.38, 0.39, 0.40), (0.13, 0.13, 0.14), (0.62, 0.11, 0.10),
    (0.13, 0.25, 0.45), (0.25, 0.33, 0.28), (0.80, 0.64, 0.16), (0.42, 0.27, 0.18), (0.72, 0.36, 0.12),
)  # fmt: skip
"""sRGB: white, silver, grey, black, red, blue, green, yellow, brown, orange."""

SHARES = {
    "hatchback": 0.22, "saloon": 0.22, "suv": 0.18, "van": 0.10, "truck": 0.06, "bus": 0.05,
    "pedestrian": 0.10, "cyclist": 0.07,
}  # fmt: skip
"""How often each kind is drawn."""


@dataclass(frozen=True, eq=False)
class Thing:
    """Unlit surfels whose origin is the ground centre of their box of size_m, and what they take of the light."""

    kind: str
    surfels: Surfels
    size_m: tuple[float, float, float]
    occupancy: Occupancy
    contact: ContactShade

    @property
    def on_foot(self) -> bool:
        return self.kind == "pedestrian"


@dataclass(frozen=True, eq=False)
class _Shape:
    """What a thing's colours do not change: `centre` [3] is the ground centre of its box where it was made."""

    occupancy: Occupancy
    contact: ContactShade
    centre: Array
    size_m: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class _Painted:
    """A vehicle of which every reflectance is linear in its paints: albedo = bare + sum of shares * paint.

    Making one takes as long as rendering it, and only its colours change.
    """

    bare: Surfels
    shares: tuple[F32, ...]

    @classmethod
    def of(cls, make: Callable[..., Surfels], paints: int) -> _Painted:
        black, white = np.zeros(3), np.ones(3)
        bare = make(*[black] * paints)
        painted = (make(*[white if k == n else black for n in range(paints)]) for k in range(paints))
        return cls(bare, tuple(samples.albedo - bare.albedo for samples in painted))

    def painted(self, paints: Sequence[Array]) -> Surfels:
        albedo = self.bare.albedo + sum(share * paint for share, paint in zip(self.shares, paints, strict=True))
        return replace(self.bare, albedo=albedo.astype(np.float32))


def draw_kind(rng: Rng) -> str:
    return str(rng.choice(list(SHARES), p=list(SHARES.values())))


def make_thing(kind: str, rng: Rng) -> Thing:
    """A thing of a kind of SHARES, in colours of its own."""
    variant = int(rng.integers(len(_STRIDES_M))) if kind == "pedestrian" else 0
    samples = _make(kind, rng, variant)
    shape = _shape(kind, variant)
    centred = replace(samples, position=(samples.position - shape.centre).astype(np.float32))
    return Thing(kind, centred, shape.size_m, shape.occupancy, shape.contact)


def _paint(rng: Rng) -> Array:
    """One of the usual paints, a little darker or lighter and tinted."""
    chosen = np.array(CAR_PAINTS[int(rng.integers(len(CAR_PAINTS)))])
    r, g, b = np.clip(chosen * rng.uniform(0.85, 1.15) + rng.normal(0, 0.02, 3), 0.05, 0.95)
    return colour((float(r), float(g), float(b)))


def _cloth(rng: Rng) -> tuple[float, float, float]:
    """sRGB: mostly dull, now and then bright."""
    grey = rng.uniform(0.10, 0.85)
    tint = rng.normal(0, 0.05 if rng.random() < 0.6 else 0.22, 3)
    r, g, b = np.clip(grey + tint - tint.mean(), 0.06, 0.90)
    return float(r), float(g), float(b)


def _clothes(rng: Rng, variant: int) -> Clothes:
    skin = np.array([0.82, 0.64, 0.54]) * rng.uniform(0.45, 1.08)
    r, g, b = (float(v) for v in np.clip(skin, 0.2, 0.9))
    hair = float(rng.uniform(0.06, 0.5))
    return Clothes(
        skin=(r, g, b),
        hair=(hair, hair * 0.8, hair * 0.6),
        jacket=_cloth(rng),
        shirt=_cloth(rng),
        trousers=_cloth(rng),
        pack=_cloth(rng) if variant == 1 else None,
        coat=variant == 2,
        long_hair=variant == 2,
    )


_STRIDES_M = (0.30, 0.24, 0.20)
_VEHICLES: dict[str, tuple[Callable[..., Surfels], int]] = {
    "hatchback": (lambda paint: car(HATCHBACK, paint), 1),
    "saloon": (lambda paint: car(SALOON, paint), 1),
    "suv": (lambda paint: car(SUV, paint), 1),
    "van": (van, 1),
    "truck": (truck, 2),
    "bus": (bus, 1),
}
"""Makers of vehicles, and how many paints each takes."""


@cache
def _painted(kind: str) -> _Painted:
    return _Painted.of(*_VEHICLES[kind])


def _make(kind: str, rng: Rng, variant: int) -> Surfels:
    if kind in _VEHICLES:
        return _painted(kind).painted([_paint(rng) for _ in range(_VEHICLES[kind][1])])
    if kind == "cyclist":
        return cyclist(_clothes(rng, 0), frame=_cloth(rng))
    return pedestrian(_clothes(rng, variant), stride=_STRIDES_M[variant])


@cache
def _shape(kind: str, variant: int) -> _Shape:
    samples = _make(kind, np.random.default_rng(0), variant)
    low, high = samples.position.min(axis=0), samples.position.max(axis=0)
    centre = np.array([*(low[:2] + high[:2]) / 2, low[2]], np.float64)
    occupancy = Occupancy.of(replace(samples, position=(samples.position - centre).astype(np.float32)))
    length, width, height = (round(float(v), 3) for v in high - low)
    return _Shape(occupancy, ContactShade.of(occupancy), centre, (length, width, height))
