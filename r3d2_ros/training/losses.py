"""The loss of a training: weighted terms, computed together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from r3d2_ros.errors import InputError
from r3d2_ros.training.config import LossConfig
from r3d2_ros.training.perceptual import COARSEST, LpipsHeads, crop_features, gram_loss
from r3d2_ros.training.trunk import Trunk, load_trunk

if TYPE_CHECKING:
    from r3d2_ros.training.data import Batch
    from r3d2_ros.training.stages import Made


class TrainingLoss(nn.Module):
    """Terms by name, and their weighted sum as `total`; each is the mean over the samples of the batch."""

    def __init__(self, config: LossConfig, trunk: Trunk | None = None) -> None:
        """`trunk`: in place of the one that the configuration names. InputError(s): `load_trunk`'s."""
        super().__init__()
        self.config = config
        self.trunk = (trunk or load_trunk(config.trunk)) if config.needs_trunk else None
        self.heads = LpipsHeads() if config.lpips > 0 else None

    def forward(self, made: Made, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """What a stage made of the inputs against the targets; `generator` (CPU) places the Gram term's crop."""
        output, target = made.image.float(), batch.target
        terms: dict[str, Tensor] = {}
        if self.config.l1 > 0 or self.config.l2 > 0:
            weight, difference = torch.where(batch.mask > 0.5, self.config.insert_weight, 1.0), output - target
            terms["l1"] = (difference.abs() * weight).mean()
            terms["l2"] = (difference.square() * weight).mean()
        if self.trunk is not None:
            if min(output.shape[-2:]) < COARSEST:
                hint = "Set a larger data.crop_px, or no data.sizes that make it so small"
                where, got = f"samples {', '.join(batch.names)}", f"{output.shape[-2]}x{output.shape[-1]}"
                raise InputError(where, f"{COARSEST} px or more a side, for loss.lpips and loss.gram", got, hint)
            terms |= self._of_features(output, target, generator)
        if made.sun is not None:
            terms["sun"] = sun_loss(made.sun, batch.sun).mean()
        terms["total"] = torch.stack([getattr(self.config, name) * value for name, value in terms.items()]).sum()
        return terms

    def _of_features(self, output: Tensor, target: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        assert self.trunk is not None
        with torch.no_grad():
            wanted = self.trunk(target)
        got = self.trunk(output)
        terms = {}
        if self.heads is not None:
            terms["lpips"] = self.heads(got, wanted).mean()
        if self.config.gram > 0:
            place = gram_crop(output.shape[-2:], self.config.gram_crop_px, generator)
            if place is not None:
                top, left, size_px = place
                got, wanted = (crop_features(f, top=top, left=left, size_px=size_px) for f in (got, wanted))
            terms["gram"] = gram_loss(got, wanted, self.config.gram_normalisation).mean()
        return terms


def sun_loss(told: Tensor, sun: Tensor) -> Tensor:
    """Mean squared error [B] of directions `told` [B,3,h,w] against unit vectors [B,3]; 0 where `sun` is NaN."""
    known = torch.isfinite(sun).all(dim=1)
    wanted = torch.where(known[:, None], sun, 0.0)[:, :, None, None]
    return (told.float() - wanted).square().mean(dim=(1, 2, 3)) * known


def gram_crop(size: torch.Size, side_px: int, generator: torch.Generator) -> tuple[int, int, int] | None:
    """Top, left and side of a random square on the grid of the coarsest features; None: the whole image.

    A side beyond the image's is the image's shorter one.
    """
    if side_px == 0:
        return None
    rows, columns = (length // COARSEST for length in size)
    side = max(1, min(side_px // COARSEST, rows, columns))
    top = int(torch.randint(rows - side + 1, (), generator=generator))
    left = int(torch.randint(columns - side + 1, (), generator=generator))
    return top * COARSEST, left * COARSEST, side * COARSEST
