"""Which device a name in the configuration means."""

from __future__ import annotations

import torch

from r3d2_ros.errors import InputError

DATA_CENTRE = (9, 10)
"""Major compute capabilities of Hopper and data centres' Blackwell: 227 KiB of shared memory for a program."""


def find_device(name: str, where: str = "harmonizer.device") -> torch.device:
    """The device that `name` means, with its index: CUDA or the CPU. InputError, naming `where`, for any other."""
    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    expected = "auto, cpu, or a CUDA device that works, such as cuda:0"
    try:
        device = torch.empty(1, device=torch.device(name)).device
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InputError(where, expected, f"'{name}': {str(error).splitlines()[0]}") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(where, expected, f"'{name}'")
    return device
