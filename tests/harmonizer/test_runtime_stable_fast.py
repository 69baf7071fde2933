"""stable-fast: the same pictures where it is installed, an error that says how where it is not."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from r3d2_ros.errors import MissingPackageError
from r3d2_ros.harmonizer.model.checkpoints import load_checkpoint
from r3d2_ros.harmonizer.model.config import ModelConfig
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.model.shipped import shipped_model
from r3d2_ros.harmonizer.model.variants import VARIANTS
from r3d2_ros.harmonizer.runtime.runtime import make_runtime
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RuntimeConfig
from tests.harmonizer.small import KL, TINY, picture, seeded

LIMIT = 1e-4
CONFIG = HarmonizerConfig(runtime=RuntimeConfig(kind="stable-fast"))


def test_without_the_package_the_error_says_where_to_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sfast", None)
    with pytest.raises(MissingPackageError, match=r"runtime.kind: stable-fast needs .* 'stable-fast'.* README.md"):
        make_runtime(seeded(TINY), CONFIG)


def load(config: ModelConfig | str) -> R3D2:
    return load_checkpoint(shipped_model(config)) if isinstance(config, str) else seeded(config)


MODELS = pytest.mark.parametrize("config", [TINY, KL, VARIANTS["nano"], "nano"], ids=["tiny", "kl", "random", "nano"])


@MODELS
def test_the_parts_are_called_as_in_eager(config: ModelConfig | str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler that leaves parts as they are, whether or not the real one is installed."""
    compiler = ModuleType("diffusion_pipeline_compiler")
    compiler.CompilationConfig = SimpleNamespace(Default=SimpleNamespace)  # type: ignore[attr-defined]
    seen: list[str] = []
    compiler.compile_unet = lambda part, options: seen.append(type(part).__name__) or part  # type: ignore[attr-defined]
    package = ModuleType("sfast"), ModuleType("sfast.compilers")
    for module in package:
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "sfast.compilers.diffusion_pipeline_compiler", compiler)
    model, images = load(config), picture(64, 96)
    output = make_runtime(model, CONFIG)(images)
    assert len(seen) == 3 and any("UNet" in name for name in seen)
    assert float((output - model(images)).abs().max()) <= LIMIT


@MODELS
def test_equals_eager_at_every_size(config: ModelConfig | str) -> None:
    """72 x 136 are 9 x 17 latents; a trace of another size would enlarge 5 x 9 wrongly, see stable_fast.py."""
    pytest.importorskip("sfast", reason="needs stable-fast, which is not installed: README.md says how to build it")
    model = load(config)
    runtime = make_runtime(model, CONFIG)
    for number, (batch, rows, columns) in enumerate([(1, 64, 96), (2, 104, 72), (1, 72, 136), (1, 64, 96)]):
        images = picture(rows, columns, batch=batch, seed=number)
        assert float((runtime(images) - model(images)).abs().max()) <= LIMIT, (batch, rows, columns)


def test_a_known_shape_is_not_traced_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sfast", reason="needs stable-fast, which is not installed: README.md says how to build it")
    import torch

    runtime = make_runtime(seeded(TINY), CONFIG)
    runtime.warm_up([(1, 32, 40)])

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("traced again")

    monkeypatch.setattr(torch.jit, "trace", fail)
    runtime(picture(32, 40, seed=3))
