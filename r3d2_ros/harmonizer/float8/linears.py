"""8-bit matrix products for the UNet's transformer layers.

From compute capability 9.0 on they are ours; on Ada cuBLASLt's. The feed-forward's first product is gated in its kernel
where `fuse_geglu` is on.

A weight has a scale per output, computed once; an activation one per token, computed as it comes. Attention and
cross-attention's keys and values keep the model's dtype, and so do layers with few inputs, or few outputs for each: on
an H200, rounding what they read takes longer than their products save.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from r3d2_ros.harmonizer.float8.numbers import quantised
from r3d2_ros.harmonizer.rewrites.fuse_geglu import FusedGEGLU, gated

MIN_INPUTS = 640
"""SD-Turbo's finest level has 320."""

OUTPUTS_PER_INPUT = 3
"""At least so many: an activation is read for its scale and written in 8 bit once, however many outputs it has."""

INPUTS_MULTIPLE, OUTPUTS_MULTIPLE = 32, 16
"""Ours multiplies 32 inputs at least in a step; cuBLASLt's wants multiples of 16."""

PRODUCTS_CAPABILITY = (9, 0)
"""The compute capability from which on our products are taken. Before, nearly every tile spills registers: there matrix
units take both factors from them."""


class Float8Linear(nn.Module):
    """A linear layer with both factors in 8 bit: [..., inputs] to [..., outputs] in the dtype of its weights before."""

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weights = linear.weight.detach()
        weight, scale = quantised(weights)
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", scale[:, 0])
        bias = linear.bias
        self.register_buffer("bias", torch.zeros_like(weights[:, 0]) if bias is None else bias.detach())

    def forward(self, inputs: Tensor) -> Tensor:
        # Of one image in NCHW, as CUDA's group norm gives it, the tokens lie column by column: no product has that.
        tokens, scale = quantised(inputs.flatten(0, -2).contiguous())
        output = product(tokens, self.weight, scale[:, 0], self.weight_scale, self.bias)
        return output.unflatten(0, inputs.shape[:-1])


@torch.library.custom_op("r3d2_ros::float8_product", mutates_args=(), device_types="cuda")
def product(tokens: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor) -> Tensor:
    """tokens weight^T + bias: [R, K] and [N, K] in 8 bit -> [R, N] in the dtype of `bias`.

    Scales [R] and [N] in float32, bias [N].
    """
    if torch.cuda.get_device_capability(tokens.device) >= PRODUCTS_CAPABILITY:
        from r3d2_ros.harmonizer.float8.kernels_products import launch_product

        return launch_product(tokens, weight, scale, weight_scale, bias)
    # With scales per row it gives bfloat16 alone; next to 8 bits its rounding is small.
    output = torch._scaled_mm(
        tokens, weight.T, scale_a=scale[:, None], scale_b=weight_scale[None], out_dtype=torch.bfloat16
    )
    return (output.float() + bias).to(bias.dtype)


@product.register_kernel("cpu")
def product_reference(tokens: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor) -> Tensor:
    """The same in float32."""
    return ((tokens.float() @ weight.float().T) * scale[:, None] * weight_scale + bias).to(bias.dtype)


@product.register_fake
def _(tokens: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor) -> Tensor:
    _check_factors(tokens, weight)
    return bias.new_empty((tokens.shape[0], weight.shape[0]))


class Float8GEGLU(nn.Module):
    """`FusedGEGLU` with both factors in 8 bit: [..., C] -> [..., N]."""

    def __init__(self, proj: nn.Linear) -> None:
        super().__init__()
        self.proj = Float8Linear(proj)

    def forward(self, hidden_states: Tensor) -> Tensor:
        tokens, scale = quantised(hidden_states.flatten(0, -2).contiguous())
        proj = self.proj
        output = gated_product(tokens, proj.weight, scale[:, 0], proj.weight_scale, proj.bias)
        return output.unflatten(0, hidden_states.shape[:-1])


@torch.library.custom_op("r3d2_ros::float8_geglu", mutates_args=(), device_types="cuda")
def gated_product(tokens: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor) -> Tensor:
    """`gated` of `product`: [R, K], [2 N, K] in 8 bit, [R], [2 N], [2 N] -> [R, N] in the dtype of `bias`."""
    from r3d2_ros.harmonizer.rewrites.kernels_geglu import launch_8_bit

    return launch_8_bit(tokens, weight, scale, weight_scale, bias)


@gated_product.register_kernel("cpu")
def gated_product_reference(
    tokens: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor
) -> Tensor:
    """The same in float32."""
    return gated(product_reference(tokens, weight, scale, weight_scale, bias.float())).to(bias.dtype)


@gated_product.register_fake
def _(tokens: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor) -> Tensor:
    _check_factors(tokens, weight)
    return bias.new_empty((tokens.shape[0], weight.shape[0] // 2))


def _check_factors(tokens: Tensor, weight: Tensor) -> None:
    """What GPUs demand and a CPU would not miss."""
    torch._check(tokens.is_contiguous() and weight.is_contiguous(), lambda: "factors row by row")
    torch._check(tokens.shape[1] == weight.shape[1], lambda: f"as many inputs: {tokens.shape}, {weight.shape}")
    torch._check(tokens.shape[1] % INPUTS_MULTIPLE == 0, lambda: f"inputs in multiples of {INPUTS_MULTIPLE}")


def quantise_linears(unet: nn.Module) -> None:
    """Exchange the linear layers of the UNet's transformers, those for which it is worth it, in place."""
    chosen = {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear) and _is_worth_it(name, module)
    }
    for name, linear in chosen.items():
        parent, _, _ = name.rpartition(".")
        if isinstance(unet.get_submodule(parent), FusedGEGLU):
            unet.set_submodule(parent, Float8GEGLU(linear))
        else:
            unet.set_submodule(name, Float8Linear(linear))


def _is_worth_it(name: str, linear: nn.Linear) -> bool:
    of_prompt = name.endswith(("attn2.to_k", "attn2.to_v"))
    fits = linear.in_features % INPUTS_MULTIPLE == linear.out_features % OUTPUTS_MULTIPLE == 0
    if not fits or of_prompt or ".attentions." not in f".{name}":
        return False
    return linear.in_features >= MIN_INPUTS and linear.out_features >= OUTPUTS_PER_INPUT * linear.in_features
