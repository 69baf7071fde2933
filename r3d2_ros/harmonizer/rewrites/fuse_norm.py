"""Group norm and the SiLU behind it as one, with the channels last in memory.

PyTorch's own on CUDA knows channels first alone: around each it brings the tensor into that order and back. Here a
tensor is read once for its moments, which make the norm a factor and a summand for each channel, and once more to be
normalised. torch.compile sees the second as plain arithmetic, which it joins with what comes behind.

The bias of a convolution before a norm is added to the moments and to the summand: a pass over the tensor less. So is
that of an upsampling in AutoencoderKL's decoder, whose residual block behind it adds it to its result as well.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.harmonizer.model.autoencoders import KLEncoder
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.rewrites.copies import exact, summed
from r3d2_ros.harmonizer.rewrites.decoders import Enlarge, StagedKLDecoder, SumAfter


class FusedGroupNorm(nn.Module):
    """`nn.GroupNorm`, and SiLU where `silu` says so: [B, C, H, W] -> the same, channels last. Computes in float32.

    before  [C], what is added to the input first
    """

    before: nn.Parameter | None

    def __init__(self, norm: nn.GroupNorm, *, silu: bool) -> None:
        super().__init__()
        self.groups, self.eps, self.silu = norm.num_groups, norm.eps, silu
        self.weight, self.bias = norm.weight, norm.bias
        self.register_parameter("before", None)

    def forward(self, x: Tensor) -> Tensor:
        x = channels_last(x)
        gain, shift, _ = self.affine(x)
        if x.is_cuda and x.dtype != torch.float64 and not torch.compiler.is_compiling():
            from r3d2_ros.harmonizer.rewrites.kernels_norm import normalise

            return normalise(x, gain, shift, silu=self.silu)
        return normalised(x, gain, shift, silu=self.silu).to(x.dtype)

    def affine(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`group_affine` of x, whose channels lie next to each other."""
        return group_affine(x, self.before, self.weight, self.bias, self.groups, self.eps)


def channels_last(x: Tensor) -> Tensor:
    """x [B, C, H, W], copied unless the channels lie next to each other."""
    return x if x.stride(1) == 1 else x.contiguous(memory_format=torch.channels_last)


def normalised(x: Tensor, gain: Tensor, shift: Tensor, *, silu: bool) -> Tensor:
    """x gain + shift by channel, and its SiLU: [B, C, H, W], [B, C] twice -> [B, C, H, W] in the dtype of `gain`."""
    result = x.to(gain.dtype) * gain[:, :, None, None] + shift[:, :, None, None]
    return functional.silu(result) if silu else result


@torch.library.custom_op("r3d2_ros::group_affine", mutates_args=(), device_types="cuda")
def group_affine(
    x: Tensor, before: Tensor | None, weight: Tensor, bias: Tensor, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The group norm of x + before as x gain + shift, and the largest number in each group of the result.

    x [B, C, H, W], the channels next to each other in memory; before, weight, bias [C] -> gain and shift [B, C],
    largest [B, groups], in float32, of float64 in float64.
    """
    if x.dtype == torch.float64:
        return group_affine_reference(x, before, weight, bias, groups, eps)
    from r3d2_ros.harmonizer.rewrites.kernels_norm import affine

    return affine(x, before, weight, bias, groups, eps)


@group_affine.register_kernel("cpu")
def group_affine_reference(
    x: Tensor, before: Tensor | None, weight: Tensor, bias: Tensor, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The same by PyTorch."""
    numbers = x.to(torch.promote_types(x.dtype, torch.float32))
    if before is not None:
        numbers = numbers + before[:, None, None]
    in_groups = numbers.unflatten(1, (groups, -1))
    variance, mean = torch.var_mean(in_groups, dim=(2, 3, 4), correction=0)
    per_group = in_groups.shape[2]
    gain = weight / (variance + eps).sqrt().repeat_interleave(per_group, dim=1)
    shift = bias - mean.repeat_interleave(per_group, dim=1) * gain
    largest = normalised(numbers, gain, shift, silu=False).unflatten(1, (groups, -1)).amax(dim=(2, 3, 4))
    return gain, shift if before is None else shift + before * gain, largest


@group_affine.register_fake
def _(
    x: Tensor, before: Tensor | None, weight: Tensor, bias: Tensor, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    gain = x.new_empty(x.shape[:2], dtype=torch.promote_types(x.dtype, torch.float32))
    return gain, torch.empty_like(gain), gain.new_empty((x.shape[0], groups))


@torch.no_grad()
def fuse_norms(model: R3D2) -> None:
    """Exchange the group norms of the UNet and of AutoencoderKL. Runs after what looks into residual blocks."""
    parts = [model.unet, *([model.encoder, model.decoder] if isinstance(model.encoder, KLEncoder) else [])]
    for part in parts:
        for module in list(part.modules()):
            if isinstance(module, ResnetBlock2D):
                fuse_block(module)
        if isinstance(part.conv_norm_out, nn.GroupNorm):
            part.conv_norm_out, part.conv_act = FusedGroupNorm(part.conv_norm_out, silu=True), nn.Identity()
        for module in list(part.modules()):
            # `Attention` gives its group norm tokens, not pictures.
            for name, norm in list(module.named_children()):
                if isinstance(norm, nn.GroupNorm) and not isinstance(module, Attention):
                    setattr(module, name, FusedGroupNorm(norm, silu=False))
    if isinstance(model.decoder, StagedKLDecoder):
        blocks: Any = model.decoder.blocks
        for stage, (block, *_) in zip(model.decoder.stages, blocks[1:], strict=True):
            if isinstance(stage, SumAfter):
                enlarge = stage.enlarge
                _move_bias(enlarge.convolution if isinstance(enlarge, Enlarge) else enlarge, block)


def fuse_block(block: ResnetBlock2D) -> None:
    """Exchange the norms of a residual block, unless they were."""
    if isinstance(block.norm1, FusedGroupNorm):
        return
    assert block.output_scale_factor == 1  # biases are moved into its sum
    block.norm1, block.norm2 = FusedGroupNorm(block.norm1, silu=True), FusedGroupNorm(block.norm2, silu=True)
    # The timestep's part may come in between: sums do not depend on their order.
    block.norm2.before, block.conv1.bias = block.conv1.bias, None
    if block.time_emb_proj is not None:
        block.time_emb_proj = nn.Sequential(nn.SiLU(), block.time_emb_proj)
    block.nonlinearity = nn.Identity()


def _move_bias(convolution: nn.Module, block: ResnetBlock2D) -> None:
    """From a convolution to the residual block that alone reads its result, or a sum with it."""
    bias = convolution.bias
    assert isinstance(bias, Tensor)
    block.norm1.before = bias
    convolution.register_parameter("bias", None)
    shortcut, moved = block.conv_shortcut, exact(bias)
    if shortcut is not None:
        moved = exact(shortcut.weight)[:, :, 0, 0] @ moved
    block.conv2.bias = summed(block.conv2.bias, moved)
