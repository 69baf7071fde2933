"""The rewrites of the harmonizer's network on a GPU: cuDNN's fused operators, folded upsampling, products in parts.

Each is compared with float64 on the same GPU, and may be 1.25 times as far from it as the plain module in the same
dtype. Run where there is no pytest too (see run.py), so the tests take no fixtures and are not parametrised.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.rendering.cuda import cuda_device, driver_fault

DEVICE = "cuda:0"


def fault() -> str:
    """Why CUDA does not work here, or ''."""
    if driver_fault():
        return driver_fault()
    try:
        cuda_device(DEVICE)
    except (InputError, MissingPackageError) as error:
        return str(error)
    return ""


FAULT = fault()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(FAULT), reason=f"needs an NVIDIA GPU with CUDA: {FAULT}")]

MORE = 1.25
"""So many times the error of the plain module is allowed."""


@functools.cache
def torch_() -> Any:
    """torch, after the check that diffusers, on whose classes the network is built, is there too."""
    pytest.importorskip("diffusers", reason="needs diffusers, which is not installed here")
    import torch

    return torch


def layouts() -> list[Any]:
    return [torch_().channels_last, torch_().contiguous_format]


def noise(*shape: int, seed: int = 0) -> Any:
    """Seeded normal numbers in float64 on the GPU."""
    torch = torch_()
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def convolution(channels: int, out: int, size: int, *, bias: bool = True) -> Any:
    torch = torch_()
    torch.manual_seed(1)
    return torch.nn.Conv2d(channels, out, size, padding=size // 2, bias=bias).double().to(DEVICE)


def assert_as_near(plain: Callable[[], Any], other: Callable[[], Any], *inputs: Any) -> None:
    """`plain` and `other` make modules in float64; the inputs are float64 too."""
    torch = torch_()
    with torch.inference_mode():
        exact = plain()(*inputs)
        assert float((other()(*inputs) - exact).abs().max()) <= 1e-9 * float(exact.abs().max())
        for dtype in (torch.float16, torch.bfloat16):
            for layout in layouts():
                given = [_laid_out(tensor.to(dtype), layout) for tensor in inputs]
                modules = [make().to(dtype).to(memory_format=layout) for make in (plain, other)]
                first, second = (float((module(*given).double() - exact).norm()) for module in modules)
                assert 0 < second <= MORE * first, (dtype, layout, first, second)


def _laid_out(tensor: Any, layout: Any) -> Any:
    """Tokens have one order only."""
    return tensor.contiguous(memory_format=layout) if tensor.ndim == 4 else tensor.contiguous()


def test_convolution_and_relu() -> None:
    torch = torch_()
    from r3d2_ros.harmonizer.rewrites.fuse_relu import ConvReLU

    assert_as_near(
        lambda: torch.nn.Sequential(convolution(64, 64, 3), torch.nn.ReLU()),
        lambda: ConvReLU(convolution(64, 64, 3)),
        noise(2, 64, 72, 120),
    )
    assert_as_near(
        lambda: torch.nn.Sequential(convolution(4, 64, 3, bias=False), torch.nn.ReLU()),
        lambda: ConvReLU(convolution(4, 64, 3, bias=False)),
        noise(1, 4, 45, 80),
    )


def test_convolution_sum_and_relu() -> None:
    torch = torch_()
    from torch import nn

    from r3d2_ros.harmonizer.rewrites.fuse_relu import ConvAddReLU

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = convolution(64, 64, 3)

        def forward(self, x: Any, z: Any) -> Any:
            return torch.relu(self.convolution(x) + z)

    inputs = noise(2, 64, 72, 120), noise(2, 64, 72, 120, seed=2)
    assert_as_near(Plain, lambda: ConvAddReLU(convolution(64, 64, 3)), *inputs)


def test_fused_norms_are_as_near_as_pytorchs() -> None:
    """Groups of 4 and 10 channels, one that no tile divides, a tensor with gaps."""
    torch = torch_()
    from r3d2_ros.harmonizer.rewrites.fuse_norm import FusedGroupNorm

    for groups, channels, size in ((32, 128, (72, 121)), (32, 320, (17, 30)), (8, 24, (5, 7))):
        torch.manual_seed(2)
        norm = torch.nn.GroupNorm(groups, channels).double().to(DEVICE)
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
        plain = torch.nn.Sequential(norm, torch.nn.SiLU())
        x = noise(2, channels, *size) * 3 + noise(channels, 1, 1, seed=3)
        exact = plain(x)
        half, x16 = copy.deepcopy(plain).half(), x.half().contiguous(memory_format=torch.channels_last)
        fused = FusedGroupNorm(copy.deepcopy(norm).half(), silu=True)
        framed = torch.nn.functional.pad(x16.permute(0, 2, 3, 1), (0, 0, 0, 1, 0, 1)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            yardstick = float((half(x16) - exact).norm())
            for given in (x16, framed[:, :, : size[0], : size[1]], x16.contiguous()):
                got = fused(given)
                assert got.is_contiguous(memory_format=torch.channels_last)
                assert float((got - exact).norm()) <= 1.25 * yardstick
                compiled = torch.compile(fused, dynamic=False, fullgraph=True)(given)
                torch.compiler.reset()
                assert float((compiled - exact).norm()) <= 1.25 * yardstick


def around(module: Callable[[Any], Any], plain: Callable[[], Any]) -> Callable[[], Any]:
    """Makes `module` of what `plain` makes."""
    return lambda: module(plain())


def test_first_convolution() -> None:
    torch_()
    from r3d2_ros.harmonizer.rewrites.fuse_picture import PictureConvolution

    for outputs, size in ((64, (72, 121)), (128, (35, 60)), (24, (1, 1))):
        plain = functools.partial(convolution, 3, outputs, 3)
        assert_as_near(plain, around(PictureConvolution, plain), noise(2, 3, *size))


def test_last_convolution() -> None:
    torch_()
    from r3d2_ros.harmonizer.rewrites.fuse_picture import ConvolutionToPicture

    for channels, size in ((64, (72, 127)), (128, (35, 60)), (16, (1, 1))):
        plain = functools.partial(convolution, channels, 3, 3)
        assert_as_near(plain, around(ConvolutionToPicture, plain), noise(2, channels, *size))


def test_sums_of_transformers_in_their_products() -> None:
    torch = torch_()
    from diffusers.models.transformers.transformer_2d import Transformer2DModel
    from torch import nn

    from r3d2_ros.harmonizer.rewrites.merge_residuals import MergedTransformer

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(5)
            self.transformer = Transformer2DModel(
                num_attention_heads=2, attention_head_dim=64, in_channels=128, cross_attention_dim=96,
                use_linear_projection=True,
            ).requires_grad_(False).double().to(DEVICE)  # fmt: skip

        def forward(self, x: Any, prompt: Any) -> Any:
            return self.transformer(x, prompt, return_dict=False)[0]

    class Merged(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = MergedTransformer(self.transformer)

    assert_as_near(Plain, Merged, noise(2, 128, 17, 30), noise(2, 77, 96, seed=2))


def test_gated_product() -> None:
    torch = torch_()
    from diffusers.models.activations import GEGLU

    from r3d2_ros.harmonizer.rewrites.fuse_geglu import FusedGEGLU

    def plain() -> Any:
        torch.manual_seed(4)
        return GEGLU(320, 1280).requires_grad_(False).double().to(DEVICE)

    for tokens in (1, 510, 3000):
        assert_as_near(plain, lambda: FusedGEGLU(plain()), noise(2, tokens, 320))


def test_cudnn_takes_16_bit() -> None:
    """Or the two tests above would compare the plain convolution with itself."""
    torch = torch_()
    from r3d2_ros.harmonizer.rewrites.fuse_relu import uses_cudnn

    assert uses_cudnn(noise(1).half()) and uses_cudnn(noise(1).bfloat16())
    assert not uses_cudnn(noise(1)) and not uses_cudnn(noise(1).float()) and not uses_cudnn(torch.zeros(1).half())


def test_a_fused_convolution_does_not_read_what_lay_in_its_memory() -> None:
    """cuDNN's operator gets its own result, not yet written, as the tensor to add zero times."""
    torch = torch_()
    from r3d2_ros.harmonizer.rewrites.fuse_relu import ConvReLU

    image = noise(1, 64, 72, 120).half().contiguous(memory_format=torch.channels_last)
    module = ConvReLU(convolution(64, 64, 3)).half()
    with torch.inference_mode():
        expected = module(image).clone()
        for _ in range(3):
            rubbish = torch.full_like(expected, torch.nan)
            del rubbish  # its memory is the next result's
            assert torch.equal(module(image), expected)


def test_folded_upsampling_down_to_the_last_row() -> None:
    for height, width in ((135, 240), (136, 240), (67, 61)):
        assert_folds(height, width)


def assert_folds(height: int, width: int) -> None:
    torch = torch_()
    from torch import nn

    from r3d2_ros.harmonizer.rewrites.fold_upsample import FoldedUpsample

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = convolution(32, 48, 3)

        def forward(self, x: Any) -> Any:
            return self.convolution(torch.nn.functional.interpolate(x, size=(height, width), mode="nearest"))

    class Folded(FoldedUpsample):
        def __init__(self) -> None:
            super().__init__(convolution(32, 48, 3))

        def forward(self, x: Any) -> Any:  # type: ignore[override]
            return super().forward(x, (height, width))

    assert_as_near(Plain, Folded, noise(2, 32, (height + 1) // 2, (width + 1) // 2))


def test_accumulated_skip() -> None:
    torch_()
    from r3d2_ros.harmonizer.rewrites.decoders import Skip
    from r3d2_ros.harmonizer.rewrites.merge_skips import AccumulatedSkip

    class Merged(AccumulatedSkip):
        def forward(self, x: Any, tap: Any) -> Any:
            return super().forward(x.clone(), tap)

    assert_as_near(
        lambda: Skip(convolution(32, 48, 1, bias=False)),
        lambda: Merged(convolution(32, 48, 1, bias=False)),
        noise(2, 48, 60, 100),
        noise(2, 32, 60, 100, seed=2),
    )


def wide_attention() -> Any:
    """AutoencoderKL's in float64, with weights that keep variances level."""
    from diffusers.models.attention_processor import Attention

    torch = torch_()
    torch.manual_seed(3)
    attention = Attention(512, heads=1, dim_head=512, norm_num_groups=32, residual_connection=True, bias=True)
    for name, parameter in attention.named_parameters():
        # Scores spread by about 3: softmax looks at few tokens, and at others in each query.
        spread = 3**0.5 if name in ("to_q.weight", "to_k.weight") else 1.0
        torch.nn.init.normal_(parameter, std=spread * 512**-0.5)
    torch.nn.init.normal_(attention.group_norm.weight, mean=1.0, std=0.1)
    return attention.requires_grad_(False).double().to(DEVICE)


def test_attention_in_parts() -> None:
    torch_()
    from r3d2_ros.harmonizer.rewrites.chunked_attention import ChunkedAttention

    assert_as_near(wide_attention, lambda: ChunkedAttention(wide_attention()), noise(1, 512, 68, 120))


def test_attention_in_one_kernel() -> None:
    torch_()
    from r3d2_ros.harmonizer.rewrites.chunked_attention import ChunkedAttention
    from r3d2_ros.harmonizer.rewrites.fuse_attention import attended_at_once

    def fused() -> Any:
        attention = ChunkedAttention(wide_attention())
        attention.attend = attended_at_once
        return attention

    for batch, size in ((1, (68, 120)), (3, (17, 31))):
        assert_as_near(wide_attention, fused, noise(batch, 512, *size))


def test_attention_in_one_kernel_looks_where_the_scores_say() -> None:
    torch_()
    from r3d2_ros.harmonizer.rewrites.chunked_attention import in_parts
    from r3d2_ros.harmonizer.rewrites.fuse_attention import attended_at_once

    for tokens in (64, 1000, 4001):
        for spread in (0.03, 0.3):
            queries, x = spread * noise(2, tokens, 512, seed=5), noise(2, tokens, 512)
            expected = in_parts(queries, x)
            far = float((expected - x.mean(1, keepdim=True)).norm() / expected.norm())
            got = attended_at_once(queries.half(), x.half()).double()
            error = float((got - expected).norm() / expected.norm())
            assert error < 5e-3 < 0.2 < far, (tokens, spread, error, far)


def test_attention_of_1080p_stays_in_bounds() -> None:
    """32,400 tokens: 4.2 GB of scores if they were not in parts; a part has a quarter GiB, its softmax as much."""
    torch = torch_()
    from r3d2_ros.harmonizer.rewrites.chunked_attention import SCORES_BYTES, ChunkedAttention

    chunked = ChunkedAttention(wide_attention()).half()
    x = noise(1, 512, 135, 240).half().contiguous(memory_format=torch.channels_last)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.inference_mode():
        assert bool(chunked(x).isfinite().all())
    assert torch.cuda.max_memory_allocated() - before <= 3 * SCORES_BYTES + 10 * x.nbytes


@functools.cache
def nano(skip_position: str) -> Any:
    from r3d2_ros.harmonizer.model.config import SkipOptions
    from r3d2_ros.harmonizer.model.random_weights import random_model
    from r3d2_ros.harmonizer.model.variants import VARIANTS

    options = SkipOptions(position=skip_position)  # type: ignore[arg-type]
    return random_model(replace(VARIANTS["nano"], skips=options), seed=0).to(DEVICE)


def image() -> Any:
    torch = torch_()
    return torch.rand(2, 3, 270, 480, generator=torch.Generator().manual_seed(5)).to(DEVICE)


def whole(skip_position: str, dtype: Any) -> Any:
    from r3d2_ros.harmonizer.rewrites import rewritten
    from r3d2_ros.harmonizer.settings import RewritesConfig

    model = rewritten(nano(skip_position), RewritesConfig()).to(dtype)
    return model.to(memory_format=torch_().channels_last)  # type: ignore[call-overload]


def test_the_whole_network() -> None:
    torch = torch_()
    for position in ("after_convolution", "after_upsample"):
        plain = nano(position)
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            exact = plain(image())
            assert float((whole(position, torch.float32)(image()) - exact).abs().max()) <= 1e-3
        with torch.inference_mode():
            for dtype in (torch.float16, torch.bfloat16):
                half = copy.deepcopy(plain).to(dtype)
                yardstick = float((half(image()) - exact).norm())
                assert float((whole(position, dtype)(image()) - exact).norm()) <= MORE * yardstick, (position, dtype)


def test_recorded_and_replayed() -> None:
    """A CUDA graph of the rewritten network gives the bytes of the calls it was recorded from."""
    torch = torch_()
    model = whole("after_convolution", torch.float16)
    given = image()[..., :256, :448].half().contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        for _ in range(3):
            expected = model.harmonize_padded(given).clone()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = model.harmonize_padded(given)
        output.fill_(float("nan"))
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(output, expected)


def test_compiled_in_one_graph() -> None:
    """torch.compile takes cuDNN's operators and the product in place as they are."""
    torch = torch_()
    model = whole("after_convolution", torch.float16)
    given = image()[..., :256, :448].half().contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = model.harmonize_padded(given).float()
        compiled = torch.compile(model.harmonize_padded, fullgraph=True, dynamic=False)
        difference = (compiled(given).float() - expected).abs()
    assert float(difference.mean()) <= 2e-3, float(difference.mean())
