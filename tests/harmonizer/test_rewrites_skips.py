"""Merged skip convolutions: both positions, both kernel sizes, with and without bias, beside folded upsamplings."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from r3d2_ros.harmonizer.model.config import ModelConfig, SkipOptions
from r3d2_ros.harmonizer.rewrites.decoders import Skip
from r3d2_ros.harmonizer.rewrites.merge_skips import AccumulatedSkip
from tests.harmonizer.rewriting import EXACT, operators, relative, with_only, worst_difference
from tests.harmonizer.small import KL, TINY, picture, seeded

BOTH = pytest.mark.parametrize("config", [TINY, KL], ids=["tiny", "kl"])
POSITION = pytest.mark.parametrize("position", ["after_upsample", "after_convolution"])
SIZE = pytest.mark.parametrize("kernel_size", [1, 3])
BIAS = pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
FOLDED = pytest.mark.parametrize("folded", [False, True], ids=["", "folded"])


def rewrites(*, folded: bool) -> tuple[str, ...]:
    return ("merge_skips", "fold_upsample") if folded else ("merge_skips",)


@BOTH
@POSITION
@SIZE
@BIAS
@FOLDED
def test_the_same_function(config: ModelConfig, position: str, kernel_size: int, bias: bool, folded: bool) -> None:
    options = SkipOptions(position=position, kernel_size=kernel_size, bias=bias)  # type: ignore[arg-type]
    model = seeded(replace(config, skips=options)).double()
    other = with_only(model, *rewrites(folded=folded))
    for image in (picture(40, 72, batch=2).double(), picture(40, 72).double().to(memory_format=torch.channels_last)):
        assert worst_difference(model, other, image) <= EXACT


@BOTH
@POSITION
@SIZE
@FOLDED
def test_which_convolutions_are_gone(config: ModelConfig, position: str, kernel_size: int, folded: bool) -> None:
    """1x1: all. 3x3: those beside a plain convolution whose result they joined."""
    options = SkipOptions(position=position, kernel_size=kernel_size)  # type: ignore[arg-type]
    model, image = seeded(replace(config, skips=options)), picture(64, 64)
    other = with_only(model, *rewrites(folded=folded))
    before, after = (operators(lambda m=m: m(image)).count["convolution"] for m in (model, other))
    levels = 3 if config is TINY else 4
    large = 3 if position == "after_convolution" and not folded else 0
    assert before - after == (levels if kernel_size == 1 else large)


@BOTH
@FOLDED
def test_without_skips_nothing_changes(config: ModelConfig, folded: bool) -> None:
    model = seeded(replace(config, skips=SkipOptions(enabled=False))).double()
    assert worst_difference(model, with_only(model, *rewrites(folded=folded)), picture(64, 64).double()) <= EXACT


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("taps", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@BIAS
def test_any_mixture_of_layouts(layout: torch.memory_format, taps: torch.memory_format, bias: bool) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 5, 1, bias=bias).double()
    x = torch.randn(2, 5, 6, 7, dtype=torch.float64).contiguous(memory_format=layout)
    tap = torch.randn(2, 3, 6, 7, dtype=torch.float64).contiguous(memory_format=taps)
    with torch.no_grad():
        expected = Skip(convolution)(x, tap)
        before = tap.clone()
        got = AccumulatedSkip(convolution)(x.clone(), tap)
        strided = AccumulatedSkip(convolution)(torch.cat([x, x], dim=3)[..., :7], tap)
    assert relative(expected, got) <= EXACT and relative(expected, strided) <= EXACT
    assert torch.equal(tap, before)
