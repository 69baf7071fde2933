"""Turning Gaussians: shape, place and colour from every side move together."""

from __future__ import annotations

import numpy as np
import pytest

from r3d2_ros.formats.transform import rotate_sh, transform_gaussians
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import Similarity, quat_to_matrix
from r3d2_ros.spherical_harmonics import sh_basis
from tests.formats.test_ply import random_gaussians


def directions(count: int = 50) -> np.ndarray:
    d = np.random.default_rng(5).normal(size=(count, 3))
    return d / np.linalg.norm(d, axis=1, keepdims=True)


def colours(sh: np.ndarray, d: np.ndarray) -> np.ndarray:
    return np.einsum("mk,nkc->nmc", sh_basis(d)[:, : sh.shape[1]], sh)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_rotated_sh_shows_the_old_colour_in_the_rotated_direction(degree: int) -> None:
    R = quat_to_matrix([0.3, -0.5, 0.7, 0.2])
    sh = random_gaussians(20, degree=degree).sh
    d = directions()
    np.testing.assert_allclose(colours(rotate_sh(sh, R), d @ R.T), colours(sh, d), atol=5e-6)


def test_half_a_turn_about_z_by_hand() -> None:
    sh = np.arange(12, dtype=np.float32).reshape(1, 4, 3)
    turned = rotate_sh(sh, np.diag([-1.0, -1.0, 1.0]))
    signs = np.array([1, -1, 1, -1])  # constant, y, z, x
    np.testing.assert_allclose(turned[0], sh[0] * signs[:, None], atol=1e-6)


def test_the_basis_is_gsplats() -> None:
    torch = pytest.importorskip("torch", reason="needs torch, which gsplat's functions are written in")
    reference = pytest.importorskip("gsplat.cuda._torch_impl", reason="needs gsplat, the source of the basis")
    d = directions()
    expected = reference._eval_sh_bases_fast(16, torch.from_numpy(d)).numpy()
    np.testing.assert_allclose(sh_basis(d), expected, atol=1e-12)


def covariances(gaussians: Gaussians) -> np.ndarray:
    axes = quat_to_matrix(gaussians.quats) * gaussians.scales[:, None, :]
    return axes @ axes.transpose(0, 2, 1)


def test_means_and_covariances_follow_the_similarity() -> None:
    gaussians = random_gaussians(30)
    T = Similarity(quat_to_matrix([0.9, 0.1, -0.3, 0.2]), np.array([1.0, -2.0, 3.0]), 2.5)
    moved = transform_gaussians(gaussians, T)
    np.testing.assert_allclose(moved.origin + moved.means, T.apply(gaussians.means), atol=1e-4)
    expected = 2.5**2 * T.rotation @ covariances(gaussians) @ T.rotation.T
    np.testing.assert_allclose(covariances(moved), expected, rtol=1e-4, atol=1e-6)


def test_a_far_target_keeps_its_detail() -> None:
    gaussians = random_gaussians(30)
    T = Similarity(np.eye(3), np.array([5e5, 4.6e6, 100.0]))
    moved = transform_gaussians(gaussians, T)
    np.testing.assert_allclose(moved.origin + moved.means, T.apply(gaussians.means), rtol=0, atol=1e-5)
