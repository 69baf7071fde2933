"""Attention kernels of packages beside PyTorch: FlashAttention 3 and 4, which know Hopper.

On an H200 version 3 takes a tenth off R3D2 at 1080x1920; version 4 is not measured.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor

PACKAGES = {"flash3": "flash_attn_interface", "flash4": "flash_attn.cute"}
"""Kernel -> the module whose `flash_attn_func` it is."""

INSTALL = {
    "flash3": "build it from the folder `hopper` of github.com/Dao-AILab/flash-attention",
    "flash4": "pip install --pre 'flash-attn-4[cu13]'",
}


def installed_packages() -> list[str]:
    """Kernels whose package is there."""
    return [kernel for kernel, module in PACKAGES.items() if _is_there(module)]


@torch.library.custom_op("r3d2_ros::package_attention", mutates_args=())
def package_attention(query: Tensor, key: Tensor, value: Tensor, module: str) -> Tensor:
    """softmax(query key^T / sqrt(numbers)) value, of [B, heads, N, numbers] to the same, by `module`."""
    attend = import_module(module).flash_attn_func
    result = attend(*(tensor.transpose(1, 2) for tensor in (query, key, value)))
    output = result[0] if isinstance(result, tuple) else result
    return output.transpose(1, 2)


@package_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, module: str) -> Tensor:
    batch, heads, tokens, numbers = query.shape
    return query.new_empty((batch, tokens, heads, numbers)).transpose(1, 2)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False
