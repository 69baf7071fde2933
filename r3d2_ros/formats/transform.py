"""Moving Gaussians into another frame once, spherical harmonics included."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from r3d2_ros.formats.cleaning import local_origin
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import Array, Similarity, matrix_to_quat, quat_multiply
from r3d2_ros.spherical_harmonics import sh_basis


def transform_gaussians(gaussians: Gaussians, T_dst_src: Similarity) -> Gaussians:
    """The same Gaussians in the frame dst: seen from any side, they keep shape and colour."""
    means = T_dst_src.apply(gaussians.origin + gaussians.means)
    origin = local_origin(means)
    rotation = T_dst_src.rotation
    return Gaussians(
        means=(means - origin).astype(np.float32),
        quats=quat_multiply(matrix_to_quat(rotation), gaussians.quats).astype(np.float32),
        scales=(gaussians.scales * T_dst_src.scale).astype(np.float32),
        opacities=gaussians.opacities,
        sh=rotate_sh(gaussians.sh, rotation),
        origin=origin,
    )


def rotate_sh(sh: NDArray[np.float32], rotation: ArrayLike) -> NDArray[np.float32]:
    """Coefficients [N, K, 3] of functions turned by `rotation` R [3, 3]: new(R d) = old(d) for every d.

    A rotation maps each degree onto itself, so the matrix of a degree is the exact solution of a linear
    system over a few directions (least squares, residual at float64 rounding).
    """
    R = np.asarray(rotation, np.float64)
    if np.array_equal(R, np.eye(3)):
        return sh
    out = sh.copy()
    before, after = sh_basis(_DIRECTIONS), sh_basis(_DIRECTIONS @ R.T)
    for degree in range(1, round(sh.shape[1] ** 0.5)):
        band = slice(degree**2, (degree + 1) ** 2)
        matrix = np.linalg.lstsq(after[:, band], before[:, band], rcond=None)[0]
        out[:, band] = np.einsum("ij,njc->nic", matrix, sh[:, band], optimize=True)
    return out


def _fibonacci_sphere(count: int) -> Array:
    """Unit directions [count, 3] spread evenly over the sphere (golden-angle spiral)."""
    i = np.arange(count) + 0.5
    z = 1 - 2 * i / count
    azimuth = np.pi * (1 + 5**0.5) * i
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), z], axis=-1)


_DIRECTIONS = _fibonacci_sphere(64)
