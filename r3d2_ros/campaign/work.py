"""One try of a task, in a process of its own: whatever happens in there becomes an `Ended`."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from r3d2_ros.campaign.replays import judge_replay
from r3d2_ros.campaign.scenarios import judge_scenario
from r3d2_ros.campaign.task import FINISHED, PACKAGES, Ended, Judged, Task
from r3d2_ros.errors import InputError
from r3d2_ros.versions import versions

JUDGES: dict[str, Callable[[int, dict[str, Any] | None], Judged | None]] = {
    "replay": judge_replay,
    "scenario": judge_scenario,
}
"""Kind of a task -> what an exit status and the printed JSON mean; None: that the command failed."""

COMMAND = (sys.executable, "-m", "r3d2_ros.campaign.child")
POLL_S = 0.1
GRACE_S = 30.0
"""How long a task may take to finish what it has begun."""
BUSY_S = 60.0
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS"
)  # fmt: skip
STOP_CAUSE, STOPPED_STATUS = "stopped", 130
LAST_BYTES = 20_000


class Stop:
    """Asks tasks to end: `asked`, they finish what they have begun; `now`, they do not."""

    def __init__(self) -> None:
        self.asked, self.now = threading.Event(), threading.Event()


def run_task(task: Task, *, stop: Stop | None = None, device: str | None = None) -> Ended:
    """Run the task's command and say how it ended.

    device  the GPU it sees; None: as in the environment of this process
    The process is gone when this returns or raises (KeyboardInterrupt).
    """
    start = time.monotonic()
    here = versions(*PACKAGES)
    try:
        if here["r3d2_ros"] != task.version:
            raise InputError(f"r3d2_ros on {socket.gethostname()}", f"version {task.version}", here["r3d2_ros"])
        with locked_log(task) as log:
            judged = _tried(task, log, stop=stop or Stop(), device=device)
    except (InputError, OSError) as error:  # such as a log that cannot be written, or no memory for a process
        judged = Judged("failed", str(error))
    seconds = round(time.monotonic() - start, 3)
    return Ended(judged.state, judged.reason, seconds, socket.gethostname(), here, judged.result, judged.told)


@contextmanager
def locked_log(task: Task) -> Iterator[BinaryIO]:
    """The log, open to append and locked. The process that gets it as its stderr keeps the lock as long as it lives:
    a try begins when the one before has gone, though its worker was killed. InputError when that takes too long."""
    with task.log.open("ab") as log:
        until = time.monotonic() + BUSY_S
        while True:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    got = "one that is still running"
                    raise InputError(task.name, "an earlier try that has ended", got) from error
                time.sleep(POLL_S)
        yield log


def _tried(task: Task, log: BinaryIO, *, stop: Stop, device: str | None) -> Judged:
    log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {socket.gethostname()}: {task.name}\n".encode())
    log.flush()
    begin = log.tell()
    status, output, cause = _run(task, log, stop=stop, device=device)
    judged = JUDGES[task.kind](status, _json(output))
    if judged is not None and (judged.state in FINISHED or not cause):
        return judged
    if cause == STOP_CAUSE:
        return Judged("stopped", "interrupted")
    return Judged("failed", cause or _failure(status, _last_words(task, begin)))


def _run(task: Task, log: BinaryIO, *, stop: Stop, device: str | None) -> tuple[int, bytes, str]:
    """Exit status, what was printed, and why it was ended from here: STOP_CAUSE, another reason, or empty."""
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            [*COMMAND, *task.words],
            stdin=reading,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(task, device),
            start_new_session=True,  # Ctrl-C in the terminal reaches the campaign alone, which decides
        )
    finally:
        os.close(reading)
    try:
        output, cause = _attend(process, stop=stop, timeout_s=task.timeout_s)
    finally:
        _kill(process)
        os.close(writing)
    return process.returncode, output, cause


def _attend(process: subprocess.Popen[bytes], *, stop: Stop, timeout_s: float | None) -> tuple[bytes, str]:
    """Wait for the end, and bring it about when it is time to."""
    started = time.monotonic()
    cause, kill_at = "", float("inf")
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=POLL_S)[0], cause
        now = time.monotonic()
        if not cause:
            if stop.asked.is_set():
                cause = STOP_CAUSE
            elif timeout_s is not None and now - started > timeout_s:
                cause = f"not finished after {timeout_s:g} s (timeout_s)"
            if cause:
                kill_at = now + GRACE_S
                process.terminate()
        elif now > kill_at or stop.now.is_set():
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process, and what it started, at once."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment(task: Task, device: str | None) -> dict[str, str]:
    environment = dict(os.environ) | dict.fromkeys(THREAD_VARIABLES, str(task.threads))
    for name in task.unset:
        environment.pop(name, None)
    if task.gpus == 0:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    elif device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    return environment


def _json(output: bytes) -> dict[str, Any] | None:
    try:
        data = json.loads(output)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def _last_words(task: Task, begin: int) -> str:
    """What a try said about its end."""
    with task.log.open("rb") as log:
        log.seek(max(begin, log.seek(0, os.SEEK_END) - LAST_BYTES))
        lines = log.read().decode(errors="replace").splitlines()
    faults = [line for line in lines if line.startswith("r3d2 ")]
    return "; ".join(faults) or next((line for line in reversed(lines) if line.strip()), "")


def _failure(status: int, words: str) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        memory = " (where nobody sent it, the memory was used up)" if name == "SIGKILL" else ""
        return f"ended by {name}{memory}"
    if status == STOPPED_STATUS:
        return "interrupted from outside of the campaign"
    return f"exit status {status}" + (f": {words}" if words else "")
