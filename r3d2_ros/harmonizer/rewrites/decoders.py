"""The decoders of `autoencoders`, taken apart into stages: an upsampling, its convolution and its skip.

Stages are what `fold_upsample` and `merge_skips` exchange. In between lie the plain layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.harmonizer.model.autoencoders import TINY_LATENT_BOUND, KLDecoder, TinyDecoder
from r3d2_ros.harmonizer.model.r3d2 import R3D2


class NoSkip(nn.Module):
    """Skips are off."""

    def forward(self, x: Tensor, tap: Tensor) -> Tensor:
        return x


class Skip(nn.Module):
    """x [B, C, H, W] + convolution of the tap [B, Cs, H, W]."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor, tap: Tensor) -> Tensor:
        return x + self.convolution(tap)


class Enlarge(nn.Module):
    """Nearest upsampling by 2, then the convolution: [B, Cin, h, w] -> [B, C, 2h, 2w]."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(upsampled(x))


class SumAfter(nn.Module):
    """A stage whose skip joins the result of the convolution, or that has none."""

    def __init__(self, convolution: nn.Conv2d, skip: nn.Module) -> None:
        super().__init__()
        self.enlarge: nn.Module = Enlarge(convolution)
        self.skip = skip

    def forward(self, x: Tensor, tap: Tensor) -> Tensor:
        return self.skip(self.enlarge(x), tap)


class SumBefore(nn.Module):
    """A stage whose skip joins the upsampled tensor, which is then convolved."""

    def __init__(self, convolution: nn.Conv2d, skip: nn.Module) -> None:
        super().__init__()
        self.skip, self.convolution = skip, convolution

    def forward(self, x: Tensor, tap: Tensor) -> Tensor:
        return self.convolution(self.skip(upsampled(x), tap))


class StagedTinyDecoder(nn.Module):
    """`TinyDecoder`: head, then stages with blocks behind each."""

    def __init__(self, plain: TinyDecoder, *, sum_before: bool) -> None:
        super().__init__()
        layers = list(plain.layers)
        starts = [index for index, layer in enumerate(layers) if isinstance(layer, nn.Upsample)]
        ends = starts[1:] + [len(layers)]
        self.head = nn.Sequential(*layers[: starts[0]])
        convolutions = [layers[start + 1] for start in starts]
        self.stages = _stages(convolutions, _convolutions(plain.skips), sum_before=sum_before)
        self.blocks = nn.ModuleList(
            nn.Sequential(*layers[start + 2 : end]) for start, end in zip(starts, ends, strict=True)
        )

    def forward(self, latents: Tensor, taps: tuple[Tensor, ...]) -> Tensor:
        x = self.head(torch.tanh(latents / TINY_LATENT_BOUND) * TINY_LATENT_BOUND)
        for stage, blocks, tap in zip(self.stages, self.blocks, taps, strict=True):
            x = blocks(stage(x, tap))
        return x


class StagedKLDecoder(nn.Module):
    """`KLDecoder`: its first skip has no upsampling; then blocks with a stage behind each but the last."""

    def __init__(self, plain: KLDecoder, *, sum_before: bool) -> None:
        super().__init__()
        self.scaling_factor = plain.scaling_factor
        self.post_quant_conv, self.conv_in, self.mid_block = plain.post_quant_conv, plain.conv_in, plain.mid_block
        self.conv_norm_out, self.conv_act, self.conv_out = plain.conv_norm_out, plain.conv_act, plain.conv_out
        skips = _convolutions(plain.skips)
        self.skip = _skip(skips[0] if skips else None)
        self.blocks = nn.ModuleList(block.resnets for block in plain.up_blocks)
        convolutions = [block.upsamplers[0].conv for block in plain.up_blocks if block.upsamplers is not None]
        self.stages = _stages(convolutions, skips[1:], sum_before=sum_before)

    def forward(self, latents: Tensor, taps: tuple[Tensor, ...]) -> Tensor:
        x = self.mid_block(self.conv_in(self.post_quant_conv(latents / self.scaling_factor)))
        x = self.skip(x, taps[0])
        *inner, last = self.blocks
        for resnets, stage, tap in zip(inner, self.stages, taps[1:], strict=True):
            x = stage(_in_turn(resnets, x), tap)
        x = _in_turn(last, x)
        x = self.conv_out(self.conv_act(self.conv_norm_out(x)))
        return (x + 1) / 2


def stage_decoder(model: R3D2) -> StagedTinyDecoder | StagedKLDecoder:
    """The decoder of `model` in stages; taken apart unless it was so already."""
    plain = model.decoder
    if isinstance(plain, StagedTinyDecoder | StagedKLDecoder):
        return plain
    skips = model.config.skips
    sum_before = skips.enabled and skips.position == "after_upsample"
    staged: StagedTinyDecoder | StagedKLDecoder
    if isinstance(plain, TinyDecoder):
        staged = StagedTinyDecoder(plain, sum_before=sum_before)
    else:
        staged = StagedKLDecoder(plain, sum_before=sum_before)
    model.add_module("decoder", staged)
    return staged


def upsampled(x: Tensor) -> Tensor:
    """Each pixel as a square of four."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _stages(convolutions: list[nn.Conv2d], skips: list[nn.Conv2d], *, sum_before: bool) -> nn.ModuleList:
    kind = SumBefore if sum_before else SumAfter
    known: Sequence[nn.Conv2d | None] = skips or [None] * len(convolutions)
    return nn.ModuleList(kind(c, _skip(skip)) for c, skip in zip(convolutions, known, strict=True))


def _convolutions(skips: nn.ModuleList) -> list[nn.Conv2d]:
    return [skip for skip in skips if isinstance(skip, nn.Conv2d)]


def _skip(convolution: nn.Conv2d | None) -> nn.Module:
    return NoSkip() if convolution is None else Skip(convolution)


def _in_turn(resnets: Any, x: Tensor) -> Tensor:
    for resnet in resnets:
        x = resnet(x, None)
    return x
