"""LoRA adapters, as peft writes them into a state dictionary, merged into the weights they adapt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from r3d2_ros.errors import InputError

PEFT_DEFAULT_ALPHA = 8
"""`LoraConfig.lora_alpha` where a training script does not set it; it is in no state dictionary."""


@dataclass(frozen=True)
class Adapted:
    """A state dictionary taken apart: plain tensors, and per module its pair of LoRA matrices (A, B)."""

    plain: dict[str, Tensor]
    pairs: dict[str, tuple[Tensor, Tensor]]


def take_apart(tensors: Mapping[str, Tensor], *, where: str) -> Adapted:
    """Part `M.lora_A.NAME.weight` and `M.lora_B...` from `M.base_layer.*` and plain keys. InputError: a lone
    half, or several adapters of one module.
    """
    plain: dict[str, Tensor] = {}
    halves: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        module, side = _lora_side(key)
        if side:
            if side in halves.setdefault(module, {}):
                raise InputError(f"{where}: {module}", "one adapter per module", f"another {side}: {key}")
            halves[module][side] = tensor
        else:
            plain[key.replace(".base_layer.", ".")] = tensor
    lonely = [module for module, sides in halves.items() if len(sides) != 2]
    if lonely:
        raise InputError(f"{where}: {lonely[0]}", "lora_A and lora_B", f"only {next(iter(halves[lonely[0]]))}")
    return Adapted(plain, {module: (sides["lora_A"], sides["lora_B"]) for module, sides in halves.items()})


def merge(weights: Mapping[str, Tensor], adapted: Adapted, *, alpha: float, where: str) -> dict[str, Tensor]:
    """`weights` with the plain tensors of `adapted` in place of theirs, then W + alpha / rank * B A of each pair.

    InputError for an adapter without a weight, or of another shape.
    """
    merged = {**weights, **adapted.plain}
    for module, (a, b) in adapted.pairs.items():
        key = f"{module}.weight"
        if key not in merged:
            raise InputError(f"{where}: {module}", "a module of the base model", "an adapter for a module it lacks")
        weight, delta = merged[key], low_rank(a, b, where=f"{where}: {module}")
        if delta.shape != weight.shape:
            raise InputError(f"{where}: {module}", f"an adapter for {list(weight.shape)}", f"{list(delta.shape)}")
        merged[key] = (weight.float() + alpha / a.shape[0] * delta).to(weight.dtype)
    return merged


def low_rank(a: Tensor, b: Tensor, *, where: str) -> Tensor:
    """B A in float32: [out, in], or for convolutions [out, in, kh, kw], where A has the kernel and B is 1x1."""
    if a.ndim != b.ndim or a.ndim not in (2, 4) or b.shape[1] != a.shape[0] or (b.ndim == 4 and b.shape[2:] != (1, 1)):
        expected = "lora_A [rank, in, ...] and lora_B [out, rank, ...]"
        raise InputError(where, expected, f"{list(a.shape)}, {list(b.shape)}")
    product = b.float().flatten(1) @ a.float().flatten(1)
    return product.reshape(b.shape[0], *a.shape[1:])


def check_rank(adapted: Adapted, rank: object, *, where: str) -> None:
    """InputError when the rank a file states is not that of its matrices."""
    for module, (a, _) in adapted.pairs.items():
        if a.shape[0] != rank:
            raise InputError(f"{where}: {module}", f"rank {rank}, as the file states", f"rank {a.shape[0]}")


def _lora_side(key: str) -> tuple[str, str]:
    for side in ("lora_A", "lora_B"):
        module, found, _ = key.partition(f".{side}.")
        if found:
            return module, side
    return key, ""


def same_dtype(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Floating tensors as `dtype`, without a copy where they are."""
    return {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
