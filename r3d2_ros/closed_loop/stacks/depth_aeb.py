"""An emergency brake on depth images: it goes straight on, and stops for what stands in its corridor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.closed_loop.stacks.constant_velocity import ConstantVelocity
from r3d2_ros.closed_loop.vehicle import Actuation
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.lenses import PINHOLE, LensModel

BRAKES_FROM_MPS2 = 3.5
"""It brakes once stopping takes more than this, and with no less."""

BRAKING_MPS2 = 8.0
RESERVE = 1.2
"""It brakes that much harder than needed, up to BRAKING_MPS2: brakes take time to bite."""

STANDSTILL_GAP_M = 2.0
HOLDS_WITHIN_M = 10.0
"""Once it stands it stays, while something is as near as this."""

SIDE_MARGIN_M = 0.25
LOW_M, HIGH_M = 0.35, 2.2
"""Heights above the ground of what counts as an obstacle."""

RANGE_M = 60.0
MIN_SHARE = 2e-4
"""Of an image's pixels, this many have to agree: single Gaussians may float in the air."""

COLUMNS = 320
"""Larger images are looked at in every second, third, ... row and column, down to about so many."""


@dataclass(frozen=True, eq=False)
class DepthView:
    """A depth image [H, W] (z in metres, NaN: nothing), K [3, 3] and lens of its CameraInfo, its place."""

    depth: NDArray[np.float32]
    K: Array
    T_ego_camera: Rigid
    lens: LensModel = PINHOLE


class DepthAeb:
    """front_m: from base_link to the bumper; width_m: of the vehicle."""

    def __init__(self, *, front_m: float, width_m: float) -> None:
        self._front_m, self._half_m = front_m, width_m / 2 + SIDE_MARGIN_M
        self._cruise = ConstantVelocity()
        self._braking = False

    def actuation(self, views: Sequence[DepthView], speed_mps: float) -> Actuation:
        """Cruise, or brake: and once braking, until it stands, and until the way is free."""
        seen = [obstacle_m(view, front_m=self._front_m, half_width_m=self._half_m) for view in views]
        ahead_m = min(seen, default=math.inf)
        needed = speed_mps**2 / (2 * max(ahead_m - STANDSTILL_GAP_M, 0.1))
        self._braking = needed > BRAKES_FROM_MPS2 or (self._braking and (speed_mps > 0.0 or ahead_m < HOLDS_WITHIN_M))
        if not self._braking:
            return self._cruise.actuation(speed_mps)
        return Actuation(-min(BRAKING_MPS2, max(BRAKES_FROM_MPS2, RESERVE * needed)), 0.0)


def obstacle_m(view: DepthView, *, front_m: float, half_width_m: float) -> float:
    """Distance from the bumper to the nearest obstacle in the straight corridor ahead; infinity: none within range."""
    step = max(1, view.depth.shape[1] // COLUMNS)
    z = view.depth[::step, ::step]
    rows, columns = np.nonzero(np.isfinite(z))
    z = z[rows, columns].astype(np.float64)
    pixels = np.stack([columns, rows], axis=-1) * step
    rays = view.lens.rays((pixels - view.K[:2, 2]) / view.K[[0, 1], [0, 1]])
    points = rays * (z / rays[:, 2])[:, None]
    ahead, left, up = view.T_ego_camera.apply(points).T
    inside = (np.abs(left) < half_width_m) & (up > LOW_M) & (up < HIGH_M)
    inside &= (ahead > front_m) & (ahead < front_m + RANGE_M)
    distances = np.sort(ahead[inside])
    needed = max(3, math.ceil(MIN_SHARE * view.depth[::step, ::step].size))
    return float(distances[needed - 1] - front_m) if len(distances) >= needed else math.inf
