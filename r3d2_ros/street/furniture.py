"""Street furniture: lamp posts, signs, bollards, bins, benches.

Everything is built in the frame of its side of the road: x against the driving direction of that side (signs face +x),
y away from the carriageway, z up, origin on the footway.
"""

from __future__ import annotations

import numpy as np

from r3d2_ros.geometry import Array
from r3d2_ros.street.lighting import linear
from r3d2_ros.street.lofts import quad_surfels, quads, tube
from r3d2_ros.street.meshes import Patches, cell_surfels, cut, rods
from r3d2_ros.street.surfels import Surfels, join, surfels

STEEL = linear((0.40, 0.42, 0.43))
DARK = linear((0.20, 0.22, 0.23))


def lamp_post(height_m: float = 6.8, reach_m: float = 1.4) -> Surfels:
    """A tapered pole with an arm over the carriageway and a flat luminaire."""
    top = np.array([0.0, 0.0, height_m])
    arm = np.array([0.0, -reach_m, height_m + 0.35])
    pole = rods([[0, 0, 0], [0, 0, 0.9]], [[0, 0, 0.9], top], [0.085, 0.058], DARK, piece_m=0.4)
    bracket = rods([top], [arm], 0.035, DARK, piece_m=0.25)
    head = Patches()
    head.box(arm - [0.13, 0.55, 0.06], arm + [0.13, 0.0, 0.05], cell=(0.08, 0.08), albedo=STEEL)
    return join([pole, bracket, _surfels(head)])


def round_sign(
    colour: Array, rim: Array, bar: Array | None = None, *, cross: bool = False, radius_m: float = 0.31
) -> Surfels:
    """A round sign on a pole, facing +x, with a rim and an optional level bar or cross."""
    height = 2.35
    pole = rods([[0, 0, 0]], [[0, 0, height + 0.25]], 0.032, STEEL, piece_m=0.4)
    step = 0.028
    y, z = np.meshgrid(np.arange(-radius_m, radius_m + step, step), np.arange(-radius_m, radius_m + step, step))
    y, z = y.ravel(), z.ravel()
    r = np.hypot(y, z)
    y, z, r = y[r < radius_m], z[r < radius_m], r[r < radius_m]
    albedo = np.where((r > 0.74 * radius_m)[:, None], rim, colour)
    if cross:
        albedo = np.where((np.abs(np.abs(y) - np.abs(z)) < 0.16 * radius_m)[:, None], rim, albedo)
    if bar is not None:
        inside = (np.abs(z) < 0.2 * radius_m) & (np.abs(y) < 0.66 * radius_m)
        albedo = np.where(inside[:, None], bar, albedo)
    scale = [0.58 * step, 0.58 * step, 0.004]
    front = surfels(np.column_stack([np.full(len(y), 0.05), y, z + height]), [0, 1.0, 0], [0, 0, 1.0],
                    np.array(scale), albedo)  # fmt: skip
    back = surfels(np.column_stack([np.full(len(y), 0.038), y, z + height]), [0, -1.0, 0], [0, 0, 1.0],
                   np.array(scale), STEEL)  # fmt: skip
    return join([pole, front, back])


def crossing_sign() -> Surfels:
    """A square blue sign with a white triangle and somebody who walks in it, on a pole."""
    height, half, step = 2.4, 0.30, 0.019
    pole = rods([[0, 0, 0]], [[0, 0, height + 0.3]], 0.032, STEEL, piece_m=0.4)
    axis = np.arange(-half + step / 2, half, step)
    y, z = (a.ravel() for a in np.meshgrid(axis, axis))
    triangle = (z > -0.22) & (np.abs(y) < 0.26 * (0.24 - z) / 0.46)
    head = np.hypot(y, z - 0.075) < 0.028
    torso = (np.abs(y) < 0.026) & (z > -0.07) & (z < 0.05)
    legs = (np.abs(np.abs(y) - (-0.06 - z) * 0.55) < 0.020) & (z > -0.19) & (z <= -0.06)
    arms = (np.abs(np.abs(y) - (0.045 - z) * 0.7) < 0.014) & (z > -0.05) & (z < 0.045)
    albedo = np.where(triangle[:, None], [0.8, 0.8, 0.8], linear((0.10, 0.27, 0.58)))
    albedo = np.where((head | torso | legs | arms)[:, None], [0.02, 0.02, 0.02], albedo)
    scale = np.array([0.58 * step, 0.58 * step, 0.004])
    centre = np.column_stack([np.full(len(y), 0.05), y, z + height])
    front = surfels(centre, [0, 1.0, 0], [0, 0, 1.0], scale, albedo)
    back = surfels(centre - np.array([0.012, 0, 0]), [0, -1.0, 0], [0, 0, 1.0], scale, STEEL)
    return join([pole, front, back])


def bollard() -> Surfels:
    """A steel bollard with a light ring."""
    grid = quads(tube([[0, 0, -0.02], [0, 0, 0.98]], 0.055, step=0.045))
    ring = np.abs(grid.centre[:, 2] - 0.82) < 0.045
    return quad_surfels(grid, np.where(ring[:, None], linear((0.85, 0.85, 0.82)), DARK), gloss=0.02)


def litter_bin() -> Surfels:
    """A green bin on a post."""
    patches = Patches()
    green = linear((0.20, 0.30, 0.24))
    patches.box((-0.2, -0.16, 0.35), (0.2, 0.16, 0.95), cell=(0.066, 0.066), albedo=green)
    patches.box((-0.22, -0.18, 0.95), (0.22, 0.18, 1.02), cell=(0.075, 0.035), albedo=DARK)
    return join([_surfels(patches), rods([[0, 0, 0]], [[0, 0, 0.4]], 0.045, DARK, piece_m=0.25)])


def bench() -> Surfels:
    """A wooden bench that looks at the carriageway."""
    patches = Patches()
    wood = linear((0.50, 0.36, 0.24))
    for k in range(4):
        y = -0.2 + 0.11 * k
        patches.box((-0.85, y, 0.43), (0.85, y + 0.09, 0.47), cell=(0.18, 0.05), albedo=wood)
    for k in range(3):
        z = 0.55 + 0.12 * k
        patches.box((-0.85, 0.24, z), (0.85, 0.28, z + 0.1), cell=(0.18, 0.05), albedo=wood)
    legs = [[-0.7, -0.1, 0], [0.7, -0.1, 0], [-0.7, 0.22, 0], [0.7, 0.22, 0]]
    tops = [[-0.7, -0.1, 0.43], [0.7, -0.1, 0.43], [-0.7, 0.28, 0.9], [0.7, 0.28, 0.9]]
    return join([_surfels(patches), rods(legs, tops, 0.03, DARK, piece_m=0.25)])


def _surfels(patches: Patches) -> Surfels:
    cells = cut(patches)
    return cell_surfels(cells, cells.albedo)
