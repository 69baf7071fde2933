"""Sky: what a camera sees where no Gaussian is: one colour or an equirectangular image."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Sky:
    """`colour` [3] float32 in [0, 1], or `image` [H, W, 3] float32 when given.

    The image is equirectangular: its rows go from straight up (+z of the world turned by R_sky_world) to straight
    down, its columns from azimuth +180 deg on the left through 0 deg (x axis) in the middle to -180 deg, so that it
    looks right side out from inside. `R_sky_world` [3, 3] turns world directions into the image's frame.
    """

    colour: NDArray[np.float32] = field(default_factory=lambda: np.zeros(3, np.float32))
    image: NDArray[np.float32] | None = None
    R_sky_world: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
