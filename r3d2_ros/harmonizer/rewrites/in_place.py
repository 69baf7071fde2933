"""Matrix products that are added into the memory of a tensor which is there already, while they are formed.

Nobody else may hold that tensor. Each is an operator of its own for torch.compile, which would copy the tensor before
it adds to it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sum_of_pictures(x: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
    """x + the 1x1 convolution of inputs: [B, C, H, W], [B, K, H, W], [C, K] -> [B, C, H, W], in the memory of x where
    that is dense."""
    if not x.is_contiguous():
        x = x.contiguous(memory_format=torch.channels_last)
    add = add_product if torch.compiler.is_compiling() else _add_product
    add(x, inputs, weight)
    return x


def sum_of_tokens(x: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
    """x + inputs weight^T: [B, N, C], [B, N, K], [C, K] -> [B, N, C], in the memory of x where that is dense."""
    x = x.contiguous()
    add = add_linear if torch.compiler.is_compiling() else _add_linear
    add(x, inputs, weight)
    return x


def _add_product(x: Tensor, inputs: Tensor, weight: Tensor) -> None:
    """For x dense in NCHW or NHWC."""
    if x.is_contiguous():
        x.view(*x.shape[:2], -1).baddbmm_(weight.expand(x.shape[0], -1, -1), inputs.flatten(2))
    else:
        pixels = x.permute(0, 2, 3, 1).view(-1, x.shape[1])
        pixels.addmm_(inputs.permute(0, 2, 3, 1).reshape(-1, inputs.shape[1]), weight.t())


def _add_linear(x: Tensor, inputs: Tensor, weight: Tensor) -> None:
    x.view(-1, x.shape[-1]).addmm_(inputs.reshape(-1, inputs.shape[-1]), weight.t())


add_product = torch.library.custom_op("r3d2_ros::add_product", _add_product, mutates_args=("x",))
add_linear = torch.library.custom_op("r3d2_ros::add_linear", _add_linear, mutates_args=("x",))
