"""Composite: the output pasted into the render. Where the mask is 0 the render's bytes stay as they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.rendering.numba_cache import kernel
from r3d2_ros.rendering.rgb8 import to_rgb8


class NonFiniteOutputError(ValueError):
    """The network's output has NaN or infinite values where it would be shown."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        super().__init__(f"harmonizer output: expected finite numbers, got NaN or infinity in {pixels} pixels")


@kernel()
def _paste(
    render: NDArray[np.uint8], harmonized: NDArray[np.float32], mask: NDArray[np.float32], out: NDArray[np.uint8]
) -> int:
    """out = render + mask * (255 * harmonized - render), rounded half up; returns the number of non-finite pixels."""
    bad = 0
    for i in range(len(mask)):
        weight = mask[i]
        if weight <= 0:
            for c in range(3):
                out[i, c] = render[i, c]
            continue
        finite = True
        for c in range(3):
            # At weight 1 this is to_rgb8's arithmetic, without a detour through the render.
            value = min(max(harmonized[i, c] * np.float32(255), np.float32(0)), np.float32(255))
            finite &= bool(np.isfinite(harmonized[i, c]))
            if weight < 1:
                before = np.float32(render[i, c])
                value = before + weight * (value - before)
            out[i, c] = np.uint8(np.int32(value + np.float32(0.5)))
        bad += not finite
    return bad


def composite_region(
    render: NDArray[np.uint8], harmonized: NDArray[np.float32], mask: NDArray[np.float32] | None
) -> NDArray[np.uint8]:
    """The render [H, W, 3] uint8 with `harmonized` [H, W, 3] float32 in [0, 1] where `mask` [H, W] says so.

    Mask 0 gives the render's bytes, 1 what `to_rgb8` makes of `harmonized`, between them their weighted mean in 8-bit
    steps. No mask (no actor is seen) gives a copy of the render. NonFiniteOutputError for NaN or infinity where the
    mask is above 0.
    """
    if mask is None:
        return render.copy()
    if render.shape != harmonized.shape or render.shape != (*mask.shape, 3):
        raise ValueError(f"expected images of one size, got {render.shape}, {harmonized.shape}, {mask.shape}")
    out = np.empty(render.shape, np.uint8)
    bad = _paste(
        np.ascontiguousarray(render).reshape(-1, 3),
        np.ascontiguousarray(harmonized, np.float32).reshape(-1, 3),
        np.ascontiguousarray(mask, np.float32).reshape(-1),
        out.reshape(-1, 3),
    )
    if bad:
        raise NonFiniteOutputError(bad)
    return out


def composite_full(harmonized: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The whole output [H, W, 3] as bytes, what the paper shows. NonFiniteOutputError for NaN or infinity."""
    # A sum is finite exactly when all its terms are (it cannot overflow from values near [0, 1]), and costs no memory.
    if not np.isfinite(harmonized.sum(dtype=np.float64)):
        raise NonFiniteOutputError(int((~np.isfinite(harmonized)).any(axis=-1).sum()))
    return to_rgb8(harmonized)
