"""Which attention kernel runs: as configured, one that the device has, for exactly the shapes of the UNet."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.harmonizer.model.config import SkipOptions
from r3d2_ros.harmonizer.model.variants import variant
from r3d2_ros.harmonizer.runtime.attention import (
    FILE,
    AttentionKernels,
    AttentionShape,
    ChosenAttention,
    SelfAttention,
    attend_by,
    attention_shapes,
)
from r3d2_ros.harmonizer.runtime.attention_packages import PACKAGES, installed_packages
from r3d2_ros.harmonizer.runtime.kernel_cache import read_choices, write_choices
from r3d2_ros.harmonizer.runtime.runtime import make_runtime
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RuntimeConfig
from tests.harmonizer.small import TINY, picture, seeded

CPU = torch.device("cpu")


def test_shapes_of_the_published_network() -> None:
    """1080 x 1920: 135 x 240 latents, 68 x 120, 34 x 60, 17 x 30."""
    assert attention_shapes(variant("r3d2"), (2, 3, 1080, 1920)) == [
        (2, 5, 32400, 64),
        (2, 10, 8160, 64),
        (2, 20, 2040, 64),
        (2, 20, 510, 64),
    ]


def test_a_reduced_network_has_a_quarter_of_the_tokens() -> None:
    reduced = replace(variant("nano"), skips=SkipOptions(image=True, reduction=2))
    assert [shape[2] for shape in attention_shapes(reduced, (1, 3, 576, 960))] == [36 * 60, 18 * 30, 9 * 15, 5 * 8]


def test_the_shapes_are_those_that_the_network_has(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[int, ...]] = set()
    real = functional.scaled_dot_product_attention

    def spy(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **kwargs: object) -> torch.Tensor:
        if not kwargs:  # diffusers' own processor, which cross-attention keeps, passes some
            seen.add(tuple(query.shape))
        return real(query, key, value)

    model = seeded(TINY)
    kernels = AttentionKernels(RuntimeConfig(attention="math"), device=CPU, dtype=torch.float32, folder=Path())
    kernels.install(model.unet)
    expected = attention_shapes(TINY, (2, 3, 72, 136))
    kernels.choose(expected)
    monkeypatch.setattr("r3d2_ros.harmonizer.runtime.attention.functional.scaled_dot_product_attention", spy)
    with torch.inference_mode():
        model.harmonize_padded(picture(72, 136, batch=2))
    assert seen == set(expected)


@pytest.mark.parametrize("kernel", ["math", "flash"])
def test_each_kernel_of_the_cpu_gives_the_picture(kernel: str) -> None:
    model, images = seeded(TINY), picture(40, 72, batch=2)
    config = HarmonizerConfig(runtime=RuntimeConfig(attention=kernel))  # type: ignore[arg-type]
    torch.testing.assert_close(make_runtime(model, config)(images), model(images), rtol=0, atol=1e-4)


def test_the_choice_is_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU has one more kernel than `math`; the profiler knows them by name."""
    model = seeded(TINY)
    names = {}
    for kernel in ("math", "flash"):
        kernels = AttentionKernels(RuntimeConfig(attention=kernel), device=CPU, dtype=torch.float32, folder=Path())  # type: ignore[arg-type]
        kernels.install(model.unet)
        kernels.choose(attention_shapes(TINY, (1, 3, 32, 32)))
        with torch.inference_mode(), torch.profiler.profile() as profile:
            model.harmonize_padded(picture(32, 32))
        names[kernel] = {event.name for event in profile.events()}
    assert "aten::_scaled_dot_product_attention_math" in names["math"]
    assert "aten::_scaled_dot_product_attention_math" not in names["flash"]


def test_on_a_cpu_auto_leaves_the_network_alone(tmp_path: Path) -> None:
    model = seeded(TINY)
    kernels = AttentionKernels(RuntimeConfig(), device=CPU, dtype=torch.float32, folder=tmp_path)
    kernels.install(model.unet)
    kernels.choose(attention_shapes(TINY, (1, 3, 32, 32)))
    assert not any(isinstance(p, SelfAttention) for p in model.unet.attn_processors.values())
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("kernel", ["cudnn", "efficient"])
def test_a_kernel_that_the_cpu_does_not_have_is_an_error(kernel: str) -> None:
    config = HarmonizerConfig(runtime=RuntimeConfig(attention=kernel))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"runtime.attention: expected auto, flash or math on the CPU, got {kernel}"):
        make_runtime(seeded(TINY), config)


def test_measured_choices_are_kept_and_added_to(tmp_path: Path) -> None:
    write_choices(tmp_path / FILE, {"a": "cudnn"})
    write_choices(tmp_path / FILE, {"b": "flash"})
    assert read_choices(tmp_path / FILE) == {"a": "cudnn", "b": "flash"}
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": 1}', "\x00"])
def test_a_file_of_choices_that_is_broken_is_measured_anew(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content)
    assert read_choices(tmp_path / FILE) == {}
    write_choices(tmp_path / FILE, {"a": "cudnn"})
    assert json.loads((tmp_path / FILE).read_text()) == {"a": "cudnn"}


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_kernel_is_chosen_under_the_rules_that_it_runs_under(
    deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where results are to repeat, PyTorch has not all kernels."""
    seen = []
    runs = AttentionKernels._runs

    def noted(self: AttentionKernels, shape: AttentionShape, kernel: str) -> bool:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return runs(self, shape, kernel)

    monkeypatch.setattr(AttentionKernels, "_runs", noted)
    config = HarmonizerConfig(runtime=RuntimeConfig(attention="math", deterministic=deterministic))
    make_runtime(seeded(TINY), config)(picture(32, 32))
    assert set(seen) == {deterministic}


STAND_IN = """
from torch.nn.functional import scaled_dot_product_attention

calls = []

def flash_attn_func(q, k, v):
    calls.append(tuple(q.shape))
    return scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v))).transpose(1, 2), None
"""


@pytest.fixture
def flash3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package of FlashAttention 3's name and arguments."""
    (tmp_path / "flash_attn_interface.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("flash_attn_interface", None)


@pytest.mark.usefixtures("flash3")
def test_a_kernel_of_a_package_gets_tokens_before_heads() -> None:
    assert installed_packages() == ["flash3"]
    query, key, value = torch.randn(3, 2, 5, 7, 4, generator=torch.Generator().manual_seed(0)).unbind()
    expected = functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(attend_by("flash3", query, key, value), expected)
    assert sys.modules["flash_attn_interface"].calls == [(2, 7, 5, 4)]  # images, tokens, heads, numbers
    compiled = torch.compile(lambda *tensors: attend_by("flash3", *tensors), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(query, key, value), expected)
    torch._dynamo.reset()


@pytest.mark.usefixtures("flash3")
def test_packages_take_part_in_the_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured before the package came is measured anew."""
    times_ms = {"cudnn": 3.0, "flash": 2.0, "efficient": 4.0, "flash3": 1.0}
    shape = (1, 2, 8, 4)
    for there, expected in (([], "flash"), (["flash3"], "flash3"), ([], "flash")):
        monkeypatch.setattr("r3d2_ros.harmonizer.runtime.attention.installed_packages", lambda there=there: there)
        kernels = on_a_gpu(monkeypatch, tmp_path, times_ms)
        kernels.choose([shape])
        assert kernels.kernels == {shape: expected}
    assert len(read_choices(tmp_path / FILE)) == 2


BROKEN = {
    "undefined symbol": "raise ImportError('flash_attn_2_cuda.so: undefined symbol: _ZN3c10')",
    "libcudart": "raise OSError('libcudart.so.12: cannot open shared object file')",
    "compute capability": "raise RuntimeError('compute capability is not known')",
    "einops": "import einops_that_is_not_installed as einops",
}
"""What the cause tells -> the package `flash_attn`."""


@pytest.fixture(params=BROKEN)
def broken(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A `flash_attn` that was built for another torch; a part of what importing it says."""
    (tmp_path / "flash_attn" / "cute").mkdir(parents=True)
    (tmp_path / "flash_attn" / "__init__.py").write_text(BROKEN[request.param])
    (tmp_path / "flash_attn" / "cute" / "__init__.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    return request.param


def on_a_gpu(monkeypatch: pytest.MonkeyPatch, folder: Path, times_ms: dict[str, float]) -> AttentionKernels:
    """Kernels of an imagined GPU that take so long; those that are not named do not run."""
    monkeypatch.setattr(AttentionKernels, "_runs", lambda self, shape, kernel: kernel in times_ms)
    monkeypatch.setattr(AttentionKernels, "_time_ms", lambda self, shape, kernel: times_ms[kernel])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    return AttentionKernels(RuntimeConfig(), device=torch.device("cuda:0"), dtype=torch.float16, folder=folder)


def test_a_package_that_is_broken_is_done_without_and_named_once(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kernels = on_a_gpu(monkeypatch, tmp_path, {"cudnn": 2.0, "flash": 1.0})
    kernels.choose([(1, 2, 8, 4), (1, 2, 16, 4)])
    assert set(kernels.kernels.values()) == {"flash"}
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "attention without flash_attn.cute, which cannot be imported: " in warning and broken in warning


def test_a_package_that_is_broken_is_an_error_where_it_is_asked_for(broken: str) -> None:
    config = HarmonizerConfig(runtime=RuntimeConfig(attention="flash4"))
    with pytest.raises(MissingPackageError, match=rf"attention: flash4 \(.*{broken}.*\) needs .*'flash_attn.cute'"):
        make_runtime(seeded(TINY), config)


def test_a_package_of_another_version_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip leaves it: a folder with the distribution's name and version beside the module."""
    (tmp_path / "flash_attn_interface.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    shape, keys = (1, 2, 8, 4), []
    for version, times_ms in (("3.0.0", {"flash": 2.0, "flash3": 1.0}), ("3.0.1", {"flash": 1.0, "flash3": 2.0})):
        facts = tmp_path / "flash_attn_3.dist-info"
        facts.mkdir(exist_ok=True)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: flash_attn_3\nVersion: {version}\n")
        (facts / "top_level.txt").write_text("flash_attn_interface\n")
        importlib.invalidate_caches()
        kernels = on_a_gpu(monkeypatch, tmp_path, times_ms)
        kernels.choose([shape])
        assert kernels.kernels == {shape: min(times_ms, key=times_ms.__getitem__)}
        keys.append(kernels._key(shape))
    assert all(f"flash3 flash_attn_3 3.0.{number}," in key for number, key in enumerate(keys))
    assert sorted(read_choices(tmp_path / FILE)) == keys


@pytest.mark.usefixtures("flash3")
def test_a_kept_package_that_does_not_run_any_more_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be another one without a version, or the driver another."""
    shape = (1, 2, 8, 4)
    for times_ms, expected in (
        ({"flash": 2.0, "flash3": 1.0}, "flash3"),
        ({"flash": 0.5, "flash3": 1.0}, "flash3"),  # kept
        ({"flash": 2.0, "cudnn": 3.0}, "flash"),
        ({"flash": 2.0, "cudnn": 1.0}, "flash"),  # kept, as PyTorch's are, whose versions are known
    ):
        kernels = on_a_gpu(monkeypatch, tmp_path, times_ms)
        kernels.choose([shape])
        assert kernels.kernels == {shape: expected}
        assert list(read_choices(tmp_path / FILE).values()) == [expected]


@pytest.mark.parametrize("kernel", PACKAGES)
def test_a_package_that_is_missing_is_named(kernel: str) -> None:
    config = HarmonizerConfig(runtime=RuntimeConfig(attention=kernel))  # type: ignore[arg-type]
    with pytest.raises(MissingPackageError, match=rf"attention: {kernel} needs .*'{PACKAGES[kernel]}'"):
        make_runtime(seeded(TINY), config)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.torch.jit:DeprecationWarning")
def test_a_chosen_kernel_can_be_traced() -> None:
    """As stable-fast does it; sizes are tensors then."""
    query = torch.randn(1, 2, 8, 16)
    attend = ChosenAttention({(1, 2, 8, 16): "math"})
    traced = torch.jit.trace(lambda q: attend(q, q, q), (query,))
    torch.testing.assert_close(traced(query), functional.scaled_dot_product_attention(query, query, query))
