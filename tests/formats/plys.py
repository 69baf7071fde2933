"""PLY files made by hand for tests: every byte is chosen here, none by the code under test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

NAMES = {"f2": "half", "f4": "float", "f8": "double", "u1": "uchar", "u4": "uint", "i4": "int"}
ROTATION_Z90 = (np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5))


def gaussian_columns(count: int = 4, *, rest: int = 0) -> dict[str, np.ndarray]:
    """Raw INRIA columns of `count` Gaussians whose values differ in every cell."""
    i = np.arange(count, dtype=np.float64)
    columns = {"x": 1 + i, "y": 10 + i, "z": -2 - i}
    columns |= {f"f_dc_{c}": 0.1 * c + 0.01 * i for c in range(3)}
    columns |= {f"f_rest_{k}": k + 0.001 * i for k in range(rest)}
    columns |= {"opacity": i - 1}
    columns |= {f"scale_{a}": -1.0 - a - 0.1 * i for a in range(3)}
    columns |= {f"rot_{a}": np.full(count, 2.0 * ROTATION_Z90[a]) for a in range(4)}
    return columns


def ply_bytes(
    columns: Mapping[str, ArrayLike],
    *,
    types: Mapping[str, str] | None = None,
    byte_order: str = "<",
    count: int | str | None = None,
    before: tuple[str, bytes] = ("", b""),
    after: tuple[str, bytes] = ("", b""),
) -> bytes:
    """A binary PLY with an element `vertex`; `before` and `after`: (header lines, data) of other elements."""
    dtype = np.dtype([(name, byte_order + (types or {}).get(name, "f4")) for name in columns])
    rows = len(np.asarray(next(iter(columns.values()))))
    table = np.zeros(rows, dtype)
    for name, values in columns.items():
        table[name] = values
    properties = "".join(f"property {NAMES[dtype[name].str[1:]]} {name}\n" for name in columns)
    order = {"<": "little", ">": "big"}[byte_order]
    header = (
        f"ply\nformat binary_{order}_endian 1.0\ncomment made by hand\n{before[0]}"
        f"element vertex {rows if count is None else count}\n{properties}{after[0]}end_header\n"
    )
    return header.replace("|u1", "uchar").encode() + before[1] + table.tobytes() + after[1]


def write_ply(path: Path, columns: Mapping[str, ArrayLike], **options: object) -> Path:
    path.write_bytes(ply_bytes(columns, **options))  # type: ignore[arg-type]
    return path
