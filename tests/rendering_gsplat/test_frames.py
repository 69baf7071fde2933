"""What the gsplat renderer keeps from frame to frame, and what it asks gsplat for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gsplat", reason="needs gsplat and torch, which are not installed")

import torch

from r3d2_ros.rendering import gsplat_scene
from r3d2_ros.rendering.base import PlacedScene, RenderSettings
from r3d2_ros.rendering.gsplat import Kernels
from tests.gpu import scenes
from tests.rendering_gsplat.emulation import kernels
from tests.rendering_gsplat.test_images import VIEWS, assert_same_bytes, renderer

__all__ = ["kernels"]


def with_actors(count: int, *, sh_degree: int = 0, yaw_deg: float = 0.0) -> PlacedScene:
    """Always the same background and asset objects; the actors are `count` of one asset."""
    cars = scenes.traffic(count, seed=4, asset=ASSETS[sh_degree])
    return PlacedScene(BACKGROUNDS[sh_degree], cars, scenes.sky_image())


BACKGROUNDS = {degree: scenes.static(scenes.frustum(500, seed=0, sh_degree=degree)) for degree in (0, 3)}
ASSETS = {degree: scenes.box(60, seed=1, sh_degree=degree) for degree in (0, 3)}


@pytest.mark.parametrize("sh_degree", [0, 3])
def test_the_background_is_uploaded_once_and_stays(
    kernels: Kernels, monkeypatch: pytest.MonkeyPatch, sh_degree: int
) -> None:
    r = renderer(kernels)
    r.render(with_actors(5, sh_degree=sh_degree), VIEWS)
    held = r._scene
    pointers = [t.data_ptr() for t in (held.means, held.covars, held.opacities, held._colours, held._sections[0].sh)]
    background = held.means[:500].clone()
    uploads: list[int] = []
    for name in ("on_device", "to_device"):
        upload = getattr(gsplat_scene, name)
        monkeypatch.setattr(
            gsplat_scene, name, lambda a, d, upload=upload: (uploads.append(np.size(a)), upload(a, d))[1]
        )
    for count in (5, 4, 0, 5):
        r.render(with_actors(count, sh_degree=sh_degree), VIEWS)
    assert pointers == [
        t.data_ptr() for t in (held.means, held.covars, held.opacities, held._colours, held._sections[0].sh)
    ]
    assert torch.equal(background, held.means[:500])
    # Per frame the poses of the actors and the places of the cameras.
    assert max(uploads) <= 5 * 21


@pytest.mark.parametrize("sh_degree", [0, 3])
def test_a_frame_does_not_depend_on_the_frames_before(kernels: Kernels, sh_degree: int) -> None:
    """Actors come, go and move, cameras are due or not, the background changes: the bytes of a fresh renderer."""
    other = PlacedScene(scenes.static(scenes.ring(700, seed=9)), (), scenes.sky_image(seed=6))
    frames = [
        (with_actors(2, sh_degree=sh_degree), VIEWS[:1]),
        (with_actors(9, sh_degree=sh_degree), VIEWS),
        (with_actors(0, sh_degree=sh_degree), VIEWS[:2]),
        (other, VIEWS[1:]),
        (with_actors(3, sh_degree=sh_degree), VIEWS),
    ]
    r = renderer(kernels)
    for scene, views in frames:
        assert_same_bytes(
            r.render(scene, views, instances=True), renderer(kernels).render(scene, views, instances=True)
        )


def test_actors_move(kernels: Kernels) -> None:
    r = renderer(kernels)
    scene = with_actors(1)
    moved = replace(scene, actors=(scenes.actor(ASSETS[0], 6.0, 2.5, 90.0, 1),))
    a, b = r.render(scene, VIEWS[:1])[0], r.render(moved, VIEWS[:1])[0]
    assert_same_bytes([b], renderer(kernels).render(moved, VIEWS[:1]))
    assert np.abs(a.actor_weight - b.actor_weight).max() > 0.3


def test_assets_of_different_sh_degrees_in_one_frame(kernels: Kernels) -> None:
    """A car with view-dependent colours beside one without: each as if it were alone in the scene."""
    cars = (scenes.actor(ASSETS[3], 8.0, 3.0, 0.0, 1), scenes.actor(ASSETS[0], 8.0, -3.0, 0.0, 2))
    empty = scenes.static(scenes.frustum(0, seed=0))

    def picture(actors: tuple) -> np.ndarray:
        scene = PlacedScene(empty, actors, scenes.Sky())
        return renderer(kernels).render(scene, [scenes.camera(96, 64)])[0].rgb

    together, alone = picture(cars), [picture((car,)) for car in cars]
    assert np.allclose(together, alone[0] + alone[1], atol=1e-5) and alone[1].max() > 0.3


def test_gsplat_is_asked_for_the_settings(kernels: Kernels) -> None:
    calls: list[dict[str, Any]] = []

    def rasterization(**arguments: Any) -> Any:
        calls.append(arguments)
        return kernels.rasterization(**arguments)

    settings = RenderSettings(near_plane_m=0.3, far_plane_m=50.0, eps2d=0.1, antialiased=True)
    renderer(replace(kernels, rasterization=rasterization), settings).render(with_actors(2), VIEWS)
    wide, narrow = calls
    assert (wide["width"], wide["height"], len(wide["Ks"])) == (72, 44, 2)
    assert (narrow["width"], narrow["height"], len(narrow["Ks"])) == (48, 32, 1)
    for call in calls:
        assert (call["near_plane"], call["far_plane"], call["eps2d"]) == (0.3, 50.0, 0.1)
        assert (call["rasterize_mode"], call["radius_clip"]) == ("antialiased", 0.0)
        assert call["colors"].shape == (len(call["Ks"]), 620, 4)
        assert all(call[name].dtype == torch.float32 for name in ("means", "covars", "viewmats", "Ks", "colors"))


def test_planes_cut_where_they_are(kernels: Kernels) -> None:
    scene = with_actors(0)
    near = renderer(kernels, RenderSettings(near_plane_m=10.0)).render(scene, VIEWS[:1])[0]
    far = renderer(kernels, RenderSettings(far_plane_m=10.0)).render(scene, VIEWS[:1])[0]
    assert np.nanmin(near.depth) >= 10.0
    assert np.nanmax(far.depth) <= 10.0
