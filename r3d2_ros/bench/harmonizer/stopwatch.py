"""Times passes: with events on a CUDA device, with a clock on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol as Interface

import torch

from r3d2_ros.bench.harmonizer.protocol import Protocol, Run

Forward = Callable[[int], object]
"""Pass number -> its output, which is dropped."""

Clock = Callable[[], float]


class Stopwatch(Interface):
    """Runs passes and measures them."""

    def warm_up(self, forward: Forward, protocol: Protocol) -> int:
        """Run as many passes as the protocol wants before timing; returns how many it were."""
        ...

    def time(self, forward: Forward, passes: int) -> Run:
        """The times of `passes` passes."""
        ...


def stopwatch_for(device: torch.device) -> Stopwatch:
    return CudaStopwatch(device) if device.type == "cuda" else WallStopwatch()


class WallStopwatch:
    """For work that is done when the call returns."""

    def __init__(self, clock: Clock = time.perf_counter, cpu_clock: Clock = time.process_time) -> None:
        self._clock, self._cpu_clock = clock, cpu_clock

    def warm_up(self, forward: Forward, protocol: Protocol) -> int:
        return _warm_up(forward, protocol, clock=self._clock, finish=lambda: None)

    def time(self, forward: Forward, passes: int) -> Run:
        times_ms = []
        begin, cpu_begin = self._clock(), self._cpu_clock()
        for k in range(passes):
            start = self._clock()
            forward(k)
            times_ms.append((self._clock() - start) * 1e3)
        return Run(tuple(times_ms), self._clock() - begin, self._cpu_clock() - cpu_begin)


class CudaStopwatch:
    """For work that is queued on the current stream of `device`.

    A pair of events stands around each pass, and the host waits once, after the last one: the device is never idle
    for want of the host, except where a pass itself has it wait.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def warm_up(self, forward: Forward, protocol: Protocol) -> int:
        return _warm_up(
            forward, protocol, clock=time.perf_counter, finish=lambda: torch.cuda.synchronize(self._device)
        )

    def time(self, forward: Forward, passes: int) -> Run:
        with torch.cuda.device(self._device):
            stream = torch.cuda.current_stream()
            events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(passes)]
            torch.cuda.synchronize()
            begin, cpu_begin = time.perf_counter(), time.process_time()
            for k, (before, after) in enumerate(events):
                before.record(stream)
                forward(k)
                after.record(stream)
            torch.cuda.synchronize()
            wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu_begin
            return Run(tuple(before.elapsed_time(after) for before, after in events), wall_s, cpu_s)


def _warm_up(forward: Forward, protocol: Protocol, *, clock: Clock, finish: Callable[[], None]) -> int:
    begin, passes = clock(), 0
    while passes < protocol.warm_up_passes or clock() - begin < protocol.warm_up_s:
        forward(passes)
        finish()
        passes += 1
    return passes
