"""CPU kernel: project the Gaussians of one node into one camera (EWA splatting with gsplat 1.5.3's rules).

A node is never baked into the world: the kernel reads its Gaussians where they are and gets the map from the node to
the camera, formed in float64, as float32 numbers.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from r3d2_ros.rendering.kernels_layout import (
    ACTOR,
    ALPHA_MIN,
    BLUE,
    CHUNK,
    CX,
    CY,
    DEPTH,
    EPS2D,
    FAR,
    FX,
    FY,
    GREEN,
    HALF_A,
    HALF_C,
    HEIGHT,
    NEAR,
    NODE_ACTOR,
    NODE_LINEAR,
    NODE_SH_ROTATION,
    NODE_SLOT,
    NODE_STRETCH,
    NODE_TRANSLATION,
    OPACITY,
    REACH_U,
    REACH_V,
    RED,
    SIGMAS_MAX,
    SLANT,
    SLOT,
    TILE,
    WIDTH,
    U,
    V,
)
from r3d2_ros.rendering.kernels_sharing import fetch_add
from r3d2_ros.rendering.numba_cache import kernel

F = np.float32
LARGEST = F(1e30)


@kernel()
def write_sh_basis(x, y, z, basis):
    """Real spherical harmonics of the unit direction (x, y, z), degree 0 to 3, into `basis` [16].

    Polynomials of Sloan, "Efficient Spherical Harmonic Evaluation", JCGT 2013, in the order of INRIA and gsplat.
    """
    xx, yy, zz = x * x, y * y, z * z
    c1, s1 = xx - yy, F(2) * x * y
    basis[0] = F(0.2820947917738781)
    basis[1] = F(-0.48860251190292) * y
    basis[2] = F(0.48860251190292) * z
    basis[3] = F(-0.48860251190292) * x
    basis[4] = F(0.5462742152960395) * s1
    basis[5] = F(-1.092548430592079) * z * y
    basis[6] = F(0.9461746957575601) * zz - F(0.3153915652525201)
    basis[7] = F(-1.092548430592079) * z * x
    basis[8] = F(0.5462742152960395) * c1
    basis[9] = F(-0.5900435899266435) * (x * s1 + y * c1)
    basis[10] = F(1.445305721320277) * z * s1
    basis[11] = (F(-2.285228997322329) * zz + F(0.4570457994644658)) * y
    basis[12] = z * (F(1.865881662950577) * zz - F(1.119528997770346))
    basis[13] = (F(-2.285228997322329) * zz + F(0.4570457994644658)) * x
    basis[14] = F(1.445305721320277) * z * c1
    basis[15] = F(-0.5900435899266435) * (x * c1 - y * s1)


@kernel()
def write_colour(sh, i, x, y, z, node, basis, row):
    """Colour of Gaussian i seen along the camera-frame direction (x, y, z), never negative; False if it has none."""
    coefficients = sh.shape[1]
    if coefficients > 1:
        k = NODE_SH_ROTATION
        along_x = node[k] * x + node[k + 1] * y + node[k + 2] * z
        along_y = node[k + 3] * x + node[k + 4] * y + node[k + 5] * z
        along_z = node[k + 6] * x + node[k + 7] * y + node[k + 8] * z
        inverse = F(1) / math.sqrt(along_x * along_x + along_y * along_y + along_z * along_z)
        write_sh_basis(along_x * inverse, along_y * inverse, along_z * inverse, basis)
    red, green, blue = F(0.5), F(0.5), F(0.5)
    for k in range(coefficients):
        red += basis[k] * sh[i, k, 0]
        green += basis[k] * sh[i, k, 1]
        blue += basis[k] * sh[i, k, 2]
    row[RED] = max(red, F(0))
    row[GREEN] = max(green, F(0))
    row[BLUE] = max(blue, F(0))
    return abs(red) + abs(green) + abs(blue) < LARGEST


@kernel()
def project_chunk(means, quats, scales, opacities, sh, node, camera, antialiased, begin, end, rows, rects):
    """Write the visible Gaussians of [begin, end) to the first rows, in order; returns how many there are."""
    r00, r01, r02 = node[NODE_LINEAR], node[NODE_LINEAR + 1], node[NODE_LINEAR + 2]
    r10, r11, r12 = node[NODE_LINEAR + 3], node[NODE_LINEAR + 4], node[NODE_LINEAR + 5]
    r20, r21, r22 = node[NODE_LINEAR + 6], node[NODE_LINEAR + 7], node[NODE_LINEAR + 8]
    t0, t1, t2 = node[NODE_TRANSLATION], node[NODE_TRANSLATION + 1], node[NODE_TRANSLATION + 2]
    fx, fy, cx, cy = camera[FX], camera[FY], camera[CX], camera[CY]
    width, height, near, far, eps2d = camera[WIDTH], camera[HEIGHT], camera[NEAR], camera[FAR], camera[EPS2D]
    # Beyond these slopes (the image plus 15 % of it) gsplat evaluates the Jacobian at the limit.
    x_min, x_max = -(cx / fx + F(0.15) * width / fx), (width - cx) / fx + F(0.15) * width / fx
    y_min, y_max = -(cy / fy + F(0.15) * height / fy), (height - cy) / fy + F(0.15) * height / fy
    slope_u = max(-x_min, x_max)
    slope_v = max(-y_min, y_max)
    # Bounds of the radius: SIGMAS_MAX standard deviations of the widest Gaussian under the steepest Jacobian.
    spread_u = SIGMAS_MAX * node[NODE_STRETCH] * fx * math.sqrt(F(1) + slope_u * slope_u)
    spread_v = SIGMAS_MAX * node[NODE_STRETCH] * fy * math.sqrt(F(1) + slope_v * slope_v)
    spread_0 = SIGMAS_MAX * math.sqrt(eps2d) + F(1)
    columns, tile_rows = math.ceil(width / F(TILE)), math.ceil(height / F(TILE))
    basis = np.empty(16, np.float32)
    basis[0] = F(0.2820947917738781)
    count = 0
    for i in range(begin, end):
        mx, my, mz = means[i, 0], means[i, 1], means[i, 2]
        z = r20 * mx + r21 * my + r22 * mz + t2
        opacity = opacities[i]
        if not (z >= near and z <= far and opacity >= ALPHA_MIN):
            continue
        x = r00 * mx + r01 * my + r02 * mz + t0
        y = r10 * mx + r11 * my + r12 * mz + t1
        iz = F(1) / z
        u, v = fx * x * iz + cx, fy * y * iz + cy
        s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
        widest = max(s0, max(s1, s2)) * iz
        bound_u, bound_v = spread_u * widest + spread_0, spread_v * widest + spread_0
        if not (u + bound_u > 0 and u - bound_u < width and v + bound_v > 0 and v - bound_v < height):
            continue

        # Node to pixels: P = J A, with the Jacobian J of the pinhole projection.
        tx, ty = min(x_max, max(x_min, x * iz)), min(y_max, max(y_min, y * iz))
        jx, jy = fx * iz, fy * iz
        p00, p01, p02 = jx * (r00 - tx * r20), jx * (r01 - tx * r21), jx * (r02 - tx * r22)
        p10, p11, p12 = jy * (r10 - ty * r20), jy * (r11 - ty * r21), jy * (r12 - ty * r22)
        qw, qx, qy, qz = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        k = F(2) / (qw * qw + qx * qx + qy * qy + qz * qz)
        q00, q01, q02 = F(1) - k * (qy * qy + qz * qz), k * (qx * qy - qw * qz), k * (qx * qz + qw * qy)
        q10, q11, q12 = k * (qx * qy + qw * qz), F(1) - k * (qx * qx + qz * qz), k * (qy * qz - qw * qx)
        q20, q21, q22 = k * (qx * qz - qw * qy), k * (qy * qz + qw * qx), F(1) - k * (qx * qx + qy * qy)
        # cov2d = G G^T with G = P Q S [2, 3].
        g00, g10 = s0 * (p00 * q00 + p01 * q10 + p02 * q20), s0 * (p10 * q00 + p11 * q10 + p12 * q20)
        g01, g11 = s1 * (p00 * q01 + p01 * q11 + p02 * q21), s1 * (p10 * q01 + p11 * q11 + p12 * q21)
        g02, g12 = s2 * (p00 * q02 + p01 * q12 + p02 * q22), s2 * (p10 * q02 + p11 * q12 + p12 * q22)
        cov_uu = g00 * g00 + g01 * g01 + g02 * g02
        cov_uv = g00 * g10 + g01 * g11 + g02 * g12
        cov_vv = g10 * g10 + g11 * g11 + g12 * g12
        # det(G G^T) as the sum of squared minors (Cauchy-Binet): no cancellation for thin Gaussians.
        m01, m02, m12 = g00 * g11 - g01 * g10, g00 * g12 - g02 * g10, g01 * g12 - g02 * g11
        det_sharp = m01 * m01 + m02 * m02 + m12 * m12
        det = det_sharp + eps2d * (cov_uu + cov_vv) + eps2d * eps2d
        if not (det > 0 and det < LARGEST):
            continue
        if antialiased:
            opacity *= math.sqrt(det_sharp / det)
            if opacity < ALPHA_MIN:
                continue
        cov_uu += eps2d
        cov_vv += eps2d

        # Tiles that hold a pixel centre inside the alpha >= ALPHA_MIN ellipse.
        sigmas = min(SIGMAS_MAX, math.sqrt(F(2) * math.log(opacity / ALPHA_MIN)))
        reach_u, reach_v = sigmas * math.sqrt(cov_uu), sigmas * math.sqrt(cov_vv)
        first_u, last_u = math.ceil(max(u - reach_u, F(0)) - F(0.5)), math.floor(min(u + reach_u, width) - F(0.5))
        first_v, last_v = math.ceil(max(v - reach_v, F(0)) - F(0.5)), math.floor(min(v + reach_v, height) - F(0.5))
        if not (first_u <= last_u and first_v <= last_v):
            continue
        rect = rects[count]
        rect[0] = max(np.int64(first_u), 0) // TILE
        rect[1] = max(np.int64(first_v), 0) // TILE
        rect[2] = min(np.int64(last_u) // TILE + 1, np.int64(columns))
        rect[3] = min(np.int64(last_v) // TILE + 1, np.int64(tile_rows))

        row = rows[count]
        row[U], row[V] = u, v
        row[HALF_A], row[SLANT], row[HALF_C] = F(0.5) * cov_vv / det, -cov_uv / cov_vv, F(0.5) / cov_vv
        row[OPACITY], row[DEPTH] = opacity, z
        row[REACH_U], row[REACH_V] = reach_u, reach_v
        row[ACTOR], row[SLOT] = node[NODE_ACTOR], node[NODE_SLOT]
        if write_colour(sh, i, x, y, z, node, basis, row):
            count += 1
    return count


@kernel(parallel=True)
def project_node(means, quats, scales, opacities, sh, node, camera, antialiased, workers, rows, rects, counts):
    """Project one node, CHUNK Gaussians at a time.

    rows [>= N, ROW_COLUMNS] and rects [>= N, 4] (first column, first row, end column, end row in tiles, int16)
    receive the visible Gaussians of chunk c from row c * CHUNK on, counts[c] of them.
    """
    n = means.shape[0]
    chunks = (n + CHUNK - 1) // CHUNK
    next_chunk = np.zeros(1, np.int64)
    for _worker in prange(workers):
        while True:
            chunk = fetch_add(next_chunk, 1)
            if chunk >= chunks:
                break
            begin = chunk * CHUNK
            end = min(begin + CHUNK, n)
            counts[chunk] = project_chunk(
                means, quats, scales, opacities, sh, node, camera, antialiased, begin, end, rows[begin:], rects[begin:]
            )
