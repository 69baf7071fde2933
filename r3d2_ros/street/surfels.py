"""Surfels: unlit samples of surfaces (geometry and material), and their way into Gaussians once lit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from r3d2_ros.gaussians import Gaussians, rgb_to_sh
from r3d2_ros.geometry import Array

F32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Surfels:
    """N samples of surfaces in one frame, metres.

    position [N, 3]; tangent_u, tangent_v [N, 3] unit and orthogonal, normal = u x v
    scale    [N, 3] standard deviations along u, v and the normal
    albedo   [N, 3] linear reflectance
    glow     [N, 3] linear radiance that does not depend on the sun at this point: reflections in glass, lamps
    gloss    [N] 0 matt to 1 mirror: how much of the surroundings the surface reflects
    openness [N] 0 to 1: what small nearby shapes leave of the sky (wall feet, sills, wheel arches)
    leafy    [N] 0 to 1: light passes through and wraps around (leaves)
    opacity  [N]
    """

    position: F32
    tangent_u: F32
    tangent_v: F32
    scale: F32
    albedo: F32
    glow: F32
    gloss: F32
    openness: F32
    leafy: F32
    opacity: F32

    def __len__(self) -> int:
        return len(self.position)

    @property
    def normal(self) -> F32:
        return np.cross(self.tangent_u, self.tangent_v)

    def select(self, index: NDArray) -> Surfels:
        """The rows of a mask or an index array."""
        return Surfels(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def moved(self, rotation: Array, translation: Array) -> Surfels:
        """Rotated by [3, 3], then translated."""
        turn = np.asarray(rotation, np.float32).T
        return replace(
            self,
            position=(self.position @ turn + np.asarray(translation, np.float32)).astype(np.float32),
            tangent_u=self.tangent_u @ turn,
            tangent_v=self.tangent_v @ turn,
        )


def surfels(
    position: ArrayLike,
    tangent_u: ArrayLike,
    tangent_v: ArrayLike,
    scale: ArrayLike,
    albedo: ArrayLike,
    *,
    glow: ArrayLike = 0.0,
    gloss: ArrayLike = 0.0,
    openness: ArrayLike = 1.0,
    leafy: ArrayLike = 0.0,
    opacity: ArrayLike = 0.985,
) -> Surfels:
    """Surfels with broadcast materials."""
    n = len(np.asarray(position))

    def rows(value: ArrayLike, *shape: int) -> F32:
        return np.array(np.broadcast_to(np.asarray(value, np.float32), (n, *shape)))

    return Surfels(
        rows(position, 3),
        rows(tangent_u, 3),
        rows(tangent_v, 3),
        rows(scale, 3),
        rows(albedo, 3),
        rows(glow, 3),
        rows(gloss),
        rows(openness),
        rows(leafy),
        rows(opacity),
    )


def join(parts: Sequence[Surfels]) -> Surfels:
    """All surfels of several parts in the same frame."""
    return Surfels(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Surfels)})


def rotation_quats(u: NDArray, v: NDArray) -> F32:
    """Quaternions [N, 4] (wxyz) of the rotations whose columns are u, v, u x v [N, 3]."""
    m = np.stack([u, v, np.cross(u, v)], axis=-1).astype(np.float64)
    trace = m[:, 0, 0] + m[:, 1, 1] + m[:, 2, 2]
    diagonal = np.stack([trace, m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]], axis=1)
    largest = np.argmax(diagonal, axis=1)
    quats = np.empty((len(m), 4))
    w = largest == 0
    quats[w] = np.stack(
        [1 + trace[w], m[w, 2, 1] - m[w, 1, 2], m[w, 0, 2] - m[w, 2, 0], m[w, 1, 0] - m[w, 0, 1]], axis=1
    )
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        i = largest == a + 1
        quats[i, 0] = m[i, c, b] - m[i, b, c]
        quats[i, 1 + a] = 1 + m[i, a, a] - m[i, b, b] - m[i, c, c]
        quats[i, 1 + b] = m[i, b, a] + m[i, a, b]
        quats[i, 1 + c] = m[i, c, a] + m[i, a, c]
    return (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32)


def to_gaussians(samples: Surfels, rgb: NDArray) -> Gaussians:
    """Lit surfels as Gaussians of SH degree 0; `rgb` [N, 3] is the displayed colour in [0, 1]."""
    return Gaussians(
        means=samples.position,
        quats=rotation_quats(samples.tangent_u, samples.tangent_v),
        scales=samples.scale,
        opacities=samples.opacity,
        sh=rgb_to_sh(rgb),
    )
