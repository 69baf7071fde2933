"""Self-attention whose queries, keys and values come from one matrix product, in the layout that attention reads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.rewrites.copies import linear_of


class JoinedSelfAttention(nn.Module):
    """diffusers' `Attention` of tokens [B, N, C] to themselves: -> [B, N, C].

    attend  of queries, keys and values [B, heads, N, C / heads], views of one tensor [B, N, 3, heads, C / heads]
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads: int = attention.heads
        self.to_qkv = _joined(attention.to_q, attention.to_k, attention.to_v)
        self.to_out: nn.Module = attention.to_out[0]
        self.attend: Callable[[Tensor, Tensor, Tensor], Tensor] = functional.scaled_dot_product_attention

    def forward(
        self, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, attention_mask: None = None
    ) -> Tensor:
        """The other arguments are those of diffusers' blocks, and None here."""
        projected = self.to_qkv(hidden_states).unflatten(-1, (3, self.heads, -1))
        queries, keys, values = projected.permute(2, 0, 3, 1, 4).unbind()
        return self.to_out(self.attend(queries, keys, values).transpose(1, 2).flatten(2))


@torch.no_grad()
def join_projections(model: R3D2) -> None:
    """Join those of the UNet's self-attention."""
    for module in model.unet.modules():
        attention = getattr(module, "attn1", None)
        if isinstance(attention, Attention):
            module.attn1 = JoinedSelfAttention(attention)


def _joined(*layers: nn.Linear) -> nn.Linear:
    # SD-Turbo's have no biases.
    bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
    return linear_of(torch.cat([layer.weight for layer in layers]), bias)
