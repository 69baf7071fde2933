"""8-bit matrix products for the UNet's transformer layers.

A weight has a scale per output, computed once; an activation one per token, computed as it comes. Attention and
cross-attention's keys and values keep the model's dtype, and so do layers with few inputs: there reading and writing
costs more than the product.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from r3d2_ros.harmonizer.float8.numbers import quantised

MIN_INPUTS = 640
"""SD-Turbo's finest level has 320."""

MULTIPLE = 16
"""The matrix product wants inputs and outputs in multiples of this."""


class Float8Linear(nn.Module):
    """A linear layer with both factors in 8 bit: [..., inputs] to [..., outputs] in the dtype of its input."""

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight, scale = quantised(linear.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", scale.T.contiguous())
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        # Of one image in NCHW, as CUDA's group norm gives it, the tokens lie column by column: no product has that.
        tokens, scale = quantised(inputs.flatten(0, -2).contiguous())
        # bfloat16 is what scales per row give on every GPU that has them; next to 8 bits its rounding is small.
        product = torch._scaled_mm(
            tokens, self.weight.T, scale_a=scale, scale_b=self.weight_scale, out_dtype=torch.bfloat16
        ).to(inputs.dtype)
        output = product if self.bias is None else product + self.bias
        return output.unflatten(0, inputs.shape[:-1])


def quantise_linears(unet: nn.Module, *, min_inputs: int = MIN_INPUTS) -> int:
    """Exchange the linear layers of the UNet's transformers in place; how many there were."""
    chosen = {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear) and _is_worth_it(name, module, min_inputs)
    }
    for name, linear in chosen.items():
        unet.set_submodule(name, Float8Linear(linear))
    return len(chosen)


def _is_worth_it(name: str, linear: nn.Linear, min_inputs: int) -> bool:
    of_prompt = name.endswith(("attn2.to_k", "attn2.to_v"))
    fits = linear.in_features % MULTIPLE == linear.out_features % MULTIPLE == 0
    return ".attentions." in f".{name}" and not of_prompt and fits and linear.in_features >= min_inputs
