"""8-bit floating-point numbers (float8_e4m3fn) in parts of the network; everything else stays in 16 bit.

The outputs change: measure quality before relying on it. Each part has a switch in `harmonizer.float8`. A CPU computes
with the same numbers, more slowly than without, so that quality can be measured where there is no GPU.
"""

from __future__ import annotations

import torch

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.float8.attention import quantise_attention
from r3d2_ros.harmonizer.float8.convolutions import quantise_convolutions
from r3d2_ros.harmonizer.float8.linears import PRODUCTS_CAPABILITY, quantise_linears
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.packages import need_triton
from r3d2_ros.harmonizer.runtime.device import DATA_CENTRE
from r3d2_ros.harmonizer.settings import Float8Config

MIN_CAPABILITY = {"products": (8, 9), "convolutions": PRODUCTS_CAPABILITY, "attention": PRODUCTS_CAPABILITY}
"""Ada multiplies 8-bit numbers too; for linear layers PyTorch has a product there."""


def quantise(model: R3D2, config: Float8Config) -> None:
    """Exchange, in place, the layers that `config` switches on. Residual blocks get our norms with them, whatever
    `rewrites.fuse_norm` says."""
    if config.products:
        quantise_linears(model.unet)
    if config.convolutions:
        quantise_convolutions(model)
    if config.attention:
        quantise_attention(model)


def applied_float8(config: Float8Config, device: torch.device) -> Float8Config:
    """The parts of `config` that are of use on `device`.

    InputError for a GPU on which there is none, MissingPackageError without Triton, in which our kernel is written.
    """
    if device.type != "cuda":
        return config
    capability = torch.cuda.get_device_capability(device)
    switches = {name: getattr(config, name) and capability >= least for name, least in MIN_CAPABILITY.items()}
    switches["attention"] &= capability[0] in DATA_CENTRE
    if not any(switches.values()):
        least = min(MIN_CAPABILITY[name] for name in MIN_CAPABILITY if getattr(config, name))
        expected = f"a GPU of compute capability {'.'.join(map(str, least))} or newer for float8"
        if config.attention and capability >= least:
            expected = "Hopper or a data centre's Blackwell, compute capability 9.0 or 10.x, for 8-bit attention alone"
        got = f"{torch.cuda.get_device_name(device)} with {'.'.join(map(str, capability))}"
        raise InputError("harmonizer.dtype", expected, got, "Use float16")
    if capability >= PRODUCTS_CAPABILITY:
        need_triton(f"harmonizer.float8.{next(name for name, on in switches.items() if on)}")
    return Float8Config(**switches)
