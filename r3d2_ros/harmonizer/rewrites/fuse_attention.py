"""The attention in the middle of AutoencoderKL, as `chunked_attention` forms it, by two kernels of our own."""

from __future__ import annotations

import torch
from torch import Tensor

from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.rewrites.chunked_attention import ChunkedAttention, chunk_attention, in_parts

WIDTHS = (128, 256, 512)
"""Numbers of a token that the kernels take."""


@torch.library.custom_op("r3d2_ros::attended_at_once", mutates_args=(), device_types="cuda")
def attended_at_once(queries: Tensor, tokens: Tensor) -> Tensor:
    """softmax(queries tokens^T) tokens: [B, N, C] twice -> [B, N, C]. In parts where the kernels have no such form."""
    from r3d2_ros.harmonizer.rewrites.kernels_attention import launch

    if queries.dtype.itemsize == 2 and queries.shape[-1] in WIDTHS:
        return launch(queries.contiguous(), tokens.contiguous())
    return in_parts(queries, tokens)


@attended_at_once.register_kernel("cpu")
def attended_at_once_reference(queries: Tensor, tokens: Tensor) -> Tensor:
    """The same in parts."""
    return in_parts(queries, tokens)


@attended_at_once.register_fake
def _(queries: Tensor, tokens: Tensor) -> Tensor:
    return queries.new_empty(queries.shape)


@torch.no_grad()
def fuse_attention(model: R3D2) -> None:
    """Give each such attention the kernels; one that is not in that form yet is brought into it."""
    chunk_attention(model)
    for part in (model.encoder, model.decoder):
        for module in part.modules():
            if isinstance(module, ChunkedAttention):
                module.attend = attended_at_once
