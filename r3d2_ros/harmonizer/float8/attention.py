"""8-bit attention in the middle of AutoencoderKL, 512 numbers a token; both of its products have both factors in 8 bit.

Queries have a scale each, the tokens of an image one: they are summed in the second product, where a scale of their own
would have to be multiplied into the weights. Of each query a tile of TILE tokens has its largest weight at all that 8
bits can hold. What the weights' rounding adds to their sum is divided away, as in 16 bit.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from r3d2_ros.harmonizer.float8.numbers import FLOAT8, LARGEST, quantised, scale_of, scaled
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.rewrites.chunked_attention import SCORES_BYTES, ChunkedAttention, chunk_attention
from r3d2_ros.harmonizer.rewrites.fuse_attention import WIDTHS

TILE = 128
"""Tokens whose weights share a largest one: `kernels_attention.TILE_TOKENS`."""


def attended_in_8_bit(queries: Tensor, tokens: Tensor) -> Tensor:
    """softmax(queries tokens^T) tokens: [B, N, C] twice -> [B, N, C] in their dtype, C one of WIDTHS."""
    batch, count, _ = tokens.shape
    query, query_scale = quantised(queries.flatten(0, 1).contiguous())
    token_scale = scale_of(tokens.abs().amax(dim=(1, 2)))
    numbers = scaled(tokens, token_scale[:, None, None])
    across = functional.pad(numbers.transpose(1, 2), (0, -count % TILE)).to(FLOAT8).contiguous()
    scale = query_scale.view(batch, count) * token_scale[:, None]
    token = numbers.to(FLOAT8).contiguous()
    return attended(query.view(queries.shape), token, across, scale, token_scale, tokens.dtype)


@torch.library.custom_op("r3d2_ros::float8_attention", mutates_args=(), device_types="cuda")
def attended(
    queries: Tensor, tokens: Tensor, across: Tensor, scale: Tensor, token_scale: Tensor, dtype: torch.dtype
) -> Tensor:
    """softmax(scale queries tokens^T) token_scale tokens: [B, N, C] twice in 8 bit -> [B, N, C] in `dtype`.

    `across` are the tokens [B, C, P], zeros behind the N-th, P a multiple of TILE; scale [B, N] and token_scale [B] in
    float32.
    """
    from r3d2_ros.harmonizer.rewrites.kernels_attention import launch_8_bit

    return launch_8_bit(queries, tokens, across, scale, token_scale, dtype)


@attended.register_kernel("cpu")
def attended_reference(
    queries: Tensor, tokens: Tensor, across: Tensor, scale: Tensor, token_scale: Tensor, dtype: torch.dtype
) -> Tensor:
    """The same by PyTorch, with SCORES_BYTES of scores at a time: what the kernels do in float32 is done in float32."""
    count = tokens.shape[1]
    rows = max(1, SCORES_BYTES // (4 * count))
    output = torch.empty_like(queries, dtype=dtype)
    for image, keys in enumerate(tokens.float()):
        for part, factor, result in zip(
            queries[image].split(rows), scale[image].split(rows), output[image].split(rows), strict=True
        ):
            scores = functional.pad(part.float() @ keys.T * factor[:, None], (0, -count % TILE), value=-torch.inf)
            tiles = scores.unflatten(1, (-1, TILE))
            largest = tiles.amax(dim=2, keepdim=True)
            weights = ((tiles - largest).exp() * LARGEST).to(FLOAT8).float()
            weights = (weights * (largest - largest.amax(dim=1, keepdim=True)).exp()).flatten(1)
            summed = weights @ across[image].float().T
            result.copy_(summed / weights.sum(dim=1, keepdim=True) * token_scale[image])
    return output


@attended.register_fake
def _(
    queries: Tensor, tokens: Tensor, across: Tensor, scale: Tensor, token_scale: Tensor, dtype: torch.dtype
) -> Tensor:
    return queries.new_empty(queries.shape, dtype=dtype)


@torch.no_grad()
def quantise_attention(model: R3D2) -> None:
    """Give 8-bit products to each such attention whose tokens the kernels take; one that is not yet in the form of
    `chunked_attention` is brought into it."""
    chunk_attention(model)
    for part in (model.encoder, model.decoder):
        for module in part.modules():
            if isinstance(module, ChunkedAttention) and module.to_queries.in_features in WIDTHS:
                module.attend = attended_in_8_bit
