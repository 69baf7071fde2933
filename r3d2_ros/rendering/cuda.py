"""Does CUDA work on this machine? The driver is asked first; torch is imported only where it answers."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from r3d2_ros.errors import InputError, MissingPackageError

if TYPE_CHECKING:
    import torch


class CudaUnavailableError(InputError):
    """The GPU renderer cannot work on this machine; the text says why and what to do."""

    def __init__(self, got: str, hint: str) -> None:
        expected = "an NVIDIA GPU that PyTorch and gsplat can use"
        super().__init__("rendering.backend 'gsplat'", expected, got, hint)


def driver_fault() -> str:
    """Why the NVIDIA driver offers no device, or '' when it offers one. Takes milliseconds."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda.so.1 is not installed)"
    status = driver.cuInit(0)
    if status != 0:
        return f"an NVIDIA driver without a usable device (cuInit returned {status})"
    count = ctypes.c_int(0)
    if driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "an NVIDIA driver that lists no device"
    return ""


def cuda_device(name: str) -> torch.device:
    """The torch device of a name such as 'cuda:0'.

    MissingPackageError without torch, CudaUnavailableError where torch cannot use CUDA, InputError for a name
    that is no CUDA device of this machine.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingPackageError("torch", "the gsplat renderer", "pip install torch") from error

    where, hint = "rendering.device", "Use cuda:0, or cuda:N for the device N that nvidia-smi lists."
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(where, "a CUDA device such as cuda:0", f"'{name}'", hint) from error
    if device.type != "cuda":
        raise InputError(where, "a CUDA device such as cuda:0", f"'{name}'", hint)
    if torch.version.cuda is None:
        raise CudaUnavailableError(
            f"PyTorch {torch.__version__}, which is built without CUDA",
            "Install a CUDA build of PyTorch (https://pytorch.org/get-started), or choose the backend cpu.",
        )
    if not torch.cuda.is_available():
        raise CudaUnavailableError(
            driver_fault() or f"a driver that is too old for PyTorch {torch.__version__}",
            "Check that nvidia-smi works for this user, or choose the backend cpu.",
        )
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise InputError(where, f"one of the {count} CUDA devices here", f"'{name}'", hint)
    return device
