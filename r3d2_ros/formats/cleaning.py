"""What all readers share: unusable rows dropped within a limit, and a float64 origin for far coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.errors import InputError
from r3d2_ros.gaussians import Gaussians

MAX_DROPPED_SHARE = 0.01
MAX_COORDINATE = 1e8
MAX_SCALE = 1e6
MAX_SH = 1e4
MIN_SCALE = np.float32(1e-12)
"""Flatter Gaussians (exp underflows to 0) are kept with this thickness."""
MIN_OPACITY = np.float32(1e-8)
MAX_OPACITY = np.float32(1 - 2**-24)
"""The largest float32 below 1, so that every opacity has a finite logit."""

FAR = 128.0
"""From here on positions are relative to an origin: as float32 they, and a camera among them, would be rounded to 8
micrometres at 128 m and to a millimetre at 10 km, which pictures show."""
LOST_FLOAT32 = 10_000.0
"""From here on a file of float32 positions has itself lost a millimetre."""


@dataclass(frozen=True, eq=False)
class LoadedGaussians:
    """What a reader found.

    notes    what the user should know once: dropped rows, ignored bytes, lost precision; each names the file
    kept     [N] of the N rows of the file, those that are usable, in the order of `gaussians`
    format   "inria-ply", "compressed-ply" or "splat"
    """

    gaussians: Gaussians
    notes: tuple[str, ...]
    kept: NDArray[np.bool_]
    format: str

    @property
    def dropped(self) -> int:
        """Number of rows that were unusable and left out."""
        return len(self.kept) - len(self.gaussians)


@dataclass(frozen=True, eq=False)
class Rows:
    """Activated rows as a reader found them, not yet checked.

    means      [N, 3] float64 when the file holds more than float32, else float32
    quats      [N, 4] float32 wxyz of any length
    scales     [N, 3] float32 linear
    opacities  [N]    float32
    sh         [N, K, 3] float32
    """

    means: NDArray[np.float32] | NDArray[np.float64]
    quats: NDArray[np.float32]
    scales: NDArray[np.float32]
    opacities: NDArray[np.float32]
    sh: NDArray[np.float32]

    def select(self, keep: NDArray[np.bool_]) -> Rows:
        return Rows(
            self.means[keep], self.quats[keep], self.scales[keep], self.opacities[keep], self.sh[keep]
        )


def exp_scales(log_scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """exp. -inf, which some programs write for flat Gaussians, is 0; NaN and inf stay, and `clean` drops them."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.exp(log_scales)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + exp(-x)) in float64, rounded to float32. Of -inf and inf, which some programs write, it is 0 and 1."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return (1.0 / (1.0 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


def logit(opacities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse of `sigmoid`, finite for every input: opacities are clamped to what float32 can invert."""
    p = np.clip(opacities, MIN_OPACITY, MAX_OPACITY).astype(np.float64)
    return (np.log(p) - np.log1p(-p)).astype(np.float32)


def clean(path: str, file_format: str, rows: Rows, notes: tuple[str, ...] = ()) -> LoadedGaussians:
    """Gaussians of the usable rows.

    Rows that are not finite or absurd (coordinates beyond 1e8, standard deviations beyond 1e6 or negative, SH
    beyond 1e4, zero quaternions) are dropped and counted. InputError when they are more than 1 % of the file.
    """
    faults = _faults(rows)
    bad = np.logical_or.reduce(list(faults.values()))
    dropped = int(bad.sum())
    if dropped:
        causes = ", ".join(f"{name}: {int(mask.sum())}" for name, mask in faults.items() if mask.any())
        count = f"{dropped} of {len(bad)} rows ({causes})"
        if dropped > MAX_DROPPED_SHARE * len(bad):
            expected = f"at most {MAX_DROPPED_SHARE:.0%} of the rows not finite or absurd"
            raise InputError(path, expected, count, "The file is damaged or not a Gaussian file")
        notes = (*notes, f"{path}: dropped {count}: not finite or absurd")
        rows = rows.select(~bad)
    origin = local_origin(rows.means)
    lost = float32_loss_note(path, rows.means) if rows.means.dtype == np.float32 else ()
    gaussians = Gaussians(
        means=(rows.means - origin).astype(np.float32) if origin.any() else rows.means.astype(np.float32),
        quats=_unit(rows.quats),
        scales=np.maximum(rows.scales, MIN_SCALE),
        opacities=np.clip(rows.opacities, MIN_OPACITY, MAX_OPACITY),
        sh=rows.sh,
        origin=origin,
    )
    return LoadedGaussians(gaussians, (*notes, *lost), ~bad, file_format)


def _faults(rows: Rows) -> dict[str, NDArray[np.bool_]]:
    """Masks [N] of unusable rows by cause. Comparisons are written so that NaN fails them."""
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.linalg.norm(rows.quats.astype(np.float64), axis=1)
        return {
            "position": ~(np.abs(rows.means) <= MAX_COORDINATE).all(axis=1),
            "rotation": ~((length > 1e-6) & np.isfinite(length)),
            "scale": ~((rows.scales >= 0) & (rows.scales <= MAX_SCALE)).all(axis=1),
            "opacity": ~((rows.opacities >= 0) & (rows.opacities <= 1)),
            # Without a copy of what takes most memory.
            "colour": ~((rows.sh.max(axis=(1, 2)) <= MAX_SH) & (rows.sh.min(axis=(1, 2)) >= -MAX_SH)),
        }


def _unit(quats: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit quaternions; those that are unit within float32 stay bit for bit, so a round trip is exact."""
    squared = np.sum(np.square(quats, dtype=np.float64), axis=1, keepdims=True)
    return np.where(np.abs(squared - 1) < 1e-6, quats, quats / np.sqrt(squared)).astype(np.float32)


def local_origin(means: NDArray) -> NDArray[np.float64]:
    """The median [3] of positions [N, 3] in whole units where it is FAR out or further, else zero."""
    median = np.median(means, axis=0).astype(np.float64)
    return np.round(median) + 0.0 if np.abs(median).max() >= FAR else np.zeros(3)  # + 0.0: never -0.0


def float32_loss_note(path: str, means: NDArray) -> tuple[str, ...]:
    """A note when most positions lie where float32 resolves no better than about a millimetre."""
    furthest = float(np.abs(np.median(means, axis=0)).max())
    if furthest < LOST_FLOAT32:
        return ()
    spacing_m = float(np.spacing(np.float32(furthest)))
    note = (
        f"{path}: coordinates around {furthest:.0f} as float32, which resolves {spacing_m:.4g} m: "
        "finer detail is lost; store x y z as double, or move the scene to its origin and put the offset "
        "into T_map_scene of its scene.yaml"
    )
    return (note,)
