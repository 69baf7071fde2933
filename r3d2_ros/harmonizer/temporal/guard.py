"""How far a carried residual is trusted: flicker is taken out, what has really changed is not held back.

The network's flicker is faint (2 to 3.5 grey levels for the released R3D2 weights); a shadow that has moved on, a light
that went out or another surface is not. So a carried residual counts fully while it differs from the new one by no more
than flicker does, and not at all from twice that on. The difference is measured over a neighbourhood, a few blocks of
pixels, so that the noise of single pixels neither hides a change nor looks like one.

Flicker is smooth for the greater part: where nothing valid could be carried, it is about what it is beside there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SPREAD_BLOCKS = 9
"""How far a difference is spread, in blocks."""

_LITTLE = 1e-6


@dataclass(frozen=True, eq=False)
class Carried:
    """A residual from elsewhere, as its difference from the one that is here.

    difference  [3, h, w]: weight times (residual from elsewhere - residual here)
    weight      [h, w], 0 to 1: how much of it is valid
    """

    difference: Tensor
    weight: Tensor


def trusted(carried: Sequence[Carried], *, inside: Tensor, tolerance: float, block_px: int) -> Carried:
    """What was carried, as far as it can be trusted.

    carried    along one motion, or along two of which each neighbourhood takes the one that fits better
    inside     [h, w] float32: 1 in the region, 0 outside
    tolerance  differences up to this are flicker
    """
    squares = [_pooled((c.difference * c.difference).mean(0), block_px) for c in carried]
    weights = [_pooled(c.weight, block_px) for c in carried]
    best, square, weight = carried[0], squares[0], weights[0]
    if len(carried) == 2:
        # What could not be carried counts as a difference as large as the tolerance.
        region = _pooled(inside, block_px)
        miss = [s + tolerance**2 * (region - w) + _LITTLE**2 for s, w in zip(squares, weights, strict=True)]
        blocks = miss[0] ** 2 / (miss[0] ** 2 + miss[1] ** 2)
        square, weight = torch.lerp(squares[0], squares[1], blocks), torch.lerp(weights[0], weights[1], blocks)
        share = _enlarged(blocks, inside.shape)
        best = Carried(
            torch.lerp(carried[0].difference, carried[1].difference, share),
            torch.lerp(carried[0].weight, carried[1].weight, share),
        )
    rms = (square / weight.clamp(min=_LITTLE)).sqrt()
    trust = _enlarged((2.0 - rms / tolerance).clamp(0.0, 1.0), inside.shape)
    difference = (best.difference * trust).clamp(-tolerance, tolerance)
    return Carried(difference, best.weight * trust)


def spread(carried: Carried, *, inside: Tensor, block_px: int) -> Carried:
    """The difference beside, for the pixels of the region that have none of their own; it fades out with the distance.

    Its weight is that of `carried` at most what is missing there to 1, and 0 outside the region.
    """
    blocks = F.avg_pool2d(torch.cat([carried.difference, carried.weight[None]])[None], block_px, ceil_mode=True)
    size = 2 * SPREAD_BLOCKS + 1
    for kernel, border in (((size, 1), (SPREAD_BLOCKS, 0)), ((1, size), (0, SPREAD_BLOCKS))):
        blocks = F.avg_pool2d(blocks, kernel, stride=1, padding=border)
    weight = blocks[:, 3:]
    blocks = torch.cat([blocks[:, :3] / weight.clamp(min=_LITTLE), (3.0 * weight).clamp(max=1.0)], dim=1)
    beside = F.interpolate(blocks, size=inside.shape, mode="bilinear", align_corners=False)[0]
    missing = (inside - carried.weight).clamp(min=0.0) * beside[3]
    return Carried(missing * beside[:3], missing)


def block_px_of(height_px: int) -> int:
    """Side of a block of pixels in an image of that height: 4 at 540 rows, 8 at 1080."""
    return max(2, round(height_px / 135))


def _pooled(image: Tensor, block_px: int) -> Tensor:
    """Means [1, 1, rows, columns] over blocks of an image [h, w] and their neighbours."""
    blocks = F.avg_pool2d(image[None, None], block_px, ceil_mode=True)
    return F.avg_pool2d(F.pad(blocks, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def _enlarged(blocks: Tensor, shape: tuple[int, ...]) -> Tensor:
    return F.interpolate(blocks, size=shape, mode="bilinear", align_corners=False)[0, 0]
