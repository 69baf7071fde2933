"""The attention in the middle of AutoencoderKL, one head of 512 channels, as matrix products over parts of the queries.

Fused attention kernels for 16 bit end at 256 channels. With X the normalised input, softmax(Q K^T / sqrt(d)) V Wo + bo
= softmax(Q' X^T) X (Wv Wo) + (bv Wo + bo), Q' = (X Wq + bq) Wk^T / sqrt(d), since q.bk is the same along a row of
scores and rows of the softmax sum to one: the "absorbed" form of multi-head latent attention (DeepSeek-V2,
arXiv 2405.04434). It has X for keys and values, and two projections instead of four.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from r3d2_ros.harmonizer.model.autoencoders import KLEncoder
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.rewrites.copies import exact, linear_of, rounded

SCORES_BYTES = 2**28
"""Float32 scores in memory at a time, at most; a single row of queries is the least. 16 parts at 1080x1920."""


class ChunkedAttention(nn.Module):
    """diffusers' `Attention` with one head, group norm and residual: [B, C, H, W] -> the same."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.group_norm = attention.group_norm
        (query, query_bias), (key, _), (value, value_bias), (out, out_bias) = (
            (exact(layer.weight), exact(layer.bias))
            for layer in (attention.to_q, attention.to_k, attention.to_v, attention.to_out[0])
        )
        to_keys = key.T / math.sqrt(key.shape[0])
        self.to_queries = _linear(to_keys @ query, to_keys @ query_bias, like=attention.to_q.weight)
        self.to_out = _linear(out @ value, out @ value_bias + out_bias, like=attention.to_q.weight)
        self.attend: Callable[[Tensor, Tensor], Tensor] = in_parts

    def forward(self, hidden_states: Tensor, temb: None = None) -> Tensor:
        """`temb` is what diffusers' mid block passes."""
        tokens = self.group_norm(hidden_states).flatten(2).transpose(1, 2)
        output = self.to_out(self.attend(self.to_queries(tokens), tokens))
        return hidden_states + output.transpose(1, 2).unflatten(2, hidden_states.shape[2:])


def in_parts(queries: Tensor, tokens: Tensor) -> Tensor:
    """softmax(queries tokens^T) tokens: [B, N, C] twice -> [B, N, C], with SCORES_BYTES of scores at a time."""
    batch, count, _ = queries.shape
    rows = max(1, SCORES_BYTES // (4 * batch * count))
    return torch.cat([_attended(part, tokens) for part in queries.split(rows, dim=1)], dim=1)


@torch.no_grad()
def chunk_attention(model: R3D2) -> None:
    """Exchange the attention in the middle of AutoencoderKL's encoder and decoder."""
    if isinstance(model.encoder, KLEncoder):
        for part in (model.encoder, model.decoder):
            block: Any = part.mid_block
            block.attentions = nn.ModuleList(
                attention if isinstance(attention, ChunkedAttention) else ChunkedAttention(attention)
                for attention in block.attentions
            )


def _attended(queries: Tensor, tokens: Tensor) -> Tensor:
    """[B, Q, C] and [B, N, C] -> [B, Q, C]. Scores and softmax are float32 at least: 16 bit is too coarse for both."""
    weights = torch.softmax(_scores(queries, tokens.transpose(1, 2)), dim=-1)
    return torch.bmm(weights.to(tokens.dtype), tokens)


def _scores(queries: Tensor, keys: Tensor) -> Tensor:
    if queries.dtype.itemsize > 2:
        return torch.bmm(queries, keys)
    if queries.is_cuda:
        return torch.bmm(queries, keys, out_dtype=torch.float32)
    return torch.bmm(queries.float(), keys.float())


def _linear(weight: Tensor, bias: Tensor, *, like: Tensor) -> nn.Linear:
    return linear_of(rounded(weight, like=like), rounded(bias, like=like))
