"""Houses as meshes of planar patches: facade, the walls that neighbours leave free, roof, chimney, downpipes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.geometry import Array
from r3d2_ros.street.facades import CORNER_M, add_facade, add_glazing, door_x
from r3d2_ros.street.lighting import linear
from r3d2_ros.street.lots import Lot
from r3d2_ros.street.meshes import Cells, Patches, cell_surfels, cut, rods
from r3d2_ros.street.noise import fractal, hash01, smoothstep
from r3d2_ros.street.styles import (
    AWNING,
    BLIND,
    BRICK,
    BRICKS,
    DOOR,
    GLASS,
    PLAIN,
    PLASTER,
    ROOF,
    SHUTTER,
    Style,
)
from r3d2_ros.street.surfels import Surfels, join

ZINC = linear((0.52, 0.53, 0.54))
FILLS = {BRICK: 0.56, PLASTER: 0.60, GLASS: 0.66, BLIND: 0.64}
"""Standard deviation over cell side where it differs from 0.6."""


def house_surfels(lots: list[Lot], styles: list[Style], *, coarser: NDArray[np.float64]) -> Surfels:
    """All houses, in the frame of the route; `coarser` [H] multiplies each one's cell sizes."""
    parts = []
    for k, lot in enumerate(lots):
        free_above = _free_above(k, lots, styles)
        parts.append(_house(lot, styles[k], free_above, float(coarser[k])))
    return join(parts)


def doorsteps(lots: list[Lot], styles: list[Style]) -> Array:
    """Where one steps out of each house [H, 2], in the frame of the route."""
    steps = [lot.origin + door_x(style, lot.width_m) * lot.rotation[:, 0]
             for lot, style in zip(lots, styles, strict=True)]  # fmt: skip
    return np.array(steps).reshape(-1, 3)[:, :2]


def _free_above(k: int, lots: list[Lot], styles: list[Style]) -> tuple[float, float]:
    """Heights above which the (left, right) side wall is not covered by a neighbour that touches it."""
    heights = [0.0, 0.0]
    for j, other in enumerate(lots):
        if j != k and other.side == lots[k].side:
            mine, theirs = lots[k].corners, other.corners
            for end, a, b in ((0, 0, 1), (1, 1, 0)):
                if np.linalg.norm(mine[a] - theirs[b]) < 0.5:
                    heights[end] = max(0.0, min(styles[j].height_m, styles[k].height_m) - 0.4)
    return heights[0], heights[1]


def _house(lot: Lot, style: Style, free_above: tuple[float, float], coarser: float) -> Surfels:
    patches = Patches()
    add_facade(patches, style, lot.width_m)
    _sides(patches, lot, style, free_above)
    if style.pitched:
        _pitched_roof(patches, lot, style)
    else:
        _flat_roof(patches, lot, style)
    _chimney(patches, lot, style)
    house = _painted(cut(patches, coarser=coarser), style)
    top = style.height_m - (0.1 if style.pitched else 0.0)
    pipe = rods([[0.1, -0.07, 0.0]], [[0.1, -0.07, top]], 0.045, 0.8 * ZINC, piece_m=0.18 * coarser)
    return join([house, pipe]).moved(lot.rotation, lot.origin)


def _sides(patches: Patches, lot: Lot, style: Style, free_above: tuple[float, float]) -> None:
    w, d, h = lot.width_m, lot.depth_m, style.height_m
    wall: dict[str, Any] = {"cell": (0.48, 0.46), "albedo": 0.94 * style.wall, "kind": style.wall_kind}
    for face, low in zip("xX", free_above, strict=True):
        patches.box(
            (0, 0, -0.3), (w, CORNER_M, h), faces=face, cell=(0.08, 0.42), albedo=style.wall, kind=style.wall_kind
        )
        patches.box((0, CORNER_M, low - 0.3), (w, d, h), faces=face, **wall)
    patches.box((0, 0, -0.3), (w, d, h), faces="Y", cell=(0.7, 0.7), albedo=0.92 * style.wall)
    # A plane behind the facade closes what shines between surfels.
    behind: dict[str, Any] = {"cell": (0.8, 0.8), "albedo": 0.8 * style.wall, "openness": 0.7}
    patches.add((0.2, 0.55, 0), (w - 0.4, 0, 0), (0, 0, h), **behind)
    if style.pitched:
        _gables(patches, w, d, style, wall)


def _gables(patches: Patches, w: float, d: float, style: Style, wall: dict[str, Any]) -> None:
    rise = 0.5 * d * style.pitch
    steps = max(3, int(rise / 0.42))
    for k in range(steps):
        z, inset = style.height_m + rise * k / steps, 0.5 * d * (k + 0.5) / steps
        span = d - 2 * inset
        patches.add((0.0, d - inset, z), (0, -span, 0), (0, 0, rise / steps), **wall)
        patches.add((w, inset, z), (0, span, 0), (0, 0, rise / steps), **wall)


def _flat_roof(patches: Patches, lot: Lot, style: Style) -> None:
    w, d, h = lot.width_m, lot.depth_m, style.height_m
    trim: dict[str, Any] = {"albedo": style.trim}
    patches.box((-0.04, -0.24, h), (w + 0.04, 0.1, h + 0.16), cell=(0.3, 0.17), faces="yZzxX", **trim)
    patches.box((-0.02, -0.12, h - 0.14), (w + 0.02, 0.1, h), cell=(0.3, 0.14), faces="yzxX", **trim)
    parapet: dict[str, Any] = {"cell": (0.3, 0.2), "albedo": style.wall, "kind": style.wall_kind}
    patches.box((0, 0.0, h + 0.16), (w, 0.25, h + 0.72), faces="yY", **parapet)
    patches.box((-0.02, -0.04, h + 0.72), (w + 0.02, 0.3, h + 0.8), cell=(0.3, 0.09), faces="yZzxX", **trim)
    patches.box((0, 0.2, h), (w, d, h + 0.3), cell=(0.8, 0.8), albedo=(0.2, 0.2, 0.19), faces="ZxXY")


def _pitched_roof(patches: Patches, lot: Lot, style: Style) -> None:
    w, d, h = lot.width_m, lot.depth_m, style.height_m
    rise, over = 0.5 * d * style.pitch, 0.42
    drop = over * style.pitch
    tiles: dict[str, Any] = {"albedo": style.tiles, "kind": ROOF}
    run = d / 2 + over
    patches.add((0, -over, h - drop), (w, 0, 0), (0, run, rise + drop), cell=(0.46, 0.36), **tiles)
    patches.add((w, d + over, h - drop), (-w, 0, 0), (0, -run, rise + drop), cell=(0.9, 0.9), **tiles)
    # Boards along the gables keep their outline crisp.
    for x0, x1 in ((-0.12, 0.0), (w, w + 0.12)):
        for y0, sign in ((-over, 1), (d + over, -1)):
            edge_u, edge_v = ((x1 - x0, 0, 0), (0, sign * run, rise + drop))
            corner = (x0, y0, h - drop + 0.02)
            if sign < 0:
                corner, edge_u = (x1, y0, h - drop + 0.02), (x0 - x1, 0, 0)
            patches.add(corner, edge_u, edge_v, cell=(0.07, 0.42), albedo=0.8 * style.tiles)
    patches.box(
        (-0.1, -over - 0.1, h - drop - 0.1), (w + 0.1, -over, h - drop), cell=(0.3, 0.1), albedo=ZINC, faces="yZz"
    )
    under: dict[str, Any] = {"cell": (0.3, 0.22), "albedo": 0.8 * style.trim, "openness": 0.75}
    patches.add((-0.1, 0, h - drop + 0.02), (w + 0.2, 0, 0), (0, -over, 0), **under)
    if style.seed % 5 < 3:
        _dormers(patches, w, h, style)


def _dormers(patches: Patches, w: float, h: float, style: Style) -> None:
    """Small gabled windows that stand in the roof."""
    count = max(1, int(w / 4.5))
    for x in (np.arange(count) + 0.5) * w / count:
        foot, back = h + 0.55 * style.pitch, 0.55
        top, half = foot + 1.35, 0.7
        cheek: dict[str, Any] = {"cell": (0.3, 0.3), "albedo": style.tiles, "kind": PLAIN}
        patches.box((x - half, back, foot), (x + half, back + 1.8, top), faces="xX", **cheek)
        front: dict[str, Any] = {"cell": (0.1, 0.2), "albedo": style.trim}
        patches.add((x - half, back, foot), (0.16, 0, 0), (0, 0, top - foot), **front)
        patches.add((x + half - 0.16, back, foot), (0.16, 0, 0), (0, 0, top - foot), **front)
        patches.add((x - half, back, foot), (2 * half, 0, 0), (0, 0, 0.15), **front)
        hole = (x - half + 0.16, x + half - 0.16, foot + 0.15, top)
        add_glazing(patches, hole, panes=2, recess=back + 0.04, frame=style.frame, bar=0.07, cell=0.22, seed=style.seed)
        roof: dict[str, Any] = {"cell": (0.2, 0.25), "albedo": style.tiles, "kind": ROOF}
        patches.add((x - half - 0.1, back - 0.1, top - 0.05), (half + 0.1, 0, 0.45), (0, 2.0, 0), **roof)
        patches.add((x, back - 0.1, top + 0.4), (half + 0.1, 0, -0.45), (0, 2.0, 0), **roof)
        for row in range(3):
            inset = (half + 0.05) * (row + 0.5) / 3
            strip = (2 * (half + 0.05 - inset), 0, 0)
            patches.add((x - half - 0.05 + inset, back - 0.04, top + 0.14 * row), strip, (0, 0, 0.14), **front)


def _chimney(patches: Patches, lot: Lot, style: Style) -> None:
    if style.seed % 3 == 0:
        return
    w, d, h = lot.width_m, lot.depth_m, style.height_m
    x = w * (0.2 + 0.6 * float(hash01(style.seed, 1)))
    z = h + (0.5 * d * style.pitch if style.pitched else 0.2)
    stack = BRICKS[style.seed % len(BRICKS)]
    low, high = (x, d / 2 - 0.3, z - 1.0), (x + 0.8, d / 2 + 0.3, z + 1.0)
    patches.box(low, high, cell=(0.24, 0.2), albedo=stack, kind=BRICK, faces="xXyYZ")
    cap_low, cap_high = (x - 0.06, d / 2 - 0.36, z + 1.0), (x + 0.86, d / 2 + 0.36, z + 1.1)
    patches.box(cap_low, cap_high, cell=(0.2, 0.1), albedo=0.6 * style.trim)


def _painted(cells: Cells, style: Style) -> Surfels:
    """Texture of every kind of surface."""
    x, z = cells.position[:, 0], cells.position[:, 2]
    u, v, seed = cells.u_m, cells.v_m, style.seed % 9973
    albedo = cells.albedo.copy()
    speck = hash01(np.floor(x * 31), np.floor((z + cells.position[:, 1]) * 31), seed)
    cloudy = fractal((x + cells.position[:, 1]) / 3, z / 3, octaves=4, seed=seed) - 0.5
    streaks = fractal((x + cells.position[:, 1]) * 1.6, z / 5, octaves=3, seed=seed + 1) - 0.5
    damp = 1.0 - 0.30 * smoothstep(1.1, 0.2, z + 0.8 * streaks)
    under_roof = 1.0 - 0.24 * smoothstep(1.3, 0.0, style.height_m - z + 0.6 * streaks)
    tone: dict[int, Array] = {
        PLAIN: 1 + 0.10 * (speck - 0.5),
        PLASTER: (1 + 0.055 * (speck - 0.5) + 0.24 * cloudy + 0.18 * streaks) * damp * under_roof,
        BRICK: (1 + 0.40 * (speck - 0.5) + 0.16 * cloudy) * damp * under_roof,
        ROOF: (1 + 0.30 * (speck - 0.5) + 0.25 * cloudy) * (0.80 + 0.4 * ((v / 0.72) % 1.0)),
        SHUTTER: 0.75 + 0.5 * ((v / 0.2) % 1.0),
        DOOR: np.where((np.abs(u % 0.55 - 0.275) < 0.17) & (np.abs(v % 0.95 - 0.5) < 0.33), 0.75, 1.05),
    }
    for kind, factor in tone.items():
        here = cells.kind == kind
        albedo[here] *= np.broadcast_to(factor, len(cells))[here][:, None]
    warm = cells.kind == BRICK
    albedo[warm] *= 1 + (speck[warm] - 0.5)[:, None] * [0.10, -0.05, -0.12]
    striped = (cells.kind == AWNING) & ((u // 0.2) % 2 == 0)
    albedo[striped] = 0.62
    albedo, glow = _glazed(cells, albedo, x, z, seed)
    fill = np.full(len(cells), 0.6)
    for kind, value in FILLS.items():
        fill[cells.kind == kind] = value
    return cell_surfels(cells, albedo, fill=fill, glow=glow)


def _glazed(cells: Cells, albedo: Array, x: Array, z: Array, seed: int) -> tuple[Array, Array]:
    """Panes reflect the sky above and the street below; blinds hang behind them."""
    glow = np.zeros_like(albedo)
    glass = cells.kind == GLASS
    share = cells.albedo[glass, 0] / 0.12
    height = cells.v_m[glass] / np.maximum(cells.albedo[glass, 1], 0.3)
    tilt = 0.3 * (fractal(x[glass] * 0.9, z[glass] * 0.6, octaves=2, seed=seed + 3) - 0.5)
    mirrored = smoothstep(0.25, 1.25, height + tilt + 0.05 * z[glass] + 0.4 * (share - 0.5))
    glow[glass] = (0.016 + 0.15 * mirrored)[:, None] * [0.86, 0.97, 1.08]
    goods = cells.albedo[glass, 2] * smoothstep(0.62, 0.5, height) * smoothstep(0.02, 0.08, height % 0.27)
    item = hash01(np.floor(x[glass] / 0.34), np.floor(height / 0.27), seed)[:, None]
    hue = np.stack([hash01(np.floor(x[glass] / 0.34), k, seed + 9) for k in (1, 2, 3)], axis=1)
    glow[glass] += goods[:, None] * (item > 0.35) * 0.11 * (0.25 + item * (0.35 + 0.5 * hue) * [1.1, 1.0, 0.85])
    albedo[glass] = 0.02
    blind = cells.kind == BLIND
    albedo[blind] *= 0.5
    glow[blind] = 0.025
    return albedo, glow
