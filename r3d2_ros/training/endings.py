"""What ends a training from outside of it, told from faults of the program: PyTorch has a RuntimeError for either."""

from __future__ import annotations

from pathlib import Path

import torch

from r3d2_ros.errors import InputError

DEAD_READER = "DataLoader worker (pid"
"""How PyTorch begins to tell that a process of its loader was killed or has exited."""


def ended_from_outside(error: RuntimeError, newest: Path | None) -> InputError | None:
    """For a process that reads images and has died, and for a GPU whose memory is used up; None for another error.

    newest  the newest checkpoint
    """
    got = " ".join(str(error).split())
    left = f"{newest} is the newest checkpoint" if newest else "there is no checkpoint yet"
    if isinstance(error, torch.OutOfMemoryError):
        hint = "Set a smaller batch or data.crop_px, or gradient_checkpointing: true, and begin anew in another 'out'"
        return InputError("training", "enough memory on the GPU", f"{got}; {left}", hint)
    if DEAD_READER in got:
        got = got[got.index(DEAD_READER) :]  # it is raised in whatever is at work, which may put its own words before
        hint = "Where nobody killed it, memory was used up: set data.workers: 0, or give a container more (--shm-size)"
        hint += "; --resume goes on" if newest else ""
        return InputError("data.workers", "processes that read images to the end", f"{got}; {left}", hint)
    return None
