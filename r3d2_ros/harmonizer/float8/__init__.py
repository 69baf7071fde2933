"""8-bit floating-point numbers (float8_e4m3fn) in parts of the network; everything else stays in 16 bit.

The outputs change: measure quality before relying on it. Each part has a switch in `harmonizer.float8`. A CPU computes
with the same numbers, more slowly than without, so that quality can be measured where there is no GPU.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch

from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.harmonizer.float8.convolutions import quantise_convolutions
from r3d2_ros.harmonizer.float8.linears import quantise_linears
from r3d2_ros.harmonizer.model import R3D2
from r3d2_ros.harmonizer.settings import Float8Config

MIN_CAPABILITY = (8, 9)


def quantise(model: R3D2, config: Float8Config) -> None:
    """Exchange, in place, the layers that `config` switches on."""
    if config.products:
        quantise_linears(model.unet)
    if config.convolutions:
        quantise_convolutions(model)


def check_float8(device: torch.device, config: Float8Config) -> None:
    """InputError for a GPU that does not multiply 8-bit floating-point numbers, MissingPackageError without Triton."""
    if device.type != "cuda":
        return
    capability = torch.cuda.get_device_capability(device)
    if capability < MIN_CAPABILITY:
        expected = "a GPU of compute capability 8.9 (Ada) or newer for float8"
        got = f"{torch.cuda.get_device_name(device)} with {'.'.join(map(str, capability))}"
        raise InputError("harmonizer.dtype", expected, got, "Use float16")
    if config.convolutions and find_spec("triton") is None:
        raise MissingPackageError("triton", "harmonizer.float8.convolutions", "pip install triton")
