"""From gsplat's floats on the device to harmonized bytes: what the arrays of `render` give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gsplat", reason="needs gsplat and torch, which are not installed")

import torch

from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer import harmonizer as harmonizer_module
from r3d2_ros.harmonizer.compositing.region import ActorBox
from r3d2_ros.harmonizer.harmonizer import Harmonizer
from r3d2_ros.harmonizer.moment import Harmonized, Moment
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RoiConfig, TemporalConfig
from r3d2_ros.rendering.base import PlacedScene
from r3d2_ros.rendering.frames import frame_of, render_frames
from r3d2_ros.rendering.gsplat import Kernels
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


def boxes_of(scene: PlacedScene) -> tuple[ActorBox, ...]:
    return tuple(
        ActorBox(
            Rigid(np.asarray(actor.R_world_node), actor.T_world_node.translation),
            (4.0, 2.0, 1.6),
            f"car {number}",
            actor.instance,
        )
        for number, actor in enumerate(scene.actors)
    )


@pytest.mark.parametrize("config", CONFIGS, ids=["region", "half", "roi", "full"])
def test_tensors_of_the_device_and_arrays_of_the_host_give_the_same_bytes(
    kernels: Kernels, config: HarmonizerConfig
) -> None:
    scene = scenes.crossing(background=1500, asset=200)
    boxes = boxes_of(scene)
    frames = render_frames(renderer(kernels), scene, VIEWS)
    assert all(isinstance(frame.rgb, torch.Tensor) for frame in frames)
    images = renderer(kernels).render(scene, VIEWS)
    arrays = [frame_of(image) for image in images]
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


def test_depth_and_instances_are_taken_from_where_they_were_rendered(
    kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scenes.crossing(background=1500, asset=200)
    frames = render_frames(renderer(kernels), scene, VIEWS, instances=True)
    for frame, without in zip(frames, render_frames(renderer(kernels), scene, VIEWS), strict=True):
        assert without.surfaces is not None and without.surfaces.instance is None and without.instance is None
        assert frame.surfaces is not None and frame.surfaces.instance is not None and frame.instance is not None
        np.testing.assert_array_equal(frame.surfaces.depth.numpy(), frame.depth)
        np.testing.assert_array_equal(frame.surfaces.actor_weight.numpy(), frame.actor_weight)
        np.testing.assert_array_equal(frame.surfaces.instance.numpy(), frame.instance)
    arrays = [replace(frame, surfaces=None) for frame in frames]
    harmonizer = Harmonizer(HarmonizerConfig(temporal=TemporalConfig(enabled=True)), darker())
    uploaded: list[np.dtype] = []
    upload = harmonizer_module.to_device
    monkeypatch.setattr(harmonizer_module, "to_device", lambda a, d: (uploaded.append(a.dtype), upload(a, d))[1])
    pictures = []
    for given in (frames, arrays):
        history = None
        for stamp_ns in (0, 100_000_000):
            moment = Moment(stamp_ns, ("a", "b", "c"), tuple(VIEWS), tuple(given), boxes_of(scene))
            outcomes, history = harmonizer.apply(moment, history)
        pictures.append([one.rgb for one in outcomes if isinstance(one, Harmonized)])
        if given is frames:
            assert set(uploaded) == {np.dtype(np.float32)} and len(uploaded) <= 2 * len(VIEWS), "the masks alone"
    assert len(uploaded) > 4 * len(VIEWS)
    for one, other in zip(*pictures, strict=True):
        np.testing.assert_array_equal(one, other)
