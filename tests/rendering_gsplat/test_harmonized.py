"""From gsplat's floats on the device to harmonized bytes: what the arrays of `render` give."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gsplat", reason="needs gsplat and torch, which are not installed")

import torch

from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer.harmonizer import Harmonizer
from r3d2_ros.harmonizer.moment import Moment
from r3d2_ros.harmonizer.outcome import Harmonized
from r3d2_ros.harmonizer.region import ActorBox
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RoiConfig
from r3d2_ros.rendering.frames import RenderedFrame, render_frames
from r3d2_ros.rendering.gsplat import Kernels
from r3d2_ros.rendering.rgb8 import to_rgb8
from tests.gpu import scenes
from tests.harmonizer.test_harmonizer import darker
from tests.rendering_gsplat.emulation import kernels
from tests.rendering_gsplat.test_images import VIEWS, renderer

__all__ = ["kernels"]

CONFIGS = [
    HarmonizerConfig(),
    HarmonizerConfig(resolution="half"),
    HarmonizerConfig(roi=RoiConfig(enabled=True, sizes="32x32, 40x64", margin_px=8)),
    HarmonizerConfig(composite="full"),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["region", "half", "roi", "full"])
def test_tensors_of_the_device_and_arrays_of_the_host_give_the_same_bytes(
    kernels: Kernels, config: HarmonizerConfig
) -> None:
    scene = scenes.crossing(background=1500, asset=200)
    boxes = tuple(
        ActorBox(Rigid(np.asarray(actor.R_world_node), actor.T_world_node.translation), (4.0, 2.0, 1.6))
        for actor in scene.actors
    )
    frames = render_frames(renderer(kernels), scene, VIEWS)
    assert all(isinstance(frame.rgb, torch.Tensor) for frame in frames)
    images = renderer(kernels).render(scene, VIEWS)
    arrays = [RenderedFrame(to_rgb8(i.rgb), i.rgb, i.depth, i.actor_weight, None) for i in images]
    harmonizer = Harmonizer(config, darker())
    on_device, on_host = (
        harmonizer.apply(Moment(0, ("a", "b", "c"), tuple(VIEWS), tuple(given), boxes))[0] for given in (frames, arrays)
    )
    changed = 0
    for one, other, frame in zip(on_device, on_host, frames, strict=True):
        assert isinstance(one, Harmonized) and isinstance(other, Harmonized)
        np.testing.assert_array_equal(one.rgb, other.rgb)
        changed += int((one.rgb != frame.rgb8).sum())
    assert changed > 1000
