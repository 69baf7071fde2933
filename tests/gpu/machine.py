"""Whether the GPU script can run here at all."""

from __future__ import annotations

import importlib.util
import os

from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.rendering.cuda import cuda_device, driver_fault

REHEARSAL = "R3D2_GPU_REHEARSAL"
"""Set for the processes of a rehearsal, in which the CPU stands for the GPU."""

NEEDED = {
    "torch": "torch", "numpy": "numpy", "numba": "numba", "scipy": "scipy", "cv2": "opencv-python-headless",
    "PIL": "pillow", "yaml": "pyyaml", "pydantic": "pydantic", "xxhash": "xxhash", "simplejpeg": "simplejpeg",
    "safetensors": "safetensors", "diffusers": "diffusers", "gsplat": "gsplat==1.5.3",
}  # fmt: skip
"""Module -> what to install. tests/gpu/wheels.txt lists those that a machine with PyTorch commonly lacks."""


def package_faults() -> str:
    """Which packages are missing, and how they come here; '' when none is."""
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    return f"missing: {', '.join(missing)} (pip install {' '.join(missing)})" if missing else ""


def rehearsing() -> bool:
    return bool(os.environ.get(REHEARSAL))


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
