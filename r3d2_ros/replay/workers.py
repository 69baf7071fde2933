"""Several processes, each with a contiguous part of the frame sets."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from r3d2_ros.assembly import assemble, load_config_library
from r3d2_ros.errors import InputError, InputErrors, MissingPackageError
from r3d2_ros.replay.recording import open_recording
from r3d2_ros.replay.sources import NONE
from r3d2_ros.replay.ticks import Moment
from r3d2_ros.replay.work import Events, Findings, Job, work

USER_ERRORS = (InputError, InputErrors, MissingPackageError)
POLL_S = 0.2


def split(indices: Sequence[int], parts: int, moments: Sequence[Moment], *, whole_sequences: bool) -> list[list[int]]:
    """Contiguous parts of nearly equal size, none of them empty.

    whole_sequences  a part ends where time goes back and nowhere else: what a temporal harmonizer remembers is in it
    """
    units: list[list[int]] = []
    for index in indices:
        if whole_sequences and units and moments[units[-1][-1]].timeline == moments[index].timeline:
            units[-1].append(index)
        else:
            units.append([index])
    made: list[list[int]] = []
    left = len(indices)
    for unit in units:
        wanted = max(1, parts - len(made) + (1 if made else 0))
        share = (left + (len(made[-1]) if made else 0)) / wanted
        if made and (len(made) == parts or len(made[-1]) + len(unit) / 2 <= share):
            made[-1] += unit
        else:
            made.append(list(unit))
        left -= len(unit)
    return made


class PartEnded(RuntimeError):
    """A process ended without having said why."""


@dataclass(eq=False)
class _Worker:
    process: Any
    connection: Connection
    number: int
    ready: tuple[str, list[str]] | None = None
    asked: bool = False
    finished: bool = False


def work_in_processes(jobs: Sequence[Job], *, events: Events, stop: threading.Event) -> Findings:
    """Make the parts, each in a process of its own; returns what was found of the bag. They begin when all are ready.

    When `stop` is set, or when one of them cannot go on, all finish what they have begun. The first error is raised.
    """
    context = multiprocessing.get_context("spawn")
    workers: list[_Worker] = []
    first_error: Exception | None = None
    findings: list[Findings] = []
    try:
        for number, job in enumerate(jobs):
            ours, theirs = context.Pipe()
            process = context.Process(target=_main, args=(job, theirs), name=f"replay-{number}", daemon=True)
            process.start()
            theirs.close()
            workers.append(_Worker(process, ours, number))
        asked = begun = False
        while open_workers := [worker for worker in workers if not worker.finished]:
            if (stop.is_set() or first_error is not None) and not asked:
                asked = True
                _ask_to_end(open_workers)
            for ready in wait([worker.connection for worker in open_workers], POLL_S):
                worker = next(worker for worker in open_workers if worker.connection is ready)
                error = _heard(worker, events, findings)
                first_error = first_error or error
            if not begun and first_error is None and workers[0].ready and all(worker.ready for worker in workers):
                begun = True
                if events.ready(*workers[0].ready):
                    _let_begin(workers)
    finally:
        for worker in workers:
            if not worker.finished:
                worker.process.kill()
            worker.process.join()
            worker.connection.close()
    if first_error is not None:
        raise first_error
    return Findings(
        reports=tuple(dict.fromkeys(text for found in findings for text in found.reports)),
        damage=tuple(dict.fromkeys(text for found in findings for text in found.damage)),
    )


def _ask_to_end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        if worker.process.is_alive():
            worker.process.terminate()
            worker.asked = True


def _let_begin(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        with suppress(OSError):  # it has ended, which is heard next
            worker.connection.send("begin")


def _heard(worker: _Worker, events: Events, findings: list[Findings]) -> Exception | None:
    """Take one message of a worker; returns the error that it ended with."""
    try:
        kind, value = worker.connection.recv()
    except (EOFError, OSError):  # OSError: it ended in the middle of a message
        worker.finished = True
        worker.process.join()
        if worker.asked and worker.process.exitcode == -signal.SIGTERM:
            return None  # it was asked before it could have heard, and had begun nothing
        return PartEnded(f"the process of part {worker.number} ended with exit code {worker.process.exitcode}")
    if kind == "done":
        events.done(*value)
    elif kind == "ready":
        worker.ready = value
    elif kind == "say":
        if worker.number == 0:
            events.say(value)
    elif kind == "trouble":
        events.trouble(f"part {worker.number}: {value}")
    else:
        worker.finished = True
        if isinstance(value, Exception):
            return value
        findings.append(value)
    return None


class _ToParent:
    """Events of a part as messages to the process that started it. When that one has gone, the part ends too."""

    def __init__(self, connection: Connection, stop: threading.Event) -> None:
        self._connection, self._stop = connection, stop
        self._lock = threading.Lock()  # the writer thread and the calling one both tell

    def ready(self, renderer: str, notes: list[str]) -> bool:
        """Waits until all parts may begin."""
        self.send("ready", (renderer, notes))
        while not self._stop.is_set():
            try:
                if self._connection.poll(POLL_S):
                    self._connection.recv()
                    return True
            except (EOFError, OSError):
                self._stop.set()
        return False

    def done(self, cause: str | None, reason: str) -> None:
        self.send("done", (cause, reason))

    def say(self, text: str) -> None:
        self.send("say", text)

    def trouble(self, text: str) -> None:
        self.send("trouble", text)

    def send(self, kind: str, value: Any) -> None:
        try:
            with self._lock:
                self._connection.send((kind, value))
        except OSError:
            self._stop.set()


def _main(job: Job, connection: Connection) -> None:
    """What a process does."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the one that started this one decides
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    parent = _ToParent(connection, stop)
    try:
        library = load_config_library(job.config, parent.say)
        with open_recording(
            job.bag,
            config=job.config,
            library=library,
            ego=job.ego,
            actors=job.actors or NONE,
            unpacked=job.unpacked,
        ) as recording:
            reports = work(job, recording=recording, library=library, events=parent, stop=stop, assemble=assemble)
        parent.send("end", reports)
    except USER_ERRORS as error:
        parent.send("end", error)
    except Exception as error:
        parent.send("end", RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))


def with_threads(job: Job, workers: int) -> Job:
    """The job with its share of the cores, unless the configuration says how many threads the renderer has."""
    rendering = job.config.rendering
    if rendering.threads > 0:
        return job
    threads = max(1, (os.cpu_count() or 1) // workers)
    return replace(job, config=replace(job.config, rendering=replace(rendering, threads=threads)))
