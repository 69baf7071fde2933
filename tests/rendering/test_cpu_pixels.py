"""Pixels that a person can compute."""

from __future__ import annotations

import numpy as np
import pytest

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera
from r3d2_ros.geometry import Rigid
from r3d2_ros.rendering.base import Renderer, RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from r3d2_ros.rendering.reference import ReferenceRenderer
from r3d2_ros.sky import Sky
from tests.rendering.cpu_scenes import NO_GAUSSIANS, one_gaussian, placed, scene_of

CAMERA = Camera(
    name="front",
    width_px=64,
    height_px=48,
    K=np.array([[100.0, 0, 31], [0, 100, 23], [0, 0, 1]]),
    T_ego_camera=Rigid(R_BODY_OPTICAL, np.zeros(3)),
)
VIEW = CAMERA.view(Rigid.identity())
RENDERERS = pytest.mark.parametrize("renderer_class", [CpuRenderer, ReferenceRenderer])


@RENDERERS
def test_a_point_lands_on_the_pixel_of_its_camera_info(renderer_class: type) -> None:
    """10 m ahead, 1 m to the right, 0.5 m down: u = 31 + 100/10 = 41, v = 23 + 100 * 0.5/10 = 28."""
    renderer: Renderer = renderer_class(RenderSettings())
    image = renderer.render(scene_of(one_gaussian((10, -1, -0.5), opacity=0.99, grey=0.8)), [VIEW])[0]
    assert np.unravel_index(np.argmax(image.alpha), image.alpha.shape) == (28, 41)
    assert image.alpha[28, 41] == pytest.approx(0.99, abs=1e-5)
    assert image.rgb[28, 41] == pytest.approx(np.full(3, 0.99 * 0.8), abs=1e-5)
    assert image.depth[28, 41] == pytest.approx(10, abs=1e-4)
    assert image.alpha[28, 40] == pytest.approx(image.alpha[28, 42], abs=1e-2)


@RENDERERS
def test_the_footprint_is_the_projected_covariance_plus_the_blur(renderer_class: type) -> None:
    """0.1 m at 10 m with 100 px is 1 px; with eps2d = 0.3 the variance is 1.3, so a neighbour has e^(-0.5/1.3)."""
    scene = scene_of(one_gaussian((10, 0, 0), scale=0.1, opacity=0.9))
    image = renderer_class(RenderSettings(eps2d=0.3)).render(scene, [VIEW])[0]
    assert image.alpha[23, 31] == pytest.approx(0.9, abs=1e-5)
    for row, column in ((23, 30), (23, 32), (22, 31), (24, 31)):
        assert image.alpha[row, column] == pytest.approx(0.9 * np.exp(-0.5 / 1.3), abs=1e-5)
    # The ellipse of alpha = 1/255 reaches sqrt(2 ln(0.9 * 255) * 1.3) = 3.76 px.
    assert image.alpha[23, 34] > 1 / 255 and image.alpha[23, 35] == 0

    sharp = renderer_class(RenderSettings(eps2d=0.3, antialiased=True)).render(scene, [VIEW])[0]
    assert sharp.alpha[23, 31] == pytest.approx(0.9 / 1.3, abs=1e-5)  # sqrt(1 * 1 / 1.3^2)


@RENDERERS
def test_two_layers_and_the_sky(renderer_class: type) -> None:
    """A 60 % actor of value 1 before a 50 % wall of value 0.5, sky 0.2: 0.6 + 0.4*0.5*0.5 + 0.4*0.5*0.2."""
    actor = placed(one_gaussian((0, 0, 0), scale=0.2, opacity=0.6), Rigid(np.eye(3), np.array([5.0, 0, 0])), instance=4)
    wall = one_gaussian((10, 0, 0), scale=20.0, opacity=0.5, grey=0.5)
    scene = scene_of(wall, (actor,), sky=Sky(colour=np.full(3, 0.2, np.float32)))
    image = renderer_class(RenderSettings()).render(scene, [VIEW], instances=True)[0]
    assert image.rgb[23, 31] == pytest.approx(np.full(3, 0.6 + 0.1 + 0.04), abs=1e-4)
    assert image.alpha[23, 31] == pytest.approx(0.8, abs=1e-4)
    assert image.actor_weight[23, 31] == pytest.approx(0.6, abs=1e-5)
    assert image.depth[23, 31] == pytest.approx((0.6 * 5 + 0.2 * 10) / 0.8, abs=1e-3)
    assert image.instance[23, 31] == 4
    assert image.instance[0, 0] == 0 and np.isnan(image.depth[0, 0])


@RENDERERS
def test_the_background_with_the_sky_outweighs_a_faint_actor(renderer_class: type) -> None:
    """45 % actor before nothing: the sky has 55 %, so the pixel is background; at 55 % it is the actor."""
    for opacity, instance in ((0.45, 0), (0.55, 9)):
        actor = placed(one_gaussian((10, 0, 0), opacity=opacity), Rigid.identity(), instance=9)
        image = renderer_class(RenderSettings()).render(scene_of(NO_GAUSSIANS, (actor,)), [VIEW], instances=True)[0]
        assert image.instance[23, 31] == instance


@RENDERERS
def test_a_pixel_ends_before_the_gaussian_that_would_leave_too_little_light(renderer_class: type) -> None:
    """After 0.99 and 0.98 the light is 2e-4; 0.6 would leave 8e-5 <= 1e-4: it is not added, nor is 0.3."""
    nearer = tuple(
        placed(one_gaussian((x, 0, 0), opacity=opacity), Rigid.identity(), instance=1)
        for x, opacity in ((5, 0.99), (6, 0.98), (7, 0.6), (8, 0.3))
    )
    image = renderer_class(RenderSettings()).render(scene_of(NO_GAUSSIANS, nearer), [VIEW])[0]
    assert 1 - image.alpha[23, 31] == pytest.approx(2e-4, abs=2e-6)
