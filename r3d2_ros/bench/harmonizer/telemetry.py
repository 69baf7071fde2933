"""Clock, power and temperature of the GPU while something runs, as nvidia-smi reports them. It only reads."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

PERIOD_MS = 200
FIELDS = {"sm_clock_mhz": "clocks.sm", "power_w": "power.draw", "temperature_c": "temperature.gpu"}
QUERY = ",".join(FIELDS.values())
STOP_S = 5.0

class Telemetry:
    """A block during which `gpu` (an index or UUID that nvidia-smi takes) is asked five times a second.

    `facts` afterwards: per field the lowest, middle and highest value, and how many samples there were; None with
    `reason` where nothing could be read.
    """

    def __init__(self, gpu: str | None) -> None:
        self._gpu = gpu
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: list[str] = []
        self.facts: dict[str, Any] | None = None
        self.reason = ""

    def __enter__(self) -> Telemetry:
        if self._gpu is None:
            self.reason = "the network ran on a CPU"
        elif shutil.which("nvidia-smi") is None:
            self.reason = "nvidia-smi is not installed"
        else:
            command = ["nvidia-smi", "-i", self._gpu, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
            self._open([*command, f"--loop-ms={PERIOD_MS}"])
        return self

    def _open(self, command: Sequence[str]) -> None:
        # At the other end of a terminal a program writes line by line; into a pipe it may keep lines to itself until it
        # is ended, and they are lost.
        ours, theirs = os.openpty()
        try:
            self._process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL)
        except OSError as error:
            self.reason = f"nvidia-smi does not start: {error.strerror}"
            os.close(ours)
            return
        finally:
            os.close(theirs)
        self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self._reader.start()

    def __exit__(self, *error: object) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_S)
        self._reader.join(STOP_S)
        self.facts = digest(self._lines)
        if self.facts is None:
            self.reason = "nvidia-smi gave no sample: " + (self._lines[-1].strip() if self._lines else "no output")

    def _read(self, terminal: int) -> None:
        # A terminal whose other end is closed fails to be read: that is its end.
        with open(terminal, errors="replace") as lines, contextlib.suppress(OSError):
            for line in lines:
                self._lines.append(line)


def digest(lines: Sequence[str]) -> dict[str, Any] | None:
    """What the lines `1980, 512.3, 54` say; a field that the GPU does not report is None. None without samples."""
    rows = [[_number(cell) for cell in line.split(",")] for line in lines if line.count(",") == len(FIELDS) - 1]
    samples = [row for row in rows if any(value is not None for value in row)]
    if not samples:
        return None
    facts: dict[str, Any] = {"samples": len(samples), "period_ms": PERIOD_MS}
    for k, name in enumerate(FIELDS):
        values = [value for row in samples if (value := row[k]) is not None]
        facts[name] = (
            {"min": min(values), "median": float(np.median(values)), "max": max(values)} if values else None
        )
    return facts


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
