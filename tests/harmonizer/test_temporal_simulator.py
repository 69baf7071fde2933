"""The temporal mode as a user sees it: bytes of real frame sets, with a network that flickers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from r3d2_ros.cameras import Camera, Rig
from r3d2_ros.harmonizer.base import Shape
from r3d2_ros.harmonizer.harmonizer import Harmonizer
from r3d2_ros.harmonizer.model.config import LATENT_PX
from r3d2_ros.harmonizer.settings import HarmonizerConfig, TemporalConfig
from r3d2_ros.rendering.base import RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from r3d2_ros.simulator import CameraFrame, FrameSet, History, Simulator
from r3d2_ros.world import ActorState, EgoState, WorldState
from tests.harmonizer.moving import AHEAD, FRONT, RIGHT, SEQUENCES, STEP_S, TURNING, library, noise, sequence, street
from tests.harmonizer.test_temporal_cameras import difference


class Flickering:
    """A little darker, and noise of three kinds that is new in every image."""

    device, latent_px = torch.device("cpu"), LATENT_PX

    def __init__(self) -> None:
        self.random = np.random.default_rng(3)

    def __call__(self, images: Tensor) -> Tensor:
        return torch.stack([(image * 0.95 - 0.05 + self._noise()).clamp(0, 1) for image in images])

    def _noise(self) -> Tensor:
        kinds = sum(noise(kind, self.random, 2.0) for kind in ("brightness", "smooth", "latent"))
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.asarray(kinds), -1, 0)))

    def warm_up(self, shapes: Iterable[Shape]) -> None:
        pass


def drive(name: str, frames: Sequence[int], cameras: tuple[Camera, ...], *, temporal: bool) -> list[FrameSet]:
    config = HarmonizerConfig(temporal=TemporalConfig(enabled=temporal))
    simulator = Simulator(
        scene=street(),
        library=library(),
        rig=Rig("rig", cameras),
        renderer=CpuRenderer(RenderSettings()),
        harmonizer=Harmonizer(config, Flickering()),
        instances=True,
    )
    frame_sets, history = [], History()
    for k in frames:
        T_world_ego, cars = SEQUENCES[name](k)
        stamp_ns = round(k * STEP_S * 1e9)
        actors = tuple(ActorState(id, asset, T, instance=n + 1) for n, (id, asset, T) in enumerate(cars))
        state = WorldState(stamp_ns, EgoState(stamp_ns, T_world_ego), actors, tuple(actor.id for actor in actors))
        frame_set, history = simulator.step(state, history)
        frame_sets.append(frame_set)
    return frame_sets


def flicker(last: CameraFrame, now: CameraFrame) -> float:
    """Mean absolute change from frame to frame beyond that of the render, around the cars, in grey levels."""
    assert last.mask is not None and now.mask is not None and last.instance is not None and now.instance is not None
    around = (last.mask == 1) & (now.mask == 1) & (last.instance == 0) & (now.instance == 0)
    change = now.rgb.astype(float) - last.rgb
    return float(np.abs(change - (now.rendered.astype(float) - last.rendered))[around].mean())


def test_half_the_flicker_and_the_same_pictures() -> None:
    single, carried = (
        [frame_set.frames[0] for frame_set in drive(AHEAD, range(12), (FRONT,), temporal=temporal)]
        for temporal in (False, True)
    )
    # From the third frame on, when there is something to carry.
    before, after = (
        np.mean([flicker(frames[k - 1], frames[k]) for k in range(2, 12)]) for frames in (single, carried)
    )
    assert 3 < before < 6
    assert after <= before / 2
    for one, other in zip(single, carried, strict=True):
        assert one.mask is not None
        np.testing.assert_array_equal(one.rgb[one.mask == 0], other.rgb[one.mask == 0])
        error = (one.rgb.astype(float) - other.rgb)[one.mask > 0]
        assert 10 * np.log10(255**2 / max(float(np.mean(error**2)), 1e-9)) >= 32


def test_two_cameras_agree_on_a_car_in_their_published_bytes() -> None:
    frames = range(8, 18, 2)
    apart, agreed = (drive(TURNING, frames, (FRONT, RIGHT), temporal=temporal) for temporal in (False, True))
    for moment, before, after in zip(sequence(TURNING, (FRONT, RIGHT), frames), apart, agreed, strict=True):
        off, on = (
            difference(moment, [(f.rgb.astype(np.float32) - f.rendered) / np.float32(255) for f in frame_set.frames])
            for frame_set in (before, after)
        )
        assert off.mean() > 2
        # Rounding to bytes alone is a third of a grey level.
        assert on.mean() <= 1
