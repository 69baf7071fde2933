"""The log of a run: JSON lines, written as things happen, from which every figure is computed.

The first line is the header, the last one `end`. A run that was killed has no `end`, and perhaps half a line: both are
reported by `read_log`, and everything before them counts. Positions are in the map, metres; angles in radians.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import xxhash

from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import make_folder
from r3d2_ros.input_files import open_input

FORMAT = 1
WALL_KEYS = ("wall_s", "latency_ms", "render_ms", "harmonize_ms", "waited_ms")
"""Keys whose values depend on how fast the machine is; everything else is the same in two equal runs."""

DIGESTED = ("tick", "frame", "command", "miss", "phase", "entity")


class LogWriter:
    """Writes one record per line and hands it to the operating system at once. InputError when the disk is full."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self.path = path
        self._digest = xxhash.xxh3_128()
        self._epoch_ns = 0
        self._began = False
        self._broken = ""
        try:
            self._file: IO[bytes] = path.open("xb", buffering=0)
        except OSError as error:
            raise InputError(str(path), "a new file that can be written", error.strerror or str(error)) from error

    def begin(self, epoch_ns: int) -> None:
        """From here on records count for the digest; their stamps relative to `epoch_ns`."""
        self._epoch_ns, self._began = epoch_ns, True

    @property
    def digest(self) -> str:
        """xxh3_128 of everything so far that does not depend on the machine's speed; 32 hexadecimal digits."""
        return self._digest.hexdigest()

    def write(self, record: str, **values: Any) -> None:
        """Append a record."""
        entry = {"record": record, **{name: _plain(value) for name, value in values.items()}}
        line = json.dumps(entry, allow_nan=False, separators=(",", ":")).encode()
        if self._began and record in DIGESTED:
            stable = {name: value for name, value in entry.items() if name not in WALL_KEYS}
            self._digest.update(json.dumps(_relative(stable, self._epoch_ns), sort_keys=True).encode())
        self._append(line + b"\n")

    def _append(self, data: bytes) -> None:
        """A raw file may take a part of the data only. After a failure nothing more is added to half a line."""
        if self._broken:
            raise InputError(str(self.path), "a file that can be written", self._broken)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as error:
            self._broken = error.strerror or str(error)
            raise InputError(str(self.path), "a file that can be written", self._broken) from error

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _plain(value: Any) -> Any:
    """Values as JSON has them: NaN and infinity become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _relative(value: Any, epoch_ns: int) -> Any:
    """Stamps relative to t = 0: the start-up takes as long as the stack needs, the run after it is the same."""
    if isinstance(value, dict):
        return {
            name: _shifted(entry, epoch_ns) if name in ("stamp_ns", "stamps_ns") else _relative(entry, epoch_ns)
            for name, entry in value.items()
            if name not in WALL_KEYS
        }
    return value


def _shifted(stamps: Any, epoch_ns: int) -> Any:
    return [stamp - epoch_ns for stamp in stamps] if isinstance(stamps, list) else stamps - epoch_ns


@dataclass(frozen=True)
class RunLog:
    """A log as it was read. end: the last record, None for a run that was cut off. cut: bytes of half a line."""

    path: Path
    header: dict[str, Any]
    records: tuple[dict[str, Any], ...]
    end: dict[str, Any] | None
    cut: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """The records of these kinds, in order."""
        return [record for record in self.records if record["record"] in kinds]


def read_log(path: Path) -> RunLog:
    """Read a log, also one that was cut off in the middle of a line. InputError for what is no log."""
    expected = "the log of a run (JSON lines)"
    with open_input(path, expected=expected) as file:
        data = file.read()
    whole, _, rest = data.rpartition(b"\n")
    records = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not isinstance(record.get("record"), str):
                raise ValueError("no record")
        except ValueError as error:
            raise InputError(f"{path}: line {number}", expected, str(error)) from error
        records.append(record)
    if not records or records[0]["record"] != "header":
        raise InputError(str(path), f"{expected} that begins with its header", "something else")
    if records[0].get("format") != FORMAT:
        raise InputError(f"{path}: format", str(FORMAT), repr(records[0].get("format")))
    end = records[-1] if records[-1]["record"] == "end" else None
    counts = Counter(record["record"] for record in records)
    return RunLog(path, records[0], tuple(records[1:]), end, len(rest), counts)
