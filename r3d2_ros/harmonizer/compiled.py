"""torch.compile: one program per shape of images, kept on disk between runs."""

from __future__ import annotations

import shutil
from typing import Any

import torch
from torch import _dynamo, _inductor

from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.harmonizer.base import ImageModel
from r3d2_ros.harmonizer.model import R3D2
from r3d2_ros.harmonizer.settings import RuntimeConfig

NEEDED_FOR = "harmonizer.runtime.kind: torch-compile"
MAX_PROGRAMS = 1024
"""Sizes of crops times sizes of batches. PyTorch gives up after 8 by itself, and fullgraph makes that an error."""


def compile_network(model: R3D2, config: RuntimeConfig) -> ImageModel:
    """`model` for padded images, compiled at the first call with each shape. MissingPackageError: no compiler."""
    device = model.prompt_embedding.device
    check_compiler(device)
    program = torch.compile(
        model.harmonize_padded, fullgraph=True, dynamic=False, options=inductor_options(config, device)
    )

    def network(images: torch.Tensor) -> torch.Tensor:
        with _dynamo.config.patch(recompile_limit=MAX_PROGRAMS, accumulated_recompile_limit=MAX_PROGRAMS):
            return program(images)

    return network


def inductor_options(config: RuntimeConfig, device: torch.device) -> dict[str, Any]:
    """Kernels chosen by measurement on a GPU; with `deterministic` nothing is measured. CUDA graphs are our own."""
    options: dict[str, Any] = {}
    if config.deterministic:
        if not hasattr(_inductor.config, "deterministic"):
            raise InputError("torch", "a version that compiles deterministically (2.13 does)", torch.__version__)
        options["deterministic"] = True
    elif device.type == "cuda":
        options |= _inductor.list_mode_options("max-autotune-no-cudagraphs")
    if shutil.which("openssl") is None:
        options["cpp_cache_precompile_headers"] = False  # torch runs openssl for it, and does not say so
    return options


def check_compiler(device: torch.device) -> None:
    """MissingPackageError unless there is what torch.compile needs for `device`."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler
    from torch.utils._triton import has_triton

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        install = "apt install g++, or set CXX to the path of a C++ compiler"
        raise MissingPackageError("g++", NEEDED_FOR, install) from error
    if device.type == "cuda" and not has_triton():
        raise MissingPackageError("triton", NEEDED_FOR, "pip install triton")
