"""Whether the Gaussians of an asset fit what is said of it: metres, z up, on the ground, as long as its size_m."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import Array, Similarity, matrix_to_quat, quat_to_matrix

Size = tuple[float, float, float]

SIZE_QUANTILES = (0.005, 0.995)
MIN_SIZE_M = 1e-3

SAME_RATIO = 1.5
"""Sides that differ by less are the same: boxes have mirrors and margins that means of Gaussians have not."""
NEAR_M, NEAR_SIGMAS = 0.2, 2.0
"""So are those that differ by no more than this, or by what a Gaussian shows beyond its mean."""
MAX_SIDE_M = 40.0
"""Nothing that drives on a road is longer, road trains aside."""
OFF_GROUND = 0.4
"""Share of the height that may be below the ground, or free above it: half of it is for an origin in the middle."""
ON_GROUND = 0.1
"""Share of a side: what ends as near to the origin as that stands there."""

UNITS = {1000.0: "millimetres", 100.0: "centimetres", 39.3701: "inches", 3.28084: "feet"}
"""Those that a file may be in, by how many of them are a metre."""
NEAR_UNIT = 1.25
"""A size that is as far from a unit's at most is taken for one in that unit."""

Y_UP = (np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0)
Y_DOWN = (np.sqrt(0.5), -np.sqrt(0.5), 0.0, 0.0)
Z_DOWN = (0.0, 1.0, 0.0, 0.0)
Y_FORWARD = (np.sqrt(0.5), 0.0, 0.0, -np.sqrt(0.5))
"""Rotations (wxyz) into the vehicle frame of files with other axes."""


def measure_box(gaussians: Gaussians) -> Array:
    """Lower and upper corner [2, 3] in metres: opacity-weighted 0.5 % and 99.5 % quantiles of the means per axis."""
    ends = [_ends(gaussians.means[:, axis], gaussians.opacities) for axis in range(3)]
    return np.array(ends, np.float64).T + gaussians.origin


def sides_of(box: Array) -> Size:
    """Length, width, height in metres of what `measure_box` gives."""
    length, width, height = (max(float(side), MIN_SIZE_M) for side in box[1] - box[0])
    return length, width, height


def fit_notes(
    gaussians: Gaussians, box: Array, T_asset_file: Similarity, size_m: Size | None, where: str
) -> tuple[str, ...]:
    """What looks wrong with an asset, and the T_asset_file that would mend it; nothing when it fits.

    gaussians     in the vehicle frame, into which `T_asset_file` brought them, and `box` their `measure_box`
    size_m        length, width, height as stated; None when nothing is
    where         file and key
    The first that is wrong is told: with another scale or other axes, the rest would be measured anew.
    """
    near_m = max(NEAR_M, NEAR_SIGMAS * float(np.median(gaussians.scales.max(axis=1))))
    note = _size_note(box, T_asset_file, size_m, near_m) or _ground_note(box, T_asset_file, near_m)
    return (f"{where}: {note}",) if note else ()


def _size_note(box: Array, T: Similarity, size_m: Size | None, near_m: float) -> str:
    size = sides_of(box)
    if size_m is None:
        if max(size) <= MAX_SIDE_M:
            return ""
        unit = 1000.0 if max(size) / 100 > MAX_SIDE_M / 2 else 100.0
        return f"measures {_metres(size)}, more than anything on a road: {_scale_hint(T, unit)}"
    if _same(size, size_m, near_m):
        return ""
    told = f"measures {_metres(size)}, size_m says {' x '.join(f'{side:g}' for side in size_m)}"
    ratios = np.divide(size, size_m)
    if ratios.max() <= SAME_RATIO * ratios.min():
        return f"{told}: {_scale_hint(T, float(np.exp(np.log(ratios).mean())))}"
    length, width, height = size
    if _same((length, height, width), size_m, near_m):
        return f"{told}: {_axes_hint(box, T)}"
    if _same((width, length, height), size_m, near_m):
        return f"{told}: is its front along y and not x? {_keys(_turned(T, Y_FORWARD))}"
    return f"{told} (length along x, width along y, height along z)"


def _ground_note(box: Array, T: Similarity, near_m: float) -> str:
    low_m, height_m = float(box[0, 2]), sides_of(box)[2]
    if abs(low_m) <= max(OFF_GROUND * height_m, near_m):
        return ""
    place = f"reaches {-low_m:.2f} m below" if low_m < 0 else f"hovers {low_m:.2f} m above"
    told = f"{place} the ground, which is z = 0, and is {height_m:.2f} m high"
    if _axes(box) is not None:
        return f"{told}: {_axes_hint(box, T)}"
    lifted = Similarity(T.rotation, T.translation - [0.0, 0.0, low_m], T.scale)
    middle = abs(low_m / height_m + 0.5) <= ON_GROUND
    return f"{told}: {'is its origin in the middle? ' if middle else ''}{_keys(lifted)}"


def _axes(box: Array) -> tuple[str, tuple[float, ...]] | None:
    """The axis that points up, going by what ends at the origin, and the rotation for it; None for z, or none."""
    near = np.abs(box) <= ON_GROUND * (box[1] - box[0])
    if near[0, 2]:
        return None
    if near[0, 1]:
        return "y", Y_UP
    if near[1, 1]:
        return "-y", Y_DOWN
    return ("-z", Z_DOWN) if near[1, 2] else None


def _axes_hint(box: Array, T: Similarity) -> str:
    axis, quat_wxyz = _axes(box) or ("y", Y_UP)
    return f"is its up axis {axis} and not z? {_keys(_turned(T, quat_wxyz))}"


def _scale_hint(T: Similarity, factor: float) -> str:
    """`factor`: how many times too large it is."""
    unit = next((unit for unit in UNITS if 1 / NEAR_UNIT <= unit / factor <= NEAR_UNIT), None)
    times = f"{_short(factor)} times too large" if factor > 1 else f"{_short(1 / factor)} times too small"
    scaled = Similarity(T.rotation, T.translation, T.scale / (unit or factor))
    return f"{UNITS[unit] if unit is not None and T.scale == 1 else times}? {_keys(scaled)}"


def _turned(T: Similarity, quat_wxyz: tuple[float, ...]) -> Similarity:
    R = quat_to_matrix(quat_wxyz)
    return Similarity(R @ T.rotation, R @ T.translation, T.scale)


def _keys(T: Similarity) -> str:
    """T_asset_file as it is written, without what is as by default."""
    quat, place = np.round(matrix_to_quat(T.rotation), 4) + 0.0, np.round(T.translation, 3) + 0.0
    keys = []
    if not np.array_equal(quat, [1, 0, 0, 0]):
        keys.append(f"rotation_wxyz: [{', '.join(f'{value:g}' for value in quat)}]")
    if place.any():
        keys.append(f"translation_m: [{', '.join(f'{value:.12g}' for value in place)}]")
    if f"{T.scale:.3g}" != "1" or not keys:
        keys.append(f"scale: {T.scale:.3g}")
    return f"T_asset_file: {{{', '.join(keys)}}}"


def _same(size: Size, size_m: Size, near_m: float) -> bool:
    ratios = np.divide(size, size_m)
    alike = (ratios <= SAME_RATIO) & (ratios >= 1 / SAME_RATIO)
    return bool(np.all(alike | (np.abs(np.subtract(size, size_m)) <= near_m)))


def _metres(size: Size) -> str:
    return f"{' x '.join(map(_short, size))} m"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _ends(values: NDArray[np.float32], weights: NDArray[np.float32]) -> tuple[float, float]:
    order = np.argsort(values)
    share = np.cumsum(weights[order], dtype=np.float64)
    low, high = np.searchsorted(share / share[-1], SIZE_QUANTILES)
    return float(values[order[low]]), float(values[order[min(high, len(order) - 1)]])
