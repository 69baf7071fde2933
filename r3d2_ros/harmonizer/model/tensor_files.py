"""safetensors files from strangers: what is in them, and whether that is what is needed, before anything is read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from r3d2_ros.errors import InputError, InputErrors

NAMED = 5
"""So many keys of each kind of fault are named; the rest are counted."""

Shapes = Mapping[str, tuple[int, ...]]

OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of an attention's layers in old diffusers releases, and now."""

STORED = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Names of floating dtypes in the header of a safetensors file."""


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Key -> shape from the header of a safetensors file. InputError: missing, truncated or something else."""
    try:
        with safe_open(_existing(path), framework="pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def count_dtypes(path: Path) -> Counter[torch.dtype]:
    """How many numbers of each floating dtype the header of a safetensors file names. InputError: `read_shapes`'s."""
    counts: Counter[torch.dtype] = Counter()
    try:
        with safe_open(_existing(path), framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                part = file.get_slice(key)
                if part.get_dtype() in STORED:
                    counts[STORED[part.get_dtype()]] += math.prod(part.get_shape())
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    return counts


def check_floating(path: Path) -> None:
    """InputError with the keys of tensors whose numbers a network does not compute in. Otherwise `read_shapes`'s."""
    try:
        with safe_open(_existing(path), framework="pt") as file:
            dtypes = {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    others = [f"{key} ({dtype})" for key, dtype in sorted(dtypes.items()) if dtype not in STORED]
    if others:
        got = f"{len(others)} of another kind: {listed(others)}"
        raise InputError(str(path), f"floating-point tensors ({', '.join(STORED)})", got)


def read_tensors(path: Path, *, device: str = "cpu", dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file, one by one to `device`, floating ones as `dtype` where it is given."""
    try:
        with safe_open(_existing(path), framework="pt") as file:
            return {
                key: _placed(file.get_tensor(key), device=device, dtype=dtype)
                for key in file.keys()  # noqa: SIM118
            }
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a safetensors file, which appears whole or not at all. OSError or SafetensorError when it cannot be."""
    with appearing(path) as partial:
        save_tensors(partial, tensors)


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """A safetensors file at `path`, which others may read as they may any new file."""
    path.touch()
    mode = path.stat().st_mode  # safetensors leaves a file that its owner alone may read
    own = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    seen: set[int] = set()
    for key, tensor in own.items():  # safetensors refuses two keys with one memory
        storage = tensor.untyped_storage().data_ptr()
        own[key] = tensor.clone() if storage in seen else tensor
        seen.add(storage)
    save_file(own, path, metadata={"format": "pt"})
    path.chmod(mode)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Where to write `path` in this block: it becomes `path` when the block ends, and is gone when it fails."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def network_tensors(
    where: str,
    tensors: Mapping[str, torch.Tensor],
    *,
    needed: Shapes,
    dtype: torch.dtype | None = None,
    hint: str = "",
) -> dict[str, torch.Tensor]:
    """Tensors of a stranger's network, checked, and as `dtype` where it is given. InputError(s) that name the keys.

    In this order: the kind of each, keys and shapes, and only then the numbers, which must be finite, also as `dtype`.
    A pickle may state any shape at no cost; before it is known to be the right one, nothing is allocated or computed.
    """
    check_kinds(where, tensors)
    check_keys(where, needed=needed, present=shapes_of(tensors.items()), hint=hint)
    converted = {key: tensor.to(dtype or tensor.dtype).contiguous() for key, tensor in tensors.items()}
    if keys := not_finite(converted):
        got = f"NaN or infinite ones in {len(keys)}: {listed(keys)}"
        raise InputError(where, "finite numbers in each tensor", got)
    return converted


def renamed(
    tensors: Mapping[str, torch.Tensor], rename: Callable[[str], str], *, where: str
) -> dict[str, torch.Tensor]:
    """`tensors` under other keys. InputError for two that get one key: which of them the network has is not known."""
    origin: dict[str, str] = {}
    for key in tensors:
        if (first := origin.setdefault(rename(key), key)) != key:
            raise InputError(where, f"one tensor for {rename(key)}", f"{first} and {key}")
    return {new: tensors[old] for new, old in origin.items()}


def modern_attention(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Attention keys of old diffusers releases under their present names; 1x1 convolutions become linear layers."""
    present = renamed(tensors, _modern_name, where="an autoencoder's attention")
    linear = [key for key, tensor in present.items() if ".attentions." in key and ".to_" in key and tensor.ndim == 4]
    return present | {key: present[key].flatten(1) for key in linear}


def _modern_name(key: str) -> str:
    parts = key.split(".")
    if len(parts) > 2 and parts[-4:-2] == ["attentions", "0"] and parts[-2] in OLD_ATTENTION:
        return ".".join([*parts[:-2], OLD_ATTENTION[parts[-2]], parts[-1]])
    return key


def joined(parts: Iterable[Mapping[str, torch.Tensor]], *, where: str) -> dict[str, torch.Tensor]:
    """All tensors of several files or dictionaries. InputError for a key that two of them have."""
    every: dict[str, torch.Tensor] = {}
    for part in parts:
        if twice := sorted(every.keys() & part.keys()):
            raise InputError(where, "each tensor once", f"{len(twice)} twice: {listed(twice)}")
        every |= part
    return every


def check_kinds(where: str, tensors: Mapping[str, torch.Tensor]) -> None:
    """InputError with the keys of tensors that a network does not compute in: whole numbers, sparse, without memory."""
    others = [f"{key} ({kind})" for key, tensor in sorted(tensors.items()) if (kind := _other_kind(tensor))]
    if others:
        expected = f"dense floating-point tensors ({', '.join(STORED)})"
        raise InputError(where, expected, f"{len(others)} of another kind: {listed(others)}")


def _other_kind(tensor: torch.Tensor) -> str:
    """What keeps a tensor from being a network's; empty where nothing does."""
    if tensor.is_meta:
        return "no numbers: meta device"
    if tensor.layout != torch.strided or tensor.is_nested:
        return "sparse" if not tensor.is_nested else "nested"
    return "" if tensor.dtype in STORED.values() else str(tensor.dtype).removeprefix("torch.")


def not_finite(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Keys of tensors with NaN or infinite numbers."""
    return sorted(key for key, tensor in tensors.items() if not bool(tensor.isfinite().all()))


def check_keys(where: str, *, needed: Shapes, present: Shapes, hint: str = "") -> None:
    """InputErrors that name missing and unexpected keys and wrong shapes, the first few of each, and how many."""
    missing = sorted(needed.keys() - present.keys())
    unexpected = sorted(present.keys() - needed.keys())
    wrong = sorted(key for key in needed.keys() & present.keys() if tuple(needed[key]) != tuple(present[key]))
    faults = []
    if missing:
        faults.append(InputError(where, f"{len(needed)} tensors", f"{len(missing)} missing: {listed(missing)}", hint))
    if unexpected:
        faults.append(
            InputError(where, "only tensors of the model", f"{len(unexpected)} unexpected: {listed(unexpected)}", hint)
        )
    if wrong:
        expected = "; ".join(f"{key} {list(needed[key])}" for key in wrong[:NAMED])
        got = "; ".join(f"{key} {list(present[key])}" for key in wrong[:NAMED])
        faults.append(InputError(where, f"shapes {expected}", f"{got} ({len(wrong)} of wrong shape)", hint))
    if faults:
        raise InputErrors(faults)


def listed(keys: Sequence[str]) -> str:
    """The first few keys, and how many more there are."""
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more


def shapes_of(tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, tuple[int, ...]]:
    """Key -> shape."""
    return {key: tuple(tensor.shape) for key, tensor in tensors}


def _placed(tensor: torch.Tensor, *, device: str, dtype: torch.dtype | None) -> torch.Tensor:
    """A copy: what safetensors returns on the CPU is the mapped file, at an address that kernels' results depend on."""
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None, copy=True)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(str(path), "a safetensors file", "a folder" if path.is_dir() else "no such file")
    return path


def _unreadable(path: Path, error: Exception) -> InputError:
    text = " ".join(str(error).split())
    return InputError(
        str(path), "a complete safetensors file", f"'{text}'", "It is truncated or of another kind: get it again"
    )


def check_finite(path: Path) -> None:
    """InputError with the keys of tensors that hold NaN or infinity, in the dtype in which they are stored.

    path  a safetensors file with which nothing else is wrong; it is read a tensor at a time
    """
    bad = []
    with safe_open(path, framework="pt") as file:
        for key in sorted(file.keys()):
            tensor = file.get_tensor(key)
            if count := int((~tensor.isfinite()).sum()):
                bad.append(f"{key} ({count} of {tensor.numel()} numbers)")
    if bad:
        hint = "The training that made it has diverged, or the file is damaged: use another checkpoint"
        raise InputError(str(path), "finite numbers", f"NaN or infinity in {listed(bad)}", hint)
