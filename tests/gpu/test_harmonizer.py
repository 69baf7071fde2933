"""The harmonizer's network on a GPU: graphs, attention kernels, 16 and 8 bit, and the same bytes again.

Run where there is no pytest too (see run.py), so the tests take no fixtures and are not parametrised. Weights are
random: they say nothing about pictures, and everything about arithmetic.
"""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.gpu.machine import cuda_fault

if TYPE_CHECKING:
    from torch import Tensor

    from r3d2_ros.harmonizer.model.r3d2 import R3D2
    from r3d2_ros.harmonizer.runtime.runtime import Runtime

FAULT = cuda_fault()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(FAULT), reason=f"needs an NVIDIA GPU with CUDA: {FAULT}")]

ROOT = Path(__file__).resolve().parents[2]
ROWS, COLUMNS = 256, 480
YARDSTICK = 1.25
"""So many times the error of plain 16-bit PyTorch to float32 may the optimised path have."""


@functools.cache
def model(variant: str = "nano") -> R3D2:
    pytest.importorskip("diffusers", reason="needs diffusers, which is not installed here")
    from r3d2_ros.harmonizer.model.random_weights import random_model
    from r3d2_ros.harmonizer.model.variants import VARIANTS

    return random_model(VARIANTS[variant], seed=0)


def runtime(variant: str = "nano", *, dtype: str = "float16", plain: bool = False, **options: Any) -> Runtime:
    """`plain`: the operations of the published network, launched one by one."""
    weights = model(variant)
    from r3d2_ros.harmonizer.runtime.runtime import make_runtime
    from r3d2_ros.harmonizer.settings import HarmonizerConfig, RewritesConfig, RuntimeConfig

    rewrites = RewritesConfig(**{field.name: not plain for field in fields(RewritesConfig)})
    if plain:
        options = {"cuda_graph": False, "channels_last": False, "attention": "efficient", **options}
    config = HarmonizerConfig(device="cuda:0", dtype=dtype, rewrites=rewrites, runtime=RuntimeConfig(**options))  # type: ignore[arg-type]
    return make_runtime(weights, config)


def pictures(batch: int = 1, *, seed: int = 0) -> Tensor:
    import torch

    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, ROWS, COLUMNS, generator=generator).to("cuda:0")


def relative_l2(got: Tensor, expected: Tensor) -> float:
    return float((got.double() - expected.double()).norm() / expected.double().norm())


def test_a_replayed_graph_equals_launching_one_by_one() -> None:
    import torch

    graphs, launches = runtime(deterministic=True), runtime(deterministic=True, cuda_graph=False)
    graphs.warm_up([(1, ROWS, COLUMNS), (2, ROWS, COLUMNS)])
    results = []
    for seed, batch in enumerate([1, 2, 1, 2]):
        images = pictures(batch, seed=seed)
        results.append((graphs(images), launches(images)))
    # Compared at the end: a result must not change when graphs that share its memory run later.
    for replayed, launched in results:
        assert torch.equal(replayed, launched)
    assert not torch.equal(results[0][0], results[2][0]), "the graph did not see the new image"


def test_each_attention_kernel_agrees_with_float64() -> None:
    import torch

    pytest.importorskip("diffusers", reason="needs diffusers, which is not installed here")
    from r3d2_ros.harmonizer.runtime.attention import BACKENDS, AttentionKernels, attend_by
    from r3d2_ros.harmonizer.runtime.attention_packages import installed_packages
    from r3d2_ros.harmonizer.settings import RuntimeConfig

    generator = torch.Generator().manual_seed(0)
    for shape in [(1, 5, 1920, 64), (2, 10, 480, 64), (2, 20, 510, 64), (1, 20, 30, 64)]:
        q, k, v = (torch.randn(shape, generator=generator).to("cuda:0", torch.float16) for _ in range(3))
        exact = torch.softmax(q.double() @ k.double().transpose(-1, -2) / 8, dim=-1) @ v.double()
        kernels = AttentionKernels(RuntimeConfig(), device=q.device, dtype=q.dtype, folder=Path())
        ran = [name for name in (*BACKENDS, *installed_packages()) if kernels._runs(shape, name)]
        assert "math" in ran and len(ran) >= 2, f"{shape}: only {ran}"
        for name in ran:
            error = relative_l2(attend_by(name, q, k, v), exact)
            assert error < 2e-3, f"{name} at {shape}: {error:.1e}"  # float16 has 11 bits: 5e-4 for each rounding


def test_the_fastest_attention_is_measured_once() -> None:
    pytest.importorskip("diffusers", reason="needs diffusers, which is not installed here")
    from r3d2_ros.harmonizer.runtime.attention import BACKENDS, FILE, AttentionKernels
    from r3d2_ros.harmonizer.runtime.attention_packages import PACKAGES
    from r3d2_ros.harmonizer.runtime.kernel_cache import read_choices

    with tempfile.TemporaryDirectory() as folder:
        runtime(cache=folder).warm_up([(1, ROWS, COLUMNS)])
        choices = read_choices(Path(folder) / FILE)
        assert len(choices) == 4 and set(choices.values()) <= {*BACKENDS, *PACKAGES}
        real = AttentionKernels._fastest
        AttentionKernels._fastest = lambda self, shape: 1 / 0  # type: ignore[assignment, method-assign, return-value]
        try:
            runtime(cache=folder).warm_up([(1, ROWS, COLUMNS)])
        finally:
            AttentionKernels._fastest = real  # type: ignore[method-assign]


def assert_within_yardstick(variant: str, **options: Any) -> None:
    images = pictures()
    exact = runtime(variant, dtype="float32", plain=True)(images)
    allowed = YARDSTICK * relative_l2(runtime(variant, plain=True)(images), exact)
    error = relative_l2(runtime(variant, **options)(images), exact)
    assert 0 < error <= allowed, f"{error:.2e}, allowed are {allowed:.2e}"


def test_float16_with_rewrites_and_graphs_is_within_the_yardstick() -> None:
    assert_within_yardstick("r3d2")


def test_float16_of_the_big_variant_is_within_the_yardstick() -> None:
    assert_within_yardstick("r3d2-big")


def test_float16_compiled_is_within_the_yardstick() -> None:
    pytest.importorskip("triton", reason="needs triton, which is not installed here")
    assert_within_yardstick("r3d2", kind="torch-compile")


def test_float32_is_not_tf32() -> None:
    """TF32 has float16's 10 bits of fraction; its error would be that of float16, about 8e-3."""
    import torch

    images = pictures()
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    try:
        error = relative_l2(runtime(dtype="float32")(images).cpu(), model()(images.cpu()))
        assert torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32, "not put back"
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    assert error < 5e-4


def test_float8_multiplies_as_on_a_cpu() -> None:
    import torch
    from torch import nn

    from r3d2_ros.errors import InputError
    from r3d2_ros.harmonizer.float8 import applied_float8
    from r3d2_ros.harmonizer.float8.linears import Float8GEGLU, Float8Linear
    from r3d2_ros.harmonizer.settings import Float8Config

    try:
        applied_float8(Float8Config(), torch.device("cuda:0"))
    except InputError as error:
        with pytest.raises(InputError, match="compute capability 8.9"):
            runtime("r3d2", dtype="float8")
        pytest.skip(str(error))
    torch.manual_seed(0)
    layer, gate = (nn.Linear(640, outputs).half().requires_grad_(False) for outputs in (640, 5120))
    inputs = torch.randn(2, 100, 640).half()
    for module in (Float8Linear(layer), Float8GEGLU(gate)):
        expected = module(inputs)
        assert relative_l2(module.to("cuda:0")(inputs.to("cuda:0")).cpu(), expected) < 5e-3
    if torch.cuda.get_device_capability() < (9, 0):
        pytest.skip("this GPU has no 8-bit convolutions")
    for channels, outputs, size in ((640, 640, (17, 30)), (96, 72, (5, 7)), (320, 320, (34, 60))):
        layer = eight_bit(channels, outputs)
        batch = torch.randn(2, channels, *size) * torch.tensor([1.0, 1e3])[:, None, None, None]
        expected = layer(batch)
        layer, on_gpu = layer.to("cuda:0"), batch.to("cuda:0")
        # Sums keep about 14 bits, and a number half way between two of 8 bits may go either way.
        output = layer(on_gpu).cpu()
        assert max(relative_l2(output[k], expected[k]) for k in range(2)) < 1e-2
        on_gpu[1, 0, 0, 0] = torch.nan
        output = layer(on_gpu)
        assert bool(output[0].isfinite().all()) and bool(output[1].isnan().any())
    assert_tiles_give_the_same_bytes(layer, batch.to("cuda:0"))
    images = pictures()
    output = runtime("r3d2", dtype="float8")(images)
    assert bool(output.isfinite().all()) and not torch.equal(output, runtime("r3d2")(images))


def test_attention_in_8_bit_is_that_of_a_cpu() -> None:
    """Of images of different brightness, with tokens that no tile divides, and with queries in two parts."""
    import torch

    from r3d2_ros.errors import InputError
    from r3d2_ros.harmonizer.float8 import applied_float8
    from r3d2_ros.harmonizer.float8.attention import attended_in_8_bit
    from r3d2_ros.harmonizer.settings import Float8Config

    try:
        on = applied_float8(Float8Config(attention=True), torch.device("cuda:0")).attention
    except InputError as error:
        pytest.skip(str(error))
    if not on:
        pytest.skip("this GPU has no 8-bit attention")
    generator = torch.Generator().manual_seed(0)
    for tokens, width in ((130, 128), (1000, 512), (8200, 512)):
        brightness = torch.tensor([1.0, 30.0])[:, None, None]
        x = (brightness * torch.randn(2, tokens, width, generator=generator)).half()
        queries = (0.1 / brightness * torch.randn(2, tokens, width, generator=generator)).half()
        expected = attended_in_8_bit(queries, x)
        output = attended_in_8_bit(queries.to("cuda:0"), x.to("cuda:0")).cpu()
        # Sums keep about 14 bits, and a weight half way between two of 8 bits may go either way.
        assert max(relative_l2(output[k], expected[k]) for k in range(2)) < 1e-2
    x[1, 5, 3] = torch.nan
    output = attended_in_8_bit(queries.to("cuda:0"), x.to("cuda:0"))
    assert bool(output[0].isfinite().all()) and bool(output[1].isnan().any())


def eight_bit(channels: int, outputs: int) -> Any:
    from torch import nn

    from r3d2_ros.harmonizer.float8.convolutions import Float8NormConv2d
    from r3d2_ros.harmonizer.rewrites.fuse_norm import FusedGroupNorm

    convolution = nn.Conv2d(channels, outputs, 3, padding=1).requires_grad_(False)
    return Float8NormConv2d(FusedGroupNorm(nn.GroupNorm(8, channels).requires_grad_(False), silu=True), convolution)


def assert_tiles_give_the_same_bytes(module: Any, batch: Any) -> None:
    """So that which one is the fastest decides about time alone."""
    import torch

    from r3d2_ros.harmonizer.float8 import kernels_products as kernels
    from r3d2_ros.harmonizer.float8.convolutions import quantised_images
    from r3d2_ros.harmonizer.rewrites.fuse_norm import channels_last

    batch = channels_last(batch)
    framed, scale = quantised_images(batch, *module.norm.affine(batch))
    results = []
    for tile in kernels.TILES:
        output = torch.full((2, *batch.shape[2:], module.weight.shape[0]), torch.nan, device=framed.device)
        arguments = kernels.arguments_of(
            framed, module.weight, output=output, scale=scale, weight_scale=module.weight_scale, bias=module.bias,
            added=None,
        )  # fmt: skip
        kernels.MULTIPLY.run(tile, arguments)
        results.append(output)
    for result in results:
        assert bool(result.isfinite().all()) and torch.equal(result, results[0])


def test_two_processes_give_the_same_bytes() -> None:
    here = output_hash("eager")
    assert hash_in_another_process("eager") == here


def test_two_processes_that_compile_give_the_same_bytes() -> None:
    """Each with an empty cache, so that nothing but the rules of choice can make them equal."""
    pytest.importorskip("triton", reason="needs triton, which is not installed here")
    assert hash_in_another_process("torch-compile") == hash_in_another_process("torch-compile")


def test_pinning_kernels_after_a_matrix_product_is_refused() -> None:
    """Where that product had another workspace than is asked for."""
    assert in_another_process("print(refusal_after_a_matrix_product())").strip() == (
        "environment variable CUBLAS_WORKSPACE_CONFIG"
    )


def refusal_after_a_matrix_product() -> str:
    import torch

    from r3d2_ros.errors import InputError

    square = torch.ones(64, 64, device="cuda:0")
    torch.mm(square, square)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":16:8"  # :4096:8 is what PyTorch chooses on Hopper
    try:
        runtime(deterministic=True)
    except InputError as error:
        return error.where
    return "not refused"


def output_hash(kind: str) -> str:
    with tempfile.TemporaryDirectory() as cache:
        output = runtime(kind=kind, deterministic=True, cache=cache)(pictures(2))
    return hashlib.sha256(output.cpu().numpy().tobytes()).hexdigest()


def hash_in_another_process(kind: str) -> str:
    return in_another_process(f"print(output_hash({kind!r}))").split()[-1]


def in_another_process(program: str) -> str:
    """What it prints, in an environment that says nothing of cuBLAS' workspace: the runtime has to."""
    begin = "import os; from tests.gpu.test_harmonizer import *; del os.environ['CUBLAS_WORKSPACE_CONFIG']; "
    command = [sys.executable, "-c", begin + program]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=True, cwd=ROOT).stdout


def test_runs_on_after_running_out_of_memory() -> None:
    import torch

    network, images = runtime(deterministic=True), pictures()
    expected = network(images)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + 2**26) / total))
    try:
        with pytest.raises(torch.OutOfMemoryError, match="memory"):
            network(torch.zeros(2, 3, 2048, 2048, device="cuda:0"))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert torch.equal(network(images), expected)
