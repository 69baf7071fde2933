"""Where the steps run: a GPU, or a CPU that rehearses them with small networks, images and counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from r3d2_ros.bench.harmonizer.protocol import Protocol
from r3d2_ros.bench.harmonizer.stopwatch import Stopwatch, stopwatch_for


@dataclass(frozen=True)
class Setting:
    """What a step may use.

    deadline_s   of time.monotonic(): a step ends by itself before it
    checkpoint   trained weights, None where there are none
    """

    device: torch.device
    rehearsal: bool
    deadline_s: float
    checkpoint: Path | None = None

    @property
    def seconds_left(self) -> float:
        return self.deadline_s - time.monotonic()

    @property
    def stopwatch(self) -> Stopwatch:
        return stopwatch_for(self.device)

    def scaled(self, on_gpu: int, in_rehearsal: int) -> int:
        return in_rehearsal if self.rehearsal else on_gpu

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Of images; in a rehearsal a small one of about the same shape."""
        return (max(16, height // 270 * 16), max(16, width // 240 * 16)) if self.rehearsal else (height, width)

    def variant(self, name: str) -> str:
        return "nano" if self.rehearsal else name

    def dtype(self, name: str) -> str:
        """float16, and float8 which rests on it, take minutes on a CPU, where bfloat16 stands for them."""
        return "bfloat16" if self.rehearsal and name in ("float16", "float8") else name

    def protocol(self, protocol: Protocol) -> Protocol:
        """In a rehearsal a handful of passes, labelled so."""
        if not self.rehearsal:
            return protocol
        return replace(protocol, label="rehearsal", warm_up_passes=1, warm_up_s=0.0, passes=4, window=2)

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def median_ms(self, work: Callable[[], object], *, warm_up: int = 3, passes: int = 10) -> float:
        """Of one call, with CUDA events on a GPU."""
        counts = Protocol("kernel", self.scaled(warm_up, 1), 0.0, self.scaled(passes, 2), 0, 0.0)
        self.stopwatch.warm_up(lambda k: work(), counts)
        times = sorted(self.stopwatch.time(lambda k: work(), counts.passes).times_ms)
        return times[len(times) // 2]
