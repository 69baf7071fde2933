"""PyTorch's process-wide switches while the network runs. They are put back, so the renderer never sees them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

from r3d2_ros.errors import InputError

CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_REPEATABLE_WORKSPACES = {":4096:8": 4096 * 8 * 1024, ":16:8": 16 * 8 * 1024}
"""Value of the variable -> bytes of the workspace that PyTorch gives cuBLAS then."""


@contextlib.contextmanager
def numerics(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Float32 is float32 (no TF32), and with `deterministic` every kernel is one that gives the same bytes again.

    Without it cuDNN chooses convolutions by measurement. The switches belong to the process: another thread that uses
    PyTorch meanwhile runs under them too. A replayed CUDA graph needs none of them.
    """
    with contextlib.ExitStack() as stack:
        if deterministic:
            stack.enter_context(_deterministic_algorithms())
        if device.type == "cuda":
            cudnn = torch.backends.cudnn
            stack.enter_context(
                _switched(cudnn, enabled=True, benchmark=not deterministic, deterministic=deterministic)
            )
            stack.enter_context(_without_tf32())
        yield


@contextlib.contextmanager
def _deterministic_algorithms() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)
    # It would write every new tensor once more.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    """PyTorch has an older and a newer switch for it, and raises where it finds that they disagree. So both are set."""
    cudnn: Any = torch.backends.cudnn
    products: Any = torch.backends.cuda.matmul
    mkldnn: Any = torch.backends.mkldnn
    older_cudnn, older_products = _older_cudnn(), _older_products()
    with contextlib.ExitStack() as stack:
        for newer in (cudnn.conv, cudnn.rnn, products, mkldnn.matmul):
            stack.enter_context(_switched(newer, fp32_precision=newer.fp32_precision))  # put back after the older ones
        try:
            cudnn.allow_tf32 = False
            torch.set_float32_matmul_precision("highest")
            for newer in (cudnn.conv, cudnn.rnn, products):
                newer.fp32_precision = "ieee"
            yield
        finally:
            cudnn.allow_tf32 = older_cudnn
            torch.set_float32_matmul_precision(older_products)


def _older_cudnn() -> bool:
    """PyTorch refuses to say while the newer ones say something else, which mostly leaves the opposite."""
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return torch.backends.cudnn.conv.fp32_precision != "tf32"  # type: ignore[attr-defined]


def _older_products() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return "highest" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "high"


@contextlib.contextmanager
def _switched(module: Any, **values: object) -> Iterator[None]:
    """Attributes of `module` have these values, and afterwards those that they had."""
    before = {name: getattr(module, name) for name in values}
    try:
        for name, value in values.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def pin_cublas_workspace(device: torch.device) -> None:
    """cuBLAS repeats its results with a workspace of fixed size only. It, and PyTorch, read the variable once.

    So this comes before any matrix product on a GPU; on a CPU it does nothing. InputError where the variable is set to
    something else, or another part of the process was faster.
    """
    if device.type != "cuda":
        return
    where = f"environment variable {CUBLAS_WORKSPACE}"
    expected = " or ".join(_REPEATABLE_WORKSPACES) + ", because harmonizer.runtime.deterministic is on"
    value = os.environ.setdefault(CUBLAS_WORKSPACE, next(iter(_REPEATABLE_WORKSPACES)))
    if value not in _REPEATABLE_WORKSPACES:
        raise InputError(where, expected, f"'{value}'", "Set one of these, or leave it unset")
    hint = f"Set {CUBLAS_WORKSPACE}={value} before the process starts"
    try:
        with numerics(device, deterministic=True):
            taken = _workspace_bytes(device)
    except RuntimeError as error:
        if CUBLAS_WORKSPACE not in str(error):
            raise
        raise InputError(where, expected, "a value that was set after the first matrix product", hint) from error
    # PyTorch 2.11 says nothing when it comes too late. On Hopper its own choice is as large as the first one here.
    if taken not in (0, _REPEATABLE_WORKSPACES[value]):
        got = f"a workspace of {taken} bytes, chosen at an earlier matrix product"
        raise InputError(where, expected, got, hint)


def _workspace_bytes(device: torch.device) -> int:
    """What a matrix product takes on a stream of its own beside its result; 0 where that stream had it already."""
    with torch.cuda.stream(torch.cuda.Stream(device)):
        ones, result = torch.ones(2, 2, 2, device=device)
        before = torch.cuda.memory_allocated(device)
        torch.mm(ones, ones, out=result)
        return torch.cuda.memory_allocated(device) - before
