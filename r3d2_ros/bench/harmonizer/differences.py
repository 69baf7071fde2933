"""How an approximate mode's pictures differ from the exact ones: in the region, over time, and at seams. numpy only.

Pictures are [H, W, 3] uint8; all figures are in grey levels of 255, or dB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Region = NDArray[np.bool_]

PEAK = 255.0
SHORTEST_SEAM_PX = 32
"""A row or column of fewer pixels of the region shows its noise and not its seams."""


@dataclass
class Differences:
    """Adds up frames of one camera. `add` them in order of time; `facts` at the end.

    Regions are the pixels that the exact mode harmonizes. A frame without one counts only as one more frame.
    """

    frames: int = 0
    frames_with_region: int = 0
    _squares: float = 0.0
    _values: int = 0
    _frame_psnr_db: list[float] = field(default_factory=list)
    _flicker: dict[str, list[float]] = field(default_factory=lambda: {"exact": [], "mode": []})
    _edge: dict[str, list[float]] = field(default_factory=lambda: {"exact": [], "mode": []})
    _line: list[float] = field(default_factory=list)
    _last: tuple[Picture, Picture, Picture, Region] | None = None

    def add(self, *, rendered: Picture, exact: Picture, mode: Picture, region: Region) -> None:
        self.frames += 1
        if region.any():
            self.frames_with_region += 1
            squares, values = squared_difference(mode, exact, region)
            self._squares, self._values = self._squares + squares, self._values + values
            self._frame_psnr_db.append(psnr_db(squares, values))
            for name, picture in (("exact", exact), ("mode", mode)):
                self._edge[name].append(edge_step(picture, rendered, region))
            self._line.append(line_step(mode, exact, region))
            if self._last is not None:
                self._add_flicker(rendered, exact, mode, region)
        self._last = (rendered, exact, mode, region)

    def _add_flicker(self, rendered: Picture, exact: Picture, mode: Picture, region: Region) -> None:
        assert self._last is not None
        last_rendered, last_exact, last_mode, last_region = self._last
        both = region & last_region
        if not both.any():
            return
        still = mean_change(rendered, last_rendered, both)
        self._flicker["exact"].append(mean_change(exact, last_exact, both) - still)
        self._flicker["mode"].append(mean_change(mode, last_mode, both) - still)

    def facts(self) -> dict[str, float | int | None]:
        """None where no frame had a region.

        identical                no value of the region differs in any frame
        psnr_db, psnr_db_lowest  in the region: over all its pixels, and of the worst frame; infinite: no difference
        flicker_*                mean |change| from frame to frame in the region, minus that of the render
        edge_step_*              mean |change by the harmonizer| of the region's outermost pixels: an edge one can see
        line_step                largest mean step of (mode - exact) across a row or column of the region: a crop's edge
        """
        if not self.frames_with_region:
            return {"frames": self.frames, "frames_with_region": 0} | dict.fromkeys(NAMES)
        values = (
            self._squares == 0,
            psnr_db(self._squares, self._values),
            min(self._frame_psnr_db),
            *(_mean(self._flicker[name]) for name in ("exact", "mode")),
            *(_mean(self._edge[name]) for name in ("exact", "mode")),
            max(self._line),
        )
        return {"frames": self.frames, "frames_with_region": self.frames_with_region} | dict(
            zip(NAMES, values, strict=True)
        )


NAMES = (
    "identical", "psnr_db", "psnr_db_lowest", "flicker_exact", "flicker_mode", "edge_step_exact", "edge_step_mode",
    "line_step",
)  # fmt: skip


def squared_difference(a: Picture, b: Picture, region: Region) -> tuple[float, int]:
    """Sum of squares over the region's values, and how many values these are."""
    difference = a[region].astype(np.float64) - b[region]
    return float((difference**2).sum()), difference.size


def psnr_db(squares: float, values: int) -> float:
    return math.inf if squares == 0 else 10 * math.log10(PEAK**2 * values / squares)


def mean_change(a: Picture, b: Picture, region: Region) -> float:
    """Mean |a - b| over the region's values."""
    return float(np.abs(a[region].astype(np.float64) - b[region]).mean())


def edge_step(picture: Picture, rendered: Picture, region: Region) -> float:
    """Mean |picture - rendered| over the region's pixels that have a neighbour outside it; the image's edge is none."""
    padded = np.pad(region, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    outermost = region & ~inside
    return mean_change(picture, rendered, outermost) if outermost.any() else 0.0


def line_step(mode: Picture, exact: Picture, region: Region) -> float:
    """The largest mean step of (mode - exact), channels averaged, from one row or column to the next in the region.

    A seam is a step along a whole line; noise cancels in the mean. Lines with fewer than SHORTEST_SEAM_PX pixels of the
    region on both sides do not count.
    """
    difference = (mode.astype(np.float64) - exact).mean(axis=2)
    worst = 0.0
    for d, inside in ((difference, region), (difference.T, region.T)):
        both = inside[1:] & inside[:-1]
        count = both.sum(axis=1)
        steps = np.where(both, d[1:] - d[:-1], 0.0).sum(axis=1)
        long = count >= SHORTEST_SEAM_PX
        if long.any():
            worst = max(worst, float(np.abs(steps[long] / count[long]).max()))
    return worst


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
