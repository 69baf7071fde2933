"""NaN that becomes a picture of 8 bits, where it is black: seen before the bytes, which cannot say so.

Other operations with NaN are the pipeline's own matter: what it makes of them may be meant, as `nan_to_num` is.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook


@dataclass
class BeforeBytes:
    """What was seen of a picture's numbers before they became bytes.

    cast  NumPy made whole numbers of what is none: NaN, infinity, or a number far beyond their range
    last  the last picture [B, 3, H, W] in floats that a network gave; PyTorch says nothing when it casts NaN
    """

    cast: bool = False
    last: Tensor | None = None

    def lost_nan(self) -> bool:
        """Whether the picture has bytes in the place of NaN. Waits for the GPU."""
        return self.cast or (self.last is not None and bool(self.last.isnan().any()))


@contextmanager
def watch_casts(needed: bool = True) -> Iterator[BeforeBytes]:
    """Sees what this thread computes in this block; nothing where it is not `needed`, which costs nothing."""
    seen, thread = BeforeBytes(), threading.get_ident()
    if not needed:
        yield seen
        return

    def note(module: nn.Module, args: Any, output: Any) -> None:
        if torch.compiler.is_compiling() or threading.get_ident() != thread or not isinstance(output, Tensor):
            return
        if output.ndim == 4 and output.shape[1] == 3 and output.is_floating_point():
            seen.last = output

    hook = register_module_forward_hook(note)
    try:
        with np.errstate(invalid="log", call=_NumpyLog(seen)):
            yield seen
    finally:
        hook.remove()


class _NumpyLog:
    """Where NumPy writes "Warning: invalid value encountered in cast", or in another operation."""

    def __init__(self, seen: BeforeBytes) -> None:
        self._seen = seen

    def write(self, message: str) -> None:
        text = message.removeprefix("Warning: ").strip()
        if text.endswith(" in cast"):
            self._seen.cast = True
        else:
            warnings.warn(text, RuntimeWarning, stacklevel=2)  # as without this log
