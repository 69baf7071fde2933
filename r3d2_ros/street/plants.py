"""Trees and hedges: bark as rods, foliage as clouds of leaf clusters."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from r3d2_ros.geometry import Array
from r3d2_ros.street.lighting import linear
from r3d2_ros.street.lofts import quad_surfels, quads, tube
from r3d2_ros.street.meshes import rods
from r3d2_ros.street.noise import hash01
from r3d2_ros.street.surfels import Surfels, join, surfels

FINE_LEAVES = 2000
"""Trees with more leaves than this are looked at from near."""
BARK = linear((0.36, 0.31, 0.26))
GREENS = linear([(0.38, 0.47, 0.20), (0.31, 0.42, 0.19), (0.44, 0.50, 0.22), (0.34, 0.44, 0.24)])


def tree(rng: np.random.Generator, base: ArrayLike, *, height_m: float, crown_m: float, leaves: int) -> Surfels:
    """A broad-leaved tree on `base` [3]: trunk, limbs, and a crown of overlapping lobes of leaves."""
    foot = np.asarray(base, float)
    clear = 0.34 * height_m
    lean = rng.normal(0, 0.02, 2) * height_m
    fork = foot + [lean[0], lean[1], clear]
    lobes = int(rng.integers(9, 14))
    centres = np.empty((lobes, 3))
    radii = rng.uniform(0.42, 0.62, lobes) * crown_m
    for k in range(lobes):
        level = (k + 0.5) / lobes
        ring = crown_m * 0.62 * np.sin(np.pi * (0.18 + 0.72 * level)) * rng.uniform(0.75, 1.1)
        azimuth = 2.4 * k + rng.uniform(-0.4, 0.4)
        lift = clear + 0.16 * height_m + (height_m - clear - 0.28 * height_m) * level
        centres[k] = foot + [ring * np.cos(azimuth) + lean[0], ring * np.sin(azimuth) + lean[1], lift]
    thickness = 0.022 * height_m
    trunk = _trunk(foot, fork, thickness, fine=leaves > FINE_LEAVES)
    limbs = rods(np.repeat(fork[None], lobes, axis=0), centres, 0.42 * thickness, BARK, piece_m=0.45)
    tint = GREENS[rng.integers(len(GREENS))] * rng.uniform(0.85, 1.15)
    return join([trunk, limbs, foliage(rng, centres, radii, leaves=leaves, tint=tint)])


def _trunk(foot: Array, fork: Array, radius_m: float, *, fine: bool) -> Surfels:
    """From below the ground to the fork; `fine` ones have an outline that is crisp from near, and furrowed bark."""
    middle = 0.5 * (foot + fork)
    if not fine:
        return rods([foot - [0, 0, 0.2], middle], [middle, fork], [1.15 * radius_m, radius_m], BARK, piece_m=0.4)
    around = quads(tube([foot - [0, 0, 0.1], foot + [0, 0, 0.25], fork], radius_m * np.array([1.35, 1.1, 0.72]),
                        step=0.075, caps=False))  # fmt: skip
    furrow = hash01(np.floor(around.centre[:, 0] * 40) + 7 * np.floor(around.centre[:, 1] * 40),
                    np.floor(around.centre[:, 2] * 5))  # fmt: skip
    return quad_surfels(around, (0.7 + 0.6 * furrow)[:, None] * BARK)


def foliage(
    rng: np.random.Generator, centres: Array, radii: NDArray, *, leaves: int, tint: Array, leaf_m: float = 0.0
) -> Surfels:
    """Leaf clusters around lobes [L, 3]: most near the surface, darker inside, mostly facing outward."""
    share = radii**2 / np.sum(radii**2)
    lobe = rng.choice(len(radii), leaves, p=share)
    direction = rng.normal(size=(leaves, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    depth = 1.0 - 0.55 * rng.random(leaves) ** 2.2
    squash = np.array([1.0, 1.0, 0.82])
    position = centres[lobe] + direction * (radii[lobe] * depth)[:, None] * squash
    middle = np.average(centres, axis=0, weights=share)
    outward = position - middle
    normal = direction + 0.8 * outward / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-6)
    normal += 0.55 * rng.normal(size=(leaves, 3)) + [0, 0, 0.25]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    u = np.cross(normal, rng.normal(size=(leaves, 3)))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    # Large enough that the lobes close, small enough that their edge looks like leaves.
    size = leaf_m or 1.15 * np.sqrt(np.sum(4 * np.pi * radii**2) * 0.42 / leaves)
    spread = size * rng.uniform(0.45, 1.0, leaves) * np.where(depth < 0.75, 1.3, 0.9)
    scale = np.stack([0.55 * spread, 0.36 * spread, 0.14 * spread], axis=1)
    inner = 0.45 + 0.55 * np.clip((depth - 0.5) / 0.45, 0, 1)
    low = np.clip((position[:, 2] - centres[:, 2].min()) / max(float(np.ptp(centres[:, 2])), 0.5), 0, 1)
    tone = inner * (0.78 + 0.3 * low) * rng.uniform(0.72, 1.28, leaves)
    warm = rng.normal(0, 0.07, (leaves, 1)) * [1.0, 0.25, -0.6]
    albedo = np.clip(tint * (1 + warm) * tone[:, None], 0.004, 1)
    return surfels(position, u, np.cross(normal, u), scale, albedo, leafy=1.0, openness=0.5 + 0.5 * inner, opacity=0.92)


def hedge(rng: np.random.Generator, start: Array, end: Array, *, height_m: float, width_m: float) -> Surfels:
    """A clipped hedge along start-end [3]."""
    length = float(np.linalg.norm(end - start))
    count = int(52 * length * (height_m + width_m))
    a, b, c = rng.random((3, count))
    side = np.cross([0, 0, 1.0], (end - start) / length)
    on_top = rng.random(count) < width_m / (width_m + 2 * height_m)
    across = np.where(on_top, b - 0.5, np.where(b < 0.5, -0.5, 0.5)) * width_m + rng.normal(0, 0.03, count)
    up = np.where(on_top, height_m, c * height_m) + rng.normal(0, 0.03, count)
    position = start + a[:, None] * (end - start) + across[:, None] * side + up[:, None] * [0, 0, 1.0]
    normal = np.where(on_top[:, None], [0, 0, 1.0], np.sign(across)[:, None] * side) + 0.5 * rng.normal(size=(count, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    u = np.cross(normal, rng.normal(size=(count, 3)))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    size = rng.uniform(0.09, 0.16, count)
    scale = np.stack([0.6 * size, 0.45 * size, 0.2 * size], axis=1)
    tone = rng.uniform(0.6, 1.2, count) * (0.6 + 0.4 * np.clip(up / height_m, 0, 1))
    return surfels(position, u, np.cross(normal, u), scale, tone[:, None] * GREENS[1], leafy=1.0, opacity=0.94)
