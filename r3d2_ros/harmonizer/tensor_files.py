"""safetensors files from strangers: what is in them, and whether that is what is needed, before anything is read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from r3d2_ros.errors import InputError, InputErrors

NAMED = 5
"""So many keys of each kind of fault are named; the rest are counted."""

Shapes = Mapping[str, tuple[int, ...]]

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
    """Write a safetensors file, which appears whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.touch()
    mode = partial.stat().st_mode  # safetensors leaves a file that its owner alone may read
    save_file({key: t.detach().cpu().contiguous() for key, t in tensors.items()}, partial, metadata={"format": "pt"})
    partial.chmod(mode)
    partial.replace(path)


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
