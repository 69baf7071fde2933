"""Nodes where they are placed: far from the origin, turned, many of them, never copied."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from r3d2_ros.geometry import Affine, Rigid, rotation_from_rpy
from r3d2_ros.rendering.base import PlacedGaussians, PlacedScene, RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from tests.rendering.cpu_scenes import busy_scene, cloud, moved, placed, psnr_db, scene_of, view_of

UTM = np.array([5e5, 4.6e6, 120.0])
RENDERER = CpuRenderer(RenderSettings())


def shifted(scene: PlacedScene, shift: np.ndarray) -> PlacedScene:
    def move(node: PlacedGaussians) -> PlacedGaussians:
        T = node.T_world_node
        return replace(node, T_world_node=Affine(T.linear, T.translation + shift))

    return PlacedScene(move(scene.background), tuple(move(actor) for actor in scene.actors), scene.sky)


def test_a_map_offset_gives_the_same_pixels() -> None:
    at_origin = RENDERER.render(busy_scene(), [view_of()])[0]
    far_away = RENDERER.render(shifted(busy_scene(), UTM), [moved(view_of(), UTM)])[0]
    assert psnr_db(far_away.rgb, at_origin.rgb) >= 60
    assert psnr_db(far_away.alpha, at_origin.alpha) >= 60


@pytest.mark.parametrize("undone_by_the_node", [False, True])
def test_an_offset_in_the_file_gives_the_same_pixels(undone_by_the_node: bool) -> None:
    gaussians = cloud(1500)
    at_origin = RENDERER.render(scene_of(gaussians), [view_of()])[0]
    georeferenced = replace(gaussians, origin=UTM)
    if undone_by_the_node:
        image = RENDERER.render(scene_of(georeferenced, T=Affine(np.eye(3), -UTM)), [view_of()])[0]
    else:
        image = RENDERER.render(scene_of(georeferenced), [moved(view_of(), UTM)])[0]
    assert psnr_db(image.rgb, at_origin.rgb) >= 60


def test_a_car_that_turns_shows_the_same_colours_on_the_same_panels() -> None:
    """Car and camera turned together by 180 degrees: the same picture, although the colours depend on direction."""
    car = cloud(800, centre=(0, 0, 0), spread=0.5, sh_degree=3)
    T_camera_actor = Rigid.from_rpy((0.2, 0.1, 0.3), (0.1, 0.2, 4.0))
    turn = Rigid.from_rpy((0, 0, np.pi), (30.0, -12.0, 0.5))

    def picture(T_world_actor: Rigid, *, colours_turn: bool) -> np.ndarray:
        actor = placed(car, T_world_actor, instance=1)
        if not colours_turn:
            actor = replace(actor, R_world_node=np.eye(3))
        view = view_of(T_camera_world=T_camera_actor @ T_world_actor.inverse())
        return RENDERER.render(scene_of(cloud(0), (actor,)), [view])[0].rgb

    still = picture(Rigid.identity(), colours_turn=True)
    assert psnr_db(picture(turn, colours_turn=True), still) >= 60
    assert psnr_db(picture(turn, colours_turn=False), still) < 35


def test_a_scaled_scene_gives_the_same_pixels() -> None:
    """T_map_scene may scale: a scene at a tenth of its size, ten times enlarged by its node."""
    gaussians = cloud(1500)
    small = replace(gaussians, means=gaussians.means / 10, scales=gaussians.scales / 10)
    rotation = rotation_from_rpy(0.3, 0.2, 0.1)
    view = view_of()
    expected = RENDERER.render(scene_of(gaussians), [view])[0]
    node = PlacedGaussians(small, Affine(10 * rotation, np.array([3.0, 2, 1])), rotation)
    turned = replace(view, T_camera_world=Rigid(rotation, np.array([3.0, 2, 1])).inverse())
    image = RENDERER.render(PlacedScene(node, (), scene_of(gaussians).sky), [turned])[0]
    assert psnr_db(image.rgb, expected.rgb) >= 60


def test_a_hundred_actors_copy_nothing() -> None:
    """After the first frame, a frame allocates its images and little else: not the 27 MB background, nor an actor."""
    background, asset = cloud(200_000, sh_degree=2), cloud(2_000, spread=0.3, centre=(0, 0, 0))
    actors = tuple(
        placed(asset, Rigid(rotation_from_rpy(0, 0, k), np.array([k % 10 - 5.0, 0.0, 4.0 + k // 10])), instance=k + 1)
        for k in range(100)
    )
    scene, view = scene_of(background, actors), view_of(width=64, height=36)
    renderer = CpuRenderer(RenderSettings())
    renderer.render(scene, [view])
    tracemalloc.start()
    renderer.render(scene, [view])
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert background.nbytes > 20e6
    assert peak_bytes < 1e6


def test_the_caller_keeps_its_images() -> None:
    """A later frame does not write into the images of an earlier one."""
    renderer = CpuRenderer(RenderSettings())
    first = renderer.render(busy_scene(), [view_of()])[0]
    kept = first.rgb.copy()
    renderer.render(busy_scene(), [view_of(T_camera_world=Rigid.from_rpy((0, 0.5, 0)))])
    assert np.array_equal(first.rgb, kept)
