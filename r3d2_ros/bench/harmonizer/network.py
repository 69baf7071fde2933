"""The network alone: how fast a runtime is, and how far from float32. One row per path."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from r3d2_ros.bench.harmonizer.accuracy import (
    SIXTEEN_BIT,
    Error,
    Reference,
    checked_outputs,
    error_of,
    judged,
    make_reference,
    plain_path,
)
from r3d2_ros.bench.harmonizer.faults import BrokenPathError
from r3d2_ros.bench.harmonizer.kernels import top_kernels
from r3d2_ros.bench.harmonizer.pictures import comparison_pictures, rotating_inputs
from r3d2_ros.bench.harmonizer.protocol import Protocol, Run, middle_run, summary
from r3d2_ros.bench.harmonizer.stopwatch import Stopwatch, stopwatch_for
from r3d2_ros.bench.harmonizer.telemetry import Telemetry
from r3d2_ros.bench.machine import gpu_id
from r3d2_ros.harmonizer.base import ImageModel
from r3d2_ros.harmonizer.model.flops import measure_size
from r3d2_ros.harmonizer.model.r3d2 import DTYPES, R3D2, dtype_name
from r3d2_ros.harmonizer.settings import Float8Config, HarmonizerConfig, RewritesConfig

Row = dict[str, Any]
Say = Callable[[str], None]
MIDDLE = ("fps_mean", "fps_std", "fps_wall", "ms_mean", "ms_p50", "ms_p99", "cpu_ms_mean")
"""What a row has of its middle run."""


@dataclass(frozen=True)
class Work:
    """What every path does.

    size   rows and columns of the images, `batch` of them in a pass
    runs   complete runs, each with its warm-up
    """

    size: tuple[int, int]
    batch: int
    protocol: Protocol
    runs: int
    profile: bool = False


@dataclass(frozen=True)
class Candidate:
    """A path by name. `config`: device, dtype, runtime and rewrites; its checkpoint is not read."""

    name: str
    config: HarmonizerConfig


class Bench:
    """Measures candidates with one model on one device.

    The float32 reference, and the error of the plain module in 16 bit, are made once and only when they are needed;
    those that are given are not made at all.
    """

    def __init__(
        self,
        model: R3D2,
        work: Work,
        device: torch.device,
        *,
        say: Say = lambda text: None,
        stopwatch: Stopwatch | None = None,
        make: Callable[[R3D2, HarmonizerConfig], Any] | None = None,
        reference: Reference | None = None,
        yardsticks: Mapping[str, Error | None] | None = None,
    ) -> None:
        """`reference` and `yardsticks`, by dtype: what the methods of these names gave for this model and size."""
        self._model, self._work, self._device, self._say = model, work, device, say
        self._stopwatch = stopwatch or stopwatch_for(device)
        self._make = make or _make_runtime
        self._reference = reference
        self._yardsticks = dict(yardsticks or {})
        self._flop = measure_size(model.config, height_px=work.size[0], width_px=work.size[1]).total_flop * work.batch

    def measure(self, candidate: Candidate) -> Row:
        """Make the path, compare it, time it. BrokenPathError when its output cannot be used."""
        work, config = self._work, candidate.config
        reference, dtype = self.reference(), self._dtype(config)
        yardstick = self.yardstick(dtype) if dtype in SIXTEEN_BIT else None
        self._say(f"{candidate.name}: preparing")
        start = time.perf_counter()
        runtime = self._make(self._model, config)
        runtime.warm_up([(work.batch, *work.size)])
        prepare_s = time.perf_counter() - start
        self._say(f"{candidate.name}: comparing (prepared in {prepare_s:.1f} s)")
        error = error_of(checked_outputs(runtime, reference.pictures, self._device, batch=work.batch), reference)
        forward = self._forward(runtime)
        runs, warm_up_passes, telemetry = self._timed_runs(candidate.name, forward)
        middle = middle_run(runs)
        return {
            "name": candidate.name,
            "kind": config.runtime.kind,
            "dtype": dtype,
            "runtime": asdict(config.runtime),
            **_applied(config, self._device),
            "size": {"height": work.size[0], "width": work.size[1]},
            "batch": work.batch,
            "protocol": asdict(work.protocol),
            "warm_up_passes": warm_up_passes,
            **{key: middle[key] for key in MIDDLE},
            "accepted": all(run["accepted"] for run in runs),
            "runs": runs,
            "prepare_s": prepare_s,
            "flop_per_pass": self._flop,
            "tflop_per_s": self._flop / middle["ms_mean"] / 1e9,
            "memory": _memory(self._device),
            "telemetry": telemetry.facts,
            "telemetry_reason": telemetry.reason,
            "accuracy": {
                "against": "the plain module in float32, TF32 off",
                "pictures": list(reference.pictures),
                "saturated": reference.saturated,
                **judged(error, dtype=dtype, yardstick=yardstick),
            },
            "kernels": top_kernels(forward, self._device) if work.profile else None,
        }

    def reference(self) -> Reference:
        """The plain module's outputs in float32."""
        if self._reference is None:
            self._say("the plain module in float32, for comparison")
            pictures = comparison_pictures(self._work.size)
            self._reference = make_reference(self._model, pictures, self._device)
            _release(self._device)
        return self._reference

    def yardstick(self, dtype: str) -> Error | None:
        """The error of the plain module in a 16-bit dtype; None where it overflows."""
        if dtype not in self._yardsticks:
            self._say(f"the plain module in {dtype}, for comparison")
            reference = self.reference()
            plain = plain_path(self._model, DTYPES[dtype], self._device)  # type: ignore[index]
            try:
                outputs = checked_outputs(plain, reference.pictures, self._device)
                self._yardsticks[dtype] = error_of(outputs, reference)
            except BrokenPathError as error:
                self._say(f"no yardstick: {error}")
                self._yardsticks[dtype] = None
            del plain
            _release(self._device)
        return self._yardsticks[dtype]

    def _timed_runs(self, name: str, forward: Callable[[int], object]) -> tuple[list[Row], int, Telemetry]:
        work, warm_up_passes, runs = self._work, 0, []
        _reset_memory(self._device)
        gpu = gpu_id(self._device) if self._device.type == "cuda" else None
        with Telemetry(gpu) as telemetry:
            for k in range(work.runs):
                self._say(f"{name}: run {k + 1} of {work.runs}, {work.protocol.label}")
                start = time.perf_counter()
                warm_up_passes = self._stopwatch.warm_up(forward, work.protocol)
                seconds = (time.perf_counter() - start) / max(warm_up_passes, 1) * work.protocol.passes
                self._say(f"{name}: {work.protocol.passes} timed passes, about {seconds:.0f} s")
                run: Run = self._stopwatch.time(forward, work.protocol.passes)
                runs.append(summary(run, work.protocol, batch=work.batch))
                self._say(f"{name}: {runs[-1]['fps_mean']:.3f} images/s")
        return runs, warm_up_passes, telemetry

    def _forward(self, runtime: ImageModel) -> Callable[[int], object]:
        inputs = rotating_inputs(self._work.size, batch=self._work.batch, device=self._device)

        def forward(k: int) -> Tensor:
            with torch.inference_mode():
                return runtime(inputs[k % len(inputs)])

        return forward

    def _dtype(self, config: HarmonizerConfig) -> str:
        return dtype_name(self._model.dtype) if config.dtype == "checkpoint" else config.dtype


def _applied(config: HarmonizerConfig, device: torch.device) -> dict[str, list[str]]:
    """8-bit parts and rewrites that are applied, which may be fewer than `config` allows."""
    from r3d2_ros.harmonizer.float8 import applied_float8
    from r3d2_ros.harmonizer.runtime.runtime import applied_rewrites

    float8 = switched_on(applied_float8(config.float8, device)) if config.dtype == "float8" else []
    return {"float8": float8, "rewrites": switched_on(applied_rewrites(config, device))}


def switched_on(switches: Float8Config | RewritesConfig) -> list[str]:
    return [entry.name for entry in fields(switches) if getattr(switches, entry.name)]


def _make_runtime(model: R3D2, config: HarmonizerConfig) -> Any:
    from r3d2_ros.harmonizer.runtime.runtime import make_runtime

    return make_runtime(model, config)


def _reset_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _release(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _memory(device: torch.device) -> Mapping[str, Any]:
    """Peaks in MiB: of PyTorch's allocator on a GPU, of the whole process so far on a CPU."""
    if device.type == "cuda":
        return {
            "of": "PyTorch's allocator",
            "allocated_mib": torch.cuda.max_memory_allocated(device) / 2**20,
            "reserved_mib": torch.cuda.max_memory_reserved(device) / 2**20,
        }
    return {
        "of": "the process so far, weights and references included",
        "resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
