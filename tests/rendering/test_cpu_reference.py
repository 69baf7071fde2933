"""Every output of the CPU renderer against the readable reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import Rigid, matrix_to_quat, rotation_from_rpy
from r3d2_ros.rendering.base import RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from r3d2_ros.rendering.reference import ReferenceRenderer
from r3d2_ros.sky import Sky
from tests.rendering.cpu_scenes import NO_GAUSSIANS, busy_scene, cloud, one_gaussian, placed, psnr_db, scene_of, view_of

TILTED = view_of(T_camera_world=Rigid.from_rpy((0.1, -0.3, 0.05), (0.3, -0.2, 0.5)))


@pytest.mark.parametrize("antialiased", [False, True], ids=["classic", "antialiased"])
def test_all_outputs_agree(antialiased: bool) -> None:
    settings = RenderSettings(antialiased=antialiased)
    scene = busy_scene(sh_degree=3, sky=Sky(colour=np.array([0.2, 0.5, 0.9], np.float32)))
    image = CpuRenderer(settings).render(scene, [TILTED], instances=True)[0]
    expected = ReferenceRenderer(settings).render(scene, [TILTED], instances=True)[0]

    assert psnr_db(image.rgb, expected.rgb) >= 80
    assert psnr_db(image.alpha, expected.alpha) >= 80
    assert psnr_db(image.actor_weight, expected.actor_weight) >= 80
    both = np.isfinite(image.depth) & np.isfinite(expected.depth)
    assert np.mean(np.isfinite(image.depth) != np.isfinite(expected.depth)) < 1e-3
    assert np.mean(both) > 0.2 and np.abs(image.depth - expected.depth)[both].mean() < 1e-3
    assert np.all(np.isnan(image.depth) == (image.alpha < 0.5))
    assert np.mean(image.instance != expected.instance) < 1e-3
    assert set(np.unique(image.instance)) == {0, 7, 300, 65535}
    assert image.instance.dtype == np.uint16


def test_near_and_far_plane_are_metres_of_depth() -> None:
    settings = RenderSettings(near_plane_m=3.0, far_plane_m=4.0)
    image = CpuRenderer(settings).render(busy_scene(), [view_of()])[0]
    assert psnr_db(image.rgb, ReferenceRenderer(settings).render(busy_scene(), [view_of()])[0].rgb) >= 80
    depths = image.depth[np.isfinite(image.depth)]
    assert len(depths) > 100 and depths.min() >= 3.0 and depths.max() <= 4.0


def wire(rng: np.random.Generator) -> Gaussians:
    """A Gaussian with standard deviations of 5 to 20 m by 3 mm, centred far outside of the image that it crosses."""
    length, depth = rng.uniform(5, 20), rng.uniform(1, 5)
    rotation = rotation_from_rpy(*rng.uniform(-np.pi, np.pi, 3))
    crossing = np.array([*rng.uniform(-0.1, 0.1, 2), 1]) * depth
    away = rotation[:, 0] * np.sign(rotation[2, 0]) * length * rng.uniform(0, 2)
    return replace(
        one_gaussian(tuple(crossing + away), opacity=0.8),
        quats=matrix_to_quat(rotation)[None].astype(np.float32),
        scales=np.array([[length, 0.003, 0.003]], np.float32),
    )


def test_wires_that_cross_the_image() -> None:
    rng, view = np.random.default_rng(0), view_of(width=480, height=270, focal=1000.0)
    cpu, reference = CpuRenderer(RenderSettings()), ReferenceRenderer(RenderSettings())
    seen = 0
    for _ in range(40):
        scene = scene_of(NO_GAUSSIANS, (placed(wire(rng), Rigid.identity(), instance=1),))
        image, expected = (renderer.render(scene, [view], instances=True)[0] for renderer in (cpu, reference))
        # A pixel may fall on the other side of the 1/255 threshold.
        assert np.abs(image.alpha - expected.alpha).max() < 1.01 / 255
        assert np.mean(image.instance != expected.instance) < 1e-3
        seen += bool(expected.alpha.any())
    assert seen > 20


def test_sky_image_behind_the_gaussians() -> None:
    pixels = np.random.default_rng(0).random((16, 40, 3)).astype(np.float32)
    sky = Sky(image=pixels, R_sky_world=rotation_from_rpy(0.3, -1.2, 2.0))
    for scene in (busy_scene(sky=sky), scene_of(NO_GAUSSIANS, sky=sky)):
        for view in (TILTED, view_of(focal=40.0, T_camera_world=Rigid.from_rpy((2.0, 0.4, -1.0)))):
            image = CpuRenderer(RenderSettings()).render(scene, [view])[0]
            expected = ReferenceRenderer(RenderSettings()).render(scene, [view])[0]
            # The fast renderer leaves out what is dimmer than 1/1000 of the sky.
            assert np.abs(image.rgb - expected.rgb).max() < 4 / 1000
            assert psnr_db(image.rgb, expected.rgb) >= 65


def test_sky_image_is_the_right_way_round() -> None:
    """Looking along +x with z up: the middle of the image ahead, azimuth +90 deg (+y) to the left, zenith above."""
    pixels = np.zeros((180, 360, 3), np.float32)
    pixels[88:92, 178:182] = (1, 0, 0)  # ahead
    pixels[88:92, 158:162] = (0, 1, 0)  # azimuth +20 deg, left
    pixels[68:72, 178:182] = (0, 0, 1)  # elevation +20 deg, above
    forward = Rigid(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), np.zeros(3))
    view = view_of(width=101, height=101, focal=100.0, principal=(0.5, 0.5), T_camera_world=forward)
    rgb = CpuRenderer(RenderSettings()).render(scene_of(NO_GAUSSIANS, sky=Sky(image=pixels)), [view])[0].rgb
    offset = 100 * np.tan(np.radians(20))
    for channel, (u, v) in enumerate([(50, 50), (50 - offset, 50), (50, 50 - 0.97 * offset)]):
        assert rgb[round(v), round(u), channel] > 0.9


def test_actors_alone_among_others_and_without_a_number() -> None:
    """Three actors beside and before one another, two of one instance, behind a thin background."""
    background = cloud(300, seed=5)
    for instances in ((7, 7, 9), (7, 0, 9), (0, 0, 0), (65535, 3, 2)):
        actors = tuple(
            placed(cloud(150, seed=n, spread=0.25, centre=(0, 0, 0)), Rigid(np.eye(3), np.array([x, 0, z])), instance=n)
            for x, z, n in zip((-0.8, 0.3, 0.6), (3.5, 4.0, 3.2), instances, strict=True)
        )
        scene, view = scene_of(background, actors), view_of(width=200, height=120)
        image, expected = (
            renderer(RenderSettings()).render(scene, [view], instances=True)[0]
            for renderer in (CpuRenderer, ReferenceRenderer)
        )
        assert np.mean(image.instance != expected.instance) < 1e-4
        assert set(np.unique(image.instance)) == {0, *instances}
