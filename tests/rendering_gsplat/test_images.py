"""Images of the gsplat renderer, with gsplat's CUDA kernels emulated: equal to those of the other two renderers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gsplat", reason="needs gsplat and torch, which are not installed")

import torch

from r3d2_ros.geometry import Affine, Rigid, rotation_from_rpy
from r3d2_ros.rendering.base import PlacedGaussians, PlacedScene, RenderedImage, RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from r3d2_ros.rendering.frames import render_frames
from r3d2_ros.rendering.gsplat import GsplatRenderer, Kernels
from r3d2_ros.rendering.reference import ReferenceRenderer
from r3d2_ros.rendering.rgb8 import to_rgb8
from r3d2_ros.sky import Sky
from tests.gpu import scenes
from tests.gpu.scenes import psnr_db
from tests.rendering_gsplat.emulation import kernels

__all__ = ["kernels"]

CLASSIC, ANTIALIASED = RenderSettings(), RenderSettings(antialiased=True)
VIEWS = [
    scenes.camera(72, 44),
    scenes.camera(72, 44, yaw_deg=25.0, principal_offset_px=(10.0, -5.0)),
    scenes.camera(48, 32, yaw_deg=-20.0),
]


def renderer(kernels: Kernels, settings: RenderSettings = CLASSIC) -> GsplatRenderer:
    return GsplatRenderer(settings, "cpu", kernels=kernels)


def assert_agree(images: list[RenderedImage], expected: list[RenderedImage], *, db: float) -> None:
    for image, other in zip(images, expected, strict=True):
        assert psnr_db(image.rgb, other.rgb) >= db
        assert psnr_db(image.alpha, other.alpha) >= db
        assert psnr_db(image.actor_weight, other.actor_weight) >= db
        # Alpha may cross MIN_DEPTH_ALPHA within its rounding, and two weights may be nearly equal.
        assert np.mean(np.isnan(image.depth) != np.isnan(other.depth)) <= 1e-3
        both = ~np.isnan(image.depth) & ~np.isnan(other.depth)
        assert np.allclose(image.depth[both], other.depth[both], rtol=1e-3, atol=0)
        assert np.mean(image.instance != other.instance) <= 1e-3


def assert_same_bytes(images: list[RenderedImage], expected: list[RenderedImage]) -> None:
    for image, other in zip(images, expected, strict=True):
        for name in ("rgb", "depth", "alpha", "actor_weight"):
            assert np.array_equal(getattr(image, name), getattr(other, name), equal_nan=True), name
        assert (image.instance is None) == (other.instance is None)
        assert image.instance is None or np.array_equal(image.instance, other.instance)


@pytest.mark.parametrize("settings", [CLASSIC, ANTIALIASED], ids=["classic", "antialiased"])
def test_equals_the_reference_renderer(kernels: Kernels, settings: RenderSettings) -> None:
    scene = scenes.crossing(background=1500, asset=200)
    images = renderer(kernels, settings).render(scene, VIEWS, instances=True)
    assert_agree(images, ReferenceRenderer(settings).render(scene, VIEWS, instances=True), db=80.0)
    assert {0, 2, 3, 4} <= set(np.unique(images[0].instance))
    assert images[0].actor_weight.mean() > 0.1


def test_equals_the_cpu_renderer(kernels: Kernels) -> None:
    scene = scenes.crossing(background=1500, asset=200)
    images = renderer(kernels).render(scene, VIEWS[:1], instances=True)
    assert_agree(images, CpuRenderer(CLASSIC).render(scene, VIEWS[:1], instances=True), db=60.0)


def test_frames_are_the_images_with_colours_as_bytes_and_the_floats_left_on_the_device(kernels: Kernels) -> None:
    scene = scenes.crossing(background=800, asset=100)
    images = renderer(kernels).render(scene, VIEWS, instances=True)
    frames = render_frames(renderer(kernels), scene, VIEWS, instances=True)
    for image, frame in zip(images, frames, strict=True):
        assert isinstance(frame.rgb, torch.Tensor)
        np.testing.assert_array_equal(frame.rgb.numpy(), image.rgb)
        np.testing.assert_array_equal(frame.rgb8, to_rgb8(image.rgb))
        np.testing.assert_array_equal(frame.depth, image.depth)
        np.testing.assert_array_equal(frame.actor_weight, image.actor_weight)
        np.testing.assert_array_equal(frame.instance, image.instance)
    assert render_frames(renderer(kernels), scene, VIEWS)[0].instance is None


def test_images_are_what_the_contract_says(kernels: Kernels) -> None:
    image = renderer(kernels).render(scenes.crossing(background=300, asset=50), VIEWS[:1], instances=True)[0]
    for name, shape, dtype in (
        ("rgb", (44, 72, 3), np.float32),
        ("depth", (44, 72), np.float32),
        ("alpha", (44, 72), np.float32),
        ("actor_weight", (44, 72), np.float32),
        ("instance", (44, 72), np.uint16),
    ):
        assert (getattr(image, name).shape, getattr(image, name).dtype) == (shape, dtype), name
    assert image.rgb.min() >= 0
    assert np.array_equal(np.isnan(image.depth), image.alpha < 0.5)
    assert renderer(kernels).render(scenes.crossing(background=300), VIEWS[:1])[0].instance is None


def test_several_cameras_at_once_give_the_bytes_of_each_alone(kernels: Kernels) -> None:
    scene = scenes.crossing(background=800, asset=100)
    together = renderer(kernels).render(scene, VIEWS, instances=True)
    for view, image in zip(VIEWS, together, strict=True):
        assert_same_bytes([image], renderer(kernels).render(scene, [view], instances=True))


@pytest.mark.parametrize("where", ["T_map_scene", "file"])
def test_far_from_the_origin_the_pixels_stay(kernels: Kernels, where: str) -> None:
    """UTM coordinates, whether the placement or the file's float64 origin holds them."""
    view = VIEWS[1]
    T = view.T_camera_world
    far_view = replace(view, T_camera_world=Rigid(T.rotation, T.translation - T.rotation @ scenes.UTM))
    near = scenes.crossing(background=1500, asset=200)
    far = scenes.crossing(background=1500, asset=200, offset=scenes.UTM)
    if where == "file":
        in_file = replace(far.background.gaussians, origin=scenes.UTM)
        far = replace(far, background=scenes.static(in_file))
    a = renderer(kernels).render(near, [view], instances=True)[0]
    b = renderer(kernels).render(far, [far_view], instances=True)[0]
    assert psnr_db(a.rgb, b.rgb) >= 60.0
    assert np.mean(a.instance != b.instance) <= 1e-3


def test_a_car_that_turns_keeps_its_colours(kernels: Kernels) -> None:
    """Car and camera turned by 180 degrees about the same point see each other as before."""
    asset = scenes.box(400, seed=3, sh_degree=3)
    empty = scenes.static(scenes.frustum(0, seed=0))

    def picture(turn_deg: float, R_world_node: np.ndarray | None = None) -> np.ndarray:
        turn = rotation_from_rpy(0.0, 0.0, np.deg2rad(turn_deg))
        car = scenes.actor(asset, *(turn @ [8.0, 1.0, 0.0])[:2], 30.0 + turn_deg, 1)
        if R_world_node is not None:
            car = replace(car, R_world_node=R_world_node)
        scene = PlacedScene(empty, (car,), Sky())
        return renderer(kernels).render(scene, [scenes.camera(96, 64, yaw_deg=turn_deg)])[0].rgb

    before = picture(0.0)
    assert before.std() > 0.1
    assert psnr_db(picture(180.0), before) >= 60.0
    # Directions left in the world's frame would show other colours: the test can fail.
    assert psnr_db(picture(180.0, np.eye(3)), picture(0.0, np.eye(3))) < 40.0


@pytest.mark.parametrize("yaw_deg", [0.0, 90.0, 180.0])
def test_sky_images_equal_the_cpu_renderers(kernels: Kernels, yaw_deg: float) -> None:
    """With a wide camera; at 180 degrees the seam of an unturned sky image is in its middle."""
    for sky in (scenes.sky_image(), replace(scenes.sky_image(), R_sky_world=np.eye(3))):
        scene = PlacedScene(scenes.static(scenes.frustum(0, seed=0)), (), sky)
        views = [scenes.camera(80, 80, yaw_deg=yaw_deg, fov_deg=150.0)]
        images = renderer(kernels).render(scene, views, instances=True)
        assert_agree(images, CpuRenderer(CLASSIC).render(scene, views, instances=True), db=60.0)
        assert psnr_db(images[0].rgb, ReferenceRenderer(CLASSIC).render(scene, views)[0].rgb) >= 80.0
        assert images[0].rgb.std() > 0.1 and images[0].alpha.max() == 0


def test_a_sky_colour_fills_what_is_left(kernels: Kernels) -> None:
    scene = replace(scenes.crossing(background=300), sky=Sky(colour=np.array([0.25, 0.5, 1.0], np.float32)))
    with_sky = renderer(kernels).render(scene, VIEWS[:1])[0]
    without = renderer(kernels).render(replace(scene, sky=Sky()), VIEWS[:1])[0]
    left = 1 - with_sky.alpha[..., None]
    assert np.allclose(with_sky.rgb, without.rgb + left * np.array([0.25, 0.5, 1.0]), atol=1e-6)


def test_actors_alone_far_away(kernels: Kernels) -> None:
    """Without a background the actors still give the local origin."""
    asset = scenes.box(200, seed=3)
    scene = PlacedScene(
        scenes.static(scenes.frustum(0, seed=0)), scenes.traffic(3, seed=1, asset=asset, offset=scenes.UTM), Sky()
    )
    view = scenes.camera(96, 64, position=scenes.UTM)
    assert_agree(
        renderer(kernels).render(scene, [view], instances=True),
        ReferenceRenderer(CLASSIC).render(scene, [view], instances=True),
        db=60.0,
    )


def test_nothing_in_view(kernels: Kernels) -> None:
    behind = scenes.camera(64, 48, yaw_deg=180.0)
    image = renderer(kernels).render(scenes.crossing(background=300, asset=50), [behind], instances=True)[0]
    assert image.alpha.max() == 0 and image.instance.max() == 0 and np.isnan(image.depth).all()
    assert renderer(kernels).render(scenes.crossing(background=300), []) == []


def test_a_scaled_and_turned_background(kernels: Kernels) -> None:
    """T_map_scene is a similarity: here one scene unit is 0.1 m and the scene is turned by 90 degrees."""
    unit = scenes.crossing(background=1500, sh_degree=0)
    g = unit.background.gaussians
    back = rotation_from_rpy(0.0, 0.0, -np.pi / 2)
    in_scene = replace(
        g,
        means=(10 * g.means @ back.T).astype(np.float32),
        scales=10 * g.scales,
        quats=_turned(g.quats, -np.pi / 2),
    )
    placed = PlacedGaussians(in_scene, Affine(0.1 * back.T, np.zeros(3)), back.T)
    a = renderer(kernels).render(unit, VIEWS[:1])[0].rgb
    b = renderer(kernels).render(replace(unit, background=placed), VIEWS[:1])[0].rgb
    assert psnr_db(a, b) >= 80.0


def _turned(quats: np.ndarray, yaw_rad: float) -> np.ndarray:
    from r3d2_ros.geometry import quat_multiply

    return quat_multiply([np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2)], quats).astype(np.float32)
