"""Group norm and the SiLU behind it as one, with the channels last in memory.

PyTorch's own on CUDA knows channels first alone: around each it brings the tensor into that order and back. Here a
tensor is read once for the moments of its groups and once more to be normalised. torch.compile sees the second as
plain arithmetic, which it joins with what comes behind, such as the rounding to 8 bit. Not measured on a GPU.
"""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.harmonizer.autoencoders import KLEncoder
from r3d2_ros.harmonizer.model import R3D2


class FusedGroupNorm(nn.Module):
    """`nn.GroupNorm`, and SiLU where `silu` says so: [B, C, H, W] -> the same, channels last. Computes in float32."""

    def __init__(self, norm: nn.GroupNorm, *, silu: bool) -> None:
        super().__init__()
        self.groups, self.eps, self.silu = norm.num_groups, norm.eps, silu
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        if x.stride(1) != 1:
            x = x.contiguous(memory_format=torch.channels_last)
        mean, deviation = group_moments(x, self.groups, self.eps)
        if x.is_cuda and x.dtype != torch.float64 and not torch.compiler.is_compiling():
            from r3d2_ros.harmonizer.rewrites.kernels_norm import normalise

            return normalise(x, mean, deviation, self.weight, self.bias, silu=self.silu)
        return normalised(x, mean, deviation, self.weight, self.bias, silu=self.silu)


def normalised(x: Tensor, mean: Tensor, deviation: Tensor, weight: Tensor, bias: Tensor, *, silu: bool) -> Tensor:
    """(x - mean) / deviation * weight + bias by group and channel, and its SiLU, rounded once. [B, C, H, W]."""
    per_group = x.shape[1] // mean.shape[1]
    gain = weight / deviation.repeat_interleave(per_group, dim=1)
    shift = bias - mean.repeat_interleave(per_group, dim=1) * gain
    result = x.to(mean.dtype) * gain[:, :, None, None] + shift[:, :, None, None]
    return (functional.silu(result) if silu else result).to(x.dtype)


@torch.library.custom_op("r3d2_ros::group_moments", mutates_args=(), device_types="cuda")
def group_moments(x: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and sqrt(variance + eps) of each group of x [B, C, H, W], the channels next to each other in memory.

    Both [B, groups], in float32, of float64 in float64.
    """
    if x.dtype == torch.float64:
        return group_moments_reference(x, groups, eps)
    from r3d2_ros.harmonizer.rewrites.kernels_norm import moments

    return moments(x, groups, eps)


@group_moments.register_kernel("cpu")
def group_moments_reference(x: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor]:
    """The same by PyTorch."""
    numbers = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(1, (groups, -1))
    variance, mean = torch.var_mean(numbers, dim=(2, 3, 4), correction=0)
    return mean, (variance + eps).sqrt()


@group_moments.register_fake
def _(x: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor]:
    moments = x.new_empty((x.shape[0], groups), dtype=torch.promote_types(x.dtype, torch.float32))
    return moments, torch.empty_like(moments)


@torch.no_grad()
def fuse_norms(model: R3D2) -> None:
    """Exchange the group norms of the UNet and of AutoencoderKL. Runs after what looks into residual blocks."""
    parts = [model.unet, *([model.encoder, model.decoder] if isinstance(model.encoder, KLEncoder) else [])]
    for part in parts:
        for module in list(part.modules()):
            if isinstance(module, ResnetBlock2D):
                _fuse_block(module)
        if isinstance(part.conv_norm_out, nn.GroupNorm):
            part.conv_norm_out, part.conv_act = FusedGroupNorm(part.conv_norm_out, silu=True), nn.Identity()
        for module in list(part.modules()):
            # `Attention` gives its group norm tokens, not pictures.
            for name, norm in list(module.named_children()):
                if isinstance(norm, nn.GroupNorm) and not isinstance(module, Attention):
                    setattr(module, name, FusedGroupNorm(norm, silu=False))


def _fuse_block(block: ResnetBlock2D) -> None:
    block.norm1, block.norm2 = FusedGroupNorm(block.norm1, silu=True), FusedGroupNorm(block.norm2, silu=True)
    if block.time_emb_proj is not None:
        block.time_emb_proj = nn.Sequential(nn.SiLU(), block.time_emb_proj)
    block.nonlinearity = nn.Identity()
