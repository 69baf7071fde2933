"""Cross-attention whose keys and values are constants, because the prompt is one."""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.rewrites.copies import exact, rounded


class PromptAttention(nn.Module):
    """diffusers' `Attention` over a fixed prompt [1, tokens, D]: [B, N, C] -> [B, N, C].

    Keys and values have three dimensions: `to(memory_format=torch.channels_last)` would reorder four.
    """

    def __init__(self, attention: Attention, prompt: Tensor) -> None:
        super().__init__()
        self.heads: int = attention.heads
        self.to_q: nn.Module = attention.to_q
        self.to_out: nn.Module = attention.to_out[0]
        self.keys = rounded(self._per_head(attention.to_k, prompt), like=attention.to_k.weight)
        self.values = rounded(self._per_head(attention.to_v, prompt), like=attention.to_v.weight)

    def forward(
        self, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, attention_mask: None = None
    ) -> Tensor:
        """The other arguments are those of diffusers' blocks; the prompt is known already."""
        batch = hidden_states.shape[0]
        queries = self.to_q(hidden_states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        keys, values = (constant.expand(batch, -1, -1, -1) for constant in (self.keys, self.values))
        attended = functional.scaled_dot_product_attention(queries, keys, values)
        return self.to_out(attended.transpose(1, 2).flatten(2))

    def _per_head(self, projection: nn.Linear, prompt: Tensor) -> Tensor:
        """[heads, tokens, C / heads] in float64."""
        bias = None if projection.bias is None else exact(projection.bias)
        projected = functional.linear(exact(prompt)[0], exact(projection.weight), bias)
        return projected.unflatten(-1, (self.heads, -1)).transpose(0, 1).contiguous()


@torch.no_grad()
def fix_prompt(model: R3D2) -> None:
    """Give each cross-attention of the UNet the keys and values of the model's prompt."""
    for module in model.unet.modules():
        if getattr(module, "attn2", None) is not None:
            module.attn2 = PromptAttention(module.attn2, model.prompt_embedding)
