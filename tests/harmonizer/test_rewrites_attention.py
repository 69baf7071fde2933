"""Cross-attention over a constant prompt, and the wide attention of AutoencoderKL in parts."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import nn

from r3d2_ros.harmonizer.rewrites import chunked_attention
from r3d2_ros.harmonizer.rewrites.chunked_attention import ChunkedAttention
from r3d2_ros.harmonizer.rewrites.constant_prompt import PromptAttention
from tests.harmonizer.rewriting import EXACT, operators, relative, with_only
from tests.harmonizer.small import KL, TINY, picture, seeded


def wide_attention() -> Attention:
    """One head of 512 channels, as AutoencoderKL has it."""
    torch.manual_seed(0)
    attention = Attention(
        512, heads=1, dim_head=512, norm_num_groups=32, residual_connection=True, bias=True, eps=1e-6
    ).double()
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.08)
    return attention.requires_grad_(False)


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_512_channels_in_parts(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = wide_attention()
    x = torch.randn(2, 512, 9, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows = 126 // parts
    monkeypatch.setattr(chunked_attention, "SCORES_BYTES", rows * 126 * 2 * 4)
    chunked = ChunkedAttention(attention)
    expected = attention(x)
    assert float((expected - x).abs().mean()) > 0.1, "the attention must matter beside the residual"
    assert relative(expected, chunked(x)) <= EXACT
    assert relative(expected, chunked(x.contiguous(memory_format=torch.channels_last))) <= EXACT
    ran = operators(lambda: chunked(x))
    assert ran.count["_softmax"] == parts
    assert ran.largest["_softmax"] * 4 <= chunked_attention.SCORES_BYTES


def test_one_row_at_a_time_is_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_attention, "SCORES_BYTES", 1)
    attention = wide_attention()
    x = torch.randn(1, 512, 2, 3, dtype=torch.float64)
    chunked = ChunkedAttention(attention)
    assert relative(attention(x), chunked(x)) <= EXACT
    assert operators(lambda: chunked(x)).count["_softmax"] == 6


def test_1080p_is_16_parts_of_a_quarter_gibibyte() -> None:
    """32,400 tokens: 4.2 GB of float32 scores if it were one."""
    rows = chunked_attention.SCORES_BYTES // (4 * 135 * 240)
    assert -(-135 * 240 // rows) == 16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_of_16_bit_are_float32(dtype: torch.dtype) -> None:
    """Two keys whose scores differ by less than 16 bit can tell apart get different weights."""
    queries = torch.tensor([[[64.0, 2.0**-4]]]).to(dtype)
    keys = torch.tensor([[[64.0, 1.0], [64.0, -1.0]]]).to(dtype).transpose(1, 2)
    scores = chunked_attention._scores(queries, keys)
    assert scores.dtype == torch.float32
    assert float(scores[0, 0, 0] - scores[0, 0, 1]) == 2.0**-3
    assert float(scores[0, 0, 0].to(dtype) - scores[0, 0, 1].to(dtype)) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_is_as_near_as_the_plain_attention(dtype: torch.dtype) -> None:
    attention = wide_attention()
    x = torch.randn(1, 512, 12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    exact, chunked = attention(x), ChunkedAttention(attention).to(dtype)
    plain = wide_attention().to(dtype)
    yardstick = float((plain(x.to(dtype)).double() - exact).norm())
    assert float((chunked(x.to(dtype)).double() - exact).norm()) <= 1.25 * yardstick


def test_keys_and_values_are_computed_once() -> None:
    model, image = seeded(TINY), picture(64, 64)
    other = with_only(model, "constant_prompt")
    attentions = [module for module in other.unet.modules() if isinstance(module, PromptAttention)]
    blocks = sum(name.endswith("attn2") for name, _ in model.unet.named_modules())
    assert len(attentions) == blocks > 0
    before, after = (operators(lambda m=m: m(image)).count["addmm"] for m in (model, other))
    mm = [operators(lambda m=m: m(image)).count.get("mm", 0) for m in (model, other)]
    assert (before + mm[0]) - (after + mm[1]) == 2 * blocks


def test_the_prompt_is_that_of_the_moment() -> None:
    model, image = seeded(TINY), picture(64, 64)
    other = with_only(model, "constant_prompt")
    expected = other(image)
    other.prompt_embedding = other.prompt_embedding * 2
    assert torch.equal(other(image), expected)
    model.prompt_embedding = model.prompt_embedding * 2
    assert not torch.equal(with_only(model, "constant_prompt")(image), expected)


def test_keys_keep_their_order_in_nhwc() -> None:
    """Kernels want the channels of a head beside each other, whatever the layout of images is."""
    other = with_only(seeded(KL), "constant_prompt").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in other.unet.modules():
        if isinstance(module, PromptAttention):
            assert module.keys.shape[1] == 3 and module.keys.stride(-1) == 1 and module.keys.is_contiguous()
