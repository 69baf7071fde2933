"""The report of the GPU script: one JSON file that is whole at every moment, so that a command that is killed loses
nothing, and the next one goes on where it ended."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT = 1
PENDING, RUNNING, DONE, FAILED, PARTIAL, SKIPPED = "pending", "running", "done", "failed", "partial", "skipped"


class Report:
    """Steps by name: each has a state, rows by key, seconds spent, and a fault or reason. Every change is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data: dict[str, Any] = {"format": FORMAT, "commands": [], "steps": {}}
        if path.exists():
            self.reload()

    def reload(self) -> None:
        """Take what another process has written. ValueError when the file is no report."""
        data = json.loads(self.path.read_text())
        if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("steps"), dict):
            raise ValueError(f"{self.path} is no report of this script; name another file with --json")
        self.data = data

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(_finite(self.data), indent=1, allow_nan=False) + "\n")
        temporary.replace(self.path)

    def step(self, name: str) -> dict[str, Any]:
        return self.data["steps"].setdefault(name, {"state": PENDING, "seconds": 0.0, "rows": {}})

    def update(self, name: str, **changes: Any) -> None:
        self.step(name).update(changes)
        self.write()

    def state(self, name: str) -> str:
        return self.data["steps"].get(name, {}).get("state", PENDING)


class OutOfTimeError(RuntimeError):
    """A step ends before its rows are complete; the next command goes on with it."""


class Part:
    """What a step writes of its own: rows by key, each at once."""

    def __init__(self, report: Report, name: str) -> None:
        self._report, self._name = report, name

    @property
    def rows(self) -> Mapping[str, Any]:
        return self._report.step(self._name)["rows"]

    def has(self, key: str) -> bool:
        """Whether the row was measured, in this command or in one before. One that failed is tried again."""
        row = self.rows.get(key)
        return row is not None and not (isinstance(row, dict) and "fault" in row)

    def put(self, key: str, value: Any) -> None:
        self._report.step(self._name)["rows"][key] = value
        self._report.write()


def first_line(error: Exception) -> str:
    """Enough of an error to know it by."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300]


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: both become None."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
