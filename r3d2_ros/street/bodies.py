"""Vehicle bodies as lofted meshes: cross sections along x, closed by a face at each end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.geometry import Array
from r3d2_ros.street.lofts import Quads, outline, quads, refined, stations

OPEN = -1
"""Label of cells that are cut away (wheel arches)."""

Curve = Sequence[tuple[float, float]]
Polygon = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Body:
    """Curves of a body over x (rear to front), all in metres.

    top          centre line of the roof, windows, bonnet
    belt         lower edge of the side windows, on the bonnet its side edge
    bottom       lower edge of the sides
    half_width   at the belt line
    roof_half_width  at the edge of the roof
    side_windows polygons in (x, z); windscreen, rear_window: x ranges of glass on the upper surface
    seams        x of door gaps
    lamps        (z low, z high, |y| low) of head lamps and of tail lamps
    """

    top: Curve
    belt: Curve
    bottom: Curve
    half_width: Curve
    roof_half_width: float
    wheels_x: tuple[float, ...]
    wheel_radius_m: float
    side_windows: Sequence[Polygon]
    windscreen: tuple[float, float] | None
    rear_window: tuple[float, float] | None
    seams: tuple[float, ...]
    head_lamps: tuple[float, float, float]
    tail_lamps: tuple[float, float, float]
    crown_m: float = 0.07
    bulge_m: float = 0.045
    front_glass: Polygon = ()
    rear_glass: Polygon = ()
    grille: tuple[float, float, float] = (0.42, 0.56, 0.45)
    step_m: float = 0.036

    @property
    def ends(self) -> tuple[float, float]:
        return self.top[0][0], self.top[-1][0]


Labels = Callable[[Body, str, Quads], NDArray[np.int64]]
"""Materials of the cells of a section of a body."""


def body_cells(body: Body, labels_of: Labels) -> tuple[Quads, NDArray[np.int64]]:
    """Cells of the whole shell and what each is made of (`labels_of`), cut finer where materials meet."""
    rear, front = body.ends
    seam_breaks = [x + d for x in body.seams for d in (-0.009, 0.009)]
    panes = [*(body.windscreen or ()), *(body.rear_window or ())]
    breaks = [rear, front, *(b for b in [*panes, *seam_breaks] if rear < b < front)]
    x = _steep_too(body, stations(breaks, body.step_m))
    grids = sections(body, x)
    parts: list[tuple[Quads, NDArray[np.int64]]] = []
    for side in (1, -1):
        for name, grid in grids.items():
            placed = grid * [1, side, 1]
            parts.append(_labelled(placed[::-1] if side > 0 else placed, partial(labels_of, body, name)))
    for end, name in ((-1, "rear"), (1, "front")):
        parts.append(_labelled(_end_face(body, grids, end), partial(labels_of, body, name), thin=True))
    labels = np.concatenate([of_part for _, of_part in parts])
    every = Quads(*(np.concatenate([getattr(c, name) for c, _ in parts]) for name in ("centre", "u", "v", "size")))
    return every.select(labels != OPEN), labels[labels != OPEN]


def _steep_too(body: Body, x: Array) -> Array:
    """Stations, with more where the upper surface is steep: no cell is much longer than a step."""
    rise = np.abs(np.diff(outline(body.top, x)))
    pieces = np.maximum(1, np.round(np.hypot(rise, np.diff(x)) / body.step_m)).astype(int)
    parts = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(x[:-1], x[1:], pieces, strict=True)]
    return np.concatenate([*parts, x[-1:]])


def _labelled(
    grid: Array, label: Callable[[Quads], NDArray[np.int64]], *, thin: bool = False
) -> tuple[Quads, NDArray[np.int64]]:
    """thin: the section has gaps that no line of its grid follows."""
    cells = refined(quads(grid), label, levels=2, thin=thin)
    return cells, label(cells)


def sections(body: Body, x: Array) -> dict[str, Array]:
    """Half cross sections (y >= 0) at stations x, as grids [len(x), J, 3], from floor to roof."""
    top, belt, bottom = outline(body.top, x), outline(body.belt, x), outline(body.bottom, x)
    belt = np.minimum(belt, top - 0.02)
    width = outline(body.half_width, x)
    roof = max(z for _, z in body.top)
    tall = np.clip((top - belt) / (roof - np.interp(0, *np.array(body.belt).T)), 0, 1)
    edge_y = width - 0.03 + (body.roof_half_width - width + 0.03) * tall
    edge_z = top - body.crown_m * (0.35 + 0.65 * tall)
    edge_z = np.maximum(edge_z, belt + 0.005)
    middle = bottom + 0.62 * (belt - bottom)
    bulge = width + body.bulge_m

    def strip(y0: Array, z0: Array, y1: Array, z1: Array, count: int, bow: float = 0.0, lift: float = 0.0) -> Array:
        f = np.linspace(0, 1, count + 1)
        curve = 4 * f * (1 - f)
        y = y0[:, None] + (y1 - y0)[:, None] * f + bow * curve
        z = z0[:, None] + (z1 - z0)[:, None] * f + lift * curve
        return np.stack([np.broadcast_to(x[:, None], y.shape), y, z], axis=-1)

    def cells(length: float) -> int:
        return max(2, int(np.ceil(length / body.step_m)))

    zero = np.zeros_like(x)
    sill = bulge - 0.06
    lower = strip(sill, bottom, bulge, middle, cells(float(np.max(middle - bottom))), bow=0.012)
    upper = strip(bulge, middle, width, belt, cells(float(np.max(belt - middle))), bow=0.012)
    return {
        "floor": strip(zero, bottom + 0.04, sill - 0.05, bottom + 0.02, 9),
        "side": np.concatenate([lower, upper[:, 1:]], axis=1),
        "windows": strip(width, belt, edge_y, edge_z, cells(float(np.max(edge_z - belt))), bow=0.012),
        "top": strip(edge_y, edge_z, zero, top, cells(float(np.max(edge_y))), lift=0.25 * body.crown_m),
    }


def _end_face(body: Body, grids: dict[str, Array], end: int) -> Array:
    """Grid of the face that closes the body at its rear (end -1) or front (end 1), slightly rounded in plan."""
    row = -1 if end > 0 else 0
    profile = np.concatenate([grids["side"][row], grids["windows"][row][1:], grids["top"][row][1:]])
    z = stations([profile[0, 2], profile[-1, 2] - 0.005], body.step_m)
    order = np.argsort(profile[:, 2])
    half = np.interp(z, profile[order, 2], profile[order, 1])
    across = np.linspace(-1, 1, max(6, int(np.ceil(2 * half.max() / body.step_m))) + 1)
    y = half[:, None] * across
    x = np.full_like(y, profile[0, 0]) + end * 0.035 * (1 - across**4)
    grid = np.swapaxes(np.stack([x, y, np.broadcast_to(z[:, None], y.shape)], axis=-1), 0, 1)
    return grid if end > 0 else grid[::-1]
