"""`.splat` (antimatter15/splat): 32-byte records without a header."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from r3d2_ros.errors import InputError
from r3d2_ros.formats.cleaning import LoadedGaussians, Rows, clean
from r3d2_ros.formats.files import MAX_ROWS, file_size
from r3d2_ros.gaussians import rgb_to_sh

RECORD = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quats", "u1", 4)])
ALPHA_MARGIN = 1e-6


def read_splat(file: BinaryIO, path: str) -> LoadedGaussians:
    """Gaussians of an open `.splat` file: SH degree 0, quaternions as (byte - 128) / 128 in the order wxyz.

    InputError when the size is not a positive multiple of 32, or more than 1 % of the records are unusable.
    """
    size = file_size(file)
    if size == 0 or size % RECORD.itemsize:
        raise InputError(path, "a .splat file: a positive multiple of 32 bytes", f"{size} bytes")
    if size > MAX_ROWS * RECORD.itemsize:
        raise InputError(path, f"at most {MAX_ROWS} records", f"{size // RECORD.itemsize} records")
    file.seek(0)
    records = np.fromfile(file, RECORD, size // RECORD.itemsize)
    rgba = records["rgba"] / 255.0
    rows = Rows(
        means=np.ascontiguousarray(records["means"]),
        quats=((records["quats"].astype(np.float32) - 128) / 128).astype(np.float32),
        scales=np.ascontiguousarray(records["scales"]),
        opacities=np.clip(rgba[:, 3], ALPHA_MARGIN, 1 - ALPHA_MARGIN).astype(np.float32),
        sh=rgb_to_sh(rgba[:, :3]),
    )
    return clean(path, "splat", rows)
