"""Ctrl-C and SIGTERM as a wish that a run can fulfil in its own time."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopping(text: str) -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that what was begun is finished; the second one does not wait.

    text  said on stderr at the first one
    """
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        print(text, file=sys.stderr, flush=True)

    before = {name: signal.signal(name, on_signal) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
