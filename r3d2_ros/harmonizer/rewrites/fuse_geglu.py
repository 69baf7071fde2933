"""The feed-forward's first layer in the UNet's transformers, product and gated GELU as one: a quarter of the bytes."""

from __future__ import annotations

import torch
from diffusers.models.activations import GEGLU
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.harmonizer.model.r3d2 import R3D2

MULTIPLE = 8
"""Rows begin at multiples of 16 bytes."""


class FusedGEGLU(nn.Module):
    """diffusers' `GEGLU`: [..., C] -> [..., N], the first half of the product times the GELU of the second."""

    def __init__(self, plain: GEGLU) -> None:
        super().__init__()
        self.proj: nn.Linear = plain.proj

    def forward(self, hidden_states: Tensor) -> Tensor:
        return geglu(hidden_states.contiguous(), self.proj.weight, self.proj.bias)


def gated(product: Tensor) -> Tensor:
    """[..., 2 N] -> [..., N]."""
    value, gate = product.chunk(2, dim=-1)
    return value * functional.gelu(gate)


@torch.library.custom_op("r3d2_ros::geglu", mutates_args=(), device_types="cuda")
def geglu(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """gated(inputs weight^T + bias): [..., C], [2 N, C], [2 N] -> [..., N], by our kernel in 16 bit."""
    from r3d2_ros.harmonizer.rewrites.kernels_geglu import launch

    aligned = inputs.shape[-1] % MULTIPLE == weight.shape[0] // 2 % MULTIPLE == 0
    if inputs.dtype.itemsize == 2 and aligned:
        return launch(inputs, weight, bias)
    return geglu_reference(inputs, weight, bias)


@geglu.register_kernel("cpu")
def geglu_reference(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same by PyTorch."""
    return gated(functional.linear(inputs, weight, bias))


@geglu.register_fake
def _(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return inputs.new_empty((*inputs.shape[:-1], weight.shape[0] // 2))


@torch.no_grad()
def fuse_geglus(model: R3D2) -> None:
    """Exchange those of the UNet's transformers."""
    for module in list(model.unet.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, GEGLU):
                module.add_module(name, FusedGEGLU(child))
