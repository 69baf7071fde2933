"""How far a carried residual is trusted: flicker is taken out, what has really changed is not held back.

The network's flicker is faint (2 to 3.5 grey levels for the released R3D2 weights); a shadow that has moved on, a light
that went out or another surface is not. So a carried residual counts fully while it differs from the new one by no more
than flicker does, and not at all from twice that on. The difference is measured over a neighbourhood, a few blocks of
pixels, so that the noise of single pixels neither hides a change nor looks like one.

Flicker is smooth for the greater part: where nothing valid could be carried, it is about what it is beside there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SPREAD_BLOCKS = 9
"""How far a difference is spread, in blocks."""

_LITTLE = 1e-6


def trusted(carried: Tensor, *, inside: Tensor, tolerance: float, block_px: int) -> Tensor:
    """What was carried [4, h, w], as far as it can be trusted.

    carried    [K, 4, h, w], along one motion, or along two of which each neighbourhood takes the one that fits better:
               weight times (residual from elsewhere - residual here), and the weight, 0 to 1: how much of it is valid
    inside     [h, w] float32: 1 in the region, 0 outside
    tolerance  differences up to this are flicker
    """
    motions, difference = len(carried), carried[:, :3]
    images = [(difference * difference).mean(1), carried[:, 3], *([inside[None]] if motions == 2 else [])]
    pooled = _pooled(torch.cat(images), block_px)
    squares_weights = pooled[: 2 * motions].unflatten(0, (2, motions))
    best, (square, weight) = carried[0], squares_weights[:, 0]
    if motions == 2:
        squares, weights = squares_weights
        # What could not be carried counts as a difference as large as the tolerance.
        miss = (squares + tolerance**2 * (pooled[-1] - weights) + _LITTLE**2) ** 2
        blocks = miss[0] / (miss[0] + miss[1])
        square, weight = torch.lerp(squares_weights[:, 0], squares_weights[:, 1], blocks)
        best = torch.lerp(carried[0], carried[1], _enlarged(blocks[None], inside.shape, block_px))
    rms = (square / weight.clamp(min=_LITTLE)).sqrt()
    trust = (2.0 - rms / tolerance).clamp(0.0, 1.0)
    sound = best * _enlarged(trust[None], inside.shape, block_px)
    sound[:3].clamp_(-tolerance, tolerance)
    return sound


def spread(carried: Tensor, *, inside: Tensor, block_px: int) -> Tensor:
    """The difference beside, for the pixels of the region that have none of their own; it fades out with the distance.

    Both are [4, h, w] as in `trusted`. The weight is that of `carried` beside, at most what is missing there to 1, and
    0 outside the region.
    """
    blocks = F.avg_pool2d(carried[None], block_px, ceil_mode=True)
    size = 2 * SPREAD_BLOCKS + 1
    for kernel, border in (((size, 1), (SPREAD_BLOCKS, 0)), ((1, size), (0, SPREAD_BLOCKS))):
        blocks = F.avg_pool2d(blocks, kernel, stride=1, padding=border)
    difference, weight = blocks[:, :3], blocks[:, 3:]
    difference /= weight.clamp(min=_LITTLE)
    weight.mul_(3.0).clamp_(max=1.0)
    beside = _enlarged(blocks[0], inside.shape, block_px)
    beside[3].mul_((inside - carried[3]).clamp_(min=0.0))
    beside[:3].mul_(beside[3])
    return beside


def _pooled(images: Tensor, block_px: int) -> Tensor:
    """Means [N, rows, columns] over blocks of images [N, h, w] and their neighbours; around the images there is 0."""
    blocks = F.avg_pool2d(images[None], block_px, ceil_mode=True)
    return F.avg_pool2d(blocks, 3, stride=1, padding=1)[0]


def _enlarged(blocks: Tensor, shape: Sequence[int], block_px: int) -> Tensor:
    """Images [N, rows, columns] of blocks, of which the last may be no whole ones, as pixels [N, h, w] of `shape`."""
    pixels = F.interpolate(blocks[None], scale_factor=float(block_px), mode="bilinear", align_corners=False)[0]
    return pixels[:, : shape[0], : shape[1]]
