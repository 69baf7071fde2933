"""What a house looks like: colours and proportions that go together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from r3d2_ros.geometry import Array
from r3d2_ros.street.lighting import linear

PLAIN, PLASTER, BRICK, ROOF, GLASS, BLIND, SHUTTER, DOOR, AWNING = range(9)
"""Kinds of surface; each has its own texture."""

PLASTERS = linear(
    [
        (0.88, 0.84, 0.75),
        (0.82, 0.80, 0.76),
        (0.90, 0.88, 0.84),
        (0.79, 0.68, 0.53),
        (0.77, 0.64, 0.56),
        (0.71, 0.73, 0.66),
        (0.68, 0.71, 0.74),
        (0.83, 0.76, 0.63),
        (0.72, 0.70, 0.68),
    ]
)
BRICKS = linear([(0.52, 0.35, 0.29), (0.57, 0.43, 0.35), (0.46, 0.34, 0.30), (0.62, 0.53, 0.45)])
TILES = linear([(0.50, 0.33, 0.27), (0.42, 0.31, 0.27), (0.33, 0.33, 0.35), (0.38, 0.34, 0.32)])
FRAMES = linear([(0.88, 0.87, 0.84), (0.88, 0.87, 0.84), (0.26, 0.27, 0.29), (0.38, 0.28, 0.21)])
TRIMS = linear([(0.80, 0.78, 0.73), (0.70, 0.67, 0.62), (0.85, 0.84, 0.81)])
ACCENTS = linear([(0.23, 0.34, 0.31), (0.38, 0.21, 0.19), (0.22, 0.28, 0.37), (0.40, 0.31, 0.23), (0.25, 0.26, 0.28)])


@dataclass(frozen=True, eq=False)
class Style:
    """One house. Colours are linear reflectances [3]; `pitch` is the roof's rise over run."""

    wall: Array
    wall_kind: int
    trim: Array
    frame: Array
    accent: Array
    tiles: Array
    storeys: int
    ground_height_m: float
    storey_height_m: float
    window_width_m: float
    window_height_m: float
    bay_m: float
    pitched: bool
    pitch: float
    shop: bool
    shutters: bool
    balconies: bool
    trim_m: float
    seed: int

    @property
    def height_m(self) -> float:
        """Top of the walls."""
        return self.ground_height_m + (self.storeys - 1) * self.storey_height_m


def choose_style(rng: np.random.Generator, width_m: float) -> Style:
    """A plausible house for a lot of this width."""
    brick = rng.random() < 0.36
    shop = rng.random() < 0.34 and width_m > 8.0
    shutters = bool(rng.random() < 0.3 and not brick)
    return Style(
        wall=BRICKS[rng.integers(len(BRICKS))] if brick else PLASTERS[rng.integers(len(PLASTERS))],
        wall_kind=BRICK if brick else PLASTER,
        trim=TRIMS[rng.integers(len(TRIMS))],
        frame=FRAMES[rng.integers(len(FRAMES))],
        accent=ACCENTS[rng.integers(len(ACCENTS))],
        tiles=TILES[rng.integers(len(TILES))],
        storeys=int(rng.choice([2, 3, 3, 4, 4])),
        ground_height_m=3.7 if shop else float(rng.uniform(3.0, 3.4)),
        storey_height_m=float(rng.uniform(2.8, 3.15)),
        window_width_m=float(rng.uniform(0.95, 1.35)),
        window_height_m=float(rng.uniform(1.45, 1.8)),
        bay_m=float(rng.uniform(2.2, 2.9)),
        pitched=bool(rng.random() < 0.68),
        pitch=float(rng.uniform(0.65, 0.95)),
        shop=bool(shop),
        shutters=shutters,
        balconies=bool(rng.random() < 0.35 and not shutters),
        trim_m=float(rng.choice([0.0, 0.12, 0.15])),
        seed=int(rng.integers(1 << 30)),
    )
