"""One rung, prepared beside others and timed alone: `python -m tests.gpu.alone FOLDER`, see tests/gpu/wave.py."""

from __future__ import annotations

import gc
import pickle
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from r3d2_ros.bench.harmonizer.accuracy import Reference
from r3d2_ros.bench.harmonizer.network import Bench, Candidate, Row, Work
from r3d2_ros.bench.harmonizer.telemetry import Telemetry
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.runtime.cuda_graphs import CudaGraphs
from r3d2_ros.harmonizer.runtime.runtime import Runtime, make_runtime
from tests.gpu.references import Yardsticks, wait_for_attention, wait_for_references
from tests.gpu.rung import TASK, Task
from tests.gpu.wave import leave_row, wait_to_be_timed


def main() -> None:
    folder = Path(sys.argv[1])
    task: Task = pickle.loads((folder / TASK).read_bytes())
    try:
        row = measured(task, wait=lambda: wait_to_be_timed(folder))
    except Exception as error:  # Triton's are no RuntimeErrors
        traceback.print_exc()
        fault = f"{type(error).__name__}: {error}"[:1000]
        row = {"name": task.rung.name, "dtype": task.rung.dtype, "fault": fault}
    leave_row(folder, row)


def measured(task: Task, *, wait: Callable[[], None]) -> Row:
    """The row of a rung. `wait` is called when all is done that others may disturb."""
    rung, config = task.rung, task.config
    model = task.model()
    wait_for_attention(task.references)
    start = time.perf_counter()
    runtime = make_runtime(model, config)
    runtime.warm_up([(rung.batch, *task.size)])
    prepare_s = time.perf_counter() - start
    work = Work(task.size, batch=rung.batch, protocol=task.protocol, runs=1, profile=task.profile)
    reference, yardsticks = wait_for_references(task.references, task.size)
    bench = LoneBench(model, work, runtime, wait=wait, reference=reference, yardsticks=yardsticks)
    return {**bench.measure(Candidate(rung.name, config)), "prepare_s": prepare_s}


class LoneBench(Bench):
    """Measures `runtime`, and waits between comparing and timing it."""

    def __init__(
        self,
        model: R3D2,
        work: Work,
        runtime: Runtime,
        *,
        wait: Callable[[], None],
        reference: Reference,
        yardsticks: Yardsticks,
    ) -> None:
        super().__init__(
            model, work, runtime.device, say=_say, make=lambda model, config: runtime, reference=reference,
            yardsticks=yardsticks,
        )  # fmt: skip
        self._runtime, self._wait = runtime, wait

    def _timed_runs(self, name: str, forward: Callable[[int], object]) -> tuple[list[Row], int, Telemetry]:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()  # others need it meanwhile
        self._wait()

        def timed() -> Any:
            choose_anew(self._runtime)
            self._runtime.warm_up([(self._work.batch, *self._work.size)])
            return super(LoneBench, self)._timed_runs(name, forward)

        with ThreadPoolExecutor(1) as thread:  # cuDNN remembers what it chose per thread
            return thread.submit(timed).result()


def choose_anew(runtime: Runtime) -> None:
    """Let `runtime` forget what it chose by measurement while others used the GPU, and recordings of it."""
    runtime._programs.clear()
    if runtime.device.type == "cuda":
        from r3d2_ros.harmonizer.triton_tiles import TiledKernel

        if runtime._graphs is not None:
            runtime._graphs = CudaGraphs()
        for entry in gc.get_objects():
            if type(entry) is TiledKernel:
                entry._fastest.cache_clear()
        gc.collect()
        torch.cuda.empty_cache()


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
