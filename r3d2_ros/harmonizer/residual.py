"""Reduced resolution: harmonize a smaller image, and add what changed, enlarged, to the full one.

Light and shadow are smooth, texture is not: the residual (output minus input) of the small image carries the former,
the full-resolution render keeps the latter. A residual is added, so that a shadow on fine texture dims its mean but
not its contrast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
Network = Callable[[Images], Images]
"""Images [B, H, W, 3] float32 in [0, 1] to images of the same shape."""

Resolution = Literal["full", "half", "720p"]


def scale_of(resolution: Resolution, height_px: int) -> float:
    """Factor in (0, 1] between a frame of `height_px` rows and what the network sees; 720p never enlarges."""
    return {"full": 1.0, "half": 0.5, "720p": min(1.0, 720 / height_px)}[resolution]


def run_reduced(images: Images, network: Network, scale: float) -> Images:
    """`network` at `scale` (see `scale_of`): images [B, H, W, 3] in [0, 1] to the same, clamped to [0, 1].

    With a scale of 1 this is the network itself. A network that changes nothing changes no bit.
    """
    if scale == 1.0:
        return network(images)
    _, height, width, _ = images.shape
    small_size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.stack([cv2.resize(image, small_size, interpolation=cv2.INTER_AREA) for image in images])
    residuals = network(small) - small
    out = np.empty_like(images)
    for k, residual in enumerate(residuals):
        enlarged = cv2.resize(residual, (width, height), interpolation=cv2.INTER_LINEAR)
        np.clip(images[k] + enlarged, 0.0, 1.0, out=out[k])
    return out
