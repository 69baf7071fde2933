"""LoRA adapters, as peft writes them into a state dictionary, merged into the weights they adapt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.model.tensor_files import check_kinds, renamed

PEFT_DEFAULT_ALPHA = 8
"""`LoraConfig.lora_alpha` where a training script does not set it; it is in no state dictionary."""

MAX_RANK = 4096


@dataclass(frozen=True)
class Adapted:
    """A state dictionary taken apart: plain tensors, and per module its pair of LoRA matrices (A, B)."""

    plain: dict[str, Tensor]
    pairs: dict[str, tuple[Tensor, Tensor]]


def take_apart(tensors: Mapping[str, Tensor], *, where: str) -> Adapted:
    """Part `M.lora_A.NAME.weight` and `M.lora_B...` from `M.base_layer.*` and plain keys. InputError: a lone
    half, several adapters of one module, or halves of another kind.
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
            plain[key] = tensor
    lonely = [module for module, sides in halves.items() if len(sides) != 2]
    if lonely:
        raise InputError(f"{where}: {lonely[0]}", "lora_A and lora_B", f"only {next(iter(halves[lonely[0]]))}")
    for module, sides in halves.items():
        check_kinds(f"{where}: {module}", sides)
    plain = renamed(plain, lambda key: key.replace(".base_layer.", "."), where=where)
    return Adapted(plain, {module: (sides["lora_A"], sides["lora_B"]) for module, sides in halves.items()})


def merge(weights: Mapping[str, Tensor], adapted: Adapted, *, alpha: float, where: str) -> dict[str, Tensor]:
    """`weights` with the plain tensors of `adapted` in place of theirs, then W + alpha / rank * B A of each pair.

    InputError for an adapter without a weight, of another shape or kind; found before anything is multiplied.
    """
    merged = {**weights, **adapted.plain}
    for module, (a, b) in adapted.pairs.items():
        key = f"{module}.weight"
        if key not in merged:
            raise InputError(f"{where}: {module}", "a module of the base model", "an adapter for a module it lacks")
        weight = merged[key]
        check_kinds(f"{where}: {module}", {"weight": weight})
        shape = _product_shape(a, b, where=f"{where}: {module}")
        if shape != tuple(weight.shape):
            raise InputError(f"{where}: {module}", f"an adapter for {list(weight.shape)}", f"{list(shape)}")
        merged[key] = (weight.float() + alpha / a.shape[0] * low_rank(a, b)).to(weight.dtype)
    return merged


def low_rank(a: Tensor, b: Tensor) -> Tensor:
    """B A in float32: [out, in], or for convolutions [out, in, kh, kw], where A has the kernel and B is 1x1."""
    product = b.float().flatten(1) @ a.float().flatten(1)
    return product.reshape(b.shape[0], *a.shape[1:])


def _product_shape(a: Tensor, b: Tensor, *, where: str) -> tuple[int, ...]:
    """The shape of B A. InputError when they cannot be multiplied, or through a rank that no adapter has."""
    if a.ndim != b.ndim or a.ndim not in (2, 4) or b.shape[1] != a.shape[0] or (b.ndim == 4 and b.shape[2:] != (1, 1)):
        expected = "lora_A [rank, in, ...] and lora_B [out, rank, ...]"
        raise InputError(where, expected, f"{list(a.shape)}, {list(b.shape)}")
    if not 1 <= a.shape[0] <= MAX_RANK:
        raise InputError(where, f"a rank of 1 to {MAX_RANK}", str(a.shape[0]))
    return (b.shape[0], *a.shape[1:])


def check_rank(adapted: Adapted, rank: object, *, where: str, key: str) -> None:
    """InputError when the rank that a file states under `key` is not that of its matrices, or none."""
    if isinstance(rank, bool) or not isinstance(rank, int):
        got = "nothing" if rank is None else type(rank).__name__
        raise InputError(f"{where}: {key}", "the rank of the adapters, a whole number", got)
    for module, (a, _) in adapted.pairs.items():
        if a.ndim == 0:
            raise InputError(f"{where}: {module}", "lora_A [rank, in, ...]", "a single number")
        if a.shape[0] != rank:
            raise InputError(f"{where}: {module}", f"rank {rank}, as the file states", f"rank {a.shape[0]}")


def _lora_side(key: str) -> tuple[str, str]:
    for side in ("lora_A", "lora_B"):
        module, found, _ = key.partition(f".{side}.")
        if found:
            return module, side
    return key, ""
