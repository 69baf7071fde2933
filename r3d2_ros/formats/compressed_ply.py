"""SuperSplat (PlayCanvas) compressed PLY: chunks of 256 splats with quantised values.

Format: playcanvas/splat-transform, `decompress-ply.ts`.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.errors import InputError
from r3d2_ros.formats.cleaning import LoadedGaussians, Rows, clean, exp_scales
from r3d2_ros.formats.ply_elements import Header, read_rows, stack_columns
from r3d2_ros.gaussians import rgb_to_sh

CHUNK_ROWS = 256
PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
XYZ_MIN, XYZ_MAX = ("min_x", "min_y", "min_z"), ("max_x", "max_y", "max_z")
SCALE_MIN, SCALE_MAX = tuple(f"min_scale_{c}" for c in "xyz"), tuple(f"max_scale_{c}" for c in "xyz")
RGB_MIN, RGB_MAX = tuple(f"min_{c}" for c in "rgb"), tuple(f"max_{c}" for c in "rgb")
SH_COLUMNS = (9, 24, 45)
Names = tuple[str, ...]


def is_compressed(header: Header) -> bool:
    """Whether a PLY header describes a compressed PLY."""
    vertex = header.elements.get("vertex")
    return vertex is not None and "packed_position" in vertex.types and "chunk" in header.elements


def read_compressed_ply(file: BinaryIO, header: Header) -> LoadedGaussians:
    """Gaussians of an open compressed PLY, with 12 or 18 floats per chunk and an optional `sh` element.

    InputError for missing columns or rows, wrong types, a wrong number of chunks, and more than 1 % of
    unusable rows.
    """
    path = header.path
    if header.format == "ascii":
        raise InputError(path, "a binary compressed PLY", "an ASCII one")
    vertex = header.element("vertex", required=PACKED)
    chunk = header.element("chunk", required=(*XYZ_MIN, *XYZ_MAX, *SCALE_MIN, *SCALE_MAX))
    if any(vertex.types[name] not in ("u4", "i4") for name in PACKED):
        got = ", ".join(f"{name} {vertex.types[name]}" for name in PACKED)
        raise InputError(path, "packed columns of type uint", got)
    needed = -(-vertex.count // CHUNK_ROWS)
    if chunk.count != needed:
        expected = f"{needed} chunks for {vertex.count} splats (256 each)"
        raise InputError(path, expected, f"{chunk.count} chunks")
    sh_rest = _read_sh(file, header, vertex.count)
    chunks = read_rows(file, header, "chunk")
    rows = read_rows(file, header, "vertex")
    position, rotation, scale, colour = (rows[name].astype(np.uint32) for name in PACKED)

    rgba = np.stack([(colour >> shift) & 255 for shift in (24, 16, 8, 0)], axis=1) / 255.0
    rgb = rgba[:, :3]
    if all(name in chunk.types for name in (*RGB_MIN, *RGB_MAX)):
        rgb = _lerp(rgb, chunks, RGB_MIN, RGB_MAX)
    log_scales = _lerp(_unpack_11_10_11(scale), chunks, SCALE_MIN, SCALE_MAX)
    means = _lerp(_unpack_11_10_11(position), chunks, XYZ_MIN, XYZ_MAX)
    exact = any(chunks.dtype[name].itemsize > 4 for name in XYZ_MIN)
    with np.errstate(over="ignore", invalid="ignore"):
        unchecked = Rows(
            means=means if exact else means.astype(np.float32),
            quats=_unpack_rotation(rotation),
            scales=exp_scales(log_scales.astype(np.float32)),
            opacities=rgba[:, 3].astype(np.float32),
            sh=np.concatenate([rgb_to_sh(rgb), sh_rest], axis=1),
        )
    return clean(path, "compressed-ply", unchecked)


def _lerp(fraction: NDArray, chunks: NDArray, low: Names, high: Names) -> NDArray[np.float64]:
    """`fraction` [N, 3] in [0, 1] between the corners of each row's chunk."""
    chunk = np.arange(len(fraction)) // CHUNK_ROWS
    lower, upper = stack_columns(chunks, low, np.float64), stack_columns(chunks, high, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return lower[chunk] + fraction * (upper - lower)[chunk]


def _unpack_11_10_11(packed: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Three fractions [N, 3] in [0, 1] of 11, 10 and 11 bits from the top."""
    x, y, z = packed >> 21, (packed >> 11) & 1023, packed & 2047
    return np.stack([x / 2047.0, y / 1023.0, z / 2047.0], axis=1)


def _unpack_rotation(packed: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Quaternions [N, 4] wxyz: two bits name the largest component, 10 bits each hold the others in order."""
    largest = (packed >> 30).astype(np.intp)
    small = np.stack([(packed >> shift) & 1023 for shift in (20, 10, 0)], axis=1)
    small = (small / 1023.0 - 0.5) * np.sqrt(2.0)
    rest = np.sqrt(np.maximum(0.0, 1.0 - np.sum(small**2, axis=1)))
    others = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    quats = np.empty((len(packed), 4))
    np.put_along_axis(quats, others[largest], small, axis=1)
    np.put_along_axis(quats, largest[:, None], rest[:, None], axis=1)
    return quats.astype(np.float32)


def _read_sh(file: BinaryIO, header: Header, count: int) -> NDArray[np.float32]:
    """Higher SH coefficients [N, K, 3]; K = 0 without the element `sh`, or where it has no columns, as gsplat's."""
    if "sh" not in header.elements or not header.elements["sh"].types:
        return np.zeros((count, 0, 3), np.float32)
    element = header.element("sh", required=("f_rest_0",))
    columns = len(element.types)
    names = [f"f_rest_{channel * (columns // 3) + k}" for k in range(columns // 3) for channel in range(3)]
    good = columns in SH_COLUMNS and all(element.types.get(name) == "u1" for name in names)
    if not good or element.count != count:
        expected = f"{count} rows of 9, 24 or 45 uchar columns f_rest_0, ... in element 'sh'"
        raise InputError(header.path, expected, f"{element.count} rows of {columns} columns")
    value = stack_columns(read_rows(file, header, "sh"), names)
    unit = np.where(value == 0, 0.0, np.where(value == 255, 1.0, (value + 0.5) / 256))
    return ((unit - 0.5) * 8).astype(np.float32).reshape(count, -1, 3)
