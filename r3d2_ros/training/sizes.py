"""A step's pictures at other sizes: an actor's shadow is the same, whether the camera has 540 rows or 1080."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from r3d2_ros.harmonizer.compositing.reduced import reduced_size
from r3d2_ros.harmonizer.resampling import area_mean, enlarged
from r3d2_ros.training.data import Batch
from r3d2_ros.training.losses import TrainingLoss
from r3d2_ros.training.stages import Made


def draw_sizes(sizes: Sequence[float], count: int, rng: np.random.Generator) -> tuple[float, ...]:
    """`count` different ones of `sizes`, the largest first."""
    return tuple(sorted((sizes[k] for k in rng.choice(len(sizes), count, replace=False)), reverse=True))


def at_size(batch: Batch, size: float) -> Batch:
    """The pictures with `size` times as many rows and columns: means of areas, or bicubic where there are more."""
    if size == 1.0:
        return batch
    height, width = batch.input.shape[-2:]
    shape = reduced_size(height, width, size)
    change = _bicubic if size > 1 else area_mean
    input, target, mask = (change(image, shape) for image in (batch.input, batch.target, batch.mask))
    return replace(batch, input=input, target=target, mask=(mask > 0.5).to(mask.dtype))


def _bicubic(image: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(image, size=size, mode="bicubic", align_corners=False).clamp(0, 1)


def loss_at_sizes(
    module: Callable[[Tensor], Made], loss: TrainingLoss, batches: Sequence[Batch], seed: int
) -> dict[str, Tensor]:
    """The terms of `loss`, each the mean over `batches`: the same samples, the largest pictures first.

    Where there are several, `agreement` is a term more. `seed` places the Gram term's crop.
    """
    made = [module(batch.input.contiguous(memory_format=torch.channels_last)) for batch in batches]
    each = [loss(m, b, torch.Generator().manual_seed(seed)) for m, b in zip(made, batches, strict=True)]
    terms = {name: torch.stack([terms[name] for terms in each]).mean() for name in each[0]}
    if len(batches) > 1:
        changes = [m.image.float() - b.input for m, b in zip(made, batches, strict=True)]
        terms["agreement"] = torch.stack([disagreement(changes[0], change) for change in changes[1:]]).mean()
        terms["total"] = terms["total"] + loss.config.agreement * terms["agreement"]
    return terms


def disagreement(change: Tensor, small: Tensor) -> Tensor:
    """Mean squared difference between what is changed in pictures, [B,3,H,W], and in the same at a smaller size,
    enlarged as `harmonizer.resolution` does it."""
    height, width = change.shape[-2:]
    return (change - enlarged(small, (height, width))).square().mean()
