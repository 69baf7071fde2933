"""What harmonizing gives for a camera. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Harmonized:
    """One camera's picture after harmonizing.

    rgb   [H, W, 3] uint8; the very bytes of the render where `mask` is 0
    mask  [H, W] float32 in [0, 1]: how much of the harmonizer's output each pixel has; None when it has none at all
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.float32] | None


@dataclass(frozen=True)
class Failed:
    """The network gave this camera nothing that could be shown."""

    reason: str
