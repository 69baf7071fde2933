"""Where Triton keeps the kernels of this package that it has compiled. Imports no Triton."""

from __future__ import annotations

import os
from pathlib import Path

from r3d2_ros.resources import cache_dir, code_folder

TRITON = "TRITON_CACHE_DIR"
_ours: list[str] = []


def keep_triton_kernels(named: Path | None = None) -> None:
    """From now on below `named`, or in our cache folder unless another was named; where the user's variable says
    where, there.

    For the whole process: a kernel is compiled when it first meets arguments of a new kind, whichever thread calls it.
    Triton's own choice is the home folder, which it cannot do without. InputError as of `code_folder`.
    """
    set_now = os.environ.get(TRITON)
    if set_now is not None and (set_now not in _ours or named is None):
        return
    folder = cache_dir() / "triton" if named is None else named / "triton"
    os.environ[TRITON] = str(code_folder(folder, TRITON))
    _ours[:] = [os.environ[TRITON]]
