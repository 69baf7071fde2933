"""Skip convolutions as part of the convolution beside them, so that their result is never stored by itself.

1x1, the usual size: the matrix product of the tap is added, while it is formed, into the tensor that it joins (a GEMM
with beta = 1), whichever tensor that is. 3x3: where it joins the result of an upsampling's convolution, both are one
convolution over the channels of both inputs. It stays a convolution of its own where `fold_upsample` has made the
neighbour a convolution of the smaller image, and where it joins the tensor before the convolution: the composition of
two 3x3 convolutions with zero padding is no convolution at the border.
A bias of a skip that joins the result of a convolution becomes part of that convolution's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.rewrites.copies import fixed, summed
from r3d2_ros.harmonizer.rewrites.decoders import (
    Enlarge,
    Skip,
    StagedKLDecoder,
    SumAfter,
    stage_decoder,
    upsampled,
)
from r3d2_ros.harmonizer.rewrites.fold_upsample import FoldedUpsample
from r3d2_ros.harmonizer.rewrites.in_place import sum_of_pictures


class AccumulatedSkip(nn.Module):
    """x [B, C, H, W] + 1x1 convolution of the tap [B, Cs, H, W], added in place: nobody else may hold x."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = fixed(convolution.weight[:, :, 0, 0])
        self.bias = convolution.bias

    def forward(self, x: Tensor, tap: Tensor) -> Tensor:
        if self.bias is not None:
            x = x + self.bias[:, None, None]
        return sum_of_pictures(x, tap, self.weight)


class JointStage(nn.Module):
    """Upsampling, 3x3 convolution, and 3x3 convolution of the tap that joins its result, as one convolution."""

    def __init__(self, convolution: nn.Conv2d, skip: nn.Conv2d) -> None:
        super().__init__()
        self.weight = fixed(torch.cat([convolution.weight, skip.weight], dim=1))
        self.bias = _sum_of_biases(convolution.bias, skip.bias)

    def forward(self, x: Tensor, tap: Tensor) -> Tensor:
        return functional.conv2d(torch.cat([upsampled(x), tap], dim=1), self.weight, self.bias, padding=1)


@torch.no_grad()
def merge_skip_convolutions(model: R3D2) -> None:
    """Merge each skip convolution of the decoder that can be."""
    decoder = stage_decoder(model)
    if isinstance(decoder, StagedKLDecoder):
        decoder.skip = _accumulated(decoder.skip)
    for level, stage in enumerate(decoder.stages):
        if not isinstance(stage.skip, Skip):
            continue
        if isinstance(stage, SumAfter):
            decoder.stages[level] = _merged_after(stage, stage.skip.convolution)
        else:
            stage.skip = _accumulated(stage.skip)


def _merged_after(stage: SumAfter, skip: nn.Conv2d) -> nn.Module:
    enlarge = stage.enlarge
    assert isinstance(enlarge, Enlarge | FoldedUpsample)
    if isinstance(enlarge, Enlarge) and skip.kernel_size == (3, 3):
        return JointStage(enlarge.convolution, skip)
    neighbour = enlarge.convolution if isinstance(enlarge, Enlarge) else enlarge
    neighbour.bias = _sum_of_biases(neighbour.bias, skip.bias)
    skip.bias = None
    stage.skip = _accumulated(Skip(skip))
    return stage


def _accumulated(skip: nn.Module) -> nn.Module:
    if isinstance(skip, Skip) and skip.convolution.kernel_size == (1, 1):
        return AccumulatedSkip(skip.convolution)
    return skip


def _sum_of_biases(first: Tensor | None, second: Tensor | None) -> nn.Parameter | None:
    if first is None or second is None:
        one = second if first is None else first
        return None if one is None else fixed(one)
    return summed(first, second)
