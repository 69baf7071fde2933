"""One picture of what the harmonizer does: rendered and harmonized side by side, where it changed most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.demo.contact_sheet import SheetRow, contact_sheet, fitted

ROWS = 3
TILE_PX = 960
"""Tiles are at most so wide."""

COLUMNS = ("rendered", "harmonized")


@dataclass(frozen=True, eq=False)
class Change:
    """A camera at a moment: its pictures [H, W, 3] uint8 before and after the harmonizer; amount: their mean
    difference, 0 to 255. What the moment is known for may be in another camera, and is not said."""

    time_s: float
    camera: str
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    amount: float


def greatest_change(
    time_s: float, *, before: Mapping[str, NDArray[np.uint8]], after: Mapping[str, NDArray[np.uint8]]
) -> Change | None:
    """The camera of a moment that changed most; None where none changed."""
    changes = [
        Change(time_s, name, before[name], after[name], _mean_difference(before[name], after[name])) for name in before
    ]
    most = max(changes, key=lambda change: change.amount, default=None)
    return most if most is not None and most.amount > 0 else None


def _mean_difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())


def before_after_sheet(changes: Sequence[Change], *, title: str, subtitle: str) -> Any:
    """A row for each of the ROWS greatest changes, in the order of time."""
    shown = sorted(sorted(changes, key=lambda change: -change.amount)[:ROWS], key=lambda change: change.time_s)
    height, width = shown[0].after.shape[:2]
    tile = (min(width, TILE_PX), max(1, round(height * min(1.0, TILE_PX / width))))
    rows = [
        SheetRow(
            change.time_s,
            f"camera {change.camera}",
            dict(zip(COLUMNS, (fitted(change.before, tile), fitted(change.after, tile)), strict=True)),
        )
        for change in shown
    ]
    return contact_sheet(rows, cameras=COLUMNS, title=title, subtitle=subtitle)
