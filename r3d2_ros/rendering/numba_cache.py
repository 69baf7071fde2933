"""How the CPU kernels are compiled: where numba keeps their machine code, and who may enter them.

numba looks for a cache folder when a function is decorated, and raises when it finds none, which would break the
import on a read-only installation with an unwritable home. `kernel` therefore chooses and tries the folder itself.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba

from r3d2_ros.resources import cache_dir

kernel_lock = threading.Lock()
"""Held while parallel kernels run: numba's `workqueue` threading layer aborts the process when two threads enter."""


def kernel(**options: Any) -> Callable[[Callable], Callable]:
    """`numba.njit` that releases the GIL and keeps its machine code in the cache folder, where there is one."""
    folder = _process_cache_folder()

    def decorate(function: Callable) -> Callable:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(folder or "")
        try:
            return numba.njit(cache=folder is not None, nogil=True, error_model="numpy", **options)(function)
        finally:
            numba.config.CACHE_DIR = before

    return decorate


def block_width() -> int:
    """Pixels per branch-free block: 16 fill the registers of AVX-512, on other CPUs 8 are faster."""
    features = numba.config.CPU_FEATURES
    if features is None:
        features = llvmlite.binding.get_host_cpu_features().flatten()
    return 16 if "+avx512f" in features.split(",") else 8


def kernel_cache_folder(named: str | None = None) -> Path | None:
    """Folder for compiled kernels, created and tried; None, with a warning, where none can be written.

    In `named` (by default $NUMBA_CACHE_DIR) or else the project's cache folder, one folder per numba version and
    kernel source: numba does not see that a function which a kernel calls in another file has changed.
    """
    named = named or os.environ.get("NUMBA_CACHE_DIR")
    try:
        base = Path(named).absolute() if named else cache_dir()
        folder = base / f"numba-{numba.__version__}-{_kernel_digest()}"
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        warnings.warn(
            f"compiled kernels are not kept, every start compiles them again: {error}. Set NUMBA_CACHE_DIR or "
            "R3D2_CACHE_DIR to a folder that can be written.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return folder


@cache
def _process_cache_folder() -> Path | None:
    return kernel_cache_folder()


def _kernel_digest() -> str:
    sources = sorted(Path(__file__).parent.glob("kernels_*.py"))
    return hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()[:12]
