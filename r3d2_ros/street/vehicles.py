"""Cars, vans, trucks and buses in the vehicle frame (x forward, y left, z up): painted bodies on wheels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from r3d2_ros.street.bodies import Body, body_cells
from r3d2_ros.street.lighting import linear
from r3d2_ros.street.lofts import Quads, barrel, disc, ellipsoid, outline, quad_surfels, quads, refined, tube
from r3d2_ros.street.meshes import Patches, cell_surfels, cut
from r3d2_ros.street.noise import fractal, smoothstep
from r3d2_ros.street.shapes import BUS, CAB, VAN
from r3d2_ros.street.surfels import Surfels, join
from r3d2_ros.street.trims import (
    AMBER,
    ARCH,
    FLOOR,
    GLASS,
    GRILLE,
    HEAD_LAMP,
    LENS,
    LETTER,
    PAINT,
    PLATE,
    SEAM,
    TAIL_LAMP,
    TAIL_LIGHT,
    TRIM,
    body_labels,
)

RUBBER = np.array([0.018, 0.018, 0.019])
PLASTIC = np.array([0.03, 0.03, 0.032])
ALLOY = np.array([0.42, 0.43, 0.44])
RED_LAMP = linear((0.50, 0.03, 0.04))

MATERIALS: dict[int, tuple[ArrayLike, float, ArrayLike]] = {
    GLASS: ((0.008, 0.010, 0.011), 0.12, 0.0),
    TRIM: (PLASTIC, 0.012, 0.0),
    SEAM: ((0.010, 0.010, 0.010), 0.0, 0.0),
    HEAD_LAMP: ((0.20, 0.21, 0.22), 0.10, 0.0),
    LENS: ((0.62, 0.63, 0.64), 0.10, (0.16, 0.16, 0.15)),
    TAIL_LAMP: (RED_LAMP, 0.012, (0.015, 0.0, 0.0)),
    TAIL_LIGHT: (linear((0.78, 0.06, 0.06)), 0.012, (0.20, 0.006, 0.006)),
    AMBER: (linear((0.85, 0.42, 0.10)), 0.02, (0.06, 0.02, 0.0)),
    PLATE: (linear((0.90, 0.90, 0.84)), 0.0, 0.0),
    LETTER: ((0.08, 0.08, 0.085), 0.0, 0.0),
    GRILLE: (0.35 * PLASTIC, 0.004, 0.0),
    FLOOR: ((0.01, 0.01, 0.01), 0.0, 0.0),
}
"""Reflectance, gloss and glow of everything but the paint."""
PAINT_GLOSS = 0.065


def body_surfels(body: Body, paint: ArrayLike) -> Surfels:
    """The painted shell with glass, lamps and wheels."""
    cells, labels = body_cells(body, body_labels)
    albedo, gloss, glow = np.empty((len(cells), 3)), np.empty(len(cells)), np.empty((len(cells), 3))
    for label, (reflectance, shine, light) in {PAINT: (paint, PAINT_GLOSS, 0.0), **MATERIALS}.items():
        here = labels == label
        albedo[here], gloss[here], glow[here] = np.asarray(reflectance), shine, np.asarray(light)
    glass = labels == GLASS
    gloss[glass], glow[glass] = _reflections(cells.select(glass))
    # Low parts see less of the sky.
    openness = np.clip(0.35 + 1.0 * cells.centre[:, 2] / max(1.0, 3 * body.wheel_radius_m), 0.3, 1.0)
    shell = quad_surfels(cells, albedo, gloss=gloss, openness=openness, glow=glow)
    return join([shell, *(_wheel(body, x, side) for x in body.wheels_x for side in (1, -1))])


def _reflections(panes: Quads) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gloss [N] and glow [N, 3] of glass: dark seats below, more sky above, and slanted bands of bright facades."""
    x, y, z = panes.centre.T
    low, high = np.quantile(z, [0.02, 0.98])
    height = np.clip((z - low) / (high - low), 0, 1)
    slant = fractal((x + 0.8 * y + 0.5 * z) * 1.7, 0.3 * z, octaves=2, seed=5)
    bands = smoothstep(0.50, 0.66, slant) * (0.25 + 0.75 * height)
    return 0.12 * (0.18 + 0.62 * height**1.4 + 0.35 * bands), (0.035 * bands)[:, None] * [0.9, 1.0, 1.1]


def _wheel(body: Body, x: float, side: int) -> Surfels:
    """Tyre, rim with spokes, and the dark inside of the arch."""
    r = body.wheel_radius_m
    width = float(outline(body.half_width, np.array([x]))[0]) + body.bulge_m - 0.045
    hub = np.array([x, side * (width - 0.02), r])
    tyre = quad_surfels(disc(hub, 0.66 * r, 0.97 * r, side, step=0.025), RUBBER, openness=0.8)
    shoulder = quad_surfels(disc(hub - [0, side * 0.012, 0], 0.93 * r, r, side, step=0.03), 0.8 * RUBBER, openness=0.8)
    face = quads(disc(hub - [0, side * 0.02, 0], 0.0, 0.68 * r, side, step=0.03))

    def spokes(cells: Quads) -> NDArray[np.bool_]:
        dx, dz = cells.centre[:, 0] - x, cells.centre[:, 2] - r
        radial = np.hypot(dx, dz) / r
        return (np.cos(5 * np.arctan2(dz, dx)) > -0.15) | (radial < 0.2) | (radial > 0.60)

    face = refined(face, spokes)
    spoke = spokes(face)
    rim = quad_surfels(face, np.where(spoke[:, None], ALLOY, 0.02), gloss=np.where(spoke, 0.12, 0.0), openness=0.8)
    tread = quad_surfels(barrel(hub - [0, side * 0.11, 0], r, 0.10, step=0.04), RUBBER, openness=0.6)
    dark = np.array([0.006, 0.006, 0.006])
    arch = quad_surfels(
        barrel(hub - [0, side * 0.13, 0], (ARCH + 0.02) * r, 0.15, step=0.06, inward=True), dark, openness=0.2
    )
    back = quad_surfels(disc(hub - [0, side * 0.27, 0], 0.0, ARCH * r, side, step=0.06), dark, openness=0.2)
    inner = quad_surfels(disc(hub - [0, side * 0.21, 0], 0.0, 0.98 * r, -side, step=0.06), dark, openness=0.3)
    well = [part.select(part.position[:, 2] > 0.9 * r) for part in (arch, back)]
    return join([tyre, shoulder, rim, tread, inner, *well])


def _mirrors(x: float, y: float, z: float, colour: ArrayLike) -> Surfels:
    """Housings on stalks; the side towards the rear is glass."""
    parts = []
    for side in (1, -1):
        shell = quads(ellipsoid((x, side * y, z), (0.07, 0.10, 0.065), step=0.022))
        glass = shell.centre[:, 0] < x - 0.035
        albedo = np.where(glass[:, None], 0.03, np.asarray(colour))
        parts.append(quad_surfels(shell, albedo, gloss=np.where(glass, 0.3, 0.07)))
        stalk = tube([(x + 0.02, side * (y - 0.16), z - 0.05), (x, side * (y - 0.06), z - 0.03)], 0.018, step=0.02)
        parts.append(quad_surfels(stalk, PLASTIC, openness=0.7))
    return join(parts)


def _handles(body: Body, places: Sequence[float], z: float) -> Surfels:
    patches = Patches()
    for x in places:
        y = float(outline(body.half_width, np.array([x]))[0]) + 0.02
        for side in (1, -1):
            centre, half = np.array([x, side * y, z]), np.array([0.09, 0.015, 0.013])
            patches.box(centre - half, centre + half, cell=(0.045, 0.02), albedo=(0.25, 0.25, 0.26))
    cells = cut(patches)
    return cell_surfels(cells, cells.albedo)


def car(body: Body, paint: ArrayLike) -> Surfels:
    """A passenger car of one of the body shapes."""
    screen = body.windscreen[1] if body.windscreen else body.seams[0]
    belt = float(outline(body.belt, np.array([screen]))[0])
    width = float(outline(body.half_width, np.array([screen]))[0])
    mirrors = _mirrors(screen - 0.22, width + 0.10, belt + 0.10, np.asarray(paint) * 0.9)
    handles = _handles(body, [s + 0.16 for s in body.seams[1:]], belt - 0.11)
    return join([body_surfels(body, paint), mirrors, handles])


def van(paint: ArrayLike) -> Surfels:
    """A delivery van."""
    return join([body_surfels(VAN, paint), _mirrors(1.95, 1.06, 1.38, PLASTIC)])


def bus(paint: ArrayLike) -> Surfels:
    """A city bus with window bands."""
    return join([body_surfels(BUS, paint), _mirrors(5.75, 1.30, 2.2, PLASTIC)])


def truck(cab: ArrayLike, box: ArrayLike) -> Surfels:
    """A box truck: cab, body on a frame, twin rear wheels."""
    patches = Patches()
    cell = (0.075, 0.075)
    patches.box((-3.6, -1.22, 0.95), (1.65, 1.22, 3.25), cell=cell, albedo=box)
    patches.box((-3.6, -1.23, 0.90), (1.65, 1.23, 1.02), cell=cell, albedo=PLASTIC * 2)
    patches.box((-3.5, -0.45, 0.55), (2.2, 0.45, 0.9), cell=(0.1, 0.1), albedo=PLASTIC)
    patches.box((-1.0, -1.15, 0.5), (1.5, 1.15, 0.86), cell=(0.1, 0.1), albedo=PLASTIC * 2)
    _rear_lights(patches, x=-3.62)
    _rear_doors(patches, x=-3.603, half_width_m=1.2, low_m=1.03, high_m=3.22)
    cells = cut(patches)
    x, y, z = cells.position.T
    stripe = (np.abs(y) > 1.215) & (np.abs(z - 1.65) < 0.17) & (np.abs(x + 0.97) < 2.3)
    albedo = np.where(stripe[:, None], cab, cells.albedo)
    open_to_sky = np.clip(0.4 + 0.5 * z, 0.35, 1.0)
    load = cell_surfels(cells, albedo, fill=0.66, openness=open_to_sky, gloss=0.03)
    axle = replace(CAB, half_width=[(-9, 1.16), (9, 1.16)], wheels_x=(-2.3,))
    rear = [_wheel(axle, -2.3, side) for side in (1, -1)]
    return join([body_surfels(CAB, cab), load, *rear, _mirrors(3.2, 1.24, 1.9, PLASTIC)])


def _rear_lights(patches: Patches, *, x: float) -> None:
    """A bar below the doors with lamps at its ends, a plate, and red and white marks."""
    patches.box((x, -1.15, 0.66), (x + 0.06, 1.15, 0.88), cell=(0.05, 0.05), albedo=PLASTIC, faces="xyYzZ")
    marks = ((0.90, 1.11, RED_LAMP), (0.76, 0.90, linear((0.85, 0.42, 0.10))), (0.66, 0.76, ALLOY))
    for side in (1, -1):
        for near, far, tint in marks:
            left = max(side * near, side * far)
            patches.add((x - 0.005, left, 0.69), (0, near - far, 0), (0, 0, 0.16), cell=(0.03, 0.03), albedo=tint)
    plate = linear((0.90, 0.90, 0.84))
    patches.add((x - 0.005, 0.26, 0.71), (0, -0.52, 0), (0, 0, 0.12), cell=(0.04, 0.03), albedo=plate)


def _rear_doors(patches: Patches, *, x: float, half_width_m: float, low_m: float, high_m: float) -> None:
    """Joints, locking bars and hinges of the doors at the back of a box body."""
    metal, dark = np.array([0.30, 0.30, 0.31]), np.array([0.05, 0.05, 0.05])
    height = high_m - low_m
    for y, width, tint in ((0.0, 0.02, dark), (-0.42, 0.04, metal), (0.42, 0.04, metal)):
        patches.add((x, y + width / 2, low_m), (0, -width, 0), (0, 0, height), cell=(width, 0.12), albedo=tint)
    for side in (-1, 1):
        for z in np.linspace(low_m + 0.25, high_m - 0.3, 4):
            edge = side * half_width_m - (0.0 if side > 0 else -0.16)
            patches.add((x, edge, z), (0, -0.16, 0), (0, 0, 0.06), cell=(0.08, 0.06), albedo=metal)


def colour(srgb: tuple[float, float, float]) -> NDArray[np.float64]:
    """Car paint from an sRGB colour."""
    return linear(srgb)
