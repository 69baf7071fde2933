"""Numbers of a checkpoint that no network can compute with."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.tensor_files import listed


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
