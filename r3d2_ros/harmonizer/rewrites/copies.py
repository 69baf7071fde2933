"""Copies of modules that share the memory of their weights, and new weights formed from old ones."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def shared_copy(module: Module) -> Module:
    """The same modules once more, for inference. Its parameters and buffers are new views of the same numbers.

    So a submodule can be exchanged, or the copy moved to another dtype or device, without an effect on the original.
    """
    known: dict[int, Tensor] = {id(buffer): buffer.detach() for buffer in module.buffers()}
    known |= {id(parameter): fixed(parameter) for parameter in module.parameters()}
    return deepcopy(module, known).eval()


def exact(tensor: Tensor) -> Tensor:
    """Float64, in which products and sums of weights are formed."""
    return tensor.detach().double()


def fixed(tensor: Tensor) -> nn.Parameter:
    """A parameter that is not trained."""
    return nn.Parameter(tensor.detach(), requires_grad=False)


def rounded(tensor: Tensor, like: Tensor) -> nn.Parameter:
    """`tensor` as a parameter in the dtype of `like`."""
    return fixed(tensor.to(like.dtype))


def summed(first: Tensor, second: Tensor) -> nn.Parameter:
    """Their sum, formed in float64, as a parameter in the dtype of the first."""
    return rounded(exact(first) + exact(second), like=first)


def linear_of(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """The layer with these numbers, which are not copied."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight = fixed(weight)
    linear.register_parameter("bias", None if bias is None else fixed(bias))
    return linear
