"""The tiny autoencoder's convolutions with the sum and the ReLU behind them as one operation.

On CUDA cuDNN's fused kernels leave no pass over memory for sum and ReLU. They have no derivative and no description
for torch.compile, which sees them as operators of our own. Elsewhere sum and ReLU overwrite the convolution's result,
except where the network is traced or compiled: compilers find fusions in what is written without overwriting.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.harmonizer.model.autoencoders import TinyEncoder
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.rewrites.decoders import StagedTinyDecoder, stage_decoder

CUDNN_DTYPES = (torch.float16, torch.bfloat16)
"""Float32 is for accuracy, and keeps the convolution that the plain network has."""


class ConvReLU(nn.Module):
    """relu(convolution(x)) for a 3x3 convolution of stride 1: [B, Cin, H, W] -> [B, C, H, W]."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        if not uses_cudnn(x):
            return _relu(functional.conv2d(x, self.weight, self.bias, padding=1))
        operator = conv_relu if torch.compiler.is_compiling() else cudnn_conv_relu
        return operator(x, self.weight, self.bias)


class ConvAddReLU(nn.Module):
    """relu(convolution(x) + z) for a 3x3 convolution of stride 1: [B, Cin, H, W], [B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        if not uses_cudnn(x):
            convolved = functional.conv2d(x, self.weight, self.bias, padding=1)
            return _relu(convolved + z if _recorded() else convolved.add_(z))
        operator = conv_add_relu if torch.compiler.is_compiling() else cudnn_conv_add_relu
        return operator(x, self.weight, z, self.bias)


class FusedBlock(nn.Module):
    """`AutoencoderTinyBlock` of as many channels out as in."""

    def __init__(self, block: AutoencoderTinyBlock) -> None:
        super().__init__()
        first, _, second, _, third = block.conv
        self.first, self.second, self.third = ConvReLU(first), ConvReLU(second), ConvAddReLU(third)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.first(x)), x)


def uses_cudnn(x: Tensor) -> bool:
    """Whether cuDNN's fused kernels are to take `x`. ROCm has other operators.

    They choose algorithms without a look at PyTorch's switches, so where bytes are to repeat they are not taken.
    """
    cudnn = torch.version.hip is None and torch.backends.cudnn.enabled
    repeatable = torch.are_deterministic_algorithms_enabled()
    return cudnn and not repeatable and x.is_cuda and x.dtype in CUDNN_DTYPES


def cudnn_conv_relu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """relu(convolution(x)): [B, Cin, H, W] -> [B, C, H, W], on CUDA in 16 bit."""
    return torch.cudnn_convolution_relu(x, weight, bias, (1, 1), (1, 1), (1, 1), 1)


def cudnn_conv_add_relu(x: Tensor, weight: Tensor, z: Tensor, bias: Tensor | None) -> Tensor:
    """relu(convolution(x) + z): [B, Cin, H, W], [B, C, H, W] -> [B, C, H, W], on CUDA in 16 bit."""
    return torch.cudnn_convolution_add_relu(x, weight, z, 1.0, bias, (1, 1), (1, 1), (1, 1), 1)


conv_relu = torch.library.custom_op("r3d2_ros::conv_relu", cudnn_conv_relu, mutates_args=())
conv_add_relu = torch.library.custom_op("r3d2_ros::conv_add_relu", cudnn_conv_add_relu, mutates_args=())


@conv_relu.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return functional.conv2d(x, weight, bias, padding=1)


@conv_add_relu.register_fake
def _(x: Tensor, weight: Tensor, z: Tensor, bias: Tensor | None) -> Tensor:
    return functional.conv2d(x, weight, bias, padding=1)


@torch.no_grad()
def fuse_relus(model: R3D2) -> None:
    """Fuse the blocks of the tiny autoencoder, and the convolution and ReLU at the decoder's head."""
    encoder = model.encoder
    if isinstance(encoder, TinyEncoder):
        encoder.layers = _fused(encoder.layers)
    decoder = stage_decoder(model)
    if isinstance(decoder, StagedTinyDecoder):
        decoder.head = _fused(decoder.head)
        decoder.blocks = nn.ModuleList(_fused(blocks) for blocks in decoder.blocks)


def _recorded() -> bool:
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]


def _relu(x: Tensor) -> Tensor:
    return x.relu() if _recorded() else x.relu_()


def _fused(layers: Any) -> nn.Sequential:
    fused: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, AutoencoderTinyBlock):
            fused.append(FusedBlock(layer))
        elif isinstance(layer, nn.ReLU) and isinstance(previous := fused[-1], nn.Conv2d):
            fused[-1] = ConvReLU(previous)
        else:
            fused.append(layer)
    return nn.Sequential(*fused)
