"""The region on a GPU: what the CPU finds, and the same pictures.

Run where there is no pytest too (see run.py), so the tests take no fixtures and are not parametrised.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from r3d2_ros.harmonizer.settings import HarmonizerConfig, RegionConfig, RoiConfig
from tests.gpu.machine import cuda_fault
from tests.gpu.surroundings import SeenActors, seen_actors

if TYPE_CHECKING:
    from torch import Tensor

    from r3d2_ros.rendering.frames import DeviceSurfaces, RenderedFrame

FAULT = cuda_fault()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(FAULT), reason=f"needs an NVIDIA GPU with CUDA: {FAULT}")]

SIZES = [(1080, 1920), (720, 1290), (1080, 1920), (1080, 1920)]


def test_regions_are_those_of_the_cpu() -> None:
    """But for pixels whose surfaces lie at the very end of a shadow's reach."""
    from r3d2_ros.harmonizer.compositing.device_region import find_device_regions

    seen = [seen_actors(seed, size) for seed, size in enumerate(SIZES)]
    boxes = seen[0].boxes
    for config in (RegionConfig(), RegionConfig(depth_test=False, feather_px=0)):
        found = find_device_regions([one.surfaces("cuda:0") for one in seen], [one.view for one in seen], boxes, config)
        by_number = {region.number: region for region in found}
        for number, one in enumerate(seen):
            expected = one.region(boxes, config)
            assert (number in by_number) == (expected is not None)
            if expected is not None:
                assert np.mean(by_number[number].mask.cpu().numpy() != expected.mask) < 1e-4
                assert np.abs(np.subtract(by_number[number].bounds, expected.bounds)).max() <= 2


def test_composites_are_those_of_the_cpu() -> None:
    import torch

    from r3d2_ros.harmonizer.compositing.composite import composited
    from r3d2_ros.harmonizer.compositing.crops import run_on_crops
    from r3d2_ros.harmonizer.compositing.roi import Crop

    rng = torch.Generator().manual_seed(0)
    size = (270, 481)
    render = torch.randint(0, 256, (*size, 3), generator=rng, dtype=torch.uint8)
    image = torch.rand((3, *size), generator=rng)
    for crop in (Crop(128, 256, 40, 64), Crop(128, 481, 0, 0)):
        outputs = [
            next(iter(run_on_crops([one], [(crop,)], lambda batch: 1.2 * batch - 0.1, margin_px=9)))[1]
            for one in (image, image.cuda())
        ]
        torch.testing.assert_close(outputs[1].cpu(), outputs[0], rtol=0, atol=1e-6)
    harmonized = outputs[0]
    harmonized[1, 5, 6:20] = float("nan")
    for mask in (None, (torch.rand(size, generator=rng) * 2 - 0.5).clamp(0, 1)):
        expected, bad = composited(render, harmonized, mask)
        on_gpu = composited(render.cuda(), harmonized.cuda(), None if mask is None else mask.cuda())
        assert torch.equal(on_gpu[0].cpu(), expected) and int(on_gpu[1]) == int(bad) > 0


def rendered(seen: SeenActors, frame: RenderedFrame) -> DeviceSurfaces:
    import torch

    return replace(seen.surfaces("cuda:0"), rgb8=torch.from_numpy(frame.rgb8).cuda())


class Darker:
    """A network on the GPU that takes a fifth of the light."""

    latent_px = 8

    def __init__(self) -> None:
        import torch

        self.device = torch.device("cuda:0")

    def __call__(self, images: Tensor) -> Tensor:
        return images * 0.8

    def warm_up(self, shapes: object) -> None:
        pass


def test_pictures_are_those_of_arrays_on_the_host() -> None:
    """Also behind a warm-up, after which depth and weights do not come to the host any more."""
    import torch

    from r3d2_ros.harmonizer.harmonizer import Harmonizer
    from r3d2_ros.harmonizer.moment import Harmonized, Moment
    from r3d2_ros.rendering.base import RenderedImage
    from r3d2_ros.rendering.frames import frame_of

    seen = [seen_actors(seed, size) for seed, size in enumerate(SIZES)]
    rng = np.random.default_rng(0)
    images = [
        RenderedImage(rng.random((*one.depth.shape, 3), np.float32), one.depth, one.actor_weight, one.actor_weight)
        for one in seen
    ]
    config = HarmonizerConfig(composite="region", roi=RoiConfig(enabled=True))
    harmonizer = Harmonizer(config, Darker())
    harmonizer.warm_up(SIZES)
    pictures = []
    for on_gpu in (True, False):
        frames = [frame_of(image) for image in images]
        if on_gpu:
            frames = [
                replace(frame, rgb=torch.from_numpy(image.rgb).cuda(), surfaces=rendered(one, frame))
                for frame, image, one in zip(frames, images, seen, strict=True)
            ]
        names = tuple(f"camera {number}" for number in range(len(seen)))
        moment = Moment(0, names, tuple(one.view for one in seen), tuple(frames), seen[0].boxes)
        pictures.append(harmonizer.apply(moment)[0])
    for one, other in zip(*pictures, strict=True):
        assert isinstance(one, Harmonized) and isinstance(other, Harmonized)
        assert (one.mask is None) == (other.mask is None)
        assert np.mean(one.rgb != other.rgb) < 1e-4
    assert sum(isinstance(one, Harmonized) and one.mask is not None for one in pictures[0]) >= 2
