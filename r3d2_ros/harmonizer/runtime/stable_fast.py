"""stable-fast (package `sfast`): encoder, UNet and decoder as TorchScript traces with fused kernels.

The paper's runtime. Its development has ended, and it is not installed by `make setup`: see README.md.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from r3d2_ros.errors import MissingPackageError
from r3d2_ros.harmonizer.base import ImageModel
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.runtime.attention import AttentionKernels, attention_shapes
from r3d2_ros.harmonizer.settings import RuntimeConfig

INSTALL = (
    "git clone https://github.com/chengzeyi/stable-fast && git -C stable-fast checkout 2b9b84e && "
    "pip install --no-build-isolation --no-deps ./stable-fast (without CUDA with WITH_CUDA=0 before it; see README.md)"
)


def stable_fast_network(model: R3D2, config: RuntimeConfig, attention: AttentionKernels) -> ImageModel:
    """`model` for padded images, traced at the first call with each shape. MissingPackageError: no `sfast`."""
    try:
        from sfast.compilers.diffusion_pipeline_compiler import CompilationConfig, compile_unet
    except ImportError as error:
        # A package that is there but was built for another torch fails while it loads its library.
        broken = "" if isinstance(error, ModuleNotFoundError) else f" ({str(error).splitlines()[0]})"
        needed_for = f"harmonizer.runtime.kind: stable-fast{broken}"
        raise MissingPackageError("stable-fast", needed_for, INSTALL) from error

    options = CompilationConfig.Default()
    options.memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
    options.preserve_parameters = False  # weights never change here
    options.enable_cuda_graph = False  # ours holds the whole network
    options.prefer_lowp_gemm = False  # sums in float16, as the next one does
    options.enable_fused_linear_geglu = False
    traces: dict[torch.Size, ImageModel] = {}

    def network(images: Tensor) -> Tensor:
        with attention.first_choice(attention_shapes(model.config, images.shape)[0]):
            known = traces.get(images.shape)
            if known is not None:
                return known(images)
            traced = _traced(model, lambda part: compile_unet(part, options))
            with warnings.catch_warnings():
                # torch: tracing is deprecated, and sizes become constants, as they should.
                warnings.simplefilter("ignore")
                output = traced(images)
            traces[images.shape] = traced
            return output

    return network


def _traced(model: R3D2, compiled: Callable[[nn.Module], Any]) -> ImageModel:
    """One set of traces. sfast looks traces up by the types of arguments, so another size would run through a trace
    that keeps this size's way of enlarging odd rows: a wrong result, or a crash."""
    traced = copy.copy(model)
    traced._modules = {name: compiled(copy.copy(part)) for name, part in model.named_children()}
    return traced.harmonize_padded
