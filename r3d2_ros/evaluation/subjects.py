"""A sample made ready to be measured: its bytes, its region, and its inserts one by one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.dataset.meta import SampleActor
from r3d2_ros.dataset.samples import Sample
from r3d2_ros.errors import InputError
from r3d2_ros.evaluation.inserts import Insert, Part, Picture
from r3d2_ros.harmonizer.settings import RegionConfig

SMALLEST_PX = 16
"""LPIPS halves an image four times."""

OWN_SHARE = 0.5
"""Of an insert's pixels, how many have to lie in no other insert's box, so that the insert is measured by those."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What every row of an evaluation is shown of a sample.

    input, target  [H, W, 3] uint8
    mask           [H, W] pixels in which an insert is seen
    region         [H, W] pixels that the harmonizer may change: where its composite's weight is above 0
    shadow         [H, W] share of the sunlight that the inserts take away, None where it is not known
    """

    sample: Sample
    input: Picture
    target: Picture
    mask: Part
    region: Part
    shadow: NDArray[np.float32] | None
    inserts: tuple[Insert, ...]

    @property
    def view(self) -> CameraView:
        return self.sample.meta.camera.view

    @property
    def beside(self) -> Part:
        """[H, W] the region without the inserts: where shadows fall."""
        return self.region & ~self.mask


def load_subject(sample: Sample, config: RegionConfig) -> Subject:
    """InputError for images that are missing, damaged, small or of another size, and for a mask without an insert."""
    camera = sample.meta.camera
    if min(camera.height_px, camera.width_px) < SMALLEST_PX:
        got = f"{camera.height_px}x{camera.width_px}"
        raise InputError(str(sample.folder), f"images of {SMALLEST_PX} pixels a side or more", got)
    pair = sample.load()
    region = sample.region(pair.mask, config) > 0
    if not region.any():
        raise InputError(str(sample.folder / "mask.png"), "an insert, which has a region", "an empty mask")
    return Subject(
        sample=sample,
        input=_bytes(pair.input),
        target=_bytes(pair.target),
        mask=pair.mask,
        region=region,
        shadow=pair.shadow,
        inserts=tuple(_inserts(sample, pair.mask, config)),
    )


def _inserts(sample: Sample, mask: Part, config: RegionConfig) -> list[Insert]:
    """One for each actor. The mask is that of all inserts: where boxes overlap, nothing says whose a pixel is."""
    boxes = [_window(actor, mask.shape) for actor in sample.meta.actors]
    shared = np.sum(boxes, axis=0) > 1
    found = []
    for actor, box in zip(sample.meta.actors, boxes, strict=True):
        inside = mask & box
        own = inside & ~shared
        if own.sum() < OWN_SHARE * inside.sum():
            own[:] = False
        alone = replace(sample, meta=replace(sample.meta, actors=(actor,)))
        region = (alone.region(inside, config) > 0) & ~mask & ~shared
        bottom = actor.box_px[3]
        found.append(
            Insert(own, region, actor.box, bottom if bottom < mask.shape[0] else None, seen=bool(inside.any()))
        )
    return found


def _window(actor: SampleActor, shape: tuple[int, ...]) -> Part:
    """[H, W] the pixels of an actor's box."""
    left, top, right, bottom = actor.box_px
    window = np.zeros(shape, bool)
    window[top:bottom, left:right] = True
    return window


def _bytes(image: NDArray[np.float32]) -> Picture:
    """The bytes that the image was read from: its values are whole numbers of 255."""
    return np.round(image * 255).astype(np.uint8)
