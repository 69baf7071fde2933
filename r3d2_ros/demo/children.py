"""Child processes that never outlive the demo; what they print goes to a file."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Self

TERM_S, KILL_S = 6.0, 2.0
"""How long a child may take to end after SIGTERM, and after SIGKILL."""

POLL_S = 0.02
TAIL_LINES = 15
PR_SET_PDEATHSIG = 1


class DemoError(RuntimeError):
    """The demo cannot go on; the text says why, with the end of the log that shows it."""


def module_command(module: str, arguments: Sequence[str]) -> list[str]:
    """Command line of a Python module."""
    return [sys.executable, "-m", module, *arguments]


class Child:
    """A program as a process of its own session, with its output in `log`. env: None takes a variable away.

    What it starts itself belongs to it: `ros2 run` and shells do not hand signals on, so all of them get each signal.
    """

    def __init__(self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str | None]) -> None:
        self.name, self.log = name, log
        wanted = {**os.environ, **env, "PYTHONUNBUFFERED": "1", "RCUTILS_COLORIZED_OUTPUT": "0"}
        environment = {key: value for key, value in wanted.items() if value is not None}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C goes to the demo alone, which ends its children in order
                preexec_fn=_ends_with_parent(),
            )

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def fail(self, what: str) -> NoReturn:
        """Raise DemoError with the end of the log."""
        raise DemoError(f"{self.name} {what}; the end of {self.log}:\n{self.tail()}")

    def check(self) -> None:
        """DemoError when it has ended with a failure."""
        if self.exit_code not in (None, 0):
            self.fail(f"ended with exit code {self.exit_code}")

    def printed(self) -> str:
        """Everything that it printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def tail(self) -> str:
        """The last lines that it printed."""
        lines = self.printed().splitlines()
        return "\n".join(lines[-TAIL_LINES:]) or "(it printed nothing)"

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within the time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ask_to_end(self) -> None:
        self._signal(signal.SIGTERM)

    def end(self, deadline: float) -> None:
        """Wait until `deadline` (time.monotonic), then kill."""
        while self._signal(0):
            if time.monotonic() > deadline:
                self._signal(signal.SIGKILL)
                break
            time.sleep(POLL_S)
        self.wait(KILL_S)

    def _signal(self, number: int) -> bool:
        """Signal the program and what it started; whether any of them is there."""
        self._process.poll()  # one that has ended counts as there until it is asked for its exit code
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return False
        return True


class Children:
    """Children that are all ended when the block is left, in whatever way."""

    def __init__(self, env: Mapping[str, str | None]) -> None:
        self._env = env
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for child in self._children:
            child.ask_to_end()
        deadline = time.monotonic() + TERM_S
        for child in self._children:
            child.end(deadline)

    def start(self, name: str, module: str, arguments: Sequence[str], *, log: Path) -> Child:
        """A Python module as a process."""
        return self.start_command(name, module_command(module, arguments), log=log)

    def start_command(self, name: str, command: Sequence[str], *, log: Path) -> Child:
        child = Child(name, command, log=log, env=self._env)
        self._children.append(child)
        return child

    def check(self) -> None:
        """DemoError when one of them has failed."""
        for child in self._children:
            child.check()


def _ends_with_parent() -> Callable[[], object] | None:
    """On Linux the kernel ends the child even when the demo itself was killed."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # resolved here: between fork and exec only the call itself is safe
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
