"""The harmonizer's runtime on a GPU: the numbers of the plain module, whole outputs, the same bytes again.

Run where there is no pytest too (see run.py), so the tests take no fixtures and are not parametrised. A rehearsal runs
them on the CPU.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs torch, which is not installed here")
pytest.importorskip("diffusers", reason="needs diffusers, which is not installed here")

import torch

from r3d2_ros.bench.harmonizer.accuracy import (
    checked_outputs,
    error_of,
    judged,
    make_reference,
    plain_path,
)
from r3d2_ros.bench.harmonizer.pictures import comparison_pictures
from r3d2_ros.bench.harmonizer.report import NO_REWRITES
from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.model.config import KLConfig, ModelConfig, TinyConfig, UNetConfig
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.model.random_weights import random_model
from r3d2_ros.harmonizer.rewrites import REWRITES
from r3d2_ros.harmonizer.runtime.runtime import make_runtime
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RewritesConfig, RuntimeConfig
from tests.gpu.machine import cuda_fault, rehearsing

FAULT = "" if rehearsing() else cuda_fault()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(FAULT), reason=f"needs an NVIDIA GPU with CUDA: {FAULT}")]

DEVICE = torch.device("cpu" if rehearsing() else "cuda:0")
HALF = "bfloat16" if rehearsing() else "float16"
"""A CPU takes minutes for float16."""

SIZE = (40, 72) if rehearsing() else (264, 480)
"""With odd sizes between the levels of the UNet: 33 rows of latents are 17, 9 and 5."""

_HEADS_OF_64 = UNetConfig(block_out_channels=(64, 128, 256, 256), attention_heads=(1, 2, 4, 4), layers_per_block=1)
_SMALL = UNetConfig(
    block_out_channels=(16, 16, 32, 32), attention_heads=(1, 1, 2, 2), cross_attention_dim=16, layers_per_block=1,
    norm_groups=4,
)  # fmt: skip
TINY = ModelConfig(
    variant="tiny",
    unet=_SMALL if rehearsing() else _HEADS_OF_64,
    autoencoder=TinyConfig(channels=16 if rehearsing() else 64),
)
KL = replace(
    TINY,
    variant="kl",
    autoencoder=KLConfig(
        block_out_channels=(8, 8, 16, 16) if rehearsing() else (64, 128, 256, 512),
        layers_per_block=1,
        norm_groups=4 if rehearsing() else 32,
    ),
)
"""Heads of 64 and a last level of 512 channels, as in the published sizes."""

CONFIGS = {"tiny": TINY, "kl": KL}


@functools.cache
def model_of(name: str) -> R3D2:
    return random_model(CONFIGS[name], seed=1)


def config(*, dtype: str = HALF, rewrites: RewritesConfig | None = None, **runtime: Any) -> HarmonizerConfig:
    return HarmonizerConfig(
        device=str(DEVICE),
        dtype=dtype,  # type: ignore[arg-type]
        runtime=RuntimeConfig(**{"kind": "eager", **runtime}),
        rewrites=RewritesConfig() if rewrites is None else rewrites,
    )


def noise(batch: int = 1, *, seed: int = 0, size: tuple[int, int] = SIZE) -> Any:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def assert_as_good_as_16_bit(name: str, path: HarmonizerConfig, *, batch: int = 1) -> None:
    """Its error against float32 within the limits of that of the plain module in 16 bit; every value written."""
    model, pictures = model_of(name), comparison_pictures(SIZE)
    reference = make_reference(model, pictures, DEVICE)
    dtype = getattr(torch, path.dtype)
    yardstick = error_of(checked_outputs(plain_path(model, dtype, DEVICE), pictures, DEVICE), reference)
    outputs = checked_outputs(make_runtime(model, path), pictures, DEVICE, batch=batch)
    facts = judged(error_of(outputs, reference), dtype=path.dtype, yardstick=yardstick)
    assert facts["within_limit"], f"{name}: {facts}"


def test_eager_with_every_rewrite_is_as_good_as_16_bit() -> None:
    for name in CONFIGS:
        assert_as_good_as_16_bit(name, config())


def test_each_rewrite_alone_is_as_good_as_16_bit() -> None:
    for name in CONFIGS:
        for rewrite in REWRITES:
            assert_as_good_as_16_bit(name, config(rewrites=replace(NO_REWRITES, **{rewrite: True})))


def test_bfloat16_is_as_good_as_the_plain_module_in_bfloat16() -> None:
    assert_as_good_as_16_bit("tiny", config(dtype="bfloat16"))


def test_without_channels_last_and_without_a_graph() -> None:
    assert_as_good_as_16_bit("tiny", config(channels_last=False, cuda_graph=False))


def test_every_attention_kernel_is_as_good_as_16_bit() -> None:
    for kernel in ("auto", "math") if rehearsing() else ("auto", "cudnn", "flash", "efficient", "math"):
        assert_as_good_as_16_bit("tiny", config(attention=kernel))


def test_compiled_is_as_good_as_16_bit() -> None:
    if rehearsing():
        pytest.skip("a CPU compiles for minutes; tests/harmonizer does it")
    for name in CONFIGS:
        assert_as_good_as_16_bit(name, config(kind="torch-compile"))


def test_a_batch_is_as_good_as_16_bit_at_every_place() -> None:
    assert_as_good_as_16_bit("tiny", config(max_batch=3), batch=4)


def test_float32_is_the_plain_module() -> None:
    for name in CONFIGS:
        model, images = model_of(name), noise()
        runtime = make_runtime(model, config(dtype="float32"))
        reference = make_reference(model, {"noise": images.cpu()}, DEVICE)
        error = error_of([("noise", runtime(images).cpu())], reference)
        assert error.max_abs <= 1e-3, f"{name}: {error}"


def test_a_replayed_graph_reads_its_input_and_gives_memory_of_its_own() -> None:
    runtime = make_runtime(model_of("tiny"), config(cuda_graph=True))
    first = runtime(noise(seed=1))
    kept = first.clone()
    second = runtime(noise(seed=2))
    assert torch.equal(first, kept), "the second call wrote into the first one's result"
    assert not torch.equal(first, second)
    assert torch.equal(runtime(noise(seed=1)), kept), "the same input gives another output"


def test_a_graph_gives_what_launches_give() -> None:
    images = noise()
    outputs = [make_runtime(model_of("tiny"), config(cuda_graph=graph, deterministic=True))(images) for graph in (0, 1)]
    assert torch.equal(*outputs)


def test_a_graph_is_recorded_with_the_callers_priority() -> None:
    """Kernels of a replay have the priority of the stream that they were recorded on."""
    if rehearsing():
        pytest.skip("a CPU has no streams")
    from r3d2_ros.harmonizer.runtime.cuda_graphs import CudaGraphs

    seen: set[tuple[int, int]] = set()

    def network(images: torch.Tensor) -> torch.Tensor:
        stream = torch.cuda.current_stream()
        seen.add((stream.priority, stream.cuda_stream))
        return images * 2

    with torch.cuda.stream(torch.cuda.Stream(DEVICE, priority=-1)):
        graphs = CudaGraphs()
        for size in (8, 16):
            graphs.record(network, torch.ones(size, device=DEVICE))
    assert len(seen) == 1 and next(iter(seen))[0] == -1


def test_sizes_may_come_and_go() -> None:
    """As with crops: the answer for a size does not depend on the sizes before."""
    runtime = make_runtime(model_of("tiny"), config(deterministic=True))
    sizes = [(SIZE[0] - 8 * k, SIZE[1] - 8 * k) for k in range(3)]
    alone = {size: make_runtime(model_of("tiny"), config(deterministic=True))(noise(size=size)) for size in sizes}
    for size in [*sizes, *reversed(sizes), *sizes]:
        assert torch.equal(runtime(noise(size=size)), alone[size]), size


def test_deterministic_gives_the_same_bytes_in_two_runtimes() -> None:
    for kind in ("eager",) if rehearsing() else ("eager", "torch-compile"):
        path = config(kind=kind, deterministic=True)
        one, two = (make_runtime(model_of("tiny"), path)(noise(2)) for _ in range(2))
        assert torch.equal(one, two), kind


def test_float8_runs_or_says_why_not() -> None:
    try:
        out = make_runtime(model_of("tiny"), config(dtype="float8"))(noise())
    except InputError as error:
        assert "float8" in str(error)
        pytest.skip(f"this device has no float8: {error}")
    assert bool(out.isfinite().all())


def test_the_warm_up_leaves_nothing_for_the_first_frame() -> None:
    """Memory does not grow after it, and the process-wide switches are as before."""
    switches = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    runtime = make_runtime(model_of("tiny"), config())
    runtime.warm_up([(2, *SIZE)])
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == switches
    if DEVICE.type == "cuda":
        images = noise(2)
        runtime(images)
        before = torch.cuda.memory_reserved()
        for _ in range(5):
            runtime(images)
        assert torch.cuda.memory_reserved() == before
