"""Which renderer is made, and what is said where the GPU renderer cannot work."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import sysconfig
from types import SimpleNamespace
from typing import Any

import pytest

from r3d2_ros import rendering
from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.rendering import make_renderer
from r3d2_ros.rendering.base import RenderSettings
from r3d2_ros.rendering.cuda import CudaUnavailableError, cuda_device, driver_fault

SETTINGS = RenderSettings()
no_driver = pytest.mark.skipif(not driver_fault(), reason="needs a machine without an NVIDIA driver")


@no_driver
def test_auto_is_the_cpu_and_does_not_import_torch() -> None:
    program = (
        "import sys\n"
        "from r3d2_ros.rendering import make_renderer\n"
        "from r3d2_ros.rendering.base import RenderSettings\n"
        "assert make_renderer('auto', RenderSettings()).name == 'cpu'\n"
        "assert 'torch' not in sys.modules and 'gsplat' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_named_renderers() -> None:
    assert make_renderer("cpu", SETTINGS, threads=1).name == "cpu"
    assert make_renderer("reference", SETTINGS).name == "reference"
    with pytest.raises(InputError, match="expected one of auto, cpu, gsplat, reference, got 'vulkan'"):
        make_renderer("vulkan", SETTINGS)


@no_driver
def test_gsplat_by_name_without_a_gpu_is_an_error() -> None:
    pytest.importorskip("torch", reason="needs torch, which is not installed")
    with pytest.raises(CudaUnavailableError, match="expected an NVIDIA GPU .* choose the backend cpu"):
        make_renderer("gsplat", SETTINGS)


@no_driver
def test_auto_says_why_it_does_not_use_a_gpu(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A driver that answers, and a PyTorch that cannot use it."""
    pytest.importorskip("torch", reason="needs torch, which is not installed")
    monkeypatch.setattr(rendering, "driver_fault", lambda: "")
    with caplog.at_level(logging.WARNING):
        assert make_renderer("auto", SETTINGS).name == "cpu"
    assert "although there is an NVIDIA driver" in caplog.text


@pytest.mark.parametrize("name", ["cpu", "cuda:x", "gpu0", ""])
def test_a_device_that_is_none(name: str) -> None:
    pytest.importorskip("torch", reason="needs torch, which is not installed")
    with pytest.raises(InputError, match="expected a CUDA device such as cuda:0"):
        cuda_device(name)


def test_torch_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "r3d2_ros.rendering.gsplat", raising=False)
    with pytest.raises(MissingPackageError, match="needs the package 'torch'"):
        make_renderer("gsplat", SETTINGS)


def _fail(error: Exception) -> Any:
    def call(*args: Any, **kwargs: Any) -> None:
        raise error

    return call


def test_gsplat_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="needs torch, which is not installed")
    from r3d2_ros.rendering.gsplat import load_kernels

    monkeypatch.setitem(sys.modules, "gsplat", None)
    with pytest.raises(MissingPackageError, match="needs the package 'gsplat'.*pip install gsplat==1.5.3"):
        load_kernels(torch.device("cpu"))


BUILD_ERROR = (
    "Error building extension 'gsplat_cuda': [1/27] nvcc -c a.cu\na.cu(3): error: no such thing\nninja: stopped"
)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AttributeError("'NoneType' object has no attribute 'CameraModelType'"), "AttributeError: 'NoneType'"),
        (ImportError("gsplat_cuda.so: cannot open shared object file"), "gsplat_cuda.so"),
        (RuntimeError(BUILD_ERROR), r"RuntimeError: a.cu\(3\): error: no such thing"),
        (RuntimeError("Ninja is required to load C++ extensions"), "Ninja is required"),
    ],
)
def test_kernels_that_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    torch = pytest.importorskip("torch", reason="needs torch, which is not installed")
    from r3d2_ros.rendering.gsplat import load_kernels

    functions = dict.fromkeys(("rasterization", "rasterize_to_pixels", "spherical_harmonics"), _fail(error))
    monkeypatch.setitem(sys.modules, "gsplat", SimpleNamespace(**functions))
    with pytest.raises(CudaUnavailableError, match=f"{said}.*needs nvcc"):
        load_kernels(torch.device("cpu"))


def test_kernels_that_draw_wrongly_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="needs torch, which is not installed")
    from r3d2_ros.rendering.gsplat import load_kernels

    def rasterization(*args: Any, **kwargs: Any) -> Any:
        return torch.zeros(1, 16, 16, 5), torch.zeros(1, 16, 16, 1), {}

    fake = SimpleNamespace(rasterization=rasterization, rasterize_to_pixels=None, spherical_harmonics=lambda *a: None)
    monkeypatch.setitem(sys.modules, "gsplat", fake)
    with pytest.raises(CudaUnavailableError, match=r"alpha 0\.0000 where 0\.9435 is right"):
        load_kernels(torch.device("cpu"))


def test_the_compiler_finds_the_ninja_of_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that is not activated has its programs not on the PATH; afterwards the PATH is as before."""
    torch = pytest.importorskip("torch", reason="needs torch, which is not installed")
    from r3d2_ros.rendering.gsplat import load_kernels

    seen: list[str] = []
    fake = SimpleNamespace(
        rasterization=None, rasterize_to_pixels=None, spherical_harmonics=lambda *a: seen.append(os.environ["PATH"])
    )
    monkeypatch.setitem(sys.modules, "gsplat", fake)
    monkeypatch.setenv("PATH", "/usr/bin")
    with pytest.raises(TypeError):
        load_kernels(torch.device("cpu"))
    assert seen == [f"{sysconfig.get_path('scripts')}{os.pathsep}/usr/bin"]
    assert os.environ["PATH"] == "/usr/bin"


def test_the_proof_drawing_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a device must draw before it is trusted is what gsplat's own code draws."""
    torch = pytest.importorskip("torch", reason="needs torch, which is not installed")
    pytest.importorskip("gsplat", reason="needs gsplat, which is not installed")
    from r3d2_ros.rendering.gsplat import _draw_one
    from tests.rendering_gsplat.emulation import emulated

    _draw_one(emulated(monkeypatch), torch.device("cpu"))
