"""Lens models beside OpenCV's, and by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from r3d2_ros.lenses import PINHOLE, LensModel

PANDASET = (-0.5894, 0.66, 0.0011, -0.001, -1.0088)
MODELS = [
    PINHOLE,
    LensModel("plumb_bob", (-0.3, 0.09, 0.001, -0.0005, -0.01)),
    LensModel("plumb_bob", PANDASET),
    LensModel("plumb_bob", (0.12, 0.03, -0.002, 0.001, 0.0)),
    LensModel("rational_polynomial", (0.9, 0.3, 1e-4, 2e-4, 0.01, 1.2, 0.6, 0.05)),
    LensModel("equidistant"),
    LensModel("equidistant", (0.02, -0.01, 0.003, -0.0005)),
]


def opencv(model: LensModel, rays: np.ndarray) -> np.ndarray:
    nothing, K = np.zeros(3), np.eye(3)
    if model.name == "equidistant":
        return cv2.fisheye.projectPoints(rays[:, None], nothing, nothing, K, np.array(model.D or (0.0,) * 4))[0][:, 0]
    return cv2.projectPoints(rays, nothing, nothing, K, np.array(model.D or (0.0,) * 5))[0][:, 0]


def ahead(count: int, widest_deg: float) -> np.ndarray:
    random = np.random.default_rng(1)
    angle, around = np.deg2rad(random.uniform(0, widest_deg, count)), random.uniform(0, 2 * np.pi, count)
    return np.stack([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)], axis=-1)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_points_are_opencvs_as_far_as_the_lens_sees(model: LensModel) -> None:
    rays = ahead(5000, 80.0)
    points = model.points(rays)
    seen = np.isfinite(points[:, 0])
    assert seen.mean() > 0.3
    np.testing.assert_allclose(points[seen], opencv(model, rays[seen]), atol=1e-12)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_rays_come_back_from_their_points(model: LensModel) -> None:
    limit = model.limit if model.name == "equidistant" else np.arctan(model.limit)
    rays = ahead(5000, 0.97 * np.rad2deg(limit))
    np.testing.assert_allclose(model.rays(model.points(rays)), rays, atol=1e-7)


def test_a_barrel_by_hand() -> None:
    """At a quarter turn's half, r = 1: 1 - 0.2 = 0.8. At r = 0.5: 0.5 * (1 - 0.2 * 0.25) = 0.475."""
    model = LensModel("plumb_bob", (-0.2, 0.0, 0.0, 0.0, 0.0))
    np.testing.assert_allclose(model.points(np.array([[1.0, 0, 1], [0, 1, 2]])), [[0.8, 0], [0, 0.475]])


def test_an_equidistant_lens_sees_to_the_side_and_behind() -> None:
    """The image coordinate is the angle: a quarter turn to the right, three eighths down."""
    model = LensModel("equidistant")
    rays = np.array([[1.0, 0, 0], [0, 1.0, -1.0]])
    np.testing.assert_allclose(model.points(rays), [[np.pi / 2, 0], [0, 3 * np.pi / 4]])
    np.testing.assert_allclose(model.rays(np.array([[np.pi / 2, 0]])), [[1, 0, 0]], atol=1e-12)
    # 140 degrees are 2.443.
    assert np.isnan(model.rays(np.array([[2.45, 0.0]]))).all() and np.isfinite(model.rays(np.array([[2.44, 0]]))).all()


def test_beyond_where_the_polynomial_turns_back_there_is_no_ray() -> None:
    """r (1 - 0.3 r^2) is largest, 0.7027, at r^2 = 1 / 0.9; every smaller value comes again behind."""
    model = LensModel("plumb_bob", (-0.3, 0.0, 0.0, 0.0, 0.0))
    assert model.limit == pytest.approx(1.0541, abs=1e-4)
    rays = model.rays(np.array([[0.70, 0.0], [0.71, 0.0]]))
    assert np.hypot(*rays[0, :2]) / rays[0, 2] < 1.0541 and np.isnan(rays[1]).all()
    assert np.isnan(model.points(np.array([1.2, 0.0, 1.0]))).all()


@pytest.mark.parametrize("k4", [-1.0, -0.4, -0.3, -0.2])
def test_a_pole_of_the_rational_model_is_its_end(k4: float) -> None:
    """1 + k4 r^2 in the denominator: at k4 = -1 nothing at or beyond 45 degrees."""
    model = LensModel("rational_polynomial", (0.0, 0.0, 0.0, 0.0, 0.0, k4, 0.0, 0.0))
    assert model.limit == pytest.approx((-1 / k4) ** 0.5)
    inside, outside = np.array([0.9 * model.limit, 0.0, 1.0]), np.array([1.1 * model.limit, 0.0, 1.0])
    assert np.isnan(model.points(outside)).all()
    np.testing.assert_allclose(model.rays(model.points(inside)), inside / np.linalg.norm(inside), atol=1e-9)


def test_a_coefficient_that_is_next_to_nothing_changes_nothing() -> None:
    model = LensModel("plumb_bob", (-0.3, 0.0, 0.0, 0.0, 1e-60))
    assert model.limit == pytest.approx(1.0541, abs=1e-4)


def test_pinholes_see_nothing_behind_and_zeros_bend_nothing() -> None:
    assert np.isnan(PINHOLE.points(np.array([[0.0, 0, -1], [0, 0, 0]]))).all()
    assert not PINHOLE.bends and not LensModel("rational_polynomial", (0.0,) * 8).bends
    assert LensModel("equidistant").bends and LensModel("plumb_bob", (0.0, 0.0, 1e-6, 0.0, 0.0)).bends
    np.testing.assert_allclose(PINHOLE.rays(np.array([0.75, 0.0])), [0.6, 0.0, 0.8])


@pytest.mark.parametrize(
    "model, got",
    [
        (LensModel("fisheye", (0.1,)), "expected a model of plumb_bob, .* got 'fisheye'"),
        (LensModel("equidistant", (0.1, 0.0)), "expected 4 finite coefficients of equidistant"),
        (LensModel("plumb_bob", (np.nan, 0.0, 0.0, 0.0, 0.0)), "expected 5 finite"),
    ],
)
def test_what_is_no_lens_is_named(model: LensModel, got: str) -> None:
    with pytest.raises(ValueError, match=f"camera 'a': D: {got}"):
        model.check("camera 'a': D")
