"""campaign.json: what each task is made of and how it stands, so that a later run does what is left, nothing twice."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import xxhash

from r3d2_ros.campaign.task import FINISHED, PACKAGES, Ended, State, Task
from r3d2_ros.config import Scalar
from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output
from r3d2_ros.input_files import not_a_file, open_input, read_input
from r3d2_ros.schema import STRICT, validate
from r3d2_ros.versions import versions

MANIFEST = "campaign.json"
MAX_BYTES = 2**30
BLOCK_BYTES = 2**20
FILE = "file "


@dataclass(kw_only=True)
class Entry:
    """How a task stands.

    made_of     what decides its result: options, configuration, threads, versions, and `file PATH` -> hash of the bytes
    file_times  of the input files, hashed: by these a command that is resumed knows its inputs again
    tries       so far, of what it is made of now; reason: why it failed, or what is missing
    versions    of the packages where it ran
    result      what is kept of what the command printed; told: the same in words
    """

    __pydantic_config__ = STRICT
    state: State = "waiting"
    reason: str = ""
    tries: int = 0
    command: str = ""
    log: str = ""
    out: str = ""
    threads: int = 1
    gpus: float = 0.0
    host: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    ended: str = ""
    seconds: float = 0.0
    made_of: dict[str, Scalar] = field(default_factory=dict)
    file_times: str = ""
    result: dict[str, Any] | None = None
    told: str = ""


@dataclass(kw_only=True)
class _Contents:
    """The file. `hashes`: path -> [bytes, time of change in ns, xxh3_128 of the bytes]; `left_out`: tasks of earlier
    campaign files that the present one has not."""

    __pydantic_config__ = STRICT
    campaign: int = 1
    file: str = ""
    engine: str = ""
    tasks: dict[str, Entry] = field(default_factory=dict)
    left_out: dict[str, Entry] = field(default_factory=dict)
    hashes: dict[str, tuple[int, int, str]] = field(default_factory=dict)


class Manifest:
    """The manifest of a folder, read when made; `write` writes it whole."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / MANIFEST
        self._contents = _Contents() if not self.path.exists() else _read(self.path)

    @property
    def entries(self) -> dict[str, Entry]:
        """The tasks of the campaign by name."""
        return self._contents.tasks

    def enter(self, tasks: Iterable[Task], *, file: Path) -> list[Change]:
        """Enter the tasks of a campaign file; returns those that are not finished, or not any more.

        Nothing is written yet. Input files that have changed since they were last read are read; InputError where one
        cannot be.
        """
        earlier = self._contents.left_out | self._contents.tasks
        found = versions(*PACKAGES)
        changes, entries = [], {}
        hashes = self._contents.hashes
        for task in tasks:
            made_of = _made_of(task, found) | {f"{FILE}{path}": self._hash(path) for path in task.inputs}
            times = xxhash.xxh3_128_hexdigest(repr([hashes[str(path)] for path in task.inputs]).encode())
            before = earlier.pop(task.name, None)
            change = _change(before, task, made_of=made_of, file_times=times)
            if before is not None and change is None:
                entries[task.name] = before
                continue
            change = change or Change(task)
            changes.append(change)
            kept = before if before is not None and not change.stale else Entry()
            entries[task.name] = Entry(
                reason=kept.reason,
                tries=kept.tries,
                command=shlex.join(["r3d2", *task.words]),
                log=str(task.log),
                out=str(task.out),
                threads=task.threads,
                gpus=task.gpus,
                made_of=made_of,
                file_times=times,
            )
        self._contents = replace(self._contents, file=str(file), tasks=entries, left_out=earlier)
        return changes

    def runs_on(self, engine: str) -> None:
        """Say where the tasks run."""
        self._contents.engine = engine

    def started(self, task: Task) -> int:
        """A try begins; returns its number."""
        entry = self.entries[task.name]
        entry.state, entry.tries = "running", entry.tries + 1
        return entry.tries

    def ended(self, task: Task, ended: Ended, *, again: bool) -> None:
        """A try has ended; `again`: another one follows."""
        entry = self.entries[task.name]
        entry.state = "waiting" if again or ended.state == "stopped" else ended.state
        entry.reason, entry.seconds, entry.result = ended.reason, ended.seconds, ended.result
        entry.told, entry.host, entry.versions = ended.told, ended.host, ended.versions
        entry.ended = time.strftime("%Y-%m-%dT%H:%M:%S%z")

    def _hash(self, path: Path) -> str:
        """Of the file's bytes; those of a file of the same size and time of change are not read again."""
        if (got := not_a_file(path)) is not None:
            raise InputError(str(path), "a file that a task reads", got)
        stat = path.stat()
        size, changed, known = self._contents.hashes.get(str(path), (-1, -1, ""))
        if (size, changed) != (stat.st_size, stat.st_mtime_ns):
            digest = xxhash.xxh3_128()
            with open_input(path, expected="a file that a task reads") as file:
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
            known = digest.hexdigest()
            self._contents.hashes[str(path)] = (stat.st_size, stat.st_mtime_ns, known)
        return known

    def write(self) -> None:
        """Write what has changed, whole."""
        self._write(self._contents)

    def write_before_removal(self, changes: Iterable[Change]) -> None:
        """Write that what stale tasks have left is of nothing that a task can be made of, whatever the file says next.

        Until `write`, a run that follows one that was killed removes it, instead of taking what is half gone for whole.
        """
        stale = [change.task for change in changes if change.stale]
        if stale:
            unknown = {
                task.name: replace(self.entries[task.name], made_of={"kind": task.kind}, file_times="")
                for task in stale
            }  # fmt: skip
            self._write(replace(self._contents, tasks=self.entries | unknown))

    def _write(self, contents: _Contents) -> None:
        with atomic_output(self.path) as file:
            file.write(json.dumps(dataclasses.asdict(contents), indent=1, allow_nan=False).encode() + b"\n")


@dataclass(frozen=True)
class Change:
    """A task that is to run. why: for what reason although it was finished before, or empty; stale: what an earlier try
    has written is of something else and goes first."""

    task: Task
    why: str = ""
    stale: bool = False


def _change(before: Entry | None, task: Task, *, made_of: dict[str, Scalar], file_times: str) -> Change | None:
    if before is None:
        return Change(task)
    difference = _difference(before.made_of, made_of)
    if before.state not in FINISHED:
        return Change(task, stale=bool(difference) or before.file_times != file_times)
    if difference:
        return Change(task, difference, stale=True)
    return None if task.out.exists() else Change(task, f"{task.out} is gone")


def _made_of(task: Task, found: dict[str, str]) -> dict[str, Scalar]:
    return {
        "kind": task.kind,
        **task.options,
        "threads": task.threads,
        "gpu": task.gpus > 0,
        **{f"version of {name}": version for name, version in found.items() if name != "python"},
    }


def _difference(before: dict[str, Scalar], now: dict[str, Scalar]) -> str:
    """The first thing that is not what it was, in words."""
    for key in [*now, *(key for key in before if key not in now)]:
        if before.get(key) != now.get(key):
            if key.startswith(FILE) and key in before and key in now:
                return f"{key.removeprefix(FILE)} has changed"
            if key.startswith(FILE):
                return f"{key.removeprefix(FILE)} is {'new' if key in now else 'not read any more'}"
            return f"{key} was {_word(before, key)} and is {_word(now, key)}"
    return ""


def _word(values: dict[str, Scalar], key: str) -> str:
    return json.dumps(values[key]) if key in values else "not given"


def _read(path: Path) -> _Contents:
    """InputErrors for a file that is not the manifest of a campaign."""
    # Not the file alone: without it, nothing says which of the results beside it are still those of the tasks.
    hint = f"Move the folder {path.parent} away to begin anew"
    try:
        data = json.loads(read_input(path, expected="the manifest of a campaign", most_bytes=MAX_BYTES))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(str(path), "the manifest of a campaign", "something that is not JSON", hint) from error
    if not isinstance(data, dict) or data.get("campaign") != 1:
        raise InputError(str(path), "the manifest of a campaign", "another file", hint)
    return validate(_Contents, data, str(path))
