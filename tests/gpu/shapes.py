"""The layers of a network as shapes with counts, found by running it on the meta device: no memory, no arithmetic."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.harmonizer.model.config import ModelConfig
from r3d2_ros.harmonizer.model.r3d2 import R3D2


@dataclass(frozen=True, order=True)
class Conv:
    """A convolution: channels, output size, kernel and stride."""

    inputs: int
    outputs: int
    height: int
    width: int
    kernel: int
    stride: int

    @property
    def flop(self) -> int:
        return 2 * self.inputs * self.outputs * self.height * self.width * self.kernel**2

    @property
    def name(self) -> str:
        stride = "" if self.stride == 1 else f" stride {self.stride}"
        return f"{self.inputs} -> {self.outputs} {self.kernel}x{self.kernel}{stride} @{self.height}x{self.width}"


@dataclass(frozen=True, order=True)
class Gemm:
    """A linear layer: rows, inputs, outputs."""

    rows: int
    inputs: int
    outputs: int

    @property
    def flop(self) -> int:
        return 2 * self.rows * self.inputs * self.outputs

    @property
    def name(self) -> str:
        return f"{self.rows} x {self.inputs} -> {self.outputs}"


@dataclass(frozen=True, order=True)
class Attention:
    """Heads, queries, keys, size of a head."""

    heads: int
    queries: int
    keys: int
    head_dim: int

    @property
    def flop(self) -> int:
        return 4 * self.heads * self.queries * self.keys * self.head_dim

    @property
    def name(self) -> str:
        keys = "" if self.keys == self.queries else f" x {self.keys}"
        return f"{self.heads} heads, {self.queries}{keys}, d {self.head_dim}"


@dataclass(frozen=True)
class Layers:
    """Shape -> how many layers have it, for one image."""

    convs: Counter[Conv]
    gemms: Counter[Gemm]
    attentions: Counter[Attention]


def layers_of(config: ModelConfig, size: tuple[int, int]) -> Layers:
    """Of the plain network for an image of `size` (rows, columns)."""
    layers = Layers(Counter(), Counter(), Counter())
    with torch.device("meta"):
        model = R3D2(config)
        image = torch.empty(1, 3, *size)
    model.to("meta").requires_grad_(False)

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            height, width = output.shape[-2:]
            shape = (module.in_channels, module.out_channels, height, width)
            layers.convs[Conv(*shape, module.kernel_size[0], module.stride[0])] += 1
        elif isinstance(module, nn.Linear):
            rows = inputs[0].numel() // module.in_features
            layers.gemms[Gemm(rows, module.in_features, module.out_features)] += 1

    attend = functional.scaled_dot_product_attention

    def noted(query: Tensor, key: Tensor, value: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        layers.attentions[Attention(query.shape[1], query.shape[2], key.shape[2], query.shape[3])] += 1
        return attend(query, key, value, *arguments, **keywords)

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    functional.scaled_dot_product_attention = noted
    try:
        with torch.no_grad():
            model(image)
    finally:
        functional.scaled_dot_product_attention = attend
        for hook in hooks:
            hook.remove()
    return layers
