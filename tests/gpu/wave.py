"""Processes that are prepared side by side and timed one by one, each alone on the machine.

A process finds its folder in its last argument. It leaves a file there when it is ready, waits for a line on its
standard input, and then leaves its row. While one is timed all others are stopped: preparing takes cores and the GPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOG, READY, ROW = "log.txt", "ready", "row.json"
LOG_END = 1000
"""Characters of a log that a fault has."""

POLL_S, SETTLE_S = 0.05, 0.5
"""How often files are looked for; how long the GPU may go on with what a process gave it before it was stopped."""

PR_SET_PDEATHSIG = 1
prctl = ctypes.CDLL(None).prctl

Row = dict[str, Any]


class Child:
    """A process and what it starts, in a group of their own: so all of them are stopped and killed together."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.name, self._folder = name, folder
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG).open("w") as log:
            self._process = subprocess.Popen(
                [*command, str(folder)], cwd=ROOT, env=os.environ | environment, bufsize=0, stdin=subprocess.PIPE,
                stdout=log, stderr=subprocess.STDOUT, process_group=0, preexec_fn=_end_with_parent,
            )  # fmt: skip

    @property
    def ready(self) -> bool:
        return (self._folder / READY).exists()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def failed(self) -> bool:
        return self._process.poll() not in (None, 0)

    @property
    def fault(self) -> str:
        """What it said last."""
        text = (self._folder / LOG).read_text(errors="replace").strip()
        return f"exit code {self._process.returncode}: {text[-LOG_END:]}"

    def result(self) -> Row | None:
        """Its row, one with a fault if it ended without, None as long as it runs."""
        running = self.running  # asked first: the row may be the last that it does
        if (self._folder / ROW).exists():
            return json.loads((self._folder / ROW).read_text())
        return None if running else {"name": self.name, "fault": self.fault}

    def go(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died, and its result says so
            self._process.stdin.write(b"go\n")

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        with self._process:  # waits, and closes the pipe
            pass


def _end_with_parent() -> None:
    """The calling process is killed, also while it is stopped, when the one that started it dies.

    What it started is then ended by SIGHUP, as the rest of a group that nobody can continue, unless that is ignored:
    as below nohup.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def run_wave(
    members: Sequence[Child],
    put: Callable[[str, Row], None],
    *,
    helper: Child,
    patience_s: float,
    timing_s: float,
    deadline_s: float,
) -> None:
    """`put` gets each member's row at once. Those that the time does not suffice for have none. All are killed.

    helper      what members need is made by this one; it goes on. RuntimeError when it fails
    patience_s  so long all are waited for; then those that are ready are timed while others are stopped
    timing_s    with less time than this left none is timed
    deadline_s  of time.monotonic()
    """
    waiting = list(members)
    patient_until = min(time.monotonic() + patience_s, deadline_s - timing_s * len(members))
    try:
        while waiting and time.monotonic() < deadline_s:
            ready = [child for child in waiting if child.ready]
            all_in = len(ready) == len(waiting) or time.monotonic() >= patient_until
            if ready and all_in:
                if time.monotonic() + timing_s > deadline_s:
                    return
                others = [child for child in (*waiting, helper) if child is not ready[0]]
                _time_alone(ready[0], others, deadline_s=deadline_s)
            elif helper.failed:
                raise RuntimeError(f"{helper.name}: {helper.fault}")
            else:
                time.sleep(POLL_S)
            for child in tuple(waiting):
                row = child.result()
                if row is not None:
                    child.kill()
                    waiting.remove(child)
                    put(child.name, row)
    finally:
        for child in members:
            child.kill()


def _time_alone(child: Child, others: Sequence[Child], *, deadline_s: float) -> None:
    with _stopped(others):
        child.go()
        while child.result() is None and time.monotonic() < deadline_s:
            time.sleep(POLL_S)


@contextlib.contextmanager
def _stopped(children: Sequence[Child]) -> Iterator[None]:
    try:
        for child in children:
            child.signal(signal.SIGSTOP)
        if any(child.running and not child.ready for child in children):
            time.sleep(SETTLE_S)
        yield
    finally:
        for child in children:
            child.signal(signal.SIGCONT)


def wait_to_be_timed(folder: Path) -> None:
    """In a child that is prepared."""
    (folder / READY).touch()
    sys.stdin.readline()


def wait_for(path: Path) -> None:
    """In a child, for what another one makes. If that never comes, the child is killed."""
    while not path.exists():
        time.sleep(POLL_S)


def leave(path: Path, write: Callable[[Path], object]) -> None:
    """A file that is whole as soon as it is there."""
    partial = path.with_name(f"{path.name}.part")
    write(partial)
    partial.replace(path)


def leave_row(folder: Path, row: Row) -> None:
    leave(folder / ROW, lambda path: path.write_text(json.dumps(row)))
