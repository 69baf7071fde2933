"""A drive through the harmonizer's temporal mode, on any device: real renders, and a network that flickers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from r3d2_ros.harmonizer.base import Shape
from r3d2_ros.harmonizer.harmonizer import Harmonizer
from r3d2_ros.harmonizer.model.config import LATENT_PX
from r3d2_ros.harmonizer.moment import Harmonized, Moment
from r3d2_ros.harmonizer.settings import HarmonizerConfig, TemporalConfig
from r3d2_ros.rendering.base import RenderedImage
from r3d2_ros.rendering.frames import DeviceSurfaces, RenderedFrame, frame_of
from tests.harmonizer.moving import FRONT, RIGHT, TURNING, Shot, sequence

FRAMES = range(8, 16, 2)
"""Both cameras see the turning car, and later the parked one."""


class Flickering:
    """A network on a device: a fifth darker, and noise on the grid of its latents that is new in every call."""

    latent_px = LATENT_PX

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self._random = torch.Generator().manual_seed(0)

    def __call__(self, images: Tensor) -> Tensor:
        rows, columns = images.shape[-2:]
        coarse = torch.randn(len(images), 3, rows // LATENT_PX, columns // LATENT_PX, generator=self._random)
        noise = functional.interpolate(coarse, size=(rows, columns), mode="bilinear", align_corners=False)
        return (0.8 * images + 0.015 * noise.to(images.device)).clamp(0, 1)

    def warm_up(self, shapes: Iterable[Shape]) -> None:
        pass


def harmonized(device: str, *, surfaces: bool, temporal: bool = True) -> list[Harmonized]:
    """Every camera's picture at every moment.

    surfaces  the renders lie on the device, as a renderer there leaves them, and not on the host
    """
    config = HarmonizerConfig(temporal=TemporalConfig(enabled=temporal))
    harmonizer, history = Harmonizer(config, Flickering(device)), None
    pictures: list[Harmonized] = []
    for moment in moments(device if surfaces else None):
        outcomes, history = harmonizer.apply(moment, history)
        pictures += [outcome for outcome in outcomes if isinstance(outcome, Harmonized)]
    return pictures


def moments(device: str | None) -> list[Moment]:
    """With renders on a device, or None for the host."""
    return [
        Moment(
            stamp_ns=moment.stamp_ns,
            names=tuple(shot.camera.name for shot in moment.shots),
            views=tuple(shot.camera.view for shot in moment.shots),
            frames=tuple(frame(shot, device) for shot in moment.shots),
            actors=moment.actors,
        )
        for moment in sequence(TURNING, (FRONT, RIGHT), FRAMES)
    ]


def frame(shot: Shot, device: str | None) -> RenderedFrame:
    weight, depth = shot.insert.astype(np.float32), shot.camera.depth
    assert depth is not None and shot.camera.instance is not None
    instance = shot.camera.instance.numpy().astype(np.uint16)
    made = frame_of(RenderedImage(shot.render, depth.numpy(), np.ones_like(weight), weight, instance))
    if device is None:
        return made
    on_device = (torch.from_numpy(made.rgb8), depth, torch.from_numpy(weight), shot.camera.instance)
    surfaces = DeviceSurfaces(*(tensor.to(device) for tensor in on_device))
    return replace(made, rgb=torch.from_numpy(shot.render).to(device), surfaces=surfaces)
