"""Cars, vans, trucks and buses in the vehicle frame (x forward, y left, z up): painted bodies on wheels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from r3d2_ros.street.bodies import (
    FLOOR,
    GLASS,
    GRILLE,
    HEAD_LAMP,
    PAINT,
    PLATE,
    SEAM,
    TAIL_LAMP,
    TRIM,
    Body,
    body_cells,
)
from r3d2_ros.street.lighting import linear
from r3d2_ros.street.lofts import Quads, barrel, disc, ellipsoid, outline, quad_surfels, quads, refined
from r3d2_ros.street.meshes import Patches, cell_surfels, cut
from r3d2_ros.street.shapes import BUS, CAB, VAN
from r3d2_ros.street.surfels import Surfels, join

RUBBER = np.array([0.018, 0.018, 0.019])
PLASTIC = np.array([0.03, 0.03, 0.032])
ALLOY = np.array([0.42, 0.43, 0.44])
RED_LAMP = linear((0.62, 0.05, 0.06))

MATERIALS: dict[int, tuple[ArrayLike, float]] = {
    GLASS: ((0.008, 0.010, 0.011), 0.10),
    TRIM: (PLASTIC, 0.02),
    SEAM: ((0.012, 0.012, 0.012), 0.0),
    HEAD_LAMP: ((0.55, 0.57, 0.60), 0.18),
    TAIL_LAMP: (RED_LAMP, 0.12),
    PLATE: (linear((0.88, 0.88, 0.82)), 0.0),
    GRILLE: (0.6 * PLASTIC, 0.03),
    FLOOR: ((0.01, 0.01, 0.01), 0.0),
}
"""Reflectance and gloss of everything but the paint."""
PAINT_GLOSS = 0.065


def body_surfels(body: Body, paint: ArrayLike) -> Surfels:
    """The painted shell with glass, lamps and wheels."""
    cells, labels = body_cells(body)
    albedo, gloss = np.empty((len(cells), 3)), np.empty(len(cells))
    for label, (reflectance, shine) in {PAINT: (paint, PAINT_GLOSS), **MATERIALS}.items():
        albedo[labels == label], gloss[labels == label] = np.asarray(reflectance), shine
    # The upper part of a window mirrors more of the sky; through the lower part the dark seats show.
    glass = labels == GLASS
    low, high = np.quantile(cells.centre[glass, 2], [0.02, 0.98])
    gloss[glass] *= 0.30 + 0.70 * np.clip((cells.centre[glass, 2] - low) / (high - low), 0, 1) ** 1.5
    # Low parts see less of the sky.
    openness = np.clip(0.45 + 0.9 * cells.centre[:, 2] / max(1.0, 3 * body.wheel_radius_m), 0.3, 1.0)
    shell = quad_surfels(cells, albedo, gloss=gloss, openness=openness)
    return join([shell, *(_wheel(body, x, side) for x in body.wheels_x for side in (1, -1))])


def _wheel(body: Body, x: float, side: int) -> Surfels:
    """Tyre, rim with spokes, and the dark inside of the arch."""
    r = body.wheel_radius_m
    width = float(outline(body.half_width, np.array([x]))[0]) + body.bulge_m - 0.03
    step = 0.03
    hub = np.array([x, side * (width - 0.02), r])
    tyre = quad_surfels(disc(hub, 0.66 * r, r, side, step=step), RUBBER, openness=0.8)
    face = quads(disc(hub - [0, side * 0.02, 0], 0.0, 0.68 * r, side, step=0.03))

    def spokes(cells: Quads) -> NDArray[np.bool_]:
        dx, dz = cells.centre[:, 0] - x, cells.centre[:, 2] - r
        radial = np.hypot(dx, dz) / r
        return (np.cos(5 * np.arctan2(dz, dx)) > -0.15) | (radial < 0.2) | (radial > 0.58)

    face = refined(face, spokes)
    spoke = spokes(face)
    rim = quad_surfels(face, np.where(spoke[:, None], ALLOY, 0.02), gloss=np.where(spoke, 0.12, 0.0), openness=0.8)
    tread = quad_surfels(barrel(hub - [0, side * 0.11, 0], r, 0.11, step=0.045), RUBBER, openness=0.6)
    arch = quad_surfels(
        barrel(hub - [0, side * 0.16, 0], 1.17 * r, 0.17, step=0.07, inward=True),
        [0.006, 0.006, 0.006],
        openness=0.2,
    )
    arch = arch.select(arch.position[:, 2] > 0.55 * r)
    back = quad_surfels(disc(hub - [0, side * 0.3, 0], 0.0, 1.17 * r, side, step=0.09), 0.006, openness=0.2)
    return join([tyre, rim, tread, arch, back.select(back.position[:, 2] > 0.3 * r)])


def _mirrors(x: float, y: float, z: float, colour: ArrayLike) -> Surfels:
    shells = [
        quad_surfels(ellipsoid((x, side * y, z), (0.07, 0.10, 0.07), step=0.035), colour, gloss=0.1) for side in (1, -1)
    ]
    return join(shells)


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
    patches.box((-3.62, -1.1, 0.72), (-3.55, 1.1, 0.88), cell=(0.06, 0.06), albedo=RED_LAMP, faces="x")
    _rear_doors(patches, x=-3.603, half_width_m=1.2, low_m=1.03, high_m=3.22)
    cells = cut(patches)
    open_to_sky = np.clip(0.4 + 0.5 * cells.position[:, 2], 0.35, 1.0)
    load = cell_surfels(cells, cells.albedo, openness=open_to_sky, gloss=0.03)
    axle = replace(CAB, half_width=[(-9, 1.16), (9, 1.16)], wheels_x=(-2.3,))
    rear = [_wheel(axle, -2.3, side) for side in (1, -1)]
    return join([body_surfels(CAB, cab), load, *rear, _mirrors(3.2, 1.24, 1.9, PLASTIC)])


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
