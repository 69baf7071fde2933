"""Our Triton kernels in Triton's interpreter, on a CPU, against PyTorch.

Run by test_kernels.py in a process of its own: whether kernels are interpreted is settled when Triton is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

assert os.environ.get("TRITON_INTERPRET") == "1"

import triton  # noqa: E402
from triton.runtime.errors import OutOfResources  # noqa: E402

from r3d2_ros.harmonizer.float8 import kernels_convolution as convolution  # noqa: E402
from r3d2_ros.harmonizer.float8.convolutions import framed_convolution_reference, quantised_images  # noqa: E402
from r3d2_ros.harmonizer.float8.numbers import quantised  # noqa: E402
from r3d2_ros.harmonizer.rewrites import kernels_attention, kernels_geglu, kernels_norm  # noqa: E402
from r3d2_ros.harmonizer.rewrites.chunked_attention import in_parts  # noqa: E402
from r3d2_ros.harmonizer.rewrites.fuse_geglu import geglu_reference  # noqa: E402
from r3d2_ros.harmonizer.rewrites.fuse_norm import group_moments_reference, normalised  # noqa: E402
from r3d2_ros.harmonizer.tiles import TiledKernel  # noqa: E402


def operands(batch: int, channels: int, outputs: int, size: tuple[int, int]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(channels + outputs)
    images = torch.randn(batch, channels, *size, generator=generator)
    images *= torch.tensor([1.0, 300.0, 1e-3])[:batch, None, None, None]
    framed, scale = quantised_images(images)
    weight, weight_scale = quantised(torch.randn(outputs, 9 * channels, generator=generator))
    return framed, weight, scale, weight_scale[:, 0], torch.randn(outputs, generator=generator)


def convolved(tile: triton.Config, *tensors: Tensor) -> Tensor:
    images, weight, *rest = tensors
    output = torch.full((*images.shape[:3], weight.shape[0]), torch.nan)
    convolution.CONVOLVE.run(tile, convolution.arguments_of(images, weight, output, *rest))
    return output


@pytest.mark.parametrize("tile", range(len(convolution.TILES)))
@pytest.mark.parametrize(
    ("batch", "channels", "outputs", "size"),
    [(1, 128, 128, (9, 14)), (3, 64, 72, (5, 7)), (2, 96, 40, (1, 1)), (1, 320, 8, (17, 30))],
)
def test_convolution(tile: int, batch: int, channels: int, outputs: int, size: tuple[int, int]) -> None:
    """Sizes that no tile divides; images whose values differ by 3e5 in one batch."""
    tensors = operands(batch, channels, outputs, size)
    expected = framed_convolution_reference(*tensors)[:, : size[0], : size[1]]
    output = convolved(convolution.TILES[tile], *tensors)[:, : size[0], : size[1]]
    for k in range(batch):
        torch.testing.assert_close(output[k], expected[k], rtol=1e-4, atol=1e-5 * float(expected[k].abs().max()))


def test_convolution_in_16_bit() -> None:
    """As tests/gpu/kernels.py measures it beside cuDNN's."""
    framed, weight, _, _, bias = operands(1, 64, 72, (5, 7))
    tensors = (framed.half(), weight.half(), torch.ones(1), torch.ones(72), bias)
    expected = framed_convolution_reference(*tensors)
    output = convolved(convolution.TILES[0], *tensors)
    torch.testing.assert_close(output[:, :5, :7], expected[:, :5, :7], rtol=1e-4, atol=1e-3 * 448)


def pictures(batch: int, channels: int, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Channels last, each channel with a mean of its own."""
    generator = torch.Generator().manual_seed(batch * channels)
    x = torch.randn(batch, channels, *size, generator=generator)
    x += 5 * torch.randn(channels, generator=generator)[:, None, None]
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("batch", "channels", "groups", "size"),
    [(1, 32, 8, (1, 1)), (2, 320, 32, (9, 7)), (1, 128, 32, (40, 61)), (3, 96, 32, (17, 30))],
)
def test_moments_and_normalising(
    batch: int, channels: int, groups: int, size: tuple[int, int], dtype: torch.dtype
) -> None:
    x = pictures(batch, channels, size, dtype)
    mean, deviation = kernels_norm.moments(x, groups, 1e-5)
    expected_mean, expected_deviation = group_moments_reference(x.double(), groups, 1e-5)
    torch.testing.assert_close(mean.double(), expected_mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(deviation.double(), expected_deviation, rtol=1e-5, atol=1e-6)
    weight, bias = torch.randn(2, channels, generator=torch.Generator().manual_seed(1)).to(dtype).unbind()
    for silu in (False, True):
        got = kernels_norm.normalise(x, mean, deviation, weight, bias, silu=silu)
        expected = normalised(x, expected_mean.float(), expected_deviation.float(), weight, bias, silu=silu)
        assert got.dtype == dtype and got.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(got, expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-5)


def test_moments_of_numbers_far_from_zero() -> None:
    """10000 +- 1: as the difference of two sums of squares in float32 nothing would be left of the variance."""
    x = 10_000 + pictures(1, 32, (70, 65), torch.float32)
    mean, deviation = kernels_norm.moments(x, 8, 1e-5)
    expected_mean, expected_deviation = group_moments_reference(x.double(), 8, 1e-5)
    torch.testing.assert_close(mean.double(), expected_mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(deviation.double(), expected_deviation, rtol=1e-4, atol=0)


def test_moments_of_a_part_of_a_larger_tensor() -> None:
    """As the 8-bit convolution gives it, without its frame."""
    x = pictures(2, 64, (12, 9), torch.float16)[:, :, :11, :8]
    mean, deviation = kernels_norm.moments(x, 32, 1e-5)
    expected_mean, expected_deviation = group_moments_reference(x.double(), 32, 1e-5)
    torch.testing.assert_close(mean.double(), expected_mean, rtol=1e-5, atol=1e-5)
    weight, bias = torch.ones(2, 64).half().unbind()
    got = kernels_norm.normalise(x, mean, deviation, weight, bias, silu=True)
    expected = normalised(x, expected_mean.float(), expected_deviation.float(), weight, bias, silu=True)
    torch.testing.assert_close(got, expected, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("tile", range(len(kernels_attention.TILES)))
@pytest.mark.parametrize(("batch", "tokens", "width"), [(1, 64, 128), (2, 77, 64), (1, 130, 512), (1, 1, 256)])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_attention(tile: int, batch: int, tokens: int, width: int, spread: float) -> None:
    """Counts that no tile divides; scores that are near each other, and some far above the rest."""
    generator = torch.Generator().manual_seed(tokens)
    x = torch.randn(batch, tokens, width, generator=generator).half()
    queries = (spread * torch.randn(batch, tokens, width, generator=generator)).half()
    output = torch.full_like(x, torch.nan)
    kernels_attention.ATTEND.run(
        kernels_attention.TILES[tile], kernels_attention.arguments_of(queries, x, output)
    )
    expected = in_parts(queries.double(), x.double())
    # Weights and results have 11 bits.
    torch.testing.assert_close(output.double(), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("tile", range(len(kernels_geglu.TILES)))
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 64, 8), (130, 96, 72), (200, 320, 128)])
def test_gated_product(tile: int, rows: int, inputs: int, outputs: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, inputs, generator=generator).half()
    weight = (2 * inputs**-0.5 * torch.randn(2 * outputs, inputs, generator=generator)).half()
    bias = torch.randn(2 * outputs, generator=generator).half()
    output = torch.full((rows, outputs), torch.nan).half()
    kernels_geglu.MULTIPLY.run(
        kernels_geglu.TILES[tile], kernels_geglu.arguments_of(x, weight, bias, output)
    )
    expected = geglu_reference(x.double(), weight.double(), bias.double())
    torch.testing.assert_close(output.double(), expected, rtol=1e-3, atol=1e-4)


def deterministic() -> Iterator[None]:
    """Where results are to repeat no tile is measured, which takes a GPU."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


repeatable = pytest.fixture(deterministic)


@pytest.mark.usefixtures("repeatable")
def test_each_launch_may_be_an_operator() -> None:
    """PyTorch's operators may not give what they got, nor two results that share memory."""
    x = pictures(2, 64, (6, 5), torch.float16)
    tokens = torch.randn(2, 12, 64).half()
    calls = {
        "moments": (kernels_norm.moments, (x, 8, 1e-5)),
        "attention": (kernels_attention.launch, (tokens, tokens)),
        "geglu": (kernels_geglu.launch, (tokens, torch.randn(32, 64).half(), torch.randn(32).half())),
        "convolution": (convolution.launch, operands(1, 64, 72, (5, 7))),
    }
    for name, (launch, arguments) in calls.items():
        operator = torch.library.custom_op(f"r3d2_ros_test::{name}", launch, mutates_args=())
        results = operator(*arguments)
        for result in results if isinstance(results, tuple) else (results,):
            assert bool(result.isfinite().any())


@pytest.mark.usefixtures("repeatable")
def test_where_results_are_to_repeat_the_first_tile_with_room_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    tiles, seen = kernels_attention.TILES, []

    def run(self: TiledKernel, tile: triton.Config, arguments: object) -> None:
        seen.append(tile)
        if len(seen) in (2, 4, 5):
            raise OutOfResources(300_000, 232_448, "shared memory")

    monkeypatch.setattr(TiledKernel, "run", run)
    x = torch.randn(1, 8, 64).half()
    kernels_attention.launch(x, x)
    kernels_attention.launch(x, x)
    assert seen == [tiles[0], tiles[0], tiles[1]]
    with pytest.raises(OutOfResources):
        kernels_attention.launch(x, x)
