"""8-bit convolutions for the residual blocks of the UNet and of AutoencoderKL.

The norm and SiLU before a convolution, rounding to 8 bit and a frame of zeros, one row below and one column to the
right of each image, are one pass. In memory the frame's column is the left neighbour of each row's first pixel and the
right neighbour of its last one, and its row lies below one image and above the next. So the neighbours of all pixels
lie at the same nine distances:

    output[p] = sum over taps (r, s) of weight[r, s] input[p + (r - 1) (W + 1) + (s - 1)]        p = y (W + 1) + x

and the convolution is nine products of shifted matrices, without a case for the borders. A weight has a scale per
output, an image one of its own, so that what else is in the batch has no effect on it. It follows from the largest
number behind the norm, which the norm's moments bring with them: no pass goes over the result in search of it. The
block's sum is formed by its second convolution, before its result is rounded.

What stays in 16 bit: both ends of the network and of the autoencoder, since a model of one step has no later one to
repair errors; convolutions that halve or double; shortcuts; and the tiny autoencoder, where reading a picture once more
for its scale takes longer than 8 bits save.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.harmonizer.float8.numbers import FLOAT8, SILU_DEPTH, quantised, scale_of, scaled
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.rewrites.copies import summed
from r3d2_ros.harmonizer.rewrites.fuse_norm import FusedGroupNorm, channels_last, fuse_block, normalised

CHANNELS_MULTIPLE = 32
"""The least that the kernel takes in one step."""

OUTPUTS_MULTIPLE = 8
"""So that 16 bytes of the result can be stored at a time."""


class Float8NormConv2d(nn.Module):
    """Group norm, SiLU, and a 3x3 convolution of stride 1 with both factors in 8 bit.

    [B, C, H, W] -> [B, N, H, W] in the dtype of the weights it was made of.
    """

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor

    def __init__(self, norm: FusedGroupNorm, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.norm = norm
        # [N, 9 C]: the channels for each tap, row by row.
        rows = convolution.weight.detach().permute(0, 2, 3, 1).flatten(1)
        weight, scale = quantised(rows)
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", scale[:, 0])
        bias = convolution.bias
        self.register_buffer("bias", torch.zeros_like(rows[:, 0]) if bias is None else bias.detach())

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """`added` [B, N, H, W] is added to the result before that is rounded."""
        x = channels_last(x)
        framed, scale = quantised_images(x, *self.norm.affine(x))
        pixels = None if added is None else added.permute(0, 2, 3, 1).contiguous()
        output = framed_convolution(framed, self.weight, scale, self.weight_scale, self.bias, pixels)
        return output.permute(0, 3, 1, 2)


class Float8ResnetBlock(nn.Module):
    """diffusers' `ResnetBlock2D` with both convolutions in 8 bit, the second of which adds the input to its result.

    [B, C, H, W], temb [B, T] -> [B, N, H, W]. Of a block that `fuse_block` changed, which it takes apart.
    """

    def __init__(self, block: ResnetBlock2D) -> None:
        super().__init__()
        shortcut = block.conv_shortcut
        if shortcut is not None:  # the 8-bit convolution adds a bias for nothing
            block.conv2.bias = summed(block.conv2.bias, shortcut.bias)
            shortcut.register_parameter("bias", None)
        self.conv1 = Float8NormConv2d(block.norm1, block.conv1)
        self.conv2 = Float8NormConv2d(block.norm2, block.conv2)
        self.time_emb_proj, self.conv_shortcut = block.time_emb_proj, shortcut

    def forward(self, x: Tensor, temb: Tensor | None = None) -> Tensor:
        hidden = self.conv1(x)
        if self.time_emb_proj is not None:
            hidden = hidden + self.time_emb_proj(temb)[:, :, None, None]
        return self.conv2(hidden, x if self.conv_shortcut is None else self.conv_shortcut(x))


@torch.library.custom_op("r3d2_ros::float8_images", mutates_args=(), device_types="cuda")
def quantised_images(x: Tensor, gain: Tensor, shift: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    """SiLU of x gain + shift in 8 bit, in its frame: [B, C, H, W] -> [B, H + 1, W + 1, C], and float32 scales [B].

    x with the channels next to each other in memory; gain and shift [B, C]; no number of an image may be above all
    of its `largest` [B, any].
    """
    from r3d2_ros.harmonizer.float8.kernels_images import launch

    return launch(x, gain, shift, largest)


@quantised_images.register_kernel("cpu")
def quantised_images_reference(x: Tensor, gain: Tensor, shift: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    """The same by PyTorch."""
    scale = scale_of(functional.silu(largest.amax(dim=1)).clamp(min=SILU_DEPTH))
    pixels = normalised(x, gain, shift, silu=True).permute(0, 2, 3, 1)
    framed = functional.pad(scaled(pixels, scale[:, None, None, None]), (0, 0, 0, 1, 0, 1))
    return framed.to(FLOAT8).contiguous(), scale


@quantised_images.register_fake
def _(x: Tensor, gain: Tensor, shift: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    batch, channels, height, width = x.shape
    return x.new_empty((batch, height + 1, width + 1, channels), dtype=FLOAT8), gain.new_empty(batch)


@torch.library.custom_op("r3d2_ros::float8_convolution", mutates_args=(), device_types="cuda")
def framed_convolution(
    images: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor, added: Tensor | None
) -> Tensor:
    """3x3 convolution of framed 8-bit images [B, H + 1, W + 1, C] + added -> [B, H, W, N] in the dtype of `bias`.

    weight [N, 9 C] in 8 bit, its scales [N] and those of the images [B] in float32, bias [N], added [B, H, W, N].
    """
    from r3d2_ros.harmonizer.float8.kernels_products import launch_convolution

    return launch_convolution(images, weight, scale, weight_scale, bias, added)


@framed_convolution.register_kernel("cpu")
def framed_convolution_reference(
    images: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor, added: Tensor | None
) -> Tensor:
    """The same, with PyTorch's convolution of the numbers that the 8 bits stand for, in float32."""
    channels = images.shape[-1]
    numbers = (images[:, :-1, :-1].float() * scale[:, None, None, None]).permute(0, 3, 1, 2)
    weights = (weight.float() * weight_scale[:, None]).unflatten(1, (3, 3, channels)).permute(0, 3, 1, 2)
    output = functional.conv2d(numbers, weights, bias.float(), padding=1).permute(0, 2, 3, 1)
    return (output if added is None else output + added).to(bias.dtype).contiguous()


@framed_convolution.register_fake
def _(
    images: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor, added: Tensor | None
) -> Tensor:
    batch, height, width, _ = images.shape
    return bias.new_empty((batch, height - 1, width - 1, weight.shape[0]))


def quantise_convolutions(model: R3D2) -> None:
    """Exchange the model's residual blocks in place, those whose convolutions fit."""
    kept = set(map(id, _ends(model)))
    for parent in list(model.modules()):
        for name, block in list(parent.named_children()):
            if isinstance(block, ResnetBlock2D) and id(block) not in kept and _fits(block.conv1) and _fits(block.conv2):
                fuse_block(block)
                parent.add_module(name, Float8ResnetBlock(block))


def _ends(model: R3D2) -> Iterator[ResnetBlock2D]:
    """First and last residual block of the UNet, the encoder's first one and the decoder's last one."""
    unet: Any = model.unet
    yield unet.down_blocks[0].resnets[0]
    yield unet.up_blocks[-1].resnets[-1]
    for part, which in ((model.encoder, 0), (model.decoder, -1)):
        blocks = [module for module in part.modules() if isinstance(module, ResnetBlock2D)]
        if blocks:
            yield blocks[which]


def _fits(convolution: nn.Conv2d) -> bool:
    plain = convolution.kernel_size == (3, 3) and convolution.stride == (1, 1) and convolution.padding == (1, 1)
    aligned = convolution.in_channels % CHANNELS_MULTIPLE == convolution.out_channels % OUTPUTS_MULTIPLE == 0
    return plain and aligned
