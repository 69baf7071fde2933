"""What the cells of a vehicle body are made of: glass, lamps, plates, gaps, bumpers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.geometry import Array
from r3d2_ros.street.bodies import OPEN, Body, Polygon
from r3d2_ros.street.lofts import Quads, inside, outline

PAINT, GLASS, TRIM, SEAM, HEAD_LAMP, LENS, TAIL_LAMP, TAIL_LIGHT, AMBER, PLATE, LETTER, GRILLE, FLOOR = range(13)

RUBBER_M = 0.028
"""Width of the black border of panes."""
ARCH, FLARE = 1.13, 1.20
"""Radii of a wheel arch and of its dark edge, over the wheel's."""


def body_labels(body: Body, section: str, cells: Quads) -> NDArray[np.int64]:
    """Materials of the cells of one section: "floor", "side", "windows", "top", "rear" or "front"."""
    x, y, z = cells.centre.T
    out = np.full(len(cells), FLOOR if section == "floor" else PAINT)
    if section == "windows":
        for seam in body.seams:
            out[np.abs(x - seam) < 0.0088] = SEAM
        for polygon in body.side_windows:
            _pane(out, x, z, polygon)
    elif section == "top":
        _screens(body, out, x, np.abs(y))
    elif section == "side":
        _flank(body, out, x, z)
    elif section in ("rear", "front"):
        _end(body, out, np.abs(y), z, section)
    if section != "floor":
        _lamps(body, out, cells.centre)
    if section in ("side", "floor"):
        for wheel_x in body.wheels_x:
            r = np.hypot(x - wheel_x, z - body.wheel_radius_m) / body.wheel_radius_m
            if section == "side":
                out[r < FLARE] = TRIM
            out[r < ARCH] = OPEN
    return out


def _pane(out: NDArray[np.int64], across: Array, z: Array, polygon: Polygon) -> None:
    """Glass in a polygon, with a black border outside of it."""
    corners = np.asarray(polygon)
    away = corners - corners.mean(axis=0)
    out[inside(across, z, (corners + np.sign(away) * RUBBER_M).tolist())] = TRIM
    out[inside(across, z, polygon)] = GLASS


def _screens(body: Body, out: NDArray[np.int64], x: Array, wide: Array) -> None:
    """Windscreen and rear window in the upper surface."""
    limit = np.minimum(outline(body.half_width, x) - 0.06, body.roof_half_width + 0.04)
    for pane in (body.windscreen, body.rear_window):
        if pane:
            out[(x > pane[0]) & (x < pane[1]) & (wide < limit)] = TRIM
            edge = 1.6 * RUBBER_M
            out[(x > pane[0] + edge) & (x < pane[1] - edge) & (wide < limit - edge)] = GLASS


def _flank(body: Body, out: NDArray[np.int64], x: Array, z: Array) -> None:
    """Door gaps, and the dark sill below them."""
    foot = outline(body.bottom, x)
    sill = foot + 0.10
    for seam in body.seams:
        out[(np.abs(x - seam) < 0.0088) & (z > sill + 0.04)] = SEAM
    if len(body.seams) > 1:
        doors = (x > min(body.seams)) & (x < max(body.seams))
        out[doors & (np.abs(z - sill - 0.045) < 0.006)] = SEAM
    out[z < sill] = TRIM


def _end(body: Body, out: NDArray[np.int64], wide: Array, z: Array, section: str) -> None:
    """Bumper, grille or boot lid, plate."""
    front = section == "front"
    bumper = float(outline(body.bottom, np.array([body.ends[front]]))[0]) + (0.12 if front else 0.15)
    plate = bumper + (0.09 if front else 0.21)
    if front:
        low, high, half = body.grille
        grille = (z > low) & (z < high) & (wide < half)
        bars = ((z - low) / 0.045) % 1.0 < 0.3
        out[grille] = np.where(bars, TRIM, GRILLE)[grille]
        fog = np.hypot((wide - 0.80 * body.half_width[-1][1]) / 1.6, z - bumper - 0.05) < 0.032
        out[fog] = HEAD_LAMP
    else:
        lid = body.tail_lamps[2] - 0.015
        out[(np.abs(z - plate + 0.105) < 0.008) & (wide < lid + 0.2)] = SEAM
        out[(np.abs(wide - lid) < 0.007) & (z > plate - 0.105)] = SEAM
        out[(wide > 0.62 * lid) & (wide < lid + 0.1) & (np.abs(z - bumper - 0.045) < 0.016)] = TAIL_LAMP
    pane = body.front_glass if front else body.rear_glass
    if pane:
        _pane(out, wide, z, pane)
        if not front and pane[0][0] > 0.0:
            out[(wide < 0.009) & (z > bumper)] = SEAM
    out[z < bumper] = TRIM
    out[(wide < 0.275) & (np.abs(z - plate) < 0.066)] = TRIM
    out[(wide < 0.26) & (np.abs(z - plate) < 0.055)] = PLATE
    letters = (wide < 0.215) & (np.abs(z - plate) < 0.034) & ((wide / 0.066) % 1.0 < 0.55) & (wide > 0.06)
    out[letters] = LETTER


def _lamps(body: Body, out: NDArray[np.int64], centre: Array) -> None:
    """Head lamps with two lenses in a dark housing; tail lamps with brake, indicator and reversing light."""
    x, wide, z = centre[:, 0], np.abs(centre[:, 1]), centre[:, 2]
    rear, front = body.ends
    low, high, inner = body.head_lamps
    lamp = (x > front - 0.34) & (z > low) & (z < high) & (wide > inner)
    middle, radius = 0.5 * (low + high), 0.38 * (high - low)
    lens = np.hypot(wide - inner - 1.5 * radius, z - middle) < radius
    lens |= np.hypot(wide - inner - 3.9 * radius, z - middle) < radius
    out[lamp] = np.where(lens, LENS, HEAD_LAMP)[lamp]
    out[lamp & (x < front - 0.26)] = AMBER
    low, high, inner = body.tail_lamps
    lamp = (x < rear + 0.27) & (z > low) & (z < high) & (wide > inner)
    share = (z - low) / (high - low)
    clear = (share > 0.12) & (share < 0.36) & (wide > inner + 0.025) & (x < rear + 0.17)
    bright = (share > 0.52) & (share < 0.84) & (wide > inner + 0.025) & (x < rear + 0.20)
    out[lamp] = np.select([clear & (wide < inner + 0.11), clear, bright], [LENS, AMBER, TAIL_LIGHT], TAIL_LAMP)[lamp]
    rim = (share < 0.04) | (share > 0.96)
    out[lamp & rim] = TRIM
