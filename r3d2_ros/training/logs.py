"""What a training says while it runs: progress, log.jsonl, and TensorBoard where it is wanted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.formats.files import atomic_output, make_folder, write_problem
from r3d2_ros.progress import Progress
from r3d2_ros.training.config import SaveConfig

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG_FILE, PICTURES, TENSORBOARD = "log.jsonl", "pictures", "tensorboard"


class Logs:
    """Of one stage, from `begin` to `steps`; lines of steps that are trained again are taken out of log.jsonl."""

    def __init__(self, out: Path, config: SaveConfig, *, stage: str, begin: int, steps: int) -> None:
        self._out, self._config, self._stage = out, config, stage
        make_folder(out / PICTURES)
        self._file = out / LOG_FILE
        _forget(self._file, stage, begin)
        self._tensorboard = _tensorboard(out / TENSORBOARD / stage, begin) if config.tensorboard else None
        self._progress = Progress(steps, done=begin, unit=f"steps of the {stage}")
        self._progress.__enter__()
        self._sums: dict[str, Tensor] = {}
        self._count, self._since, self._start = 0, time.monotonic(), begin

    def step(self, done: int, values: dict[str, Tensor]) -> None:
        """The terms of a step. Means since the last line are written every `log_every` steps."""
        self._progress.at(done)
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=value.device)) + value.detach().float()
        self._count += 1
        if done % self._config.log_every == 0:
            means = {name: float(value) / self._count for name, value in self._sums.items()}
            seconds = (time.monotonic() - self._since) / self._count
            self._write(done, {**means, "seconds_per_step": seconds})
            self._sums, self._count, self._since = {}, 0, time.monotonic()

    def look(self, done: int, values: dict[str, float], picture: NDArray[np.uint8]) -> None:
        """What a look at the val split gave: numbers, and a picture [H, W, 3] RGB."""
        self._write(done, {f"val/{name}": value for name, value in values.items()})
        ok, data = cv2.imencode(".png", picture[..., ::-1])
        assert ok
        with atomic_output(self._out / PICTURES / f"{self._stage}_{done:08d}.png") as file:
            file.write(data.tobytes())
        if self._tensorboard:
            self._tensorboard.add_image("input, output, target", picture, done, dataformats="HWC")

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is done in it, a look or a checkpoint, does not count as time of the steps around it."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self._since += time.monotonic() - begin

    def close(self) -> None:
        self._progress.__exit__()
        if self._tensorboard:
            self._tensorboard.close()

    def _write(self, done: int, values: dict[str, float]) -> None:
        line = {"stage": self._stage, "step": done, **{name: round(value, 8) for name, value in values.items()}}
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise InputError(str(self._file), "a file that can be written", write_problem(self._file, error)) from error
        if self._tensorboard:
            for name, value in values.items():
                self._tensorboard.add_scalar(name, value, done)


def _forget(file: Path, stage: str, begin: int) -> None:
    """Drop the lines of `stage` behind `begin`, and a last line that a killed run left unfinished."""
    if not file.is_file():
        return
    kept = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        entry = _entry(line)
        if entry and (entry.get("stage") != stage or entry.get("step", 0) <= begin):
            kept.append(line)
    with atomic_output(file) as out:
        out.write("".join(f"{line}\n" for line in kept).encode())


def _entry(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _tensorboard(folder: Path, begin: int) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        hint = "pip install 'r3d2_ros[training]', or set save.tensorboard to false"
        raise MissingPackageError("tensorboard", "save.tensorboard", hint) from None
    return SummaryWriter(str(folder), purge_step=begin + 1 if begin else None)
