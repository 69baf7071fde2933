"""The encoder's first convolution, of a picture's three channels, with its bias in one kernel.

Its input is small and its result as large as any tensor of the network: all it costs is writing that, once. cuDNN's
kernels take three channels for eight, and PyTorch adds the bias in a pass of its own. Not measured on a GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.harmonizer.autoencoders import KLEncoder, TinyEncoder
from r3d2_ros.harmonizer.model import R3D2

PICTURE_CHANNELS = 3


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


@torch.no_grad()
def fuse_picture(model: R3D2) -> None:
    """Exchange the first convolution of the encoder."""
    encoder = model.encoder
    if isinstance(encoder, KLEncoder) and _fits(encoder.conv_in):
        encoder.add_module("conv_in", PictureConvolution(encoder.conv_in))
    if isinstance(encoder, TinyEncoder) and _fits(encoder.layers[0]):
        encoder.layers[0] = PictureConvolution(encoder.layers[0])


def _fits(layer: nn.Module) -> bool:
    if not isinstance(layer, nn.Conv2d) or layer.bias is None:
        return False
    shape = layer.in_channels, layer.kernel_size, layer.stride, layer.padding
    return shape == (PICTURE_CHANNELS, (3, 3), (1, 1), (1, 1))
