"""The contract of the runtime, in eager mode: shapes, batches, ownership of memory, dtypes, errors."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import r3d2_ros.harmonizer.runtime.runtime as runtime_module
from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.harmonizer.model.checkpoints import save_checkpoint
from r3d2_ros.harmonizer.model.config import ModelConfig, Padding, SkipOptions
from r3d2_ros.harmonizer.model.variants import VARIANTS
from r3d2_ros.harmonizer.runtime.numerics import CUBLAS_WORKSPACE, pin_cublas_workspace
from r3d2_ros.harmonizer.runtime.runtime import OWN_KERNELS, applied_rewrites, load_runtime, make_runtime
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RewritesConfig, RuntimeConfig
from r3d2_ros.training.stages import begin_with_the_input
from tests.harmonizer.small import KL, TINY, picture, seeded

NANO = VARIANTS["nano"]
PLAIN = RuntimeConfig(channels_last=False, max_batch=2)
NO_REWRITES = RewritesConfig(**{field.name: False for field in fields(RewritesConfig)})


def eager(*, dtype: str = "checkpoint", runtime: RuntimeConfig = PLAIN) -> HarmonizerConfig:
    """The network's own operations, so that results can be compared bit by bit."""
    return HarmonizerConfig(dtype=dtype, runtime=runtime, rewrites=NO_REWRITES)  # type: ignore[arg-type]


def relative_l2(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


@pytest.mark.parametrize("size", [(1, 1), (33, 70), (64, 64)])
def test_equals_the_module(size: tuple[int, int]) -> None:
    model, images = seeded(TINY), picture(*size, batch=2)
    assert torch.equal(make_runtime(model, eager())(images), model(images))


@pytest.mark.parametrize("config", [TINY, KL], ids=["tiny", "kl"])
def test_rewritten_and_nhwc_as_configured_by_default(config: ModelConfig) -> None:
    model, images = seeded(config), picture(40, 72, batch=2)
    torch.testing.assert_close(make_runtime(model, HarmonizerConfig())(images), model(images), rtol=0, atol=1e-4)


def test_nhwc_differs_by_rounding_alone() -> None:
    model, images = seeded(NANO), picture(64, 96, batch=2)
    nhwc = make_runtime(model, eager(runtime=RuntimeConfig(channels_last=True)))(images)
    torch.testing.assert_close(nhwc, model(images), rtol=0, atol=1e-4)
    assert nhwc.is_contiguous()


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 8])
def test_a_large_batch_is_run_in_parts(batch: int) -> None:
    model, images = seeded(TINY), picture(32, 40, batch=batch)
    runtime = make_runtime(model, eager(runtime=RuntimeConfig(channels_last=False, max_batch=3)))
    sizes: list[int] = []
    model_alone = runtime._network
    runtime._network = lambda padded: (sizes.append(len(padded)), model_alone(padded))[1]  # type: ignore[func-returns-value]
    together = runtime(images)
    assert sizes == {1: [1], 2: [1, 1], 3: [3], 4: [3, 1], 8: [3, 3, 1, 1]}[batch]
    alone = torch.cat([runtime(image.unsqueeze(0)) for image in images])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


def test_each_part_is_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for any number of images up to four gets the parts that four, three and two are run in."""
    config = RuntimeConfig(kind="torch-compile", channels_last=False, max_batch=4)
    runtime = make_runtime(seeded(TINY), eager(runtime=config))
    prepared: list[int] = []

    def network(images: Tensor) -> Tensor:
        prepared.append(len(images))
        return images

    monkeypatch.setattr(runtime, "_network", network)
    runtime.warm_up((batch, 32, 40) for batch in (1, 2, 3, 4))
    assert prepared == [4, 2, 1]


def test_a_cpu_that_compiles_nothing_runs_one_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = make_runtime(seeded(TINY), eager(runtime=RuntimeConfig(max_batch=4)))
    shapes: list[torch.Size] = []
    network = runtime._network
    monkeypatch.setattr(runtime, "_network", lambda images: (shapes.append(images.shape), network(images))[1])  # type: ignore[func-returns-value]
    runtime.warm_up([(4, 64, 80), (2, 32, 40), (3, 32, 40)])
    assert shapes == [(1, 3, 32, 40)]
    runtime.warm_up([])


def test_a_result_outlives_the_next_call_and_can_be_changed() -> None:
    runtime = make_runtime(seeded(TINY), eager())
    images, others = picture(32, 40), picture(32, 40, seed=1)
    before = images.clone()
    result = runtime(images)
    kept = result.clone()
    runtime(others)
    assert torch.equal(result, kept) and torch.equal(images, before)
    result.mul_(0.5)  # an inference tensor would refuse
    assert torch.equal(runtime(images), kept)


def test_the_model_that_was_given_is_left_as_it_was() -> None:
    model = seeded(TINY)
    before = {key: (tensor.clone(), tensor.stride()) for key, tensor in model.state_dict().items()}
    make_runtime(model, eager(dtype="bfloat16", runtime=RuntimeConfig()))(picture(32, 32))
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key][0]) and tensor.stride() == before[key][1], key


# Random numbers leave an error of 5.5e-2 with bfloat16's 8 bits; float16 has 11, so an eighth: x0 multiplies by 14.6.
@pytest.mark.parametrize(("dtype", "limit"), [("bfloat16", 8e-2), ("float16", 1e-2)])
def test_half_precision_stays_near_float32(dtype: str, limit: float) -> None:
    model, images = seeded(NANO), picture(64, 96)
    error = relative_l2(make_runtime(model, eager(dtype=dtype))(images), model(images))
    assert 0 < error < limit


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("reduction", [1, 2])
def test_in_16_bit_the_change_is_rounded_and_not_the_picture(dtype: str, reduction: int) -> None:
    model = seeded(replace(TINY, padding=Padding(multiple_px=32), skips=SkipOptions(image=True, reduction=reduction)))
    begin_with_the_input(model.decoder)
    runtime, image = make_runtime(model, HarmonizerConfig(dtype=dtype)), picture(40, 72)  # type: ignore[arg-type]
    assert torch.equal(runtime(image), image) and torch.equal(model.to(runtime.dtype)(image), image)
    assert not torch.equal(image.to(runtime.dtype).float(), image)


def test_load_runtime_is_the_checkpoint(tmp_path: Path) -> None:
    model, images = seeded(TINY), picture(33, 70)
    save_checkpoint(model, tmp_path)
    runtime = load_runtime(replace(eager(), backend="r3d2", checkpoint=str(tmp_path)))
    assert runtime.device == torch.device("cpu")
    assert torch.equal(runtime(images), model(images))


def test_switches_of_the_process_are_put_back() -> None:
    runtime = make_runtime(seeded(TINY), eager(runtime=RuntimeConfig(deterministic=True)))
    runtime(picture(32, 32))
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_pinned_kernels_are_asked_for_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cuBLAS reads its variable at the first matrix product, and the rewrites are made of those."""
    order: list[str] = []

    def note(name: str, result: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **keywords: (order.append(name), result(*args, **keywords))[1]

    monkeypatch.setattr(runtime_module, "pin_cublas_workspace", note("pin", lambda device: None))
    for name in ("load_checkpoint", "rewritten"):
        monkeypatch.setattr(runtime_module, name, note(name, getattr(runtime_module, name)))
    save_checkpoint(seeded(TINY), tmp_path)
    config = HarmonizerConfig(checkpoint=str(tmp_path), runtime=RuntimeConfig(deterministic=True))
    load_runtime(config)
    assert order == ["pin", "load_checkpoint", "pin", "rewritten"]
    order.clear()
    make_runtime(seeded(TINY), replace(config, runtime=RuntimeConfig()))
    assert order == ["rewritten"]


CUDA = torch.device("cuda")


@pytest.fixture
def no_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is not set, and as before afterwards."""
    monkeypatch.setenv(CUBLAS_WORKSPACE, "")
    monkeypatch.delenv(CUBLAS_WORKSPACE)


@pytest.mark.usefixtures("no_workspace")
def test_the_variable_of_cublas_is_set_and_another_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = [0, 16 * 8 * 1024, 0]
    monkeypatch.setattr("r3d2_ros.harmonizer.runtime.numerics._workspace_bytes", lambda device: taken.pop())
    pin_cublas_workspace(torch.device("cpu"))
    assert CUBLAS_WORKSPACE not in os.environ, "a CPU has no cuBLAS"
    pin_cublas_workspace(CUDA)
    assert os.environ[CUBLAS_WORKSPACE] == ":4096:8"
    monkeypatch.setenv(CUBLAS_WORKSPACE, ":16:8")
    pin_cublas_workspace(CUDA)
    monkeypatch.setenv(CUBLAS_WORKSPACE, ":0:0")
    with pytest.raises(InputError, match="CUBLAS_WORKSPACE_CONFIG: expected :4096:8 or :16:8, .* got ':0:0'"):
        pin_cublas_workspace(CUDA)


@pytest.mark.usefixtures("no_workspace")
def test_pinning_too_late_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(device: torch.device) -> int:
        assert torch.are_deterministic_algorithms_enabled()
        raise RuntimeError("Deterministic behavior was enabled ... you must set CUBLAS_WORKSPACE_CONFIG=:4096:8")

    for too_late, got in [(refused, "after the first"), (lambda device: 8_519_680, "a workspace of 8519680 bytes")]:
        monkeypatch.setattr("r3d2_ros.harmonizer.runtime.numerics._workspace_bytes", too_late)
        with pytest.raises(InputError, match=f"{got}.* Set CUBLAS_WORKSPACE_CONFIG=:4096:8 before the process starts"):
            pin_cublas_workspace(CUDA)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "meta", "hpu"])
def test_a_device_that_does_not_work_is_named(device: str) -> None:
    with pytest.raises(InputError, match=f"harmonizer.device: expected auto, cpu, or a CUDA device .* got '{device}'"):
        make_runtime(seeded(TINY), HarmonizerConfig(device=device))


@pytest.mark.parametrize(
    ("images", "got"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.float64), "float32 on cpu, got float64 on cpu"),
        (torch.zeros(1, 3, 8, 8, device="meta"), "float32 on cpu, got float32 on meta"),
        (torch.zeros(3, 8, 8), r"shape \[3, 8, 8\]"),
    ],
)
def test_wrong_images_are_named(images: Tensor, got: str) -> None:
    with pytest.raises(InputError, match=got):
        make_runtime(seeded(TINY), eager())(images)


def test_sizes_that_reflection_cannot_pad_are_found_while_warming_up() -> None:
    """24 rows to 64 are 40 more than there are to reflect."""
    runtime = make_runtime(seeded(replace(TINY, padding=Padding(mode="reflect", multiple_px=64))), eager())
    runtime.warm_up([(1, 64, 128), (1, 40, 128)])
    expected = "harmonizer.checkpoint: images of 24 x 128: expected more rows .*Crops have the sizes in harmonizer.roi"
    with pytest.raises(InputError, match=expected):
        runtime.warm_up([(1, 64, 128), (1, 24, 128)])


def test_numbers_beyond_the_dtype_are_found_while_warming_up() -> None:
    model = seeded(TINY)
    model.unet.conv_out.weight.fill_(float("inf"))
    with pytest.raises(InputError, match="harmonizer.dtype: .* NaN or infinity .* Try bfloat16"):
        make_runtime(model, eager()).warm_up([(1, 32, 32)])


@pytest.mark.parametrize("dtype", ["checkpoint", "bfloat16"])
@pytest.mark.parametrize("key", ["unet.conv_out.weight", "prompt_embedding"])
def test_weights_that_are_not_finite_are_named_instead_of_the_dtype(dtype: str, key: str, tmp_path: Path) -> None:
    model = seeded(TINY)
    model.state_dict()[key].view(-1)[:3] = float("nan")
    save_checkpoint(model, tmp_path)
    runtime = load_runtime(replace(eager(dtype=dtype), backend="r3d2", checkpoint=str(tmp_path)))
    with pytest.raises(InputError, match=f"model.safetensors: .* infinity in {key} .3 of ") as caught:
        runtime.warm_up([(1, 32, 32)])
    assert "dtype" not in str(caught.value)


def test_a_dtype_that_is_too_small_for_finite_weights_is_named_and_they_are_read_twice_for_that_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    check = runtime_module.check_finite
    monkeypatch.setattr(runtime_module, "check_finite", lambda path: (read.append(path), check(path))[1])
    model = seeded(TINY)
    save_checkpoint(model, tmp_path / "good")
    config = replace(eager(dtype="float16"), backend="r3d2", checkpoint=str(tmp_path / "good"))
    load_runtime(config).warm_up([(1, 32, 32)])
    assert not read
    model.unet.conv_out.weight.fill_(1e6)
    save_checkpoint(model, tmp_path / "large")
    with pytest.raises(InputError, match="harmonizer.dtype: .* NaN or infinity .* in torch.float16. Try bfloat16"):
        load_runtime(replace(config, checkpoint=str(tmp_path / "large"))).warm_up([(1, 32, 32)])
    assert read == [tmp_path / "large" / "model.safetensors"]


def test_runs_on_after_running_out_of_memory() -> None:
    runtime, images = make_runtime(seeded(TINY), eager()), picture(32, 32)
    expected, network = runtime(images), runtime._network

    def fail(padded: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    runtime._network = fail
    with pytest.raises(torch.OutOfMemoryError):
        runtime(images)
    runtime._network = network
    assert torch.equal(runtime(images), expected)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_give_the_same_bytes() -> None:
    program = (
        "from tests.harmonizer.test_runtime import *\n"
        "print(digest(HarmonizerConfig(runtime=RuntimeConfig(deterministic=True))))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=500, check=True)
    assert run.stdout.split() == [digest(HarmonizerConfig(runtime=RuntimeConfig(deterministic=True)))]


def digest(config: HarmonizerConfig) -> str:
    output = make_runtime(seeded(NANO), config)(picture(64, 128, batch=2))
    return hashlib.sha256(output.numpy().tobytes()).hexdigest()


@pytest.mark.parametrize(("capability", "off"), [((9, 0), set()), ((10, 0), set()), ((8, 9), {"attention", "geglu"}),
                                                 ((12, 0), {"attention", "geglu"})])  # fmt: skip
def test_own_kernels_are_taken_where_their_tiles_have_room(
    capability: tuple[int, int], off: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    applied = applied_rewrites(HarmonizerConfig(), CUDA)
    assert applied == replace(RewritesConfig(), **{f"fuse_{name}": False for name in off})
    on_cpu = applied_rewrites(HarmonizerConfig(), torch.device("cpu"))
    assert on_cpu == replace(RewritesConfig(), **dict.fromkeys(OWN_KERNELS, False))
    with_sfast = HarmonizerConfig(runtime=RuntimeConfig(kind="stable-fast"))
    assert applied_rewrites(with_sfast, CUDA) == replace(on_cpu, merge_skips=False, merge_residuals=False)


def test_own_kernels_without_triton_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r3d2_ros.harmonizer.packages.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"harmonizer.rewrites.fuse_norm needs .*pip install triton"):
        applied_rewrites(HarmonizerConfig(), CUDA)
