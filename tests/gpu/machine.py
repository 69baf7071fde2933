"""What is on the machine: whether CUDA works there, and which versions."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys

from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.rendering.cuda import cuda_device, driver_fault

PACKAGES = ("torch", "gsplat", "numpy", "numba", "scipy", "pytest", "ninja", "triton", "diffusers")


def cuda_fault() -> str:
    """Why the GPU tests cannot run here, or ''. Does not import torch where there is no NVIDIA driver."""
    fault = driver_fault()
    if fault:
        return fault
    if importlib.util.find_spec("gsplat") is None:
        return "gsplat is not installed (pip install gsplat==1.5.3)"
    try:
        cuda_device("cuda:0")
    except (InputError, MissingPackageError) as error:
        return str(error)
    return ""


def versions() -> dict[str, str | None]:
    """Version of each package that plays a part; None where it is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def describe() -> dict[str, object]:
    """Device, driver, compiler and versions, for the head of a report."""
    facts: dict[str, object] = {
        "host": platform.platform(),
        "cpus": os.cpu_count(),
        "executable": sys.executable,
        "versions": versions(),
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "nvcc": _output("nvcc", "--version"),
    }
    if not cuda_fault():
        import torch

        properties = torch.cuda.get_device_properties(0)
        facts["device"] = properties.name
        facts["device_memory_mib"] = properties.total_memory // 2**20
        facts["multiprocessors"] = properties.multi_processor_count
        facts["torch_cuda"] = torch.version.cuda
    return facts


def _output(*command: str) -> str | None:
    """The last line that a program prints; None where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    lines = result.stdout.strip().splitlines()
    return lines[-1] if result.returncode == 0 and lines else None
