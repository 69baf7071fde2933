"""torch-compile on a CPU: the same pictures, nothing compiled twice, an error where there is no compiler."""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.harmonizer.model.config import ModelConfig
from r3d2_ros.harmonizer.model.variants import VARIANTS
from r3d2_ros.harmonizer.rewrites import rewritten
from r3d2_ros.harmonizer.runtime import compiled
from r3d2_ros.harmonizer.runtime.compiled import check_compiler, compile_network
from r3d2_ros.harmonizer.runtime.kernel_cache import INDUCTOR, cache_folder, compiling_into
from r3d2_ros.harmonizer.runtime.runtime import make_runtime
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RewritesConfig, RuntimeConfig
from r3d2_ros.resources import cache_dir
from r3d2_ros.triton_cache import TRITON, keep_triton_kernels
from tests.harmonizer.small import KL, TINY, picture, seeded

# torch's code generation calls what torch itself has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

LIMIT = 1e-4
SIZE = (50, 60)
"""Padded to 64 x 64."""


@pytest.fixture
def patience() -> None:
    """The run's guard against native code that spins would take a slow C++ compiler for it."""
    faulthandler.cancel_dump_traceback_later()


class Small(nn.Module):
    """What compile_network needs of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("prompt_embedding", torch.zeros(1))

    def harmonize_padded(self, images: Tensor) -> Tensor:
        return images * 2


@pytest.fixture
def fast_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch.compile without code generation."""
    real = torch.compile

    def compile_(function: Any, *, fullgraph: bool, dynamic: bool, options: dict[str, Any]) -> Any:
        return real(function, fullgraph=fullgraph, dynamic=dynamic, backend="eager")

    monkeypatch.setattr(torch, "compile", compile_)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize("config", [TINY, KL], ids=["tiny", "kl"])
def test_the_rewritten_network_is_one_graph(config: ModelConfig, fast_compiler: None) -> None:
    model, images = rewritten(seeded(config), RewritesConfig()), picture(40, 72)
    with torch.inference_mode():
        output = compile_network(model, RuntimeConfig())(images.clone())
        torch.testing.assert_close(output, model.harmonize_padded(images), rtol=0, atol=1e-5)


def test_more_shapes_than_torch_would_compile(fast_compiler: None) -> None:
    assert torch._dynamo.config.recompile_limit < 20
    network = compile_network(Small(), RuntimeConfig())  # type: ignore[arg-type]
    for rows in range(1, 21):
        assert torch.equal(network(torch.ones(1, 3, rows, 8)), torch.full((1, 3, rows, 8), 2.0))
    counters.clear()
    network(torch.ones(1, 3, 1, 8))
    assert not counters["stats"], "a known shape was compiled again"


def test_without_a_compiler_the_error_says_what_to_install() -> None:
    with (
        torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")}),
        pytest.raises(MissingPackageError, match=r"runtime.kind: torch-compile needs .* 'g\+\+'.* apt install g\+\+"),
    ):
        make_runtime(seeded(TINY), HarmonizerConfig(runtime=RuntimeConfig(kind="torch-compile")))


def test_where_openssl_is_missing_headers_are_not_precompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch runs it to know whether they have changed, and fails without a word about it."""
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/openssl")
    assert compiled.inductor_options(RuntimeConfig()) == {}
    assert compiled.inductor_options(RuntimeConfig(deterministic=True)) == {"deterministic": True}
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert compiled.inductor_options(RuntimeConfig())["cpp_cache_precompile_headers"] is False


def test_compiled_code_goes_to_our_folder_unless_the_user_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(INDUCTOR, raising=False)
    with compiling_into(tmp_path):
        assert os.environ[INDUCTOR] == str(tmp_path / "inductor")
    assert INDUCTOR not in os.environ
    monkeypatch.setenv(INDUCTOR, "/users/own")
    with compiling_into(tmp_path):
        assert os.environ[INDUCTOR] == "/users/own"


def test_tritons_kernels_too_for_the_whole_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that the configuration names beats our default; the user's variable beats both."""
    monkeypatch.setenv(TRITON, "")
    monkeypatch.delenv(TRITON)
    keep_triton_kernels()
    assert os.environ[TRITON] == str(cache_dir() / "triton")
    keep_triton_kernels(tmp_path)
    assert os.environ[TRITON] == str(tmp_path / "triton")
    keep_triton_kernels()
    assert os.environ[TRITON] == str(tmp_path / "triton")
    monkeypatch.setenv(TRITON, "/users/kernels")
    keep_triton_kernels(tmp_path)
    assert os.environ[TRITON] == "/users/kernels"


def test_a_cache_folder_into_which_others_can_put_code_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    with pytest.raises(InputError, match="not everybody can write, got .*shared' of user .* mode drwxrwxrwt"):
        cache_folder(str(folder))
    folder.chmod(0o700)
    assert cache_folder(str(folder)) == folder


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="harmonizer.runtime.cache: expected a folder that can be written, got .*file"):
        cache_folder(str(tmp_path / "file" / "below"))


def configured(cache: Path) -> HarmonizerConfig:
    return HarmonizerConfig(runtime=RuntimeConfig(kind="torch-compile", deterministic=True, cache=str(cache)))


SECOND_START = """
import hashlib, json, sys
from pathlib import Path
from torch._dynamo.utils import counters
from tests.harmonizer.test_runtime_compile import *
output = make_runtime(seeded(VARIANTS["nano"]), configured(Path(sys.argv[1])))(picture(*SIZE))
print(json.dumps([hashlib.sha256(output.numpy().tobytes()).hexdigest(), dict(counters["inductor"])]))
"""


# One test, because the first start takes minutes on a small machine: some 75 kernels, each a run of the C++ compiler.
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nano_equals_eager_and_is_compiled_once(tmp_path: Path, patience: None) -> None:
    model, images = seeded(VARIANTS["nano"]), picture(*SIZE)
    runtime = make_runtime(model, configured(tmp_path))
    runtime.warm_up([(1, *SIZE)])
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert any(path.suffix == ".so" for path in files)
    counters.clear()
    output = runtime(images)
    assert not counters["stats"], "the first picture compiled something"
    assert float((output - model(images)).abs().max()) <= LIMIT
    later = runtime(picture(*SIZE, batch=2, seed=1)[:1])
    assert float((later - model(picture(*SIZE, batch=2, seed=1)[:1])).abs().max()) <= LIMIT

    command = [sys.executable, "-c", SECOND_START, str(tmp_path)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=True)
    digest, caches = json.loads(second.stdout.splitlines()[-1])
    assert not caches.get("fxgraph_cache_miss"), caches
    compiled_now = {path for path in tmp_path.rglob("*.so") if path not in files}
    assert not compiled_now
    assert digest == hashlib.sha256(output.numpy().tobytes()).hexdigest(), "another process gave other bytes"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_odd_sizes_in_the_unet(tmp_path: Path, patience: None) -> None:
    """72 x 136 are 9 x 17 latents: 5 x 9, 3 x 5 and 2 x 3 below."""
    model, images = seeded(TINY), picture(72, 136)
    config = HarmonizerConfig(runtime=RuntimeConfig(kind="torch-compile", cache=str(tmp_path)))
    assert float((make_runtime(model, config)(images) - model(images)).abs().max()) <= LIMIT


def test_a_gpu_without_triton_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r3d2_ros.harmonizer.packages.find_spec", lambda name: None)
    check_compiler(torch.device("cpu"))
    with pytest.raises(MissingPackageError, match=r"runtime.kind: torch-compile needs .*pip install triton"):
        check_compiler(torch.device("cuda:0"))


def test_what_a_killed_run_left_in_the_cache_is_named_with_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise OSError("C++ compile error\n/cache/ab/main.so: file too short\nmore")

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **_: real(function, fullgraph=True, backend=broken))
    torch._dynamo.reset()
    with compiling_into(cache_folder(str(tmp_path))):
        network = compile_network(Small(), RuntimeConfig())  # type: ignore[arg-type]
        with pytest.raises(InputError, match="got /cache/ab/main.so: file too short") as caught:
            network(torch.zeros(1, 3, 8, 8))
        assert f"delete {os.environ[INDUCTOR]} and start again" in str(caught.value)
    torch._dynamo.reset()
