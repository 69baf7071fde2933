"""Attention kernels of packages beside PyTorch: FlashAttention 3 and 4, which know Hopper.

On an H200 version 3 takes a tenth off R3D2 at 1080x1920; version 4 is not measured.
"""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec

import torch
from torch import Tensor

from r3d2_ros.errors import MissingPackageError

log = logging.getLogger(__name__)

PACKAGES = {"flash3": "flash_attn_interface", "flash4": "flash_attn.cute"}
"""Kernel -> the module whose `flash_attn_func` it is."""

INSTALL = {
    "flash3": "build it from the folder `hopper` of github.com/Dao-AILab/flash-attention",
    "flash4": "pip install --pre 'flash-attn-4[cu13]'",
}


def installed_packages() -> list[str]:
    """Kernels whose package is there. The log says so where it, or the package around it, is broken."""
    return [kernel for kernel, module in PACKAGES.items() if _is_there(module)]


def need_package(kernel: str) -> None:
    """MissingPackageError, with the cause, where the package of a kernel cannot be imported."""
    module, needed_for = PACKAGES[kernel], f"harmonizer.runtime.attention: {kernel}"
    try:
        import_module(module)
    except Exception as error:  # one that was built for another torch has errors of its own
        if not _is_absent(module, error):
            needed_for += f" ({_cause(error)})"
        raise MissingPackageError(module, needed_for, INSTALL[kernel]) from error


def package_version(kernel: str) -> str:
    """Of all distributions that the module may be from; '' where none says so."""
    distributions = packages_distributions().get(PACKAGES[kernel].partition(".")[0], [])
    return " ".join(f"{name} {version(name)}" for name in sorted(set(distributions)))


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
    except Exception as error:  # of the package around it, which is imported
        if not _is_absent(module, error):
            log.warning("attention without %s, which cannot be imported: %s", module, _cause(error))
        return False


def _is_absent(module: str, error: Exception) -> bool:
    """Whether the error says that the module, or the package around it, is not installed."""
    return isinstance(error, ModuleNotFoundError) and error.name in (module, module.partition(".")[0])


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"
