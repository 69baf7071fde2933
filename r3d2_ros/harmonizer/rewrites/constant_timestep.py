"""The UNet at one timestep: what the timestep adds to each residual block is part of a bias."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.rewrites.copies import exact, shared_copy, summed


class TimelessUNet(nn.Module):
    """diffusers' UNet without its timestep, from blocks that do not ask for one.

    Latents [B, 4, h, w] -> a tuple of the noise prediction of the same shape, as diffusers returns it.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.conv_in, self.down_blocks, self.mid_block = unet.conv_in, unet.down_blocks, unet.mid_block
        self.up_blocks = unet.up_blocks
        self.conv_norm_out, self.conv_act, self.conv_out = unet.conv_norm_out, unet.conv_act, unet.conv_out

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        """`timestep` and `return_dict` are there so that it is called as diffusers' UNet is; they have no effect."""
        prompt = {"encoder_hidden_states": encoder_hidden_states}
        x = self.conv_in(sample)
        skipped = [x]
        for block in self.down_blocks:
            x, outputs = block(x, None, **(prompt if _attends(block) else {}))
            skipped += outputs
        x = self.mid_block(x, None, **prompt)
        for block in self.up_blocks:
            count = len(block.resnets)
            taken, skipped = tuple(skipped[-count:]), skipped[:-count]
            size = skipped[-1].shape[-2:] if skipped else None  # odd sizes are not twice the smaller ones
            x = block(x, taken, None, upsample_size=size, **(prompt if _attends(block) else {}))
        return (self.conv_out(self.conv_act(self.conv_norm_out(x))),)


@torch.no_grad()
def fix_timestep(model: R3D2) -> None:
    """Fold the embedding of the model's timestep into the bias of each residual block's first convolution."""
    embedding = _activated_embedding(model.unet, model.timestep)
    for module in model.unet.modules():
        if isinstance(module, ResnetBlock2D):
            shift = functional.linear(embedding, exact(module.time_emb_proj.weight), exact(module.time_emb_proj.bias))
            module.conv1.bias = summed(module.conv1.bias, shift)
            module.time_emb_proj = None
    model.add_module("unet", TimelessUNet(model.unet))


def _activated_embedding(unet: UNet2DConditionModel, timestep: Tensor) -> Tensor:
    """silu of the timestep's embedding, [width] in float64. Its sines and cosines are float32, as in diffusers."""
    embed = shared_copy(unet.time_embedding).double()
    waves = unet.time_proj(timestep.to(embed.linear_1.weight.device))
    return functional.silu(embed(exact(waves)))[0]


def _attends(block: nn.Module) -> bool:
    return bool(getattr(block, "has_cross_attention", False))
