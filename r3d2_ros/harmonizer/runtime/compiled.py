"""torch.compile: one program per shape of images, kept on disk between runs."""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch
from torch import _dynamo, _inductor

from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.harmonizer.base import ImageModel
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.packages import need_triton
from r3d2_ros.harmonizer.runtime.kernel_cache import INDUCTOR
from r3d2_ros.harmonizer.settings import RuntimeConfig

NEEDED_FOR = "harmonizer.runtime.kind: torch-compile"
MAX_PROGRAMS = 1024
"""Sizes of crops times sizes of batches. PyTorch gives up after 8 by itself, and fullgraph makes that an error."""


def compile_network(model: R3D2, config: RuntimeConfig) -> ImageModel:
    """`model` for padded images, compiled at the first call with each shape. MissingPackageError: no compiler.

    The first call raises InputError where the compiler fails, for example over what a killed run left in its cache.
    """
    check_compiler(model.prompt_embedding.device)
    program = torch.compile(
        model.harmonize_padded, fullgraph=True, dynamic=False, options=inductor_options(config)
    )

    def network(images: torch.Tensor) -> torch.Tensor:
        with _dynamo.config.patch(recompile_limit=MAX_PROGRAMS, accumulated_recompile_limit=MAX_PROGRAMS):
            try:
                return program(images)
            except _dynamo.exc.BackendCompilerFailed as error:
                raise _failure(error) from error

    return network


def _failure(error: _dynamo.exc.BackendCompilerFailed) -> InputError:
    lines = [line.strip() for line in str(error.inner_exception).splitlines() if line.strip()] or ["no message"]
    telling = [line for line in lines if "error: " in line.lower() or "file too short" in line]
    folder = os.environ.get(INDUCTOR, "its cache folder")
    hint = f"If a run was killed while it compiled, delete {folder} and start again; else use runtime.kind eager"
    return InputError(NEEDED_FOR, "a network that compiles", (telling or lines)[0][:300], hint)


def inductor_options(config: RuntimeConfig) -> dict[str, Any]:
    """PyTorch's own, but for `deterministic`. CUDA graphs are our own.

    Not `max_autotune`: on an H200 its products and convolutions were slower than cuBLAS' and cuDNN's in half of the
    shapes, microseconds faster in others, and it measures for minutes what is compiled in one.
    """
    options: dict[str, Any] = {}
    if config.deterministic:
        if not hasattr(_inductor.config, "deterministic"):
            raise InputError("torch", "a version that compiles deterministically (2.13 does)", torch.__version__)
        options["deterministic"] = True
    if shutil.which("openssl") is None:
        options["cpp_cache_precompile_headers"] = False  # torch runs openssl for it, and does not say so
    return options


def check_compiler(device: torch.device) -> None:
    """MissingPackageError unless there is what torch.compile needs for `device`."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        install = "apt install g++, or set CXX to the path of a C++ compiler"
        raise MissingPackageError("g++", NEEDED_FOR, install) from error
    if device.type == "cuda":
        need_triton(NEEDED_FOR)
