"""The gsplat renderer on a GPU: the images of the CPU renderer, the same bytes again, and 100 actors.

Run where there is no pytest too (see run.py), so the tests take no fixtures and are not parametrised.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from r3d2_ros.geometry import Rigid
from r3d2_ros.rendering.base import PlacedScene, RenderedImage, Renderer, RenderSettings
from r3d2_ros.sky import Sky
from tests.gpu import scenes
from tests.gpu.machine import cuda_fault
from tests.gpu.scenes import psnr_db

FAULT = cuda_fault()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(FAULT), reason=f"needs an NVIDIA GPU with CUDA: {FAULT}")]

CLASSIC, ANTIALIASED = RenderSettings(), RenderSettings(antialiased=True)
PSNR_DB = 45.0
VIEWS = [
    scenes.camera(960, 540),
    scenes.camera(960, 540, yaw_deg=25.0, principal_offset_px=(60.0, -30.0)),
    scenes.camera(640, 400, yaw_deg=-20.0),
]


@functools.cache
def gpu(settings: RenderSettings = CLASSIC) -> Renderer:
    from r3d2_ros.rendering.gsplat import GsplatRenderer

    return GsplatRenderer(settings)


@functools.cache
def cpu(settings: RenderSettings = CLASSIC) -> Renderer:
    pytest.importorskip("numba", reason="needs numba, which is not installed here, to render on the CPU")
    from r3d2_ros.rendering.cpu import CpuRenderer

    return CpuRenderer(settings)


@functools.cache
def scene(sh_degree: int = 3) -> PlacedScene:
    return scenes.crossing(background=60_000, actors=12, asset=3000, sh_degree=sh_degree, nearest_m=12.0)


def assert_agree(images: list[RenderedImage], expected: list[RenderedImage]) -> None:
    for image, other in zip(images, expected, strict=True):
        for name in ("rgb", "alpha", "actor_weight"):
            db = psnr_db(getattr(image, name), getattr(other, name))
            assert db >= PSNR_DB, f"{name}: {db:.1f} dB"
        assert np.mean(np.isnan(image.depth) != np.isnan(other.depth)) <= 1e-3
        both = ~np.isnan(image.depth) & ~np.isnan(other.depth)
        far = ~np.isclose(image.depth[both], other.depth[both], rtol=1e-2, atol=0)
        assert far.sum() <= 1e-3 * far.size, f"depth: {far.sum()} of {far.size} pixels differ by more than 1 %"
        different = float(np.mean(image.instance != other.instance))
        assert different <= 2e-3, f"instance: {different:.2%} of the pixels differ"


def assert_same_bytes(images: list[RenderedImage], expected: list[RenderedImage]) -> None:
    for image, other in zip(images, expected, strict=True):
        for name in ("rgb", "depth", "alpha", "actor_weight", "instance"):
            assert np.array_equal(getattr(image, name), getattr(other, name), equal_nan=True), name


def instances(image: RenderedImage) -> NDArray[np.uint16]:
    """Of an image that was asked for with them."""
    assert image.instance is not None
    return image.instance


def test_classic_equals_the_cpu_renderer() -> None:
    images = gpu().render(scene(), VIEWS, instances=True)
    assert_agree(images, cpu().render(scene(), VIEWS, instances=True))
    assert len(np.unique(instances(images[0]))) >= 5


def test_antialiased_equals_the_cpu_renderer() -> None:
    images = gpu(ANTIALIASED).render(scene(), VIEWS, instances=True)
    assert_agree(images, cpu(ANTIALIASED).render(scene(), VIEWS, instances=True))


def test_every_sh_degree_equals_the_cpu_renderer() -> None:
    for degree in (0, 1, 2):
        images = gpu().render(scene(degree), VIEWS[:1], instances=True)
        assert_agree(images, cpu().render(scene(degree), VIEWS[:1], instances=True))


def test_small_images_equal_the_readable_renderer() -> None:
    """Holds where numba is missing too."""
    from r3d2_ros.rendering.reference import ReferenceRenderer

    small = scenes.crossing(background=2000, actors=20, asset=200)
    views = [scenes.camera(160, 96), scenes.camera(160, 96, yaw_deg=25.0, principal_offset_px=(20.0, -10.0))]
    for settings in (CLASSIC, ANTIALIASED):
        images = gpu(settings).render(small, views, instances=True)
        assert_agree(images, ReferenceRenderer(settings).render(small, views, instances=True))


def test_images_are_finished_as_by_pytorch() -> None:
    """Colours, bytes, depth and weights of what was composited, below a sky image and one of a single colour."""
    import torch

    from r3d2_ros.rendering.gsplat_images import DeviceSky, finished_reference
    from r3d2_ros.rendering.gsplat_kernels import launch

    device, views = torch.device("cuda:0"), VIEWS[:2]
    generator = torch.Generator(device).manual_seed(0)
    render = torch.rand(2, 540, 960, 5, generator=generator, device=device)
    alphas = torch.rand(2, 540, 960, 1, generator=generator, device=device)
    for sky in (scenes.sky_image(), Sky()):
        behind = DeviceSky(device).behind(sky, views)
        arguments = (render, alphas, behind.texture, behind.ray_maps, behind.colour)
        rgb, rgb8, depth, weight = launch(*arguments, least_alpha=0.5)
        expected = finished_reference(*arguments, least_alpha=0.5)
        torch.testing.assert_close(rgb, expected[0], atol=1e-4, rtol=0)
        assert bool(((rgb * 255 + 0.5).clamp(0, 255).to(torch.uint8) == rgb8).all()), "the bytes are the floats'"
        torch.testing.assert_close(depth, expected[2], equal_nan=True)
        assert torch.equal(weight, expected[3])


def test_several_cameras_at_once_equal_each_alone() -> None:
    together = gpu().render(scene(), VIEWS, instances=True)
    for view, image in zip(VIEWS, together, strict=True):
        assert_same_bytes([image], gpu().render(scene(), [view], instances=True))


def test_twice_the_same_bytes() -> None:
    from r3d2_ros.rendering.gsplat import GsplatRenderer

    images = gpu().render(scene(), VIEWS, instances=True)
    assert_same_bytes(gpu().render(scene(), VIEWS, instances=True), images)
    assert_same_bytes(GsplatRenderer(CLASSIC).render(scene(), VIEWS, instances=True), images)


def test_a_frame_does_not_depend_on_the_frames_before() -> None:
    from r3d2_ros.rendering.gsplat import GsplatRenderer

    renderer = GsplatRenderer(CLASSIC)
    other = PlacedScene(scenes.static(scenes.ring(20_000, seed=9)), (), Sky())
    frames = [
        (replace(scene(), actors=scene().actors[:2]), VIEWS[:1]),
        (scene(), VIEWS),
        (other, VIEWS[1:]),
        (replace(scene(), actors=()), VIEWS[:2]),
    ]
    for placed, views in frames:
        images = renderer.render(placed, views, instances=True)
        assert_same_bytes(images, GsplatRenderer(CLASSIC).render(placed, views, instances=True))


def test_a_hundred_actors() -> None:
    asset = scenes.box(2000, seed=1, sh_degree=1)
    behind = scenes.static(scenes.frustum(20_000, seed=0, nearest_m=70.0))
    crowd = PlacedScene(behind, scenes.traffic(100, seed=3, asset=asset), scenes.sky_image())
    images = gpu().render(crowd, VIEWS[:1], instances=True)
    assert_agree(images, cpu().render(crowd, VIEWS[:1], instances=True))
    assert len(np.unique(instances(images[0]))) > 30


def test_far_from_the_origin_the_pixels_stay() -> None:
    far = scenes.crossing(background=60_000, actors=12, asset=3000, offset=scenes.UTM, nearest_m=12.0)
    for near_view in VIEWS[:2]:
        T = near_view.T_camera_world
        far_view = replace(near_view, T_camera_world=Rigid(T.rotation, T.translation - T.rotation @ scenes.UTM))
        a, b = gpu().render(scene(), [near_view])[0], gpu().render(far, [far_view])[0]
        assert psnr_db(a.rgb, b.rgb) >= 60.0


def test_empty_views_and_scenes() -> None:
    """No Gaussian at all, and none in view."""
    nothing = PlacedScene(scenes.static(scenes.frustum(0, seed=0)), (), Sky(colour=np.full(3, 0.5, np.float32)))
    behind = scenes.camera(320, 200, yaw_deg=180.0)
    for placed in (nothing, replace(scene(), sky=nothing.sky)):
        image = gpu().render(placed, [behind], instances=True)[0]
        assert image.alpha.max() == 0 and instances(image).max() == 0
        assert np.all(image.rgb == 0.5) and np.isnan(image.depth).all()


def test_lower_matmul_precision_changes_nothing() -> None:
    """A harmonizer in the same process may allow TF32; positions must not lose bits by it."""
    import torch

    images = gpu().render(scene(), VIEWS[:1], instances=True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert_same_bytes(gpu().render(scene(), VIEWS[:1], instances=True), images)
    finally:
        torch.set_float32_matmul_precision(before)


def test_auto_chooses_the_gpu() -> None:
    from r3d2_ros.rendering import make_renderer

    assert make_renderer("auto", CLASSIC).name == "gsplat"


def test_a_device_that_is_not_there() -> None:
    from r3d2_ros.errors import InputError
    from r3d2_ros.rendering.cuda import cuda_device

    with pytest.raises(InputError, match="CUDA devices here, got 'cuda:99'"):
        cuda_device("cuda:99")
