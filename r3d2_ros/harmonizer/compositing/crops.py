"""The network on crops of several images: what it changed there is added, fading out towards the edges of the crops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from r3d2_ros.harmonizer.base import ImageModel
from r3d2_ros.harmonizer.compositing.roi import Crop
from r3d2_ros.harmonizer.packages import kernels_run_on


def run_on_crops(
    images: Sequence[Tensor], crops: Sequence[Sequence[Crop]], network: ImageModel, *, margin_px: int
) -> Iterator[tuple[int, Tensor]]:
    """Number of each image [3, H, W] in [0, 1], and the image with what `network` changes in its crops, which
    `choose_crops` gave. It comes when the last of its crops has been run.

    The network gets the crops of one size, of all images together, as one batch. What it changed has full effect from
    `margin_px` inside a crop's edges, and up to the edges of the image; where crops overlap, their weighted mean. A
    network that changes nothing changes no bit, and an image without crops is returned as it is.
    """
    every = [(number, crop) for number, group in enumerate(crops) for crop in group]
    residuals: list[dict[Crop, Tensor]] = [{} for _ in images]
    yield from ((number, image) for number, image in enumerate(images) if not crops[number])
    for size in sorted({(crop.height, crop.width) for _, crop in every}):
        group = [(number, crop) for number, crop in every if (crop.height, crop.width) == size]
        batch = torch.stack([images[number][:, *crop.slices] for number, crop in group])
        for (number, crop), residual in zip(group, network(batch) - batch, strict=True):
            residuals[number][crop] = residual
            if len(residuals[number]) == len(crops[number]):
                yield number, _with_changes(images[number], residuals[number], margin_px)


def _with_changes(image: Tensor, residuals: dict[Crop, Tensor], margin_px: int) -> Tensor:
    if len(residuals) == 1 and kernels_run_on(image.device):
        from r3d2_ros.harmonizer.compositing.kernels_composite import added_inside

        return added_inside(image, *next(iter(residuals.items())), margin_px)
    return with_changes(image, residuals, margin_px)


def with_changes(image: Tensor, residuals: dict[Crop, Tensor], margin_px: int) -> Tensor:
    """The image [3, H, W] plus the weighted mean of the residuals of its crops."""
    out, change, weights = image.clone(), torch.zeros_like(image), torch.zeros_like(image[0])
    for crop, residual in residuals.items():
        weight = _weight(crop, image, margin_px)
        change[:, *crop.slices] += weight * residual
        weights[crop.slices] += weight
    for crop in residuals:
        mean = change[:, *crop.slices] / weights[crop.slices].clamp_min(1)
        out[:, *crop.slices] = (image[:, *crop.slices] + mean).clamp(0, 1)
    return out


def _weight(crop: Crop, image: Tensor, margin_px: int) -> Tensor:
    """[h, w]: 1 inside, falling linearly over `margin_px` towards edges that are not the image's."""

    def ramp(length: int, start: int, total: int) -> Tensor:
        steps = torch.arange(1, length + 1, device=image.device, dtype=image.dtype) / (margin_px + 1)
        weight = torch.ones_like(steps)
        if start > 0:
            weight = torch.minimum(weight, steps)
        if start + length < total:
            weight = torch.minimum(weight, steps.flip(0))
        return weight

    rows = ramp(crop.height, crop.top, image.shape[-2])
    return rows[:, None] * ramp(crop.width, crop.left, image.shape[-1])
