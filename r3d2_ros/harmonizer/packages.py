"""Packages without which nothing of the harmonizer runs. Nothing here imports them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from r3d2_ros.errors import MissingPackageError

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "diffusers", "safetensors")
INSTALL = "pip install 'r3d2_ros[harmonizer]'"


def need_packages(needed_for: str, install: str = INSTALL, *, besides: tuple[str, ...] = ()) -> None:
    """MissingPackageError, with what they are `needed_for` and how to `install` them, unless all are installed, those
    `besides` too."""
    for package in (*PACKAGES, *besides):
        if find_spec(package) is None:
            raise MissingPackageError(package, needed_for, install)


def kernels_run_on(device: torch.device) -> bool:
    """Whether our own kernels do; they are written in Triton, which PyTorch brings along for GPUs."""
    return device.type == "cuda" and _has_triton()


def need_triton(needed_for: str) -> None:
    """MissingPackageError, with what it is `needed_for`, unless Triton is installed."""
    if not _has_triton():
        raise MissingPackageError("triton", needed_for, "pip install triton")


def _has_triton() -> bool:
    return find_spec("triton") is not None
