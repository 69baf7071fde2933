"""Real spherical harmonics as 3D Gaussians use them: the readable form that the kernels are compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from r3d2_ros.geometry import Array


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
