"""The sums in the UNet's transformers as part of the matrix products before them, and its tokens in one order.

A product is added, while it is formed, into the tensor that it joins (a GEMM with beta = 1). No kernel adds a bias as
well, so the biases follow later: the norms that read the tensor add them first, and in the end, with b their sum,

    P (x + b) + p = P x + (P b + p)

is the transformer's last product with a bias of its own. Where the norm before the transformer is one of ours, that
bias too goes elsewhere: the residual block before adds it, with its own, and the norm takes it away.

diffusers' transformer ends by a copy with the channels first; here the tokens stay as they lie.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.rewrites.copies import exact, fixed, linear_of, rounded, summed
from r3d2_ros.harmonizer.rewrites.fuse_norm import FusedGroupNorm
from r3d2_ros.harmonizer.rewrites.in_place import sum_of_pictures, sum_of_tokens


class MergedTransformer(nn.Module):
    """diffusers' `Transformer2DModel` over pictures: [B, C, H, W] -> a tuple of the same, the channels last.

    The result may lie in the memory of the input: nobody else may hold that.
    """

    def __init__(self, plain: Transformer2DModel) -> None:
        super().__init__()
        self.norm, self.proj_in = plain.norm, _linear(plain.proj_in)
        self.transformer_blocks = nn.ModuleList()
        missing: Tensor | None = None
        for block in plain.transformer_blocks:
            merged = MergedBlock(block)
            missing = merged.move_biases(missing)
            self.transformer_blocks.append(merged)
        self.proj_out = _linear(plain.proj_out)
        if missing is not None:
            self.proj_out.bias = summed(self.proj_out.bias, exact(self.proj_out.weight) @ missing)

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> tuple[Tensor]:
        """Called as diffusers' is; SD-Turbo's blocks give its other arguments no value."""
        x = self.proj_in(_tokens(self.norm(hidden_states)))
        for block in self.transformer_blocks:
            x = block(x, encoder_hidden_states)
        if _is_plain(self.proj_out):
            return (sum_of_pictures(hidden_states, _pictures(x, hidden_states), self.proj_out.weight),)
        return (_pictures(_sum(_tokens(hidden_states), x, self.proj_out), hidden_states),)


class MergedBlock(nn.Module):
    """diffusers' `BasicTransformerBlock`, which it takes apart, less the biases of its sums.

    Tokens [B, N, C], prompt [B, tokens, D] -> tokens, in the memory of those that came unless layers add by themselves.
    """

    def __init__(self, plain: BasicTransformerBlock) -> None:
        super().__init__()
        self.norm1, self.attn1 = plain.norm1, plain.attn1
        self.norm2, self.attn2 = plain.norm2, plain.attn2
        self.norm3, self.ff = plain.norm3, plain.ff
        self.out1, self.out2, self.out3 = _take_out(plain.attn1), _take_out(plain.attn2), plain.ff.net[-1]
        plain.ff.net[-1] = nn.Identity()

    def forward(self, tokens: Tensor, prompt: Tensor | None) -> Tensor:
        x = _sum(tokens, self.attn1(self.norm1(tokens)), self.out1)
        x = _sum(x, self.attn2(self.norm2(x), encoder_hidden_states=prompt), self.out2)
        return _sum(x, self.ff(self.norm3(x)), self.out3)

    def move_biases(self, missing: Tensor | None) -> Tensor | None:
        """Leave the biases of the sums to those who read them; [C] in float64, what is missing in the tokens that come
        -> what is missing in the result."""
        for number in "123":
            norm, out = getattr(self, f"norm{number}"), getattr(self, f"out{number}")
            if missing is not None:
                setattr(self, f"norm{number}", ShiftedLayerNorm(norm, missing))
            if out.bias is not None:
                missing = exact(out.bias) + (0 if missing is None else missing)
                out.register_parameter("bias", None)
        return missing


class ShiftedLayerNorm(nn.Module):
    """Layer norm of tokens [..., C] + before [C]."""

    def __init__(self, norm: nn.LayerNorm, before: Tensor) -> None:
        super().__init__()
        self.norm = norm
        self.before = rounded(before, like=norm.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(tokens + self.before)


@torch.no_grad()
def merge_residuals(model: R3D2) -> None:
    """Exchange the transformers of the UNet. Runs after what looks into them, and after `fuse_norm`."""
    for block in list(model.unet.modules()):
        if getattr(block, "attentions", None) is None:
            continue
        for k, (resnet, plain) in enumerate(zip(block.resnets, block.attentions, strict=False)):
            block.attentions[k] = merged = MergedTransformer(plain)
            if isinstance(merged.norm, FusedGroupNorm):
                _move_last_bias(merged, resnet)


def _move_last_bias(transformer: MergedTransformer, resnet: ResnetBlock2D) -> None:
    """From the transformer's last product to the residual block before it."""
    bias = transformer.proj_out.bias
    resnet.conv2.bias = summed(resnet.conv2.bias, bias)
    transformer.norm.before = fixed(-bias)
    transformer.proj_out.register_parameter("bias", None)


def _tokens(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H W, C], a view where the channels are last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _pictures(tokens: Tensor, like: Tensor) -> Tensor:
    """[B, H W, C] -> [B, C, H, W] with H and W of `like`, a view."""
    return tokens.unflatten(1, like.shape[2:]).permute(0, 3, 1, 2)


def _sum(x: Tensor, inputs: Tensor, layer: nn.Module) -> Tensor:
    """x + layer(inputs), in the memory of x if the layer is linear and has no bias."""
    return sum_of_tokens(x, inputs, layer.weight) if _is_plain(layer) else x + layer(inputs)


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Without a bias."""
    return isinstance(layer, nn.Linear) and layer.bias is None


def _linear(layer: nn.Linear | nn.Conv2d) -> nn.Linear:
    """The matrix product that a 1x1 convolution is."""
    if isinstance(layer, nn.Linear):
        return layer
    return linear_of(layer.weight.flatten(1), layer.bias)


def _take_out(attention: nn.Module) -> nn.Linear:
    """The last layer of an attention, which from now on ends before it."""
    if isinstance(attention, Attention):
        last = attention.to_out[0]
        attention.to_out[0] = nn.Identity()
    else:
        last = attention.to_out
        attention.to_out = nn.Identity()
    return last
