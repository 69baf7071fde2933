"""The instance image of the gsplat renderer: exact, for any number of actors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gsplat", reason="needs gsplat and torch, which are not installed")

import torch

from r3d2_ros.rendering.base import PlacedScene, RenderSettings
from r3d2_ros.rendering.gsplat import Kernels
from r3d2_ros.rendering.gsplat_images import INSTANCE_CHANNELS, _heaviest_slot
from r3d2_ros.rendering.reference import ReferenceRenderer
from tests.gpu import scenes
from tests.rendering_gsplat.emulation import kernels
from tests.rendering_gsplat.test_images import VIEWS, renderer

__all__ = ["kernels"]


@pytest.mark.parametrize(
    ("weights", "winner"),
    [
        ({1: 0.6}, 1),
        ({1: 0.4}, 0),  # the background and the sky have 0.6
        ({1: 0.5}, 0),  # equal to the background
        ({1: 0.3, 2: 0.45}, 2),
        ({1: 0.4, 2: 0.4}, 0),  # equal to each other
        ({1: 0.3, 20: 0.4}, 20),  # in different chunks
        ({1: 0.4, 20: 0.3}, 1),
        ({1: 0.4, 20: 0.4}, 0),
        ({1: 0.4, 2: 0.1, 20: 0.4}, 0),
        ({}, 0),
    ],
)
def test_the_rule(weights: dict[int, float], winner: int) -> None:
    """One pixel, 20 actors of one Gaussian each; more than fit into one chunk."""
    assert INSTANCE_CHANNELS < 20
    given = torch.tensor([weights.get(slot, 0.0) for slot in range(21)])

    def composited(*, colors: torch.Tensor) -> tuple[torch.Tensor, None]:
        return (given[:, None] * colors).sum(0).reshape(1, 1, 1, -1), None

    assert int(_heaviest_slot(composited, torch.arange(21), (1, 1))) == winner


def test_many_actors_equal_the_reference(kernels: Kernels) -> None:
    asset = scenes.box(60, seed=1)
    numbered = tuple(
        replace(car, instance=65535 - 7 * i) for i, car in enumerate(scenes.traffic(40, seed=8, asset=asset))
    )
    scene = PlacedScene(scenes.static(scenes.frustum(800, seed=0)), numbered, scenes.sky_image())
    images = renderer(kernels).render(scene, VIEWS[:2], instances=True)
    expected = ReferenceRenderer(RenderSettings()).render(scene, VIEWS[:2], instances=True)
    for image, other in zip(images, expected, strict=True):
        assert np.mean(image.instance != other.instance) <= 1e-3
    assert len(np.unique(images[0].instance)) > INSTANCE_CHANNELS


def test_an_actor_of_several_nodes_counts_as_one(kernels: Kernels) -> None:
    """Two halves with 0.4 each outweigh a background with 0.2, although neither does alone."""
    halves = tuple(scenes.actor(scenes.box(150, seed=s), 7.0, 0.0, 0.0, 3) for s in (1, 2))
    scene = PlacedScene(scenes.static(scenes.frustum(500, seed=0)), halves, scenes.sky_image())
    image = renderer(kernels).render(scene, VIEWS[:1], instances=True)[0]
    expected = ReferenceRenderer(RenderSettings()).render(scene, VIEWS[:1], instances=True)[0]
    assert np.mean(image.instance != expected.instance) <= 1e-3
    assert set(np.unique(image.instance)) == {0, 3}


def test_other_numbers_than_16_bits_are_refused(kernels: Kernels) -> None:
    car = scenes.actor(scenes.box(10, seed=1), 7.0, 0.0, 0.0, 65536)
    scene: Any = PlacedScene(scenes.static(scenes.frustum(10, seed=0)), (car,), scenes.Sky())
    with pytest.raises(ValueError, match=r"expected 0\.\.65535, got 0\.\.65536"):
        renderer(kernels).render(scene, VIEWS[:1], instances=True)
