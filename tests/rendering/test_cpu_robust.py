"""The same bytes however it is run, and an image for degenerate scenes."""

from __future__ import annotations

import threading
from dataclasses import replace

import numba
import numpy as np
import pytest

from r3d2_ros.geometry import Rigid
from r3d2_ros.rendering import cpu
from r3d2_ros.rendering.base import PlacedScene, RenderedImage, RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from r3d2_ros.sky import Sky
from tests.rendering.cpu_scenes import NO_GAUSSIANS, busy_scene, cloud, one_gaussian, placed, scene_of, view_of

SKY = Sky(colour=np.array([0.25, 0.5, 0.75], np.float32))


def same_bytes(a: RenderedImage, b: RenderedImage) -> bool:
    return all(getattr(a, n).tobytes() == getattr(b, n).tobytes() for n in ("rgb", "depth", "alpha", "actor_weight"))


def test_one_and_two_threads_give_the_same_bytes() -> None:
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("needs two cores or NUMBA_NUM_THREADS=2")
    scene, view = busy_scene(sh_degree=3, sky=SKY), view_of(width=333, height=250, focal=300)
    one, two = (CpuRenderer(RenderSettings(), threads=n).render(scene, [view], instances=True)[0] for n in (1, 2))
    assert same_bytes(one, two)
    assert one.instance.tobytes() == two.instance.tobytes()


def test_instances_change_nothing_else() -> None:
    renderer = CpuRenderer(RenderSettings())
    without = renderer.render(busy_scene(sky=SKY), [view_of()])[0]
    assert without.instance is None
    assert same_bytes(without, renderer.render(busy_scene(sky=SKY), [view_of()], instances=True)[0])


def test_tile_lists_in_parts_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = CpuRenderer(RenderSettings()).render(busy_scene(), [view_of()], instances=True)[0]
    for limit in (1, 700):
        monkeypatch.setattr(cpu, "LIST_ENTRIES", limit)
        renderer = CpuRenderer(RenderSettings())
        in_parts = renderer.render(busy_scene(), [view_of()], instances=True)[0]
        assert renderer.stats[0].entries > limit
        assert same_bytes(whole, in_parts) and np.array_equal(whole.instance, in_parts.instance)


def test_two_python_threads_take_turns() -> None:
    expected = CpuRenderer(RenderSettings()).render(busy_scene(), [view_of()])[0]
    images: list[RenderedImage] = []

    def work() -> None:
        renderer = CpuRenderer(RenderSettings())
        images.extend(renderer.render(busy_scene(), [view_of()])[0] for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(images) == 10 and all(same_bytes(image, expected) for image in images)


def test_several_views_of_different_size() -> None:
    renderer = CpuRenderer(RenderSettings())
    views = [view_of(), view_of(width=40, height=30), view_of(T_camera_world=Rigid.from_rpy((0, 1, 0)))]
    together = renderer.render(busy_scene(), views)
    assert [image.alpha.shape for image in together] == [(121, 160), (30, 40), (121, 160)]
    assert all(
        same_bytes(image, renderer.render(busy_scene(), [v])[0]) for image, v in zip(together, views, strict=True)
    )


def test_read_only_gaussians() -> None:
    """Arrays of a mapped file cannot be written."""
    gaussians = cloud(100)
    for array in (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh):
        array.setflags(write=False)
    assert CpuRenderer(RenderSettings()).render(scene_of(gaussians), [view_of()])[0].alpha.max() > 0


BEHIND = one_gaussian((0, 0, -5))
DEGENERATE: dict[str, PlacedScene] = {
    "nothing": scene_of(NO_GAUSSIANS, sky=SKY),
    "no background, one actor behind": scene_of(NO_GAUSSIANS, (placed(BEHIND, Rigid.identity(), instance=1),), sky=SKY),
    "an actor without Gaussians": scene_of(BEHIND, (placed(NO_GAUSSIANS, Rigid.identity(), instance=1),), sky=SKY),
    "everything behind": scene_of(cloud(500, centre=(0, 0, -20)), sky=SKY),
    "everything beside": scene_of(cloud(500, centre=(50, 0, 6), spread=0.2), sky=SKY),
    "everything beyond the far plane": scene_of(one_gaussian((0, 0, 2e4), scale=100), sky=SKY),
    "on the camera": scene_of(one_gaussian((0, 0, 0), scale=2.0), sky=SKY),
    "too faint": scene_of(one_gaussian((0, 0, 5), opacity=0.003), sky=SKY),
    "zero quaternion": scene_of(replace(one_gaussian((0, 0, 5)), quats=np.zeros((1, 4), np.float32)), sky=SKY),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_scenes_in_which_nothing_is_seen_show_the_sky(name: str) -> None:
    image = CpuRenderer(RenderSettings()).render(DEGENERATE[name], [view_of(width=70, height=33)], instances=True)[0]
    assert np.all(image.rgb == SKY.colour)
    assert np.all(image.alpha == 0) and np.all(image.actor_weight == 0) and np.all(image.instance == 0)
    assert np.all(np.isnan(image.depth))


@pytest.mark.parametrize("scale", [1e3, 1e6, 1e12, 1e30])
@pytest.mark.parametrize("antialiased", [False, True])
def test_huge_gaussians(scale: float, antialiased: bool) -> None:
    """Hundreds of Gaussians that cover the whole image, the camera inside them: finite, and opaque if at all drawn."""
    gaussians = cloud(300, spread=0.5)
    gaussians = replace(gaussians, scales=gaussians.scales * np.float32(scale))
    renderer = CpuRenderer(RenderSettings(antialiased=antialiased))
    image = renderer.render(scene_of(gaussians, sky=SKY), [view_of(width=200, height=100)], instances=True)[0]
    assert np.all(np.isfinite(image.rgb)) and np.all(image.rgb >= 0)
    assert np.all((image.alpha >= 0) & (image.alpha <= 1))
    if scale <= 1e6:
        assert image.alpha.min() > 0.99


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["means", "quats", "scales", "opacities", "sh"])
def test_non_finite_gaussians_never_reach_the_image(field: str, bad: float) -> None:
    gaussians = cloud(200)
    values = getattr(gaussians, field).copy()
    values[::3] = bad
    image = CpuRenderer(RenderSettings()).render(scene_of(replace(gaussians, **{field: values})), [view_of()])[0]
    assert np.all(np.isfinite(image.rgb)) and np.all(np.isfinite(image.alpha)) and image.alpha.max() > 0.5


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 40), (33, 31), (32, 64), (65, 1)])
def test_any_image_size(width: int, height: int) -> None:
    """Each pixel is that of a larger image with the same K: no tile differs, no edge is missing."""
    scene = busy_scene(sky=SKY)
    large = view_of(width=100, height=100)
    small = replace(large, width_px=width, height_px=height)
    renderer = CpuRenderer(RenderSettings())
    whole, part = renderer.render(scene, [large, small], instances=True)
    # The limits of the Jacobian depend on the image size, but only for Gaussians well outside of it.
    difference = np.abs(part.rgb - whole.rgb[:height, :width])
    assert difference.shape == (height, width, 3) and difference.mean() < 0.02


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="threads"):
        CpuRenderer(RenderSettings(), threads=-1)
    too_wide = replace(view_of(), width_px=10_000_000)
    with pytest.raises(ValueError, match="10000000x121"):
        CpuRenderer(RenderSettings()).render(scene_of(NO_GAUSSIANS), [too_wide])
    actor = placed(cloud(1), Rigid.identity(), instance=65536)
    with pytest.raises(ValueError, match="65536"):
        CpuRenderer(RenderSettings()).render(scene_of(NO_GAUSSIANS, (actor,)), [view_of()])
