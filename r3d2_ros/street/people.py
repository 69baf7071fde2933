"""Pedestrians and cyclists: limbs as tapered tubes, in the vehicle frame (x forward, ground centre)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from r3d2_ros.geometry import Array
from r3d2_ros.street.lighting import linear
from r3d2_ros.street.lofts import Quads, barrel, ellipsoid, quad_surfels, quads, refined, tube
from r3d2_ros.street.meshes import Points
from r3d2_ros.street.noise import fractal, hash01
from r3d2_ros.street.surfels import Surfels, join

STEP_M = 0.022
BLACK = np.array([0.015, 0.015, 0.016])
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Clothes:
    """sRGB colours of a person; a coat reaches to the knees, a pack is worn on the back."""

    skin: Colour = (0.82, 0.64, 0.54)
    hair: Colour = (0.22, 0.16, 0.12)
    jacket: Colour = (0.30, 0.36, 0.44)
    shirt: Colour = (0.80, 0.79, 0.75)
    trousers: Colour = (0.22, 0.24, 0.30)
    shoes: Colour = (0.20, 0.15, 0.12)
    pack: Colour | None = None
    coat: bool = False
    long_hair: bool = False


def _cloth(grid: Array, colour: ArrayLike, openness: float = 0.9) -> Surfels:
    """A piece of clothing: soft folds lighter and darker than its colour."""
    cells = quads(grid)
    x, y, z = cells.centre.T
    folds = fractal(7 * (x + y) + 3 * z, 9 * z - 5 * x, octaves=2, seed=3) - 0.5
    return quad_surfels(cells, (1 + 0.55 * folds)[:, None] * np.asarray(colour, float), openness=openness)


def _limb(points: Points, radii: ArrayLike, colour: ArrayLike, openness: float = 0.9) -> Surfels:
    return _cloth(tube(np.array(points, float), radii, step=STEP_M), colour, openness)


def _head(neck: Array, clothes: Clothes, helmet: ArrayLike | None = None) -> list[Surfels]:
    """Head and neck with a face; hair on top and behind, or a helmet down to the brow."""
    skin = linear(clothes.skin)
    centre = neck + [0.025, 0, 0.17]
    face = quads(ellipsoid(centre, (0.096, 0.076, 0.122), step=0.012))
    x, y, z = (face.centre - centre).T
    brows = (x > 0.05) & (np.abs(z - 0.032) < 0.006) & (np.abs(np.abs(y) - 0.031) < 0.017)
    eyes = (x > 0.05) & (np.abs(z - 0.014) < 0.009) & (np.abs(np.abs(y) - 0.031) < 0.012)
    mouth = (x > 0.05) & (np.abs(z + 0.058) < 0.007) & (np.abs(y) < 0.024)
    shaded = (x > 0.03) & (z < 0.0) & (z > -0.035) & (np.abs(np.abs(y) - 0.02) < 0.008)
    tints = [0.5 * skin, 0.28 * skin, skin * [0.75, 0.45, 0.45], 0.75 * skin]
    albedo = np.full((len(face), 3), skin)
    for here, tint in zip((brows, eyes, mouth, shaded), tints, strict=True):
        albedo[here] = tint
    parts = [
        quad_surfels(face, albedo),
        quad_surfels(ellipsoid(centre + [0.096, 0, -0.012], (0.014, 0.012, 0.024), step=0.012), 0.95 * skin),
        _limb([neck - [0, 0, 0.03], neck + [0.01, 0, 0.09]], [0.057, 0.052], 0.9 * skin, 0.7),
    ]
    for side in (1, -1):
        ear = ellipsoid(centre + [-0.005, side * 0.077, -0.005], (0.018, 0.01, 0.03), step=0.014)
        parts.append(quad_surfels(ear, 0.85 * skin))
    return [*parts, *([_hair(centre, clothes)] if helmet is None else [_helmet(centre, helmet)])]


def _hair(centre: Array, clothes: Clothes) -> Surfels:
    cap = quads(ellipsoid(centre + [-0.008, 0, 0.008], (0.104, 0.088, 0.130), step=0.016))
    x, _, z = (cap.centre - centre).T
    covered = (z > 0.062 + 0.25 * np.maximum(x, 0)) | ((x < -0.012) & (z > -0.06))
    cap = cap.select(covered)
    streaks = 0.75 + 0.5 * hash01(np.floor(180 * cap.centre[:, 1]), np.floor(25 * cap.centre[:, 2]))
    hair = quad_surfels(cap, streaks[:, None] * linear(clothes.hair), gloss=0.015)
    if not clothes.long_hair:
        return hair
    fall = [centre + [-0.055, 0, 0.03], centre + [-0.075, 0, -0.08], centre + [-0.085, 0, -0.24]]
    return join([hair, _limb(fall, [0.072, 0.078, 0.055], linear(clothes.hair))])


def _helmet(centre: Array, colour: ArrayLike) -> Surfels:
    """A cycle helmet: a shell, longer behind, with dark slots."""
    shell = quads(ellipsoid(centre + [-0.012, 0, 0.03], (0.135, 0.098, 0.118), step=0.016))
    shell = shell.select(shell.centre[:, 2] > centre[2] + 0.045)
    x, y, _ = (shell.centre - centre).T
    slots = (np.abs(y % 0.044 - 0.022) < 0.008) & (np.abs(x + 0.01) < 0.085)
    return quad_surfels(shell, np.where(slots[:, None], BLACK, np.asarray(colour)), gloss=0.05)


def _torso(hip: Array, neck: Array, clothes: Clothes) -> Surfels:
    """Hips to shoulders: a tube that is wider than deep; trousers below, an open jacket over a shirt above."""
    heights = np.array([0.0, 0.10, 0.28, 0.48, 0.70, 0.86, 0.97])
    radii = np.array([0.100, 0.112, 0.108, 0.122, 0.134, 0.126, 0.062])
    line = hip + heights[:, None] * (neck - hip)
    grid = tube(line, radii, step=STEP_M)
    length = float(np.linalg.norm(neck - hip))
    axis = (neck - hip) / length
    middle = hip + ((grid - hip) @ axis)[..., None] * axis

    def zones(cells: Quads) -> NDArray[np.int64]:
        """0 jacket, 1 its edges, 2 shirt, 3 trousers, 4 belt."""
        height = (cells.centre - hip) @ axis / length
        off_axis = cells.centre - hip - (height * length)[:, None] * axis
        opening = 0.012 + 0.085 * np.clip(height - 0.45, 0, 1)
        y = np.where(off_axis[:, 0] > 0.02, np.abs(cells.centre[:, 1]), 1.0)
        below = np.where(np.abs(height - 0.03) < 0.035, 4, 3)
        above = np.select([y < opening, y < opening + 0.014], [2, 1], 0)
        return np.zeros(len(cells), int) if clothes.coat else np.where(height > 0.06, above, below)

    cells = refined(quads(middle + (grid - middle) * [0.95, 1.34, 1.0]), zones)
    jacket = linear(clothes.jacket)
    tints = np.array([jacket, 0.6 * jacket, linear(clothes.shirt), linear(clothes.trousers), BLACK])
    height = (cells.centre - hip) @ axis / length
    folds = fractal(9 * cells.centre[:, 1] + 4 * height, 6 * height, octaves=2, seed=5) - 0.5
    return quad_surfels(cells, tints[zones(cells)] * (1 + 0.45 * folds)[:, None], openness=0.92)


def _coat_skirt(hip: Array, clothes: Clothes) -> Surfels:
    """The part of a coat below the waist."""
    line = [hip + [0, 0, 0.10], hip - [0, 0, 0.08], hip + [0.02, 0, -0.36]]
    grid = tube(line, [0.105, 0.136, 0.190], step=STEP_M, caps=False)
    middle = hip * [1, 1, 0] + grid * [0, 0, 1]
    return _cloth(middle + (grid - middle) * [1.35, 1.28, 1.0], linear(clothes.jacket), 0.85)


def _pack(hip: Array, neck: Array, colour: Colour) -> list[Surfels]:
    """A rucksack with straps."""
    back = 0.5 * (hip + neck) + [-0.165, 0, 0.10]
    straps = []
    for side in (1, -1):
        y = side * 0.10
        over = np.array([[-0.09, y, 0.0], [0.0, y, -0.025], [0.125, y, -0.12], [0.12, 1.3 * y, -0.29]])
        straps.append(_limb(neck + over, 0.017, 0.6 * linear(colour)))
    shell = ellipsoid(back, (0.085, 0.145, 0.23), step=STEP_M)
    pocket = ellipsoid(back + [-0.06, 0, -0.09], (0.05, 0.11, 0.10), step=STEP_M)
    return [_cloth(shell, linear(colour)), _cloth(pocket, 0.8 * linear(colour)), *straps]


def _shoe(heel: Array, toe: Array, colour: ArrayLike) -> Surfels:
    """A shoe on a lighter sole."""
    sole = _limb([heel - [0, 0, 0.022], toe - [0, 0, 0.018]], [0.036, 0.036], [0.30, 0.29, 0.27], 0.6)
    return join([_limb([heel, toe], [0.046, 0.040], colour, 0.7), sole])


def pedestrian(clothes: Clothes, *, stride: float = 0.30) -> Surfels:
    """Somebody 1.75 m tall in mid-stride."""
    jacket, trousers, skin, shoes = (linear(c) for c in (clothes.jacket, clothes.trousers, clothes.skin, clothes.shoes))
    hip, neck = np.array([-0.01, 0.0, 0.92]), np.array([0.03, 0.0, 1.47])
    thigh = 0.066 if clothes.coat else 0.094
    parts = [_torso(hip, neck, clothes), *_head(neck, clothes)]
    parts += [_coat_skirt(hip, clothes)] if clothes.coat else []
    parts += _pack(hip, neck, clothes.pack) if clothes.pack else []
    for side, sign in ((1, 1.0), (-1, -1.0)):
        foot_x = sign * stride
        lift = 0.05 if sign < 0 else 0.0
        knee = [0.5 * foot_x + 0.07, side * 0.090, 0.50]
        ankle = [foot_x - 0.03, side * 0.085, 0.10 + lift]
        parts.append(_limb([hip + [0, side * 0.085, 0.0], knee, ankle], [thigh, 0.068, 0.054], trousers, 0.75))
        heel, toe = (
            np.array([foot_x - 0.08, side * 0.085, 0.055 + 1.3 * lift]),
            np.array([foot_x + 0.13, side * 0.10, 0.05]),
        )
        parts.append(_shoe(heel, toe, shoes))
        shoulder = neck + [-0.01, side * 0.158, -0.088]
        elbow = [0.0 - 0.5 * sign * stride * 0.7, side * 0.232, 1.14]
        hand = [0.10 - sign * stride * 0.75, side * 0.215, 0.91]
        parts.append(_limb([shoulder, elbow, hand], [0.066, 0.052, 0.043], jacket))
        palm = [hand[0] + 0.03, hand[1], hand[2] - 0.07]
        parts.append(quad_surfels(tube([hand, palm], [0.034, 0.030], step=STEP_M), skin))
    return join(parts)


def cyclist(clothes: Clothes, *, frame: tuple[float, float, float] = (0.62, 0.16, 0.14)) -> Surfels:
    """A bicycle with its rider, 1.75 m long."""
    paint, black, metal = linear(frame), BLACK, np.array([0.35, 0.35, 0.36])
    jacket, trousers, skin, shoes = (linear(c) for c in (clothes.jacket, clothes.trousers, clothes.skin, clothes.shoes))
    rear, front = np.array([-0.53, 0, 0.34]), np.array([0.53, 0, 0.34])
    around = np.linspace(0, 2 * np.pi, 41)
    circle = np.stack([np.cos(around), np.zeros(41), np.sin(around)], axis=1)
    parts = []
    for hub in (rear, front):
        parts.append(quad_surfels(tube(hub + 0.325 * circle, 0.017, step=0.022, caps=False), black))
        parts.append(quad_surfels(barrel(hub, 0.30, 0.009, step=0.03), metal, gloss=0.1))
        for k in range(9):
            tip = hub + 0.30 * np.array([np.cos(k * 0.698), 0, np.sin(k * 0.698)])
            parts.append(quad_surfels(tube([hub, tip], 0.003, step=0.05, caps=False), metal))
    crank, saddle, head = np.array([-0.08, 0, 0.30]), np.array([-0.25, 0, 0.90]), np.array([0.40, 0, 0.84])
    seat_tube = crank + 0.80 * (saddle - crank)
    for a, b, r in ((crank, saddle, 0.016), (crank, head, 0.019), (seat_tube, head, 0.017), (rear, crank, 0.011),
                    (rear, seat_tube, 0.010), (head, front, 0.014)):  # fmt: skip
        parts.append(_limb([a, b], [r, r], paint))
    bar = head + [0.03, 0, 0.16]
    parts.append(_limb([head, bar], [0.014, 0.014], metal))
    parts.append(_limb([bar + [-0.05, 0.26, 0], bar, bar + [-0.05, -0.26, 0]], 0.014, black))
    parts.append(_limb([saddle + [-0.12, 0, 0.03], saddle + [0.12, 0, 0.03]], [0.07, 0.03], black))
    for place, tint in ((seat_tube + [-0.06, 0, 0.06], (0.35, 0.01, 0.01)), (head + [0.09, 0, 0.05], (0.7, 0.7, 0.66))):
        parts.append(quad_surfels(ellipsoid(place, (0.025, 0.028, 0.028), step=0.015), tint, gloss=0.1))
    hip, neck = saddle + [0.0, 0, 0.16], np.array([0.14, 0, 1.47])
    parts += [_torso(hip, neck, clothes), *_head(neck, clothes, helmet=linear((0.82, 0.82, 0.80)))]
    for side, sign in ((1, 1.0), (-1, -1.0)):
        pedal = crank + [sign * 0.13, side * 0.11, -sign * 0.10]
        knee = [0.19 + 0.05 * sign, side * 0.11, 0.74 - 0.08 * sign]
        ankle = pedal + [-0.06, 0, 0.10]
        parts.append(_limb([hip + [0, side * 0.09, -0.03], knee, ankle], [0.092, 0.064, 0.046], trousers, 0.8))
        parts.append(_shoe(pedal + [-0.09, 0, 0.04], pedal + [0.11, 0, 0.03], shoes))
        shoulder = neck + [-0.02, side * 0.158, -0.085]
        grip = bar + [-0.05, side * 0.24, 0.02]
        elbow = 0.5 * (shoulder + grip) + [-0.03, side * 0.05, -0.05]
        parts.append(_limb([shoulder, elbow, grip], [0.058, 0.047, 0.038], jacket))
        parts.append(_limb([grip, grip + [0.05, 0, 0]], [0.036, 0.032], skin))
    return join(parts)
