"""Runs what is left of a campaign; the processes are those of an engine: local ones here, Ray's in `ray_runner`."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol

from r3d2_ros.campaign.keys import Campaign
from r3d2_ros.campaign.manifest import Change, Manifest
from r3d2_ros.campaign.task import Ended, Task
from r3d2_ros.campaign.work import Stop, locked_log, run_task
from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output, make_folder
from r3d2_ros.locks import lock
from r3d2_ros.replay.mcap_store import PARTS_SUFFIX
from r3d2_ros.replay.options import BAG_SUFFIX

Say = Callable[[str], None]
POLL_S = 0.2


class Engine(Protocol):
    """Where tasks run."""

    title: str

    def start(self, task: Task) -> bool:
        """Take a task; False: not now."""

    def ended(self, timeout_s: float) -> list[tuple[Task, Ended]]:
        """Tries that have ended, waiting for one of them at most this long."""

    def stop(self) -> None:
        """Ask all to end. They still come out of `ended`."""

    def close(self) -> None:
        """End at once what is running."""


class LocalEngine:
    """Processes on this machine: at most `workers`, and on each of `devices` (GPUs) as many as fit by their shares."""

    def __init__(self, workers: int, devices: Sequence[str]) -> None:
        self.title = f"local, {workers} workers"
        self._workers = workers
        self._free = dict.fromkeys(devices, 1.0)
        self._stop = Stop()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="campaign")
        self._running: dict[Future[Ended], tuple[Task, str | None]] = {}

    def start(self, task: Task) -> bool:
        device = None
        if task.gpus > 0:
            # With room for a rounding error, so that three thirds fit.
            device = next((name for name, free in self._free.items() if free >= task.gpus - 1e-9), None)
        if len(self._running) >= self._workers or (task.gpus > 0 and device is None):
            return False
        if device is not None:
            self._free[device] -= task.gpus
        self._running[self._pool.submit(run_task, task, stop=self._stop, device=device)] = (task, device)
        return True

    def ended(self, timeout_s: float) -> list[tuple[Task, Ended]]:
        done, _ = wait(self._running, timeout_s, return_when=FIRST_COMPLETED)
        found = []
        for future in done:
            task, device = self._running.pop(future)
            if device is not None:
                self._free[device] += task.gpus
            found.append((task, future.result()))
        return found

    def stop(self) -> None:
        self._stop.asked.set()

    def close(self) -> None:
        self._stop.asked.set()
        self._stop.now.set()
        self._pool.shutdown(cancel_futures=True)


def local_engine(tasks: Sequence[Task], workers: int | None) -> LocalEngine:
    """The engine for the tasks. workers None: as many as have their threads on the cores of this machine.

    InputError when tasks ask for a GPU and there is none.
    """
    devices = local_gpus() if any(task.gpus > 0 for task in tasks) else []
    needy = next((task for task in tasks if task.gpus > 0), None)
    if needy is not None and not devices:
        hint = "Set gpus: 0 in the campaign file, or run it on a cluster with --ray"
        raise InputError(f"task {needy.name}", f"{needy.gpus:g} of a GPU", "a machine without one", hint)
    if workers is None:
        workers = max(1, (os.cpu_count() or 1) // max(task.threads for task in tasks))
    return LocalEngine(workers, devices)


def local_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may be set to, one for each GPU that this process sees."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    try:
        import torch
    except ImportError:
        return []
    return [str(index) for index in range(torch.cuda.device_count())]


def run_campaign(
    campaign: Campaign, engine: Callable[[], Engine], *, say: Say, stop: threading.Event
) -> tuple[Manifest, int]:
    """Run what is not finished; returns the manifest, and how many tasks were finished before.

    engine  makes the engine; called when there is something to do
    When `stop` is set, the tasks end when they have finished what they have begun. InputError(s) before anything runs.
    """
    make_folder(campaign.out)
    descriptor = lock(campaign.out, by="a campaign")
    try:
        manifest = Manifest(campaign.out)
        say("reading the inputs")
        changes = manifest.enter(campaign.tasks, file=campaign.file)
        kept = len(campaign.tasks) - len(changes)
        if kept:
            say(f"{kept} of {len(campaign.tasks)} tasks are finished already")
        if not changes:
            manifest.write()  # tasks may have left the file, or come back to it
        if not changes or stop.is_set():
            return manifest, kept
        running = engine()
        try:
            manifest.write_before_removal(changes)
            _prepare(campaign, changes, say)
            manifest.runs_on(running.title)
            manifest.write()
            _Run(campaign, manifest, running, say).run([change.task for change in changes], stop)
        finally:
            running.close()
        return manifest, kept
    finally:
        os.close(descriptor)


def _prepare(campaign: Campaign, changes: Sequence[Change], say: Say) -> None:
    """Remove results that are no longer valid, and write what the tasks read."""
    for folder in {path.parent for task in campaign.tasks for path in (task.out, task.log)}:
        make_folder(folder)
    for change in changes:
        if change.why:
            say(f"{change.task.name} runs again: {change.why}")
        if change.stale:
            with locked_log(change.task):
                _remove(change.task)
    for path, data in campaign.files.items():
        make_folder(path.parent)
        if not path.is_file() or path.read_bytes() != data:
            with atomic_output(path) as file:
                file.write(data)


def _remove(task: Task) -> None:
    """Whatever an earlier try has written."""
    for suffix in ("", BAG_SUFFIX, BAG_SUFFIX + PARTS_SUFFIX):
        path = task.out.with_name(task.name + suffix)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class _Run:
    """The tasks of one run, from the first to the last."""

    def __init__(self, campaign: Campaign, manifest: Manifest, engine: Engine, say: Say) -> None:
        self._campaign, self._manifest, self._engine, self._say = campaign, manifest, engine, say
        self._tries: dict[str, int] = {}
        self._changed = False

    def run(self, tasks: Sequence[Task], stop: threading.Event) -> None:
        waiting, running, asked = list(tasks), 0, False
        while running or (waiting and not stop.is_set()):
            if stop.is_set():
                if not asked:
                    asked = True
                    self._engine.stop()
            else:
                left = [task for task in waiting if not self._start(task)]
                running += len(waiting) - len(left)
                waiting = left
            self._write()
            for task, ended in self._engine.ended(POLL_S):
                running -= 1
                if self._ended(task, ended):
                    waiting.append(task)
            self._write()

    def _write(self) -> None:
        """Of many tasks that begin or end together the manifest is written once: it is as long as the campaign."""
        if self._changed:
            self._changed = False
            self._manifest.write()

    def _start(self, task: Task) -> bool:
        if not self._engine.start(task):
            return False
        self._tries[task.name] = self._tries.get(task.name, 0) + 1
        self._manifest.started(task)
        self._changed = True
        return True

    def _ended(self, task: Task, ended: Ended) -> bool:
        """Enter the end of a try; returns whether another one follows."""
        tries, most = self._tries[task.name], self._campaign.tries
        again = ended.state in ("partly", "failed") and tries < most
        self._manifest.ended(task, ended, again=again)
        self._changed = True
        text = f"{task.name}: {ended.state} after {ended.seconds:.1f} s"
        if ended.state == "failed":
            text += f" (try {tries} of {most}; {task.log})"
        self._say(": ".join(part for part in (text, ended.reason or ended.told) if part))
        return again
