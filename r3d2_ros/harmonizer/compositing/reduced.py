"""Reduced resolution: harmonize a smaller image, and add what changed, enlarged, to the full one.

Light and shadow are smooth, texture is not: the residual (output minus input) of the small image carries the former,
the full-resolution render keeps the latter. A residual is added, so that a shadow on fine texture dims its mean but
not its contrast.
"""

from __future__ import annotations

from fractions import Fraction

from torch import Tensor

from r3d2_ros.harmonizer.base import ImageModel
from r3d2_ros.harmonizer.resampling import area_mean, enlarged

LARGEST_DENOMINATOR = 27
"""Of 1080 rows, 640 are 16/27."""

CLOSE = Fraction(2, 100)
"""A scale that differs by this share gives the same picture, and little more work."""


def scale_of(resolution: str, height_px: int) -> float:
    """Factor in (0, 1] between a frame of `height_px` rows and what the network sees; rows such as 720p never enlarge.

    For rows it is the nearest fraction with a denominator of at most LARGEST_DENOMINATOR, where that is CLOSE: the grid
    of crops has steps of as many latent pixels (`roi.grid_of`).

    resolution  of `HarmonizerConfig`
    """
    if resolution in ("full", "half"):
        return 1.0 if resolution == "full" else 0.5
    exact = Fraction(int(resolution.removesuffix("p")), height_px)
    near = exact.limit_denominator(LARGEST_DENOMINATOR)
    return min(1.0, float(near if abs(near - exact) <= CLOSE * exact else exact))


def reduced_size(height_px: int, width_px: int, scale: float) -> tuple[int, int]:
    """Rows and columns of an image at `scale`, at least one of each."""
    return max(1, round(height_px * scale)), max(1, round(width_px * scale))


def run_reduced(images: Tensor, network: ImageModel, scale: float) -> Tensor:
    """`network` at `scale` (see `scale_of`): images [B, 3, H, W] in [0, 1] to the same, clamped to [0, 1].

    With a scale of 1 this is the network itself. A network that changes nothing changes no bit.
    """
    if scale == 1.0:
        return network(images)
    height, width = images.shape[-2:]
    small = area_mean(images, reduced_size(height, width, scale))
    return (images + enlarged(network(small) - small, (height, width))).clamp(0, 1)
