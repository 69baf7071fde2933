"""How the CPU kernels are compiled and run: where their machine code is kept, how their threads wait, who may enter.

numba looks for a cache folder when a function is decorated, and raises when it finds none, which would break the
import on a read-only installation with an unwritable home. `kernel` therefore chooses and tries the folder itself.
Nor may what lies there end a run, a file that a power cut left empty or a full disk: see `KernelCache`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import os
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
from numba.core.caching import FunctionCache

from r3d2_ros.errors import InputError
from r3d2_ros.resources import cache_dir, code_folder

log = logging.getLogger(__name__)


class KernelLock:
    """Held while parallel kernels run: numba's `workqueue` threading layer aborts the process when two threads enter.

    A process forked from one that has entered has none of its threads, and GNU OpenMP would kill it on entry: there
    RuntimeError is raised instead.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entered = self._forked = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self._forked = self._entered

    def __enter__(self) -> None:
        if self._forked:
            raise RuntimeError(
                "this process was forked from one that has rendered on the CPU, and its compute threads do not exist "
                "here. Start it by multiprocessing.get_context('spawn'), or fork before the first picture."
            )
        self._lock.acquire()
        self._entered = True

    def __exit__(self, *exception: object) -> None:
        self._lock.release()


kernel_lock = KernelLock()


def _load_patient_threads() -> None:
    """Load numba's OpenMP layer such that its threads sleep between kernels, unless the user said otherwise.

    libgomp reads OMP_WAIT_POLICY once, when it is loaded, and by default its threads spin while they wait. On a
    machine that is busy with other things (encoding, DDS, the client) the scheduler makes them pay for that when the
    next kernel starts: beside a third busy process on two cores, frames take about a third longer.
    """
    if "OMP_WAIT_POLICY" in os.environ:
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        importlib.import_module("numba.np.ufunc.omppool")
    except ImportError:
        pass  # Built without OpenMP, or libgomp is missing: numba has other threading layers.
    finally:
        del os.environ["OMP_WAIT_POLICY"]


_load_patient_threads()


def kernel(**options: Any) -> Callable[[Callable], Callable]:
    """`numba.njit` that releases the GIL and keeps its machine code in the cache folder, where there is one.

    Floating-point arithmetic may be fused and regrouped at divisions, but NaN and infinity stay what they are.
    """
    folder = _process_cache_folder()

    def decorate(function: Callable) -> Callable:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(folder or "")
        try:
            compiled = numba.njit(
                nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"}, **options
            )(function)
            if folder is not None:
                compiled._cache = KernelCache(function)  # as its enable_caching() does with numba's own
            return compiled
        finally:
            numba.config.CACHE_DIR = before

    return decorate


class KernelCache(FunctionCache):
    """The compiled code of one kernel on disk. What cannot be read is compiled again, and what cannot be written is
    not kept; the log says so once."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # of a damaged pickle, anything
            self._forget()
            _warn_once("cannot be read, they are compiled again", self.cache_path, error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:
            self._forget()
            _warn_once("cannot be written, the next start compiles them again", self.cache_path, error)

    def _forget(self) -> None:
        """Without the index nobody reads the code files, which may be older than what it says of them."""
        with contextlib.suppress(OSError):
            Path(self._cache_file._index_path).unlink()


_warned: set[str] = set()


def _warn_once(what: str, folder: str, error: Exception) -> None:
    """Of all kernels the first one speaks."""
    if what not in _warned:
        _warned.add(what)
        hint = "If this comes again, make room there, delete that folder, or name another in R3D2_CACHE_DIR"
        log.warning("compiled kernels in %s %s (%s: %s). %s.", folder, what, type(error).__name__, error, hint)


def block_width() -> int:
    """Pixels per branch-free block: 16 fill the registers of AVX-512, on other CPUs 8 are faster."""
    features = numba.config.CPU_FEATURES
    if features is None:
        features = llvmlite.binding.get_host_cpu_features().flatten()
    return 16 if "+avx512f" in features.split(",") else 8


def kernel_cache_folder(named: str | None = None) -> Path | None:
    """Folder for compiled kernels, created and tried; None, with a line in the log, where none can be written, or where
    others could put code of theirs.

    In `named` (by default $NUMBA_CACHE_DIR) or else the project's cache folder, one folder per numba version and
    kernel source: numba does not see that a function which a kernel calls in another file has changed.
    """
    named = named or os.environ.get("NUMBA_CACHE_DIR")
    base = Path(named).absolute() if named else cache_dir()
    try:
        return code_folder(base / f"numba-{numba.__version__}-{_kernel_digest()}", "NUMBA_CACHE_DIR", within=base)
    except InputError as error:
        hint = "" if error.hint else ". Set NUMBA_CACHE_DIR or R3D2_CACHE_DIR to a folder that can be written"
        log.warning("compiled kernels are not kept, every start compiles them again. %s%s.", error, hint)
        return None


@cache
def _process_cache_folder() -> Path | None:
    return kernel_cache_folder()


def _kernel_digest() -> str:
    here = Path(__file__)
    sources = [here, here.with_name("base.py"), *sorted(here.parent.glob("kernels_*.py"))]
    return hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()[:12]
