"""Moving Gaussians into another frame once, spherical harmonics included."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from r3d2_ros.formats.cleaning import local_origin
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import Array, Similarity, matrix_to_quat, quat_multiply


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


def sh_basis(directions: ArrayLike) -> Array:
    """Real spherical harmonics [M, 16] of unit directions [M, 3], degree 0 to 3, in INRIA's order and signs.

    Source: graphdeco-inria/gaussian-splatting `utils/sh_utils.py` (after Yu et al., PlenOctrees).
    """
    x, y, z = np.moveaxis(np.asarray(directions, np.float64), -1, 0)
    xx, yy, zz = x * x, y * y, z * z
    basis = [
        np.full_like(x, 0.28209479177387814),
        -0.4886025119029199 * y,
        0.4886025119029199 * z,
        -0.4886025119029199 * x,
        1.0925484305920792 * x * y,
        -1.0925484305920792 * y * z,
        0.31539156525252005 * (2 * zz - xx - yy),
        -1.0925484305920792 * x * z,
        0.5462742152960396 * (xx - yy),
        -0.5900435899266435 * y * (3 * xx - yy),
        2.890611442640554 * x * y * z,
        -0.4570457994644658 * y * (4 * zz - xx - yy),
        0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
        -0.4570457994644658 * x * (4 * zz - xx - yy),
        1.445305721320277 * z * (xx - yy),
        -0.5900435899266435 * x * (xx - 3 * yy),
    ]
    return np.stack(basis, axis=-1)


def _fibonacci_sphere(count: int) -> Array:
    """Unit directions [count, 3] spread evenly over the sphere (golden-angle spiral)."""
    i = np.arange(count) + 0.5
    z = 1 - 2 * i / count
    azimuth = np.pi * (1 + 5**0.5) * i
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), z], axis=-1)


_DIRECTIONS = _fibonacci_sphere(64)
