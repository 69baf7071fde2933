"""8-bit matrix products for the UNet's transformer layers (float8_e4m3fn); everything else stays in 16 bit.

A weight has a scale per output, computed once; an activation one per token, computed as it comes. Convolutions, the
autoencoder, attention and cross-attention's keys and values keep the model's dtype, and so do layers with few inputs:
there reading and writing costs more than the product. The outputs change: measure quality before relying on it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from r3d2_ros.errors import InputError

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
"""448"""

MIN_INPUTS = 640
"""SD-Turbo's finest level has 320."""

MULTIPLE = 16
"""The matrix product wants inputs and outputs in multiples of this."""

MIN_CAPABILITY = (8, 9)


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
        tokens, scale = quantised(inputs.flatten(0, -2))
        # bfloat16 is what scales per row give on every GPU that has them; next to 8 bits its rounding is small.
        product = torch._scaled_mm(
            tokens, self.weight.T, scale_a=scale, scale_b=self.weight_scale, out_dtype=torch.bfloat16
        ).to(inputs.dtype)
        output = product if self.bias is None else product + self.bias
        return output.unflatten(0, inputs.shape[:-1])


def quantised(rows: Tensor) -> tuple[Tensor, Tensor]:
    """[R, K] as 8-bit numbers of the same shape and float32 scales [R, 1]; their product is near `rows`."""
    scale = (rows.abs().amax(dim=1, keepdim=True).float() / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
    return (rows.float() / scale).clamp(-LARGEST, LARGEST).to(FLOAT8), scale


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


def check_float8(device: torch.device) -> None:
    """InputError unless `device` multiplies 8-bit floating-point numbers."""
    expected = "a CUDA device of compute capability 8.9 (Ada) or newer for float8"
    if device.type != "cuda":
        raise InputError("harmonizer.dtype", expected, f"device {device}", "Use float16, bfloat16 or float32")
    capability = torch.cuda.get_device_capability(device)
    if capability < MIN_CAPABILITY:
        got = f"{torch.cuda.get_device_name(device)} with {'.'.join(map(str, capability))}"
        raise InputError("harmonizer.dtype", expected, got, "Use float16")
