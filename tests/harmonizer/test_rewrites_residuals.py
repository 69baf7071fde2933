"""Sums of the UNet's transformers in their matrix products, and biases that are added elsewhere."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from r3d2_ros.harmonizer.float8 import linears
from r3d2_ros.harmonizer.float8.linears import Float8Linear
from r3d2_ros.harmonizer.model.variants import VARIANTS
from r3d2_ros.harmonizer.rewrites.fuse_norm import FusedGroupNorm
from r3d2_ros.harmonizer.rewrites.merge_residuals import MergedBlock, MergedTransformer, ShiftedLayerNorm
from tests.harmonizer.rewriting import EXACT, operators, relative, with_only, worst_difference
from tests.harmonizer.small import KL, TINY, UNET, picture, seeded


def transformer(*, blocks: int = 1, linear: bool = True) -> Transformer2DModel:
    plain = Transformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=16, num_layers=blocks, cross_attention_dim=12,
        use_linear_projection=linear, norm_num_groups=4,
    ).double().requires_grad_(False)  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    for parameter in plain.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 3)
    return plain


def inputs(batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(batch, 16, 5, 7, generator=generator, dtype=torch.float64)
    return x, torch.randn(batch, 3, 12, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("linear", [True, False], ids=["linear", "convolution"])
@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_transformer_is_the_same_function(blocks: int, linear: bool, memory_format: torch.memory_format) -> None:
    """More blocks than one, as other models have, and projections that are 1x1 convolutions."""
    plain = transformer(blocks=blocks, linear=linear)
    x, prompt = inputs()
    (expected,) = plain(x, prompt, return_dict=False)
    merged = MergedTransformer(deepcopy(plain))
    (output,) = merged(x.contiguous(memory_format=memory_format), prompt, return_dict=False)
    assert relative(expected, output) <= EXACT


def test_biases_are_added_where_tokens_are_read() -> None:
    merged = MergedTransformer(transformer(blocks=2))
    first, second = merged.transformer_blocks
    assert isinstance(first.norm1, nn.LayerNorm), "the first reads tokens from which nothing is missing"
    shifted = (first.norm2, first.norm3, second.norm1, second.norm2, second.norm3)
    assert all(isinstance(norm, ShiftedLayerNorm) for norm in shifted)
    assert all(out.bias is None for block in (first, second) for out in (block.out1, block.out2, block.out3))


def test_sums_are_formed_in_place() -> None:
    """With our norms the result lies where the input was; without them the last product keeps its bias, and its sum is
    apart."""
    model = seeded(TINY).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    kept: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(module: nn.Module, given: tuple[Tensor, ...], result: tuple[Tensor, ...]) -> None:
        kept["there"] = given[0], result[0]

    for names, apart in ((("merge_residuals",), True), (("fuse_norm", "merge_residuals"), False)):
        other = with_only(model, *names)
        attention = other.unet.mid_block.attentions[0]
        assert isinstance(attention, MergedTransformer)
        assert isinstance(attention.norm, FusedGroupNorm) != apart
        attention.register_forward_hook(keep)
        other(picture(64, 64).contiguous(memory_format=torch.channels_last))
        given, result = kept["there"]
        assert result.is_contiguous(memory_format=torch.channels_last)
        assert (given.data_ptr() == result.data_ptr()) != apart


def test_what_runs_less() -> None:
    """In each transformer its four sums are gone, and two biases are added before norms."""
    model, image = seeded(TINY), picture(64, 64)
    count = sum(isinstance(module, Transformer2DModel) for module in model.unet.modules())
    apart, merged = with_only(model, "fuse_norm"), with_only(model, "fuse_norm", "merge_residuals")
    before, after = (operators(lambda m=m: m(image)).count for m in (apart, merged))
    assert before["add"] - after["add"] == (4 - 2) * count
    assert after["addmm_"] == 3 * count and after["baddbmm_"] == count


@pytest.mark.parametrize("config", [TINY, KL], ids=["tiny", "kl"])
def test_projections_that_are_convolutions(config: object) -> None:
    """As in Stable Diffusion 1."""
    model = seeded(replace(config, unet=replace(UNET, linear_projection=False))).double()  # type: ignore[type-var]
    for names in (("merge_residuals",), ("fuse_norm", "merge_residuals")):
        assert worst_difference(model, with_only(model, *names), picture(120, 136, batch=2).double()) <= EXACT


def test_8_bit_layers_stand_beside_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added into the tokens stays a plain layer."""
    model, image = seeded(VARIANTS["nano"]), picture(64, 64)
    plain, merged = (with_only(model, "fuse_norm", *more) for more in ((), ("merge_residuals",)))
    exact = plain(image)
    monkeypatch.setattr(linears, "MIN_INPUTS", 32)
    for other in (plain, merged):
        linears.quantise_linears(other.unet)
        assert sum(isinstance(module, Float8Linear) for module in other.modules()) == 10
    errors = [float((other(image) - exact).norm() / exact.norm()) for other in (plain, merged)]
    assert 0 < errors[1] < 1.25 * errors[0]
    summed = [m for block in merged.unet.modules() if isinstance(block, MergedBlock) for m in (block.out1, block.out2)]
    assert summed and not any(isinstance(module, Float8Linear) for module in summed)
