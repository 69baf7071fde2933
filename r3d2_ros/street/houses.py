"""Houses as meshes of planar patches: facades with openings, side walls, roofs, chimneys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from r3d2_ros.geometry import Array
from r3d2_ros.street.lighting import linear
from r3d2_ros.street.lots import Lot
from r3d2_ros.street.meshes import Cells, Patches, cell_surfels, cut
from r3d2_ros.street.noise import fractal, hash01, smoothstep
from r3d2_ros.street.surfels import Surfels, join

PLAIN, PLASTER, BRICK, ROOF, GLASS, BLIND, SHUTTER, DOOR = range(8)

PLASTERS = linear(
    [
        (0.88, 0.84, 0.74), (0.82, 0.80, 0.76), (0.90, 0.88, 0.84), (0.79, 0.67, 0.50), (0.78, 0.62, 0.53),
        (0.70, 0.73, 0.64), (0.66, 0.70, 0.74), (0.84, 0.76, 0.60), (0.72, 0.70, 0.68),
    ]
)  # fmt: skip
BRICKS = linear([(0.53, 0.34, 0.28), (0.58, 0.42, 0.33), (0.47, 0.33, 0.29), (0.64, 0.53, 0.43)])
TILES = linear([(0.50, 0.31, 0.24), (0.42, 0.30, 0.26), (0.33, 0.33, 0.35), (0.38, 0.34, 0.32)])
FRAMES = linear([(0.88, 0.87, 0.84), (0.88, 0.87, 0.84), (0.26, 0.27, 0.29), (0.38, 0.27, 0.19)])
TRIMS = linear([(0.80, 0.78, 0.73), (0.70, 0.67, 0.62), (0.86, 0.85, 0.82)])
ACCENTS = linear(
    [(0.22, 0.34, 0.30), (0.36, 0.18, 0.17), (0.20, 0.26, 0.36), (0.40, 0.29, 0.19), (0.24, 0.25, 0.27)]
)


@dataclass(frozen=True, eq=False)
class Style:
    """What one house looks like."""

    wall: Array
    wall_kind: int
    trim: Array
    frame: Array
    accent: Array
    tiles: Array
    storeys: int
    ground_height_m: float
    storey_height_m: float
    window_width_m: float
    window_height_m: float
    bay_m: float
    pitched: bool
    pitch: float
    shop: bool
    shutters: bool
    trim_m: float
    seed: int

    @property
    def height_m(self) -> float:
        return self.ground_height_m + (self.storeys - 1) * self.storey_height_m


def choose_style(rng: np.random.Generator, width_m: float) -> Style:
    """A plausible combination."""
    brick = rng.random() < 0.36
    shop = rng.random() < 0.3 and width_m > 8.0
    return Style(
        wall=BRICKS[rng.integers(len(BRICKS))] if brick else PLASTERS[rng.integers(len(PLASTERS))],
        wall_kind=BRICK if brick else PLASTER,
        trim=TRIMS[rng.integers(len(TRIMS))],
        frame=FRAMES[rng.integers(len(FRAMES))],
        accent=ACCENTS[rng.integers(len(ACCENTS))],
        tiles=TILES[rng.integers(len(TILES))],
        storeys=int(rng.choice([2, 3, 3, 4, 4])),
        ground_height_m=3.7 if shop else float(rng.uniform(3.0, 3.4)),
        storey_height_m=float(rng.uniform(2.8, 3.15)),
        window_width_m=float(rng.uniform(0.95, 1.35)),
        window_height_m=float(rng.uniform(1.45, 1.8)),
        bay_m=float(rng.uniform(2.1, 2.9)),
        pitched=bool(rng.random() < 0.68),
        pitch=float(rng.uniform(0.65, 0.95)),
        shop=bool(shop),
        shutters=bool(rng.random() < 0.3 and not brick),
        trim_m=float(rng.choice([0.0, 0.12, 0.15])),
        seed=int(rng.integers(1 << 30)),
    )


def house_surfels(lots: list[Lot], rng: np.random.Generator, *, detail: float) -> Surfels:
    """All houses, in the frame of the route."""
    return join([_house(lot, choose_style(rng, lot.width_m), detail) for lot in lots])


def _house(lot: Lot, style: Style, detail: float) -> Surfels:
    patches = Patches()
    _facade(patches, lot, style)
    _sides(patches, lot, style)
    _roof(patches, lot, style)
    cells = cut(patches, coarser=1.0 / detail)
    return _painted(cells, style).moved(lot.rotation, lot.origin)


def _wall_cell(style: Style, storey: int) -> tuple[float, float]:
    if style.wall_kind == BRICK:
        return ((0.24, 0.085), (0.26, 0.17), (0.30, 0.22), (0.34, 0.26))[min(storey, 3)]
    return ((0.17, 0.17), (0.22, 0.22), (0.27, 0.27), (0.30, 0.30))[min(storey, 3)]


def _facade(patches: Patches, lot: Lot, style: Style) -> None:
    bays = max(2, int(lot.width_m / style.bay_m))
    bay = lot.width_m / bays
    centres = (np.arange(bays) + 0.5) * bay
    door_bay = style.seed % bays
    low = 0.0
    for storey in range(style.storeys):
        high = low + (style.ground_height_m if storey == 0 else style.storey_height_m)
        openings = []
        for k, x in enumerate(centres):
            if storey > 0:
                sill = low + 0.88
                openings.append((x - style.window_width_m / 2, x + style.window_width_m / 2, sill, "window"))
            elif k == door_bay:
                openings.append((x - 0.55, x + 0.55, 0.12, "door"))
            elif style.shop:
                openings.append((x - 0.42 * bay, x + 0.42 * bay, 0.45, "shop"))
            else:
                openings.append((x - style.window_width_m / 2, x + style.window_width_m / 2, 1.05, "window"))
        _storey(patches, style, storey, (low, high, lot.width_m), openings)
        low = high


def _storey(
    patches: Patches,
    style: Style,
    storey: int,
    band: tuple[float, float, float],
    openings: list[tuple[float, float, float, str]],
) -> None:
    """One storey's wall around its openings, left to right."""
    low, high, width = band
    cell = _wall_cell(style, storey)
    base = low
    if storey == 0:
        base = low + 0.45
        _plinth(patches, style, base, width, openings)
    elif style.trim_m:
        base = low + 0.16
        patches.box((0, -0.05, low), (width, 0, base), cell=(0.3, 0.085), albedo=style.trim, faces="yZz")
    wall = {"cell": cell, "albedo": style.wall, "kind": style.wall_kind}
    x = 0.0
    for x0, x1, sill, kind in openings:
        top = {"window": sill + style.window_height_m, "door": 2.45, "shop": 2.75}[kind]
        trim = style.trim_m if kind == "window" else 0.0
        a, b, under, over = x0 - trim, x1 + trim, max(base, sill - trim), top + trim
        patches.add((x, 0, base), (a - x, 0, 0), (0, 0, high - base), **wall)  # type: ignore[arg-type]
        if under > base:
            patches.add((a, 0, base), (b - a, 0, 0), (0, 0, under - base), **wall)  # type: ignore[arg-type]
        patches.add((a, 0, over), (b - a, 0, 0), (0, 0, high - over), **wall)  # type: ignore[arg-type]
        if trim:
            _trim(patches, style, (a, b, under, over), (x0, x1, sill, top))
        _opening(patches, style, storey, (x0, x1, max(sill, 0.0), top), kind)
        x = b
    patches.add((x, 0, base), (width - x, 0, 0), (0, 0, high - base), **wall)  # type: ignore[arg-type]


def _plinth(
    patches: Patches, style: Style, top: float, width: float, openings: list[tuple[float, float, float, str]]
) -> None:
    stone = 0.62 * style.trim
    x = 0.0
    for x0, x1, sill, _ in [*openings, (width, width, 0.0, "end")]:
        if sill >= top and x0 < width:
            continue
        patches.box(
            (x, -0.04, -0.15), (x0, 0, top), cell=(0.25, 0.15), albedo=stone, faces="yZxX", openness=0.75
        )
        x = x1
        if x0 < width:
            patches.add(
                (x0, 0.0, -0.15), (x1 - x0, 0, 0), (0, 0, sill + 0.15), cell=(0.2, 0.15), albedo=stone
            )


def _trim(
    patches: Patches,
    style: Style,
    outer: tuple[float, float, float, float],
    inner: tuple[float, float, float, float],
) -> None:
    a, b, c, d = outer
    x0, x1, z0, z1 = inner
    look = {"albedo": style.trim, "cell": (0.16, 0.16)}
    patches.add((a, -0.02, c), (x0 - a, 0, 0), (0, 0, d - c), **look)  # type: ignore[arg-type]
    patches.add((x1, -0.02, c), (b - x1, 0, 0), (0, 0, d - c), **look)  # type: ignore[arg-type]
    patches.add((x0, -0.02, z1), (x1 - x0, 0, 0), (0, 0, d - z1), **look)  # type: ignore[arg-type]
    if z0 > c:
        patches.add((x0, -0.02, c), (x1 - x0, 0, 0), (0, 0, z0 - c), **look)  # type: ignore[arg-type]


def _opening(
    patches: Patches, style: Style, storey: int, hole: tuple[float, float, float, float], kind: str
) -> None:
    x0, x1, z0, z1 = hole
    recess = 0.26 if kind == "door" else 0.13
    side = {"cell": (0.2, 0.14), "albedo": 0.85 * style.wall, "openness": 0.8}
    patches.add((x0, 0, z0), (0, recess, 0), (0, 0, z1 - z0), **side)  # type: ignore[arg-type]
    patches.add((x1, recess, z0), (0, -recess, 0), (0, 0, z1 - z0), **side)  # type: ignore[arg-type]
    patches.add((x0, recess, z1), (x1 - x0, 0, 0), (0, -recess, 0), **side)  # type: ignore[arg-type]
    if kind == "door":
        _door(patches, style, hole, recess)
        return
    sill = {"cell": (0.25, 0.07), "albedo": style.trim, "openness": 1.0}
    patches.box((x0 - 0.06, -0.07, z0 - 0.06), (x1 + 0.06, recess, z0), faces="yZzxX", **sill)  # type: ignore[arg-type]
    glass_cell = (0.13, 0.16, 0.20, 0.24)[min(storey, 3)]
    panes = 2 if kind == "window" else max(1, round((x1 - x0) / 1.6))
    frame, bar = style.accent if kind == "shop" else style.frame, 0.07 if storey < 2 else 0.085
    _glazing(
        patches,
        (x0, x1, z0, z1),
        panes,
        recess=recess,
        frame=frame,
        bar=bar,
        cell=glass_cell,
        seed=style.seed,
    )
    if kind == "shop":
        fascia = {"cell": (0.2, 0.1), "albedo": style.accent}
        patches.box((x0 - 0.1, -0.12, z1 + 0.05), (x1 + 0.1, 0, z1 + 0.5), faces="yZzxX", **fascia)  # type: ignore[arg-type]
    elif style.shutters and storey > 0:
        leaf = {"cell": (0.24, 0.075), "albedo": style.accent, "kind": SHUTTER}
        for a in (x0 - 0.5 - style.trim_m, x1 + 0.04 + style.trim_m):
            patches.box((a, -0.06, z0), (a + 0.46, -0.015, z1), faces="yxX", **leaf)  # type: ignore[arg-type]


def _glazing(
    patches: Patches,
    hole: tuple[float, float, float, float],
    panes: int,
    *,
    recess: float,
    frame: Array,
    bar: float,
    cell: float,
    seed: int,
) -> None:
    """Frame bars around panes; each pane is dark glass, some with a blind behind the upper part."""
    x0, x1, z0, z1 = hole
    y = recess - 0.03
    bars = {"albedo": frame, "openness": 0.85}
    patches.add((x0, y, z0), (x1 - x0, 0, 0), (0, 0, bar), cell=(0.22, bar), **bars)  # type: ignore[arg-type]
    patches.add((x0, y, z1 - bar), (x1 - x0, 0, 0), (0, 0, bar), cell=(0.22, bar), **bars)  # type: ignore[arg-type]
    edges = np.linspace(x0, x1, panes + 1)
    for k, x in enumerate(edges):
        left = x if k == 0 else (x - bar if k == panes else x - bar / 2)
        patches.add((left, y, z0 + bar), (bar, 0, 0), (0, 0, z1 - z0 - 2 * bar), cell=(bar, 0.22), **bars)  # type: ignore[arg-type]
    chance = float(hash01(int(x0 * 53), int(z0 * 37), seed))
    blind = z1 - bar - (0.0 if chance > 0.42 else (0.2 + 0.9 * chance) * (z1 - z0))
    for k in range(panes):
        a = edges[k] + (bar if k == 0 else bar / 2)
        b = edges[k + 1] - (bar if k == panes - 1 else bar / 2)
        glass = {"cell": (cell, cell), "albedo": (0.02 + 0.1 * chance, z1 - z0, 0.0), "kind": GLASS}
        patches.add((a, recess, z0 + bar), (b - a, 0, 0), (0, 0, blind - z0 - bar), **glass)  # type: ignore[arg-type]
        if blind < z1 - bar - 0.01:
            cloth = {"cell": (cell, cell), "albedo": (0.55, 0.52, 0.46), "kind": BLIND}
            patches.add((a, recess, blind), (b - a, 0, 0), (0, 0, z1 - bar - blind), **cloth)  # type: ignore[arg-type]


def _door(patches: Patches, style: Style, hole: tuple[float, float, float, float], recess: float) -> None:
    x0, x1, z0, z1 = hole
    patches.box(
        (x0 - 0.15, -0.3, -0.1),
        (x1 + 0.15, recess, z0),
        cell=(0.2, 0.12),
        albedo=0.8 * style.trim,
        faces="yZxX",
    )
    light = z1 - 0.4
    leaf = {"cell": (0.1, 0.12), "albedo": style.accent, "kind": DOOR}
    patches.add((x0, recess, z0), (x1 - x0, 0, 0), (0, 0, light - z0), **leaf)  # type: ignore[arg-type]
    _glazing(
        patches,
        (x0, x1, light, z1),
        2,
        recess=recess,
        frame=style.frame,
        bar=0.06,
        cell=0.12,
        seed=style.seed,
    )


def _sides(patches: Patches, lot: Lot, style: Style) -> None:
    w, d, h = lot.width_m, lot.depth_m, style.height_m
    wall = {"cell": (0.36, 0.36), "albedo": 0.92 * style.wall, "kind": PLASTER}
    patches.box((0, 0, -0.3), (w, d, h), faces="xX", **wall)  # type: ignore[arg-type]
    patches.box((0, 0, -0.3), (w, d, h), faces="Y", cell=(0.6, 0.6), albedo=0.92 * style.wall)
    # A dark room behind the facade closes what shines between surfels.
    patches.add(
        (0.1, 0.7, 0), (w - 0.2, 0, 0), (0, 0, h), cell=(0.9, 0.9), albedo=0.35 * style.wall, openness=0.5
    )
    if style.pitched:
        rise = 0.5 * d * style.pitch
        for k in range(steps := max(3, int(rise / 0.45))):
            z0, inset = h + rise * k / steps, 0.5 * d * (k + 0.5) / steps
            for x, sign in ((0.0, -1), (w, 1)):
                corner = (x, d - inset, z0) if sign < 0 else (x, inset, z0)
                edge = (0, -(d - 2 * inset), 0) if sign < 0 else (0, d - 2 * inset, 0)
                patches.add(corner, edge, (0, 0, rise / steps), **wall)  # type: ignore[arg-type]


def _roof(patches: Patches, lot: Lot, style: Style) -> None:
    w, d, h = lot.width_m, lot.depth_m, style.height_m
    if not style.pitched:
        patches.box(
            (-0.05, -0.22, h - 0.1),
            (w + 0.05, 0.1, h + 0.16),
            cell=(0.3, 0.12),
            albedo=style.trim,
            faces="yZzxX",
        )
        patches.box(
            (0, 0.0, h + 0.16),
            (w, 0.25, h + 0.75),
            cell=(0.3, 0.3),
            albedo=style.wall,
            faces="yZY",
            kind=PLASTER,
        )
        patches.box(
            (0, -0.04, h + 0.75), (w, 0.3, h + 0.83), cell=(0.3, 0.09), albedo=style.trim, faces="yZz"
        )
        patches.box((0, 0.2, h), (w, d, h + 0.3), cell=(0.7, 0.7), albedo=(0.2, 0.2, 0.19), faces="ZxXY")
    else:
        rise, over = 0.5 * d * style.pitch, 0.42
        drop = over * style.pitch
        roof = {"albedo": style.tiles, "kind": ROOF}
        front, back = (0, d / 2 + over, rise + drop), (0, -(d / 2 + over), rise + drop)
        patches.add((-0.1, -over, h - drop), (w + 0.2, 0, 0), front, cell=(0.26, 0.2), **roof)  # type: ignore[arg-type]
        patches.add((w + 0.1, d + over, h - drop), (-w - 0.2, 0, 0), back, cell=(0.6, 0.6), **roof)  # type: ignore[arg-type]
        # Gutter and the boarded underside of the eaves.
        zinc = linear((0.52, 0.53, 0.54))
        patches.box(
            (-0.1, -over - 0.1, h - drop - 0.1),
            (w + 0.1, -over, h - drop),
            cell=(0.3, 0.1),
            albedo=zinc,
            faces="yZz",
        )
        under = {"cell": (0.3, 0.22), "albedo": 0.8 * style.trim, "openness": 0.8}
        patches.add((-0.1, 0, h - drop + 0.02), (w + 0.2, 0, 0), (0, -over, 0), **under)  # type: ignore[arg-type]
    if style.seed % 3:
        x, z = w * (0.2 + 0.6 * hash01(style.seed, 1)), h + (0.5 * d * style.pitch if style.pitched else 0.2)
        stack = BRICKS[style.seed % len(BRICKS)]
        patches.box(
            (x, d / 2 - 0.3, z - 1.0),
            (x + 0.8, d / 2 + 0.3, z + 1.1),
            cell=(0.22, 0.14),
            albedo=stack,
            faces="xXyYZ",
        )


def _painted(cells: Cells, style: Style) -> Surfels:
    """Texture of every kind of surface."""
    x, z = cells.position[:, 0], cells.position[:, 2]
    u, v, seed = cells.u_m, cells.v_m, style.seed % 9973
    albedo = cells.albedo.copy()
    speck = hash01(np.floor(cells.position[:, 0] * 31), np.floor((z + cells.position[:, 1]) * 31), seed)
    cloudy = fractal(x / 3, z / 3, octaves=4, seed=seed) - 0.5
    streaks = fractal(x * 1.6, z / 5, octaves=3, seed=seed + 1) - 0.5
    damp = 1.0 - 0.22 * smoothstep(0.9, 0.0, z)
    tone = {
        PLAIN: 1 + 0.10 * (speck - 0.5),
        PLASTER: (1 + 0.10 * (speck - 0.5) + 0.16 * cloudy + 0.14 * streaks) * damp,
        BRICK: (1 + 0.42 * (speck - 0.5) + 0.16 * cloudy) * damp,
        ROOF: (1 + 0.30 * (speck - 0.5) + 0.25 * cloudy) * (0.80 + 0.4 * ((v / 0.4) % 1.0)),
        SHUTTER: 0.75 + 0.5 * ((v / 0.15) % 1.0),
        DOOR: np.where((np.abs(u % 0.55 - 0.275) < 0.17) & (np.abs(v % 0.95 - 0.5) < 0.33), 0.8, 1.05),
    }
    glow = np.zeros_like(albedo)
    for kind, factor in tone.items():
        here = cells.kind == kind
        albedo[here] *= np.broadcast_to(factor, len(cells))[here][:, None]
    warm = cells.kind == BRICK
    albedo[warm] *= 1 + (speck[warm] - 0.5)[:, None] * [0.10, -0.05, -0.12]
    glass = cells.kind == GLASS
    share = cells.albedo[glass, 0] / 0.12
    height = v[glass] / np.maximum(cells.albedo[glass, 1], 0.3)
    tilt = 0.25 * (fractal(x[glass] * 0.9, z[glass] * 0.6, octaves=2, seed=seed + 3) - 0.5)
    mirrored = smoothstep(0.05, 1.1, height + tilt + 0.05 * z[glass] + 0.3 * (share - 0.5))
    glow[glass] = (0.025 + 0.20 * mirrored)[:, None] * [0.86, 0.97, 1.08]
    albedo[glass] = 0.02
    blind = cells.kind == BLIND
    albedo[blind] *= 0.55
    glow[blind] = 0.03
    return cell_surfels(cells, albedo, glow=glow)
