"""Our Triton kernels in Triton's interpreter, on a CPU, against PyTorch.

Run by test_kernels.py in a process of its own: whether kernels are interpreted is settled when Triton is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

assert os.environ.get("TRITON_INTERPRET") == "1"

import triton  # noqa: E402
from triton.runtime.errors import OutOfResources  # noqa: E402

from r3d2_ros.harmonizer import triton_tiles  # noqa: E402
from r3d2_ros.harmonizer.compositing import kernels_composite  # noqa: E402
from r3d2_ros.harmonizer.compositing.composite import bad_pixels, composite_full, composite_region  # noqa: E402
from r3d2_ros.harmonizer.compositing.crops import with_changes  # noqa: E402
from r3d2_ros.harmonizer.compositing.device_region import find_device_regions  # noqa: E402
from r3d2_ros.harmonizer.compositing.roi import Crop, occupied_blocks  # noqa: E402
from r3d2_ros.harmonizer.float8 import attention, kernels_images, kernels_products  # noqa: E402
from r3d2_ros.harmonizer.float8.convolutions import (  # noqa: E402
    framed_convolution_reference,
    quantised_images_reference,
)
from r3d2_ros.harmonizer.float8.linears import gated_product_reference, product_reference  # noqa: E402
from r3d2_ros.harmonizer.float8.numbers import FLOAT8, quantised, scaled  # noqa: E402
from r3d2_ros.harmonizer.rewrites import (  # noqa: E402
    kernels_attention,
    kernels_geglu,
    kernels_norm,
    kernels_picture,
)
from r3d2_ros.harmonizer.rewrites.chunked_attention import in_parts  # noqa: E402
from r3d2_ros.harmonizer.rewrites.fuse_geglu import geglu_reference  # noqa: E402
from r3d2_ros.harmonizer.rewrites.fuse_norm import group_affine_reference, normalised  # noqa: E402
from r3d2_ros.harmonizer.rewrites.fuse_picture import convolved_picture_reference  # noqa: E402
from r3d2_ros.harmonizer.settings import RegionConfig  # noqa: E402
from r3d2_ros.harmonizer.triton_tiles import TiledKernel, descriptor  # noqa: E402
from r3d2_ros.rendering import gsplat_kernels  # noqa: E402
from r3d2_ros.rendering.cuda_copies import rgb8_tensor  # noqa: E402
from r3d2_ros.rendering.gsplat_images import finished_reference  # noqa: E402
from tests.gpu.surroundings import seen_actors  # noqa: E402


def operands(batch: int, channels: int, outputs: int, size: tuple[int, int]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(channels + outputs)
    images = torch.randn(batch, channels, *size, generator=generator)
    factors = torch.tensor([1.0, 300.0, 1e-3])[:batch, None].expand(batch, channels)
    largest = (images * factors[:, :, None, None]).amax(dim=(2, 3))
    framed, scale = quantised_images_reference(images, factors, torch.zeros(batch, channels), largest)
    weight, weight_scale = quantised(torch.randn(outputs, 9 * channels, generator=generator))
    return framed, weight, scale, weight_scale[:, 0], torch.randn(outputs, generator=generator)


def convolved(tile: triton.Config, *tensors: Tensor | None) -> Tensor:
    images, weight, scale, weight_scale, bias, added = tensors
    batch, height, width, _ = images.shape
    output = torch.full((batch, height - 1, width - 1, weight.shape[0]), torch.nan)
    arguments = kernels_products.arguments_of(
        images, weight, output=output, scale=scale, weight_scale=weight_scale, bias=bias, added=added
    )
    kernels_products.MULTIPLY.run(tile, arguments)
    return output


@pytest.mark.parametrize("tile", range(len(kernels_products.TILES)))
@pytest.mark.parametrize(
    ("batch", "channels", "outputs", "size"),
    [(1, 128, 128, (9, 14)), (3, 64, 72, (5, 7)), (2, 96, 40, (1, 1)), (1, 320, 8, (17, 30))],
)
def test_convolution(tile: int, batch: int, channels: int, outputs: int, size: tuple[int, int]) -> None:
    """Sizes that no tile divides; images whose values differ by 3e5 in one batch; alone and added to something."""
    tensors = operands(batch, channels, outputs, size)
    noise = torch.randn(batch, *size, outputs, generator=torch.Generator().manual_seed(1))
    for added in (None, noise) if tile == 0 else (noise,):
        expected = framed_convolution_reference(*tensors, added)
        output = convolved(kernels_products.TILES[tile], *tensors, added)
        for k in range(batch):
            torch.testing.assert_close(output[k], expected[k], rtol=1e-4, atol=1e-5 * float(expected[k].abs().max()))


def test_convolution_in_16_bit() -> None:
    """As tests/gpu/kernels.py measures it beside cuDNN's."""
    framed, weight, _, _, bias = operands(1, 64, 72, (5, 7))
    tensors = (framed.half(), weight.half(), torch.ones(1), torch.ones(72), bias, None)
    expected = framed_convolution_reference(*tensors)
    output = convolved(kernels_products.TILES[0], *tensors)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-3 * 448)


def factors_in_8_bit(queries: Tensor, tokens: Tensor, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The arguments that `float8.attention.attended` gets."""
    with monkeypatch.context() as patch:
        patch.setattr(attention, "attended", lambda *arguments: arguments)
        return attention.attended_in_8_bit(queries, tokens)


def rows_in_8_bit(rows: int, inputs: int, outputs: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(rows)
    tokens, scale = quantised(torch.randn(rows, inputs, generator=generator) * torch.arange(1, rows + 1)[:, None])
    weight, weight_scale = quantised(inputs**-0.5 * torch.randn(outputs, inputs, generator=generator))
    return tokens, weight, scale[:, 0], weight_scale[:, 0], torch.randn(outputs, generator=generator)


ROWS = pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 64, 16), (130, 96, 80), (200, 640, 128)])


@pytest.mark.parametrize("tile", range(len(kernels_products.TILES)))
@ROWS
def test_product_in_8_bit(tile: int, rows: int, inputs: int, outputs: int) -> None:
    tokens, weight, scale, weight_scale, bias = rows_in_8_bit(rows, inputs, outputs)
    noise = torch.randn(rows, outputs, generator=torch.Generator().manual_seed(1))
    for added in (None, noise) if tile == 0 else (noise,):
        output = torch.full((rows, outputs), torch.nan)
        arguments = kernels_products.arguments_of(
            tokens, weight, output=output, scale=scale, weight_scale=weight_scale, bias=bias, added=added
        )
        kernels_products.MULTIPLY.run(kernels_products.TILES[tile], arguments)
        expected = product_reference(tokens, weight, scale, weight_scale, bias)
        expected = expected if added is None else expected + added
        torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_more_rows_than_a_grid_has_in_one_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tiles of rows in two parts of two."""
    monkeypatch.setattr(triton_tiles, "MOST_PROGRAMS", 2)
    tensors = operands(1, 32, 16, (9, 14))
    for tile in kernels_products.TILES:
        expected = framed_convolution_reference(*tensors, None)
        torch.testing.assert_close(convolved(tile, *tensors, None), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("tile", range(len(kernels_geglu.TILES)))
@ROWS
def test_gated_product_in_8_bit(tile: int, rows: int, inputs: int, outputs: int) -> None:
    tokens, weight, scale, weight_scale, bias = rows_in_8_bit(rows, inputs, 2 * outputs)
    output = torch.full((rows, outputs), torch.nan)
    arguments = kernels_geglu.arguments_of(
        tokens, weight, bias=bias, output=output, scale=scale, weight_scale=weight_scale
    )
    kernels_geglu.MULTIPLY.run(kernels_geglu.TILES[tile], arguments)
    expected = gated_product_reference(tokens, weight, scale, weight_scale, bias)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def pictures(batch: int, channels: int, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Channels last, each channel with a mean of its own."""
    generator = torch.Generator().manual_seed(batch * channels)
    x = torch.randn(batch, channels, *size, generator=generator)
    x += 5 * torch.randn(channels, generator=generator)[:, None, None]
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


Norm = tuple[Tensor, Tensor, Tensor]
"""Bias of the convolution before a norm, the norm's factors and summands: [C] each."""


def norm_of(channels: int, dtype: torch.dtype) -> Norm:
    before, weight, bias = torch.randn(3, channels, generator=torch.Generator().manual_seed(1)).to(dtype).unbind()
    return 3 * before, weight, bias


SMALL_NORMS = [(1, 32, 8, (1, 1)), (2, 320, 32, (9, 7))]
LARGE_NORMS = [(1, 128, 32, (24, 23)), (2, 96, 32, (17, 20))]


@pytest.mark.parametrize(
    ("dtype", "batch", "channels", "groups", "size"),
    [
        *((torch.float16, *case) for case in (*SMALL_NORMS, *LARGE_NORMS)),
        *((dtype, *case) for dtype in (torch.float32, torch.bfloat16) for case in SMALL_NORMS),
    ],
)
@pytest.mark.parametrize("with_before", [False, True])
def test_norms(
    dtype: torch.dtype, batch: int, channels: int, groups: int, size: tuple[int, int], with_before: bool
) -> None:
    x = pictures(batch, channels, size, dtype)
    before, weight, bias = norm_of(channels, dtype)
    added = before if with_before else None
    gain, shift, largest = kernels_norm.affine(x, added, weight, bias, groups, 1e-5)
    exact = group_affine_reference(
        x.double(), None if added is None else added.double(), weight.double(), bias.double(), groups, 1e-5
    )
    for got, expected in zip((gain, shift, largest), exact, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), expected, rtol=2e-5, atol=2e-5 * float(expected.abs().max()))
    for silu in (False, True):
        output = kernels_norm.normalise(x, gain, shift, silu=silu)
        expected = normalised(x, gain, shift, silu=silu).to(dtype)
        assert output.dtype == dtype and output.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(output, expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-5)


def test_the_largest_behind_a_norm_is_no_less_than_any() -> None:
    """Factors of both signs: the largest number may come of the smallest."""
    x = pictures(2, 96, (17, 20), torch.float16)
    before, weight, bias = norm_of(96, torch.float16)
    assert bool((weight < 0).any()) and bool((weight > 0).any())
    gain, shift, largest = kernels_norm.affine(x, before, weight, bias, 32, 1e-5)
    results = normalised(x, gain, shift, silu=False).unflatten(1, (32, 3)).amax(dim=(2, 3, 4))
    torch.testing.assert_close(largest, results, rtol=1e-6, atol=1e-6)


def test_norms_of_numbers_far_from_zero() -> None:
    """10000 +- 1: as the difference of two sums of squares in float32 nothing would be left of the variance."""
    x = 10_000 + pictures(1, 32, (30, 41), torch.float32)
    ones, zeros = torch.ones(32), torch.zeros(32)
    gain, shift, _ = kernels_norm.affine(x, None, ones, zeros, 8, 1e-5)
    expected_gain, expected_shift, _ = group_affine_reference(x.double(), None, ones, zeros, 8, 1e-5)
    torch.testing.assert_close(gain.double(), expected_gain.double(), rtol=1e-4, atol=0)
    torch.testing.assert_close(shift / gain, (expected_shift / expected_gain).float(), rtol=1e-6, atol=0)


def test_norms_of_parts_whose_first_pixels_are_unlike_the_rest() -> None:
    """A black margin above a bright picture: differences are taken from the mean of a part's first pixels."""
    x = 100 + pictures(1, 32, (60, 20), torch.float32)
    x[:, :, :1] = 0
    ones, zeros = torch.ones(32), torch.zeros(32)
    gain, shift, _ = kernels_norm.affine(x, None, ones, zeros, 8, 1e-5)
    expected_gain, expected_shift, _ = group_affine_reference(x.double(), None, ones, zeros, 8, 1e-5)
    torch.testing.assert_close(gain.double(), expected_gain.double(), rtol=1e-4, atol=0)
    torch.testing.assert_close(shift.double(), expected_shift.double(), rtol=1e-4, atol=0)


def test_norms_of_a_part_of_a_larger_tensor() -> None:
    """As `FoldedUpsample` gives it for odd rows and columns."""
    whole = pictures(2, 64, (12, 9), torch.float16)
    x = whole[:, :, :11, :8]
    before, weight, bias = norm_of(64, torch.float16)
    numbers = kernels_norm.affine(x, before, weight, bias, 32, 1e-5)
    expected = kernels_norm.affine(x.contiguous(memory_format=torch.channels_last), before, weight, bias, 32, 1e-5)
    for got, right in zip(numbers, expected, strict=True):
        assert torch.equal(got, right)
    output = kernels_norm.normalise(x, *numbers[:2], silu=True)
    torch.testing.assert_close(output, normalised(x, *numbers[:2], silu=True).half(), rtol=2e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # 1 / (1 + inf) is 0, as it should be
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("batch", "channels", "size"), [(1, 32, (1, 1)), (2, 320, (9, 7)), (1, 128, (12, 61)), (3, 96, (17, 30))]
)
def test_images_in_8_bit(
    batch: int, channels: int, size: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = pictures(batch, channels, (size[0] + 1, size[1] + 2), dtype)[:, :, : size[0], : size[1]]
    before, weight, bias = norm_of(channels, dtype)
    norm = group_affine_reference(x, before, weight, bias, 32, 1e-5)
    rounded, _ = kernels_images.launch(x, *norm)  # which Triton's interpreter does wrongly
    monkeypatch.setattr(kernels_images, "FLOAT8", torch.float32)
    framed, scale = kernels_images.launch(x, *norm)
    _, expected_scale = quantised_images_reference(x, *norm)
    torch.testing.assert_close(scale, expected_scale, rtol=1e-6, atol=0)
    assert framed.shape == (batch, size[0] + 1, size[1] + 1, channels)
    assert not bool(framed[:, -1].any()) and not bool(framed[:, :, -1].any()), "a frame of zeros"
    numbers = scaled(normalised(x, *norm[:2], silu=True).permute(0, 2, 3, 1), expected_scale[:, None, None, None])
    torch.testing.assert_close(framed[:, :-1, :-1], numbers, rtol=1e-5, atol=1e-4)
    assert 447.9 < float(framed.max()) <= 448, "all that 8 bits can hold is made use of"
    assert rounded.dtype == FLOAT8 and rounded.shape == framed.shape


def test_what_is_small_or_no_number_in_8_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """SiLU of numbers below zero is small, whatever they are; NaN is not hidden."""
    monkeypatch.setattr(kernels_images, "FLOAT8", torch.float32)
    x = torch.full((1, 32, 2, 3), -1.25).contiguous(memory_format=torch.channels_last)
    gain, shift, largest = torch.ones(1, 32), torch.zeros(1, 32), torch.full((1, 8), -1.25)
    framed, scale = kernels_images.launch(x, gain, shift, largest)
    torch.testing.assert_close(framed[:, :2, :3] * scale, torch.full((1, 2, 3, 32), -0.27839), rtol=1e-4, atol=0)
    x[0, 5, 1, 1] = torch.nan
    framed, _ = kernels_images.launch(x, gain, shift, largest)
    assert framed.isnan().sum() == 1 and bool(framed[0, 1, 1, 5].isnan())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("batch", "outputs", "size"), [(1, 64, (9, 31)), (2, 128, (1, 1)), (2, 40, (13, 5)), (1, 136, (3, 64))]
)
def test_the_first_convolution(
    batch: int, outputs: int, size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    generator = torch.Generator().manual_seed(outputs)
    x = torch.randn(batch, 3, *size, generator=generator).half().contiguous(memory_format=memory_format)
    weight, bias = torch.randn(outputs, 3, 3, 3, generator=generator), torch.randn(outputs, generator=generator)
    weight, bias = weight.half().contiguous(memory_format=memory_format), bias.half()
    output = kernels_picture.launch(x, weight, bias)
    assert output.dtype == torch.float16 and output.is_contiguous(memory_format=torch.channels_last)
    expected = convolved_picture_reference(x.double(), weight.double(), bias.double())
    torch.testing.assert_close(output.double(), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("batch", "channels", "size"), [(2, 16, (1, 1)), (1, 64, (35, 127)), (2, 32, (3, 126)), (1, 128, (34, 130))]
)
def test_the_last_convolution(batch: int, channels: int, size: tuple[int, int]) -> None:
    """Strips and parts of one row or pixel more than a program computes, and of a part of a larger tensor."""
    generator = torch.Generator().manual_seed(channels)
    weight = (9 * channels) ** -0.5 * torch.randn(3, channels, 3, 3, generator=generator)
    weight, bias = weight.half(), torch.randn(3, generator=generator).half()
    orders = torch.contiguous_format, torch.channels_last
    for whole, order in zip((size, (size[0] + 1, size[1] + 2)), orders, strict=True):
        x = pictures(batch, channels, whole, torch.float16)[:, :, : size[0], : size[1]]
        output = kernels_picture.launch_to_picture(x, weight.contiguous(memory_format=order), bias)
        assert output.dtype == torch.float16 and output.is_contiguous(memory_format=torch.channels_last)
        expected = convolved_picture_reference(x.double(), weight.double(), bias.double())
        torch.testing.assert_close(output.double(), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("tile", range(len(kernels_attention.ATTEND.tiles)))
@pytest.mark.parametrize(("tokens", "width"), [(1, 256), (128, 128), (130, 512), (300, 128)])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_attention(tile: int, tokens: int, width: int, spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts that no tile divides, queries in several parts; scores near each other, and some far above the rest."""
    generator = torch.Generator().manual_seed(tokens)
    x = torch.randn(tokens, width, generator=generator).half()
    queries = (spread * torch.randn(tokens, width, generator=generator)).half()
    output = torch.full_like(x, torch.nan)
    monkeypatch.setattr(kernels_attention, "PART", 256)
    for first in range(0, tokens, 256):
        weighing, attending = kernels_attention.arguments_of(queries, x, output, first)
        kernels_attention.WEIGH.run(kernels_attention.WEIGH.tiles[0], weighing)
        kernels_attention.ATTEND.run(kernels_attention.ATTEND.tiles[tile], attending)
    expected = in_parts(queries.double()[None], x.double()[None])[0]
    # Weights and results have 11 bits.
    torch.testing.assert_close(output.double(), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("tile", range(len(kernels_attention.ATTEND.tiles)))
@pytest.mark.parametrize(("tokens", "width"), [(1, 256), (130, 512), (300, 128)])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_attention_in_8_bit(
    tile: int, tokens: int, width: int, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights are rounded to 8 bit by PyTorch here, since the interpreter does it wrongly."""
    generator = torch.Generator().manual_seed(tokens)
    x = torch.randn(1, tokens, width, generator=generator).half()
    queries = (spread * torch.randn(1, tokens, width, generator=generator)).half()
    monkeypatch.setattr(kernels_attention, "PART", 256)
    query, token, across, scale, token_scale, dtype = factors_in_8_bit(queries, x, monkeypatch)
    output = torch.full(queries.shape[1:], torch.nan, dtype=dtype)
    for first in range(0, tokens, 256):
        weighing, attending = kernels_attention.arguments_of(
            query[0], token[0], output, first, across=across[0], scale=scale[0], token_scale=token_scale[0]
        )
        rounded = attending["weights"].base
        exact = torch.full(rounded.shape, torch.nan)
        weighing["weights"] = descriptor(exact)
        kernels_attention.WEIGH.run(kernels_attention.WEIGH.tiles[0], weighing)
        assert 447.9 < float(exact.max()) < 448.1, "all that 8 bits can hold is made use of"
        rounded.copy_(exact.clamp(max=448).to(FLOAT8))
        weighing["sums"].copy_(rounded.float().unflatten(1, (-1, kernels_attention.TILE_TOKENS)).sum(2).T)
        kernels_attention.ATTEND.run(kernels_attention.ATTEND.tiles[tile], attending)
    expected = attention.attended_reference(query, token, across, scale, token_scale, torch.float32)[0]
    # Of a weight that lies between two numbers of 8 bit either may be taken.
    torch.testing.assert_close(output.float(), expected, rtol=2e-3, atol=5e-3 if spread > 1 else 5e-4)


@pytest.mark.parametrize("tile", range(len(kernels_geglu.TILES)))
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 64, 8), (130, 96, 72), (200, 320, 128)])
def test_gated_product(tile: int, rows: int, inputs: int, outputs: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, inputs, generator=generator).half()
    weight = (2 * inputs**-0.5 * torch.randn(2 * outputs, inputs, generator=generator)).half()
    bias = torch.randn(2 * outputs, generator=generator).half()
    output = torch.full((rows, outputs), torch.nan).half()
    kernels_geglu.MULTIPLY.run(
        kernels_geglu.TILES[tile], kernels_geglu.arguments_of(x, weight, bias=bias, output=output)
    )
    expected = geglu_reference(x.double(), weight.double(), bias.double())
    torch.testing.assert_close(output.double(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("depth_test", "feather_px"), [(True, 2), (False, 0)])
def test_regions_of_renders_on_a_device(depth_test: bool, feather_px: int) -> None:
    """Cameras of two sizes, one no multiple of anything, and one that sees no actor: what the CPU finds."""
    config = RegionConfig(depth_test=depth_test, feather_px=feather_px)
    seen = [seen_actors(seed, size) for seed, size in enumerate([(14, 530), (21, 61), (14, 530)])]
    seen[2].actor_weight[:] = 0
    views, boxes = [one.view for one in seen], seen[0].boxes
    surfaces = [one.surfaces("cpu") for one in seen]
    found = find_device_regions(surfaces, views, boxes, config)
    assert [region.number for region in found] == [0, 1]
    for region in found:
        expected = seen[region.number].region(boxes, config)
        assert expected is not None and 0.02 < (expected.mask > 0).mean() < 0.9
        np.testing.assert_array_equal(region.mask.numpy(), expected.mask)
        assert region.bounds == expected.bounds
        np.testing.assert_array_equal(region.blocks, occupied_blocks(expected.mask, *expected.bounds))


@pytest.mark.parametrize("masked", [True, False])
def test_composites(masked: bool) -> None:
    """Bytes as PyTorch's, at weights of 0 and 1, between them, beyond [0, 1], and where there are no numbers."""
    rng = torch.Generator().manual_seed(0)
    size = (13, 61)
    render = torch.randint(0, 256, (*size, 3), generator=rng, dtype=torch.uint8)
    harmonized = torch.rand((3, *size), generator=rng) * 1.4 - 0.2
    mask = (torch.rand(size, generator=rng) * 2 - 0.5).clamp(0, 1) if masked else None
    harmonized[0, 2, 3:7], harmonized[1, 2, 5], harmonized[2, 9, 9] = float("nan"), float("inf"), -float("inf")
    picture, bad = kernels_composite.mixed(render, harmonized, mask)
    expected = composite_full(harmonized) if mask is None else composite_region(render, harmonized, mask)
    torch.testing.assert_close(picture, expected, rtol=0, atol=0)
    assert int(bad) == int(bad_pixels(harmonized, mask)) > (0 if masked else 4)


@pytest.mark.parametrize("margin_px", [0, 5])
@pytest.mark.parametrize(
    "crop",
    [Crop(16, 24, 3, 9), Crop(16, 24, 0, 0), Crop(20, 24, 3, 40), Crop(16, 64, 7, 0), Crop(23, 64, 0, 0)],
    ids=str,
)
def test_what_is_added_in_a_crop(crop: Crop, margin_px: int) -> None:
    """Inside an image, at its edges, as wide as it, and all of it; where it is no number it stays so."""
    rng = torch.Generator().manual_seed(1)
    image = torch.rand((3, 23, 64), generator=rng)
    residual = torch.rand((3, crop.height, crop.width), generator=rng) * 2 - 1
    residual[1, 4, 4] = float("nan")
    output = kernels_composite.added_inside(image, crop, residual, margin_px)
    expected = with_changes(image, {crop: residual}, margin_px)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-6, equal_nan=True)
    outside = torch.ones(image.shape[1:], dtype=torch.bool)
    outside[crop.slices] = False
    assert torch.equal(output[:, outside], image[:, outside])


@pytest.mark.parametrize("sky", [None, (1, 1), (8, 16)])
def test_images_of_what_gsplat_composited(sky: tuple[int, int] | None) -> None:
    """Two cameras of no even size: one turned at random, one looks straight up. Bytes are those of the floats."""
    generator = torch.Generator().manual_seed(0)
    render = torch.rand(2, 11, 37, 5, generator=generator) * 1.2
    alphas = torch.rand(2, 11, 37, 1, generator=generator)
    alphas[0, :3], alphas[0, 3:5], render[0, 7, 3, 1] = 0.0, 1.0, torch.nan
    turned = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    K_inverse = torch.tensor([[0.1, 0, -1.85], [0, 0.1, -0.55], [0, 0, 1.0]])
    ray_maps = torch.stack([turned @ K_inverse, K_inverse])
    texture = None if sky is None else torch.rand(1, 3, sky[0], sky[1] + 2, generator=generator)
    arguments = (render, alphas, texture, ray_maps, torch.tensor([0.2, 0.5, 0.9]))
    rgb, rgb8, depth, weight = gsplat_kernels.launch(*arguments, least_alpha=0.5)
    expected = finished_reference(*arguments, least_alpha=0.5)
    torch.testing.assert_close(rgb, expected[0], atol=2e-5, rtol=0, equal_nan=True)
    assert torch.equal(rgb8, rgb8_tensor(rgb)) and rgb8[0, 7, 3, 1] == 0 and rgb8.max() == 255
    torch.testing.assert_close(depth, expected[2], equal_nan=True)
    assert torch.equal(weight, expected[3]) and 0.1 < depth.isnan().float().mean() < 0.9


def deterministic() -> Iterator[None]:
    """Where results are to repeat no tile is measured, which takes a GPU."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


repeatable = pytest.fixture(deterministic)


@pytest.mark.usefixtures("repeatable")
def test_each_launch_may_be_an_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's operators may not give what they got, nor two results that share memory."""
    x = pictures(2, 64, (6, 5), torch.float16)
    tokens, wide = torch.randn(2, 12, 64).half(), torch.randn(2, 12, 128).half()
    calls = {
        "affine": (kernels_norm.affine, (x, None, *torch.randn(2, 64).half().unbind(), 8, 1e-5)),
        "picture": (kernels_picture.launch, (x[:, :3], torch.randn(8, 3, 3, 3).half(), torch.randn(8).half())),
        "to picture": (kernels_picture.launch_to_picture, (x, torch.randn(3, 64, 3, 3).half(), torch.randn(3).half())),
        "images": (kernels_images.launch, (x, torch.ones(2, 64), torch.zeros(2, 64), torch.ones(2, 8))),
        "attention": (kernels_attention.launch, (wide, wide)),
        "attention in 8 bit": (kernels_attention.launch_8_bit, factors_in_8_bit(wide, wide, monkeypatch)),
        "geglu": (kernels_geglu.launch, (tokens, torch.randn(32, 64).half(), torch.randn(32).half())),
        "convolution": (kernels_products.launch_convolution, (*operands(1, 64, 72, (5, 7)), torch.randn(1, 5, 7, 72))),
        "product": (kernels_products.launch_product, rows_in_8_bit(3, 64, 16)),
        "gated": (kernels_geglu.launch_8_bit, rows_in_8_bit(3, 64, 32)),
    }
    for name, (launch, arguments) in calls.items():
        operator = torch.library.custom_op(f"r3d2_ros_test::{name.replace(' ', '_')}", launch, mutates_args=())
        results = operator(*arguments)
        for result in results if isinstance(results, tuple) else (results,):
            # What the interpreter rounds to 8 bit it rounds wrongly.
            assert result.dtype == FLOAT8 or bool(result.isfinite().all())


@pytest.mark.usefixtures("repeatable")
def test_where_results_are_to_repeat_the_first_tile_with_room_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    tiles, seen = kernels_geglu.TILES, []

    def run(self: TiledKernel, tile: triton.Config, arguments: object) -> None:
        seen.append(tile)
        if len(seen) == 2 or len(seen) > 3:
            raise OutOfResources(300_000, 232_448, "shared memory")

    monkeypatch.setattr(TiledKernel, "run", run)
    x, weight, bias = torch.randn(8, 64).half(), torch.randn(32, 64).half(), torch.randn(32).half()
    kernels_geglu.launch(x, weight, bias)
    kernels_geglu.launch(x, weight, bias)
    assert seen == [tiles[0], tiles[0], tiles[1]]
    with pytest.raises(OutOfResources):
        kernels_geglu.launch(x, weight, bias)
