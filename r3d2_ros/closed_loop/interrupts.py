"""Ctrl-C and SIGTERM while scenarios run: they arrive where the work is ready for them, and nowhere else."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Wish = Callable[[str], None]
"""Told the name of a signal; ends what goes on in its own time. It is called by a signal handler and takes no lock."""


AGAIN_S = 1.0
"""One that follows sooner is the same one: on Ctrl-C in a terminal `ros2 launch` hands on what everybody has got."""


class Interrupts:
    """Handles SIGINT, SIGTERM and SIGHUP inside its block; only the main thread can. There are three kinds of places:

    ready        a signal raises KeyboardInterrupt; this holds where nothing else is said
    ready(wish)  the first signal is given to `wish`, one that comes AGAIN_S later raises KeyboardInterrupt
    held         a signal is kept for the next place that is ready: results are written, processes are ended
    """

    def __init__(self) -> None:
        self._ready = True
        self._wish: Wish | None = None
        self._kept = ""
        self._first_s: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                    continue  # nohup
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def ready(self, wish: Wish | None = None) -> Iterator[None]:
        with self._place(ready=True, wish=wish):
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._place(ready=False):
            yield

    def check(self) -> None:
        """Raise KeyboardInterrupt for a signal that was kept."""
        kept, self._kept = self._kept, ""
        if kept:
            raise KeyboardInterrupt(kept)

    @contextmanager
    def _place(self, *, ready: bool, wish: Wish | None = None) -> Iterator[None]:
        before = self._ready, self._wish
        self._ready, self._wish = ready, wish
        try:
            if ready:
                self.check()
            yield
        finally:
            self._ready, self._wish = before

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        name, now_s = signal.Signals(number).name, time.monotonic()
        self._first_s = now_s if self._first_s is None else self._first_s
        if not self._ready:
            self._kept = name
            _tell(f"{name}: ending as soon as what is under way is done")
        elif self._wish is not None and now_s < self._first_s + AGAIN_S:
            self._wish(name)
            _tell(f"{name}: ending the run; a second one does not wait for it")
        else:
            self._ready = False  # another one must not disturb what cleans up after this one
            self._kept = name  # a callback of C code swallows exceptions; where this one arrives, everything ends
            raise KeyboardInterrupt(name)


def _tell(text: str) -> None:
    """Without sys.stderr's buffer: the handler may have interrupted somebody who is writing into it."""
    with contextlib.suppress(OSError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{text}\n".encode())
