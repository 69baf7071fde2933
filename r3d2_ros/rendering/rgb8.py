"""Float images to bytes, and the name of what came of it."""

from __future__ import annotations

import numpy as np
import xxhash
from numpy.typing import NDArray

from r3d2_ros.rendering.numba_cache import kernel


@kernel()
def _round_bytes(values: NDArray[np.float32], out: NDArray[np.uint8]) -> None:
    for i in range(len(values)):
        value = values[i] * np.float32(255) + np.float32(0.5)
        # Comparisons in this order turn NaN into 0.
        value = value if value > np.float32(0) else np.float32(0)
        value = value if value < np.float32(255) else np.float32(255)
        out[i] = np.uint8(np.int32(value))


def to_rgb8(rgb: NDArray[np.float32], *, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Bytes [H, W, 3] of an image [H, W, 3] float32: clip(rgb, 0, 1) * 255, rounded half up.

    `out` [H, W, 3] uint8, C-contiguous, is written and returned when given; ValueError when it does not fit. Serial
    and without the GIL, so it may run beside a renderer in another thread.
    """
    rgb = np.require(rgb, np.float32, ["C", "A"])
    if out is None:
        out = np.empty(rgb.shape, np.uint8)
    elif out.shape != rgb.shape or out.dtype != np.uint8 or not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(f"out: expected a writable contiguous uint8 array {rgb.shape}, got {out.dtype} {out.shape}")
    values = rgb.reshape(-1).view()
    values.setflags(write=False)
    _round_bytes(values, out.reshape(-1))
    return out


def content_hash(rgb8: NDArray[np.uint8]) -> str:
    """xxh3_128 of the row-major bytes [H, W, 3], C-contiguous: 32 hexadecimal digits. Without the GIL."""
    return xxhash.xxh3_128_hexdigest(rgb8.data)
