"""Starting: kernels are kept between processes, and a machine without a writable folder still renders."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.rendering import numba_cache
from r3d2_ros.rendering.base import RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from r3d2_ros.rendering.kernels_layout import BLOCK
from r3d2_ros.rendering.numba_cache import block_width, kernel_cache_folder
from tests.rendering.cpu_scenes import busy_scene, view_of

ROOT = Path(__file__).resolve().parents[2]
FIRST_FRAME = """
import time
start = time.perf_counter()
from r3d2_ros.rendering.base import RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from tests.rendering.cpu_scenes import busy_scene, view_of
CpuRenderer(RenderSettings()).render(busy_scene(), [view_of()], instances=True)
print(time.perf_counter() - start)
"""


def run_python(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | environ, capture_output=True, text=True, timeout=120
    )


def test_a_second_process_renders_within_five_seconds() -> None:
    folder = kernel_cache_folder()
    assert folder is not None
    CpuRenderer(RenderSettings()).render(busy_scene(), [view_of()], instances=True)
    compiled = sorted(folder.rglob("*.nbc"))
    result = run_python(FIRST_FRAME)
    assert result.returncode == 0, result.stderr
    assert len(compiled) >= 5 and sorted(folder.rglob("*.nbc")) == compiled
    assert float(result.stdout) < 5


def test_the_named_folder_is_used(tmp_path: Path) -> None:
    code = "import numpy as np; from r3d2_ros.rendering.rgb8 import to_rgb8; to_rgb8(np.zeros((1, 1, 3), np.float32))"
    result = run_python(code, NUMBA_CACHE_DIR=str(tmp_path / "kernels"))
    assert result.returncode == 0 and not result.stderr, result.stderr
    assert list((tmp_path / "kernels").rglob("*.nbc"))


def test_without_a_writable_folder_kernels_run_and_one_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    blocked = str(tmp_path / "file" / "kernels")
    code = (
        "import numpy as np, r3d2_ros.rendering.cpu; from r3d2_ros.rendering.rgb8 import to_rgb8;"
        "print(to_rgb8(np.ones((1, 1, 3), np.float32)).tolist())"
    )
    result = run_python(code, NUMBA_CACHE_DIR=blocked)
    assert result.stdout.strip() == "[[[255, 255, 255]]]", result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("compiled kernels are not kept")
    assert blocked in line and "R3D2_CACHE_DIR" in line


def test_an_unwritable_folder_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert kernel_cache_folder(str(tmp_path / "file" / "x")) is None
    assert "not kept" in caplog.text


@pytest.mark.parametrize("writable", ["base", "folder"])
def test_kernels_are_not_run_from_a_folder_that_everybody_can_write(
    writable: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = tmp_path / "kernels"
    folder = kernel_cache_folder(str(base))
    assert folder is not None and folder.parent == base and not caplog.text
    (base if writable == "base" else folder).chmod(0o777)
    assert kernel_cache_folder(str(base)) is None
    (line,) = caplog.messages
    assert line.startswith("compiled kernels are not kept, every start compiles them again. NUMBA_CACHE_DIR: ")
    assert f"'{base if writable == 'base' else folder}' of user" in line and "What lies in it is run" in line


def test_a_folder_where_nobody_can_replace_anothers_files_may_hold_kernels(tmp_path: Path) -> None:
    """As /tmp."""
    tmp_path.chmod(0o1777)
    folder = kernel_cache_folder(str(tmp_path))
    assert folder is not None and folder.stat().st_mode & 0o777 == 0o700


def triple(x: int) -> int:
    return 3 * x


def quadruple(x: int) -> int:
    return 4 * x


@pytest.fixture
def kernels_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which `results` keeps its kernels."""
    monkeypatch.setattr(numba_cache, "_process_cache_folder", lambda: tmp_path)
    monkeypatch.setattr(numba_cache, "_warned", set())
    return tmp_path


def results() -> tuple[list[int], int]:
    """What two kernels give, as a process does that has not called them before; how many were kept from another."""
    kernels = [numba_cache.kernel()(function) for function in (triple, quadruple)]
    return [kernel(5) for kernel in kernels], sum(sum(kernel.stats.cache_hits.values()) for kernel in kernels)


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("left", [0, 20, -1])
def test_damaged_kernels_are_compiled_again_with_one_warning(
    kind: str, left: int, kernels_in: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Files that lost their end or all of it, as when the power failed."""
    assert results() == ([15, 20], 0)
    damaged = list(kernels_in.rglob(f"*.{kind}"))
    for path in damaged:
        path.write_bytes(path.read_bytes()[:left])
    assert len(damaged) == 2 and results() == ([15, 20], 0)
    (line,) = caplog.messages
    assert line.startswith(f"compiled kernels in {damaged[0].parent} cannot be read, they are compiled again (")
    assert results() == ([15, 20], 2) and len(caplog.messages) == 1


def test_a_full_disk_ends_no_run(kernels_in: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # enough for an index, not for code
    try:
        assert results() == ([15, 20], 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (line,) = caplog.messages
    assert line.startswith(f"compiled kernels in {kernels_in}") and "cannot be written" in line
    assert results() == ([15, 20], 0) and results() == ([15, 20], 2)


FORKED = """
import os
from r3d2_ros.rendering.base import RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from tests.rendering.cpu_scenes import busy_scene, view_of

def child():
    pid = os.fork()
    if pid == 0:
        try:
            CpuRenderer(RenderSettings()).render(busy_scene(), [view_of()])
            print("rendered", flush=True)
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
    print("status", os.waitpid(pid, 0)[1], flush=True)

child()
CpuRenderer(RenderSettings()).render(busy_scene(), [view_of()])
child()
CpuRenderer(RenderSettings()).render(busy_scene(), [view_of()])
"""


def test_a_process_forked_after_a_picture_is_told_to_be_spawned() -> None:
    """A child of a process that has not rendered yet renders."""
    result = run_python(FORKED)
    assert result.returncode == 0, result.stderr
    before, status_before, after, status_after = result.stdout.splitlines()
    assert (before, status_before, status_after) == ("rendered", "status 0", "status 0")
    assert "forked from one that has rendered" in after and "get_context('spawn')" in after


def test_block_width_follows_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert block_width() == BLOCK
    monkeypatch.setattr("numba.config.CPU_FEATURES", "+avx2,+fma")
    assert block_width() == 8
    monkeypatch.setattr("numba.config.CPU_FEATURES", "+avx2,+avx512f")
    assert block_width() == 16


def test_an_avx2_machine_gives_the_same_image(tmp_path: Path) -> None:
    """Compiled for AVX2 in another process: other vector widths, the same picture."""
    code = (
        "import sys, numpy as np; from r3d2_ros.rendering.base import RenderSettings;"
        "from r3d2_ros.rendering.cpu import CpuRenderer; from tests.rendering.cpu_scenes import busy_scene, view_of;"
        "np.save(sys.argv[1], CpuRenderer(RenderSettings()).render(busy_scene(), [view_of()])[0].rgb)"
    )
    if block_width() == 8:
        pytest.skip("this machine has no AVX-512: the other tests run with 8 pixels already")
    path = tmp_path / "rgb.npy"
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env=os.environ | {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    image = CpuRenderer(RenderSettings()).render(busy_scene(), [view_of()])[0]
    assert np.abs(np.load(path) - image.rgb).max() < 1 / 255
