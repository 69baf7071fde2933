"""One run at a time in one place."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from r3d2_ros.errors import InputError


def lock(folder: Path, *, by: str = "a replay") -> int:
    """A descriptor that keeps the folder from other runs while it is open. InputError when one has it.

    by  what kind of run this is
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        expected = "a folder that no other run is writing"
        raise InputError(str(folder), expected, f"one that {by} is writing now") from error
    return descriptor
