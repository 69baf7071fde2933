"""The encoder's first convolution, of a picture's three channels, and the decoder's last one, to three.

What is not the picture is as large as any tensor of the network: all that either costs is writing, or reading, that
once. cuDNN takes three channels for eight or sixteen, PyTorch adds the bias in a pass of its own, and of the last one
each number is read for each of its nine taps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.harmonizer.model.autoencoders import KLDecoder, KLEncoder, TinyDecoder, TinyEncoder
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.rewrites.decoders import StagedKLDecoder, StagedTinyDecoder
from r3d2_ros.harmonizer.rewrites.fuse_norm import channels_last

PICTURE_CHANNELS = 3

WIDTHS = (16, 32, 64, 128, 256)
"""Channels of which the kernel makes a picture."""


class PictureConvolution(nn.Module):
    """A 3x3 convolution of stride 1 with a bias: [B, 3, H, W] -> [B, C, H, W]."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        return convolved_picture(x, self.weight, self.bias)


@torch.library.custom_op("r3d2_ros::convolved_picture", mutates_args=(), device_types="cuda")
def convolved_picture(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution [B, 3, H, W], [C, 3, 3, 3], [C] -> [B, C, H, W], channels last; by our kernel in 16 bit."""
    if x.dtype.itemsize == 2:
        from r3d2_ros.harmonizer.rewrites.kernels_picture import launch

        return launch(x, weight, bias)
    return convolved_picture_reference(x, weight, bias)


@convolved_picture.register_kernel("cpu")
def convolved_picture_reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same by PyTorch."""
    return functional.conv2d(x, weight, bias, padding=1).contiguous(memory_format=torch.channels_last)


@convolved_picture.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    batch, _, height, width = x.shape
    return x.new_empty((batch, height, width, weight.shape[0])).permute(0, 3, 1, 2)


class ConvolutionToPicture(nn.Module):
    """A 3x3 convolution of stride 1 with a bias: [B, C, H, W] -> [B, 3, H, W]."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        return convolved_to_picture(channels_last(x), self.weight, self.bias)


@torch.library.custom_op("r3d2_ros::convolved_to_picture", mutates_args=(), device_types="cuda")
def convolved_to_picture(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution [B, C, H, W], [3, C, 3, 3], [3] -> [B, 3, H, W], channels last as in x; by our kernel in 16
    bit."""
    if x.dtype.itemsize == 2:
        from r3d2_ros.harmonizer.rewrites.kernels_picture import launch_to_picture

        return launch_to_picture(x, weight, bias)
    return convolved_picture_reference(x, weight, bias)


convolved_to_picture.register_kernel("cpu")(convolved_picture_reference)


@convolved_to_picture.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    batch, _, height, width = x.shape
    return x.new_empty((batch, height, width, PICTURE_CHANNELS)).permute(0, 3, 1, 2)


@torch.no_grad()
def fuse_picture(model: R3D2) -> None:
    """Exchange the first convolution of the encoder and the last one of the decoder."""
    encoder, decoder = model.encoder, model.decoder
    if isinstance(encoder, KLEncoder):
        _exchange(encoder, "conv_in")
    if isinstance(encoder, TinyEncoder):
        _exchange(encoder.layers, "0")
    if isinstance(decoder, KLDecoder | StagedKLDecoder):
        _exchange(decoder, "conv_out")
    if isinstance(decoder, TinyDecoder):
        _exchange(decoder.layers, str(len(decoder.layers) - 1))
    if isinstance(decoder, StagedTinyDecoder):
        last: Any = decoder.blocks[-1]
        _exchange(last, str(len(last) - 1))


def _exchange(parent: nn.Module, name: str) -> None:
    layer = parent.get_submodule(name)
    if not isinstance(layer, nn.Conv2d) or layer.bias is None:
        return
    shape = layer.kernel_size, layer.stride, layer.padding
    if shape != ((3, 3), (1, 1), (1, 1)):
        return
    if layer.in_channels == PICTURE_CHANNELS:
        parent.set_submodule(name, PictureConvolution(layer))
    elif layer.out_channels == PICTURE_CHANNELS and layer.in_channels in WIDTHS:
        parent.set_submodule(name, ConvolutionToPicture(layer))
