"""Pedestrians and cyclists: limbs as tapered tubes, in the vehicle frame (x forward, ground centre)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from r3d2_ros.geometry import Array
from r3d2_ros.street.lighting import linear
from r3d2_ros.street.lofts import barrel, ellipsoid, quad_surfels, quads, tube
from r3d2_ros.street.meshes import Points
from r3d2_ros.street.surfels import Surfels, join

STEP_M = 0.024
HAIR = linear((0.20, 0.15, 0.12))


@dataclass(frozen=True)
class Clothes:
    """sRGB colours of a person."""

    skin: tuple[float, float, float] = (0.80, 0.62, 0.51)
    jacket: tuple[float, float, float] = (0.30, 0.36, 0.44)
    trousers: tuple[float, float, float] = (0.22, 0.24, 0.30)
    shoes: tuple[float, float, float] = (0.16, 0.14, 0.13)


def _limb(points: Points, radii: ArrayLike, colour: ArrayLike, openness: float = 0.9) -> Surfels:
    return quad_surfels(tube(np.array(points, float), radii, step=STEP_M), colour, openness=openness)


def _head(neck: Array, clothes: Clothes, helmet: ArrayLike | None = None) -> list[Surfels]:
    """Head and neck; hair on top and behind, or a helmet down to the brow."""
    skin = linear(clothes.skin)
    centre = neck + [0.02, 0, 0.17]
    face = ellipsoid(centre, (0.098, 0.078, 0.122), step=0.017)
    middle = quads(face).centre - centre
    if helmet is None:
        covered = (middle[:, 2] > 0.045 + 0.35 * np.maximum(middle[:, 0], 0)) | (middle[:, 0] < -0.015)
        covered &= middle[:, 2] > -0.075
    else:
        covered = middle[:, 2] > 0.022
    eyes = (
        (middle[:, 0] > 0.07) & (np.abs(middle[:, 2] - 0.004) < 0.013) & (np.abs(np.abs(middle[:, 1]) - 0.033) < 0.014)
    )
    albedo = np.where(covered[:, None], HAIR if helmet is None else helmet, skin)
    albedo = np.where(eyes[:, None], 0.22 * skin, albedo)
    return [
        quad_surfels(face, albedo),
        _limb([neck - [0, 0, 0.03], neck + [0.01, 0, 0.09]], [0.055, 0.052], skin, 0.7),
    ]


def _torso(hip: Array, neck: Array, colour: ArrayLike) -> Surfels:
    """Hips to shoulders: a tube that is wider than deep."""
    heights = np.array([0.0, 0.10, 0.28, 0.48, 0.72, 0.88, 0.97])
    radii = np.array([0.100, 0.108, 0.106, 0.120, 0.132, 0.112, 0.06])
    line = hip + heights[:, None] * (neck - hip)
    grid = tube(line, radii, step=STEP_M)
    axis = (neck - hip) / np.linalg.norm(neck - hip)
    middle = hip + ((grid - hip) @ axis)[..., None] * axis
    wider = (grid - middle) * [0.95, 1.34, 1.0]
    return quad_surfels(middle + wider, colour)


def pedestrian(clothes: Clothes, *, stride: float = 0.30) -> Surfels:
    """Somebody 1.75 m tall in mid-stride."""
    jacket, trousers, skin, shoes = (linear(c) for c in (clothes.jacket, clothes.trousers, clothes.skin, clothes.shoes))
    hip, neck = np.array([-0.01, 0.0, 0.92]), np.array([0.03, 0.0, 1.47])
    parts = [_torso(hip, neck, jacket), *_head(neck, clothes)]
    for side, sign in ((1, 1.0), (-1, -1.0)):
        foot_x = sign * stride
        lift = 0.05 if sign < 0 else 0.0
        knee = [0.5 * foot_x + 0.07, side * 0.095, 0.50]
        ankle = [foot_x - 0.03, side * 0.09, 0.10 + lift]
        parts.append(_limb([hip + [0, side * 0.09, 0.0], knee, ankle], [0.092, 0.066, 0.048], trousers, 0.75))
        heel, toe = [foot_x - 0.08, side * 0.09, 0.05 + 1.3 * lift], [foot_x + 0.13, side * 0.10, 0.045]
        parts.append(_limb([heel, toe], [0.046, 0.042], shoes, 0.6))
        shoulder = neck + [-0.01, side * 0.180, -0.075]
        elbow = [0.0 - 0.5 * sign * stride * 0.7, side * 0.245, 1.14]
        hand = [0.10 - sign * stride * 0.75, side * 0.23, 0.90]
        parts.append(_limb([shoulder, elbow, hand], [0.060, 0.049, 0.040], jacket))
        palm = [hand[0] + 0.03, hand[1], hand[2] - 0.06]
        parts.append(_limb([hand, palm], [0.038, 0.032], skin))
    return join(parts)


def cyclist(clothes: Clothes, *, frame: tuple[float, float, float] = (0.62, 0.16, 0.14)) -> Surfels:
    """A bicycle with its rider, 1.75 m long."""
    paint, black, metal = linear(frame), np.array([0.015, 0.015, 0.016]), np.array([0.35, 0.35, 0.36])
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
    hip, neck = saddle + [0.0, 0, 0.16], np.array([0.14, 0, 1.47])
    parts += [_torso(hip, neck, jacket), *_head(neck, clothes, helmet=linear((0.16, 0.22, 0.34)))]
    for side, sign in ((1, 1.0), (-1, -1.0)):
        pedal = crank + [sign * 0.13, side * 0.11, -sign * 0.10]
        knee = [0.19 + 0.05 * sign, side * 0.11, 0.74 - 0.08 * sign]
        ankle = pedal + [-0.06, 0, 0.10]
        parts.append(_limb([hip + [0, side * 0.09, -0.03], knee, ankle], [0.092, 0.064, 0.046], trousers, 0.8))
        parts.append(_limb([pedal + [-0.09, 0, 0.04], pedal + [0.11, 0, 0.03]], [0.044, 0.038], shoes))
        shoulder = neck + [-0.02, side * 0.18, -0.06]
        grip = bar + [-0.05, side * 0.24, 0.02]
        elbow = 0.5 * (shoulder + grip) + [-0.03, side * 0.05, -0.05]
        parts.append(_limb([shoulder, elbow, grip], [0.058, 0.047, 0.038], jacket))
        parts.append(_limb([grip, grip + [0.05, 0, 0]], [0.036, 0.032], skin))
    return join(parts)
