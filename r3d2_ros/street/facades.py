"""The street side of a house: storeys of wall around windows, doors and shop fronts.

House frame: x to the right as seen from the street, y into the house, z up; the facade is the plane y = 0.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from r3d2_ros.geometry import Array
from r3d2_ros.street.meshes import Patches
from r3d2_ros.street.noise import hash01
from r3d2_ros.street.shops import add_shop_front
from r3d2_ros.street.styles import BLIND, BRICK, DOOR, GLASS, SHUTTER, Style

NEAR_STOREYS = 2
"""Storeys that cameras on vehicles see from near: finer."""
RIM_M = 0.045
CORNER_M = 0.24
"""Strips of fine surfels at both ends of the facade keep the outline of the house crisp."""

Opening = tuple[float, float, float, str]
"""x low, x high, z of the sill, kind ("window", "door", "shop" or "balcony")."""


def add_facade(patches: Patches, style: Style, width_m: float) -> None:
    """All storeys of the facade."""
    bay, centres = _bays(style, width_m)
    door = _door_bay(style, len(centres))
    low = 0.0
    for storey in range(style.storeys):
        high = low + (style.ground_height_m if storey == 0 else style.storey_height_m)
        openings = [
            _door_at(float(x)) if storey == 0 and k == door else _opening_of(style, storey, k, float(x), bay, low)
            for k, x in enumerate(centres)
        ]
        _storey(patches, style, storey=storey, band=(low, high, width_m), openings=openings)
        low = high
    corner = style.trim if style.trim_m else style.wall
    for x in (0.0, width_m - CORNER_M):
        patches.add(
            (x, -0.015, 0.45),
            (CORNER_M, 0, 0),
            (0, 0, style.height_m - 0.45),
            cell=(0.08, 0.4),
            albedo=corner,
            kind=style.wall_kind if not style.trim_m else 0,
        )


def door_x(style: Style, width_m: float) -> float:
    """Middle of the door of a facade, in metres from its left end."""
    _, centres = _bays(style, width_m)
    return float(centres[_door_bay(style, len(centres))])


def _bays(style: Style, width_m: float) -> tuple[float, Array]:
    """Width of a bay, and the middles of all."""
    count = max(2, int((width_m - 2 * CORNER_M) / style.bay_m))
    bay = (width_m - 2 * CORNER_M) / count
    return bay, CORNER_M + (np.arange(count, dtype=np.float64) + 0.5) * bay


def _door_bay(style: Style, count: int) -> int:
    return style.seed % min(count, 3)


def _door_at(x: float) -> Opening:
    return (x - 0.55, x + 0.55, 0.12, "door")


def _opening_of(style: Style, storey: int, k: int, x: float, bay: float, low: float) -> Opening:
    half = style.window_width_m / 2
    bays_with_balcony = (style.seed >> 3) % 3
    if storey > 0:
        if style.balconies and k % 3 == bays_with_balcony:
            return (x - half, x + half, low + 0.12, "balcony")
        return (x - half, x + half, low + 0.88, "window")
    if style.shop:
        return (x - 0.42 * bay, x + 0.42 * bay, 0.45, "shop")
    return (x - half, x + half, 1.05, "window")


def wall_cell(style: Style, storey: int) -> tuple[float, float]:
    """Sizes of wall surfels: bricks and hands at eye level, coarser further up."""
    if style.wall_kind == BRICK:
        return ((0.25, 0.105), (0.36, 0.22), (0.46, 0.38), (0.52, 0.46))[min(storey, 3)]
    return ((0.23, 0.23), (0.33, 0.33), (0.43, 0.43), (0.52, 0.52))[min(storey, 3)]


def _storey(
    patches: Patches, style: Style, *, storey: int, band: tuple[float, float, float], openings: list[Opening]
) -> None:
    """One storey's wall around its openings, left to right."""
    low, high, width = band
    base = low
    if storey == 0:
        base = low + 0.45
        _plinth(patches, style, base, width, openings)
        if style.wall_kind != BRICK and style.seed % 3:
            _grooves(patches, style, (base, high - 0.1), width, openings)
    elif style.trim_m:
        base = low + 0.16
        patches.box((0, -0.05, low), (width, 0, base), cell=(0.4, 0.085), albedo=style.trim, faces="yZz")
    wall: dict[str, Any] = {"cell": wall_cell(style, storey), "albedo": style.wall, "kind": style.wall_kind}
    near, lowest = storey < NEAR_STOREYS, storey == 0
    x = CORNER_M
    for x0, x1, sill, kind in openings:
        top = {"window": sill + style.window_height_m, "balcony": low + 0.88 + style.window_height_m}.get(kind)
        top = top or {"door": 2.45, "shop": 2.75}[kind]
        trim = style.trim_m if kind in ("window", "balcony") else 0.0
        a, b, under, over = x0 - trim, x1 + trim, max(base, sill - trim), top + trim
        patches.add_edged((x, 0, base), (a - x, 0, 0), (0, 0, high - base), rim_m=RIM_M, sides="uU" * lowest, **wall)
        if under > base:
            patches.add_edged(
                (a, 0, base), (b - a, 0, 0), (0, 0, under - base), rim_m=RIM_M, sides="V" * lowest, **wall
            )
        patches.add_edged((a, 0, over), (b - a, 0, 0), (0, 0, high - over), rim_m=RIM_M, sides="v" * lowest, **wall)
        if trim:
            _trim(patches, style, (a, b, under, over), (x0, x1, sill, top), row_m=0.042 if near else 0.34)
        _opening(patches, style, storey, (x0, x1, sill, top), kind)
        x = b
    rest = (width - CORNER_M - x, 0, 0)
    patches.add_edged((x, 0, base), rest, (0, 0, high - base), rim_m=RIM_M, sides="u" * lowest, **wall)


def _grooves(patches: Patches, style: Style, band: tuple[float, float], width: float, openings: list[Opening]) -> None:
    """Level joints in the plaster of the ground floor, between the openings."""
    edge = 0.08 + style.trim_m
    gaps = [(a[1] + edge, b[0] - edge) for a, b in pairwise([(0, 0.0, 0, ""), *openings, (width, 0, 0, "")])]
    for z in np.arange(band[0] + 0.38, band[1], 0.42):
        for x0, x1 in gaps:
            if x1 - x0 > 0.2:
                patches.add(
                    (x0, -0.012, z), (x1 - x0, 0, 0), (0, 0, 0.022), cell=(0.42, 0.03), albedo=0.55 * style.wall
                )


def _plinth(patches: Patches, style: Style, top: float, width: float, openings: list[Opening]) -> None:
    stone = 0.62 * style.trim
    x = 0.0
    for x0, x1, sill, _ in [*openings, (width, width, 0.0, "end")]:
        if sill >= top and x0 < width:
            continue
        patches.box((x, -0.04, -0.15), (x0, 0, top), cell=(0.25, 0.15), albedo=stone, faces="yZxX", openness=0.75)
        x = x1
        if x0 < width:
            below = (0, 0, sill + 0.15)
            patches.add((x0, 0.0, -0.15), (x1 - x0, 0, 0), below, cell=(0.2, 0.15), albedo=stone, openness=0.7)


def _trim(
    patches: Patches,
    style: Style,
    outer: tuple[float, float, float, float],
    inner: tuple[float, float, float, float],
    *,
    row_m: float,
) -> None:
    a, b, c, d = outer
    x0, x1, z0, z1 = inner
    upright: dict[str, Any] = {"albedo": style.trim, "cell": (row_m, 0.34)}
    level: dict[str, Any] = {"albedo": style.trim, "cell": (0.34, row_m)}
    patches.add((a, -0.02, c), (x0 - a, 0, 0), (0, 0, d - c), **upright)
    patches.add((x1, -0.02, c), (b - x1, 0, 0), (0, 0, d - c), **upright)
    patches.add((x0, -0.02, z1), (x1 - x0, 0, 0), (0, 0, d - z1), **level)
    if z0 > c:
        patches.add((x0, -0.02, c), (x1 - x0, 0, 0), (0, 0, z0 - c), **level)


def _opening(patches: Patches, style: Style, storey: int, hole: tuple[float, float, float, float], kind: str) -> None:
    x0, x1, z0, z1 = hole
    recess = 0.26 if kind == "door" else 0.13
    side: dict[str, Any] = {"albedo": 0.85 * style.wall, "openness": 0.6}
    row = 0.05 if storey < NEAR_STOREYS else 0.36
    patches.add((x0, 0, z0), (0, recess, 0), (0, 0, z1 - z0), cell=(row, 0.36), **side)
    patches.add((x1, recess, z0), (0, -recess, 0), (0, 0, z1 - z0), cell=(row, 0.36), **side)
    patches.add((x0, recess, z1), (x1 - x0, 0, 0), (0, -recess, 0), cell=(0.36, row), **side)
    if kind == "door":
        _door(patches, style, hole, recess)
        return
    sill: dict[str, Any] = {"cell": (0.25, 0.2), "albedo": style.trim}
    patches.box((x0 - 0.06, -0.07, z0 - 0.06), (x1 + 0.06, recess, z0), faces="yZz", **sill)
    frame = style.accent if kind == "shop" else style.frame
    add_glazing(
        patches,
        hole,
        panes=max(1, round((x1 - x0) / 1.6)) if kind == "shop" else 2,
        recess=recess,
        frame=frame,
        bar=0.07 if storey < 2 else 0.085,
        cell=(0.17, 0.21, 0.28, 0.34)[min(storey, 3)],
        crisp=storey < NEAR_STOREYS,
        shop=kind == "shop",
        seed=style.seed,
    )
    if kind == "shop":
        add_shop_front(patches, style, hole)
    elif kind == "balcony":
        _balcony(patches, style, hole)
    elif style.shutters and storey > 0:
        leaf: dict[str, Any] = {"cell": (0.24, 0.1), "albedo": style.accent, "kind": SHUTTER}
        for a in (x0 - 0.5 - style.trim_m, x1 + 0.04 + style.trim_m):
            patches.box((a, -0.06, z0), (a + 0.46, -0.015, z1), faces="yxX", **leaf)


def add_glazing(
    patches: Patches,
    hole: tuple[float, float, float, float],
    *,
    panes: int,
    recess: float,
    frame: Array,
    bar: float,
    cell: float,
    seed: int,
    crisp: bool = False,
    shop: bool = False,
) -> None:
    """Frame bars around panes of dark glass, some with a blind behind the upper part. The albedo of glass patches
    carries what their texture needs: brightness of the room, height of the pane, whether goods stand behind it."""
    x0, x1, z0, z1 = hole
    y = recess - 0.03
    bars: dict[str, Any] = {"albedo": frame, "openness": 0.8}
    patches.add((x0, y, z0), (x1 - x0, 0, 0), (0, 0, bar), cell=(0.34, bar), **bars)
    patches.add((x0, y, z1 - bar), (x1 - x0, 0, 0), (0, 0, bar), cell=(0.34, bar), **bars)
    edges = np.linspace(x0, x1, panes + 1)
    for k, x in enumerate(edges):
        left = x if k == 0 else (x - bar if k == panes else x - bar / 2)
        upright = (0, 0, z1 - z0 - 2 * bar)
        patches.add((left, y, z0 + bar), (bar, 0, 0), upright, cell=(bar, 0.34), **bars)
    chance = float(hash01(int(x0 * 53), int(z0 * 37), seed))
    blind = z1 - bar - (0.0 if chance > 0.36 else (0.15 + 1.1 * chance) * (z1 - z0))
    room = (0.02 + 0.1 * chance, z1 - z0, float(shop))
    patches.add((x0, recess + 0.25, z0), (x1 - x0, 0, 0), (0, 0, z1 - z0), cell=(0.4, 0.4), albedo=room, kind=GLASS)
    for k in range(panes):
        a = edges[k] + (bar if k == 0 else bar / 2)
        b = edges[k + 1] - (bar if k == panes - 1 else bar / 2)
        glass: dict[str, Any] = {"cell": (cell, cell), "albedo": room, "kind": GLASS}
        rim: dict[str, Any] = {"rim_m": 0.035, "sides": "uU" * crisp}
        patches.add_edged((a, recess, z0 + bar), (b - a, 0, 0), (0, 0, blind - z0 - bar), **rim, **glass)
        if blind < z1 - bar - 0.01:
            cloth: dict[str, Any] = {"cell": (cell, cell), "albedo": (0.50, 0.48, 0.43), "kind": BLIND}
            patches.add_edged((a, recess, blind), (b - a, 0, 0), (0, 0, z1 - bar - blind), **rim, **cloth)


def _balcony(patches: Patches, style: Style, hole: tuple[float, float, float, float]) -> None:
    """A slab with a railing of thin bars."""
    x0, x1, z0, _ = hole
    a, b, out = x0 - 0.35, x1 + 0.35, -0.95
    patches.box((a, out, z0 - 0.16), (b, 0, z0), cell=(0.25, 0.16), albedo=0.9 * style.trim)
    iron: dict[str, Any] = {"albedo": (0.035, 0.036, 0.038)}
    for z in (z0 + 0.08, z0 + 0.98):
        patches.box((a, out, z), (b, out + 0.03, z + 0.035), cell=(0.3, 0.035), faces="yYZ", **iron)
        for x in (a, b - 0.03):
            patches.box((x, out, z), (x + 0.03, 0, z + 0.035), cell=(0.3, 0.3), faces="xXZ", **iron)
    for x in np.arange(a, b, 0.13):
        patches.add((x, out, z0 + 0.1), (0.018, 0, 0), (0, 0, 0.9), cell=(0.018, 0.3), **iron)


def _door(patches: Patches, style: Style, hole: tuple[float, float, float, float], recess: float) -> None:
    x0, x1, z0, z1 = hole
    step: dict[str, Any] = {"cell": (0.2, 0.12), "albedo": 0.8 * style.trim}
    patches.box((x0 - 0.15, -0.3, -0.1), (x1 + 0.15, recess, z0), faces="yZxX", **step)
    light = z1 - 0.4
    leaf: dict[str, Any] = {"cell": (0.11, 0.13), "albedo": style.accent, "kind": DOOR}
    patches.add((x0, recess, z0), (x1 - x0, 0, 0), (0, 0, light - z0), **leaf)
    line: dict[str, Any] = {"albedo": 0.3 * style.accent, "openness": 0.6}
    y, wide, high = recess - 0.02, (x1 - x0) / 2 - 0.2, (light - z0) / 2 - 0.25
    for a in (x0 + 0.13, (x0 + x1) / 2 + 0.07):
        for b in (z0 + 0.2, z0 + 0.3 + high):
            for dz in (0.0, high):
                patches.add((a, y, b + dz), (wide, 0, 0), (0, 0, 0.022), cell=(0.4, 0.03), **line)
            for dx in (0.0, wide):
                patches.add((a + dx, y, b), (0.022, 0, 0), (0, 0, high), cell=(0.03, 0.4), **line)
    patches.add(
        (x0 + 0.05, y - 0.05, z0 + 0.98), (0.04, 0, 0), (0, 0, 0.14), cell=(0.04, 0.07), albedo=(0.5, 0.45, 0.3)
    )
    add_glazing(
        patches,
        (x0, x1, light, z1),
        panes=2,
        recess=recess,
        frame=style.frame,
        bar=0.06,
        cell=0.12,
        seed=style.seed,
    )
