"""How the threads of a process that has deadlines take turns with Python's lock."""

from __future__ import annotations

import sys

TURN_S = 0.0005


def take_short_turns() -> None:
    """A thread that waits for the lock has it after half a millisecond, not after Python's five.

    Rendering, harmonizing and encoding hold it for moments only, but wait for it many times a frame set.
    """
    sys.setswitchinterval(TURN_S)
