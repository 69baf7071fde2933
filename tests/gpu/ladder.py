"""The network alone, from PyTorch as it is to everything that is built, one row per rung; the steps of
docs/performance.md."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from r3d2_ros.bench.harmonizer.network import Bench, Candidate, Work
from r3d2_ros.bench.harmonizer.protocol import PAPER, PAPER_SIZE, QUICK, Protocol
from r3d2_ros.bench.harmonizer.report import NO_REWRITES, chosen_switches
from r3d2_ros.bench.harmonizer.weights import model_to_measure
from r3d2_ros.harmonizer.settings import Float8Config, HarmonizerConfig, RewritesConfig, RuntimeConfig
from tests.gpu.report import OutOfTimeError, Part
from tests.gpu.setting import Setting

CONSTANTS = "constant_prompt,constant_timestep,chunked_attention"
STEP_4 = "fuse_relu,fold_upsample,merge_skips"
BEST = "5 compiled, all rewrites, CUDA graph"
ALL, NONE = RewritesConfig(), NO_REWRITES
EAGER = RuntimeConfig(kind="eager", cuda_graph=False)
COMPILED = RuntimeConfig(kind="torch-compile")


def rewrites_of(names: str) -> RewritesConfig:
    return chosen_switches(RewritesConfig, names, "rung")


@dataclass(frozen=True)
class Rung:
    """One row: `size` None is the paper's."""

    name: str
    runtime: RuntimeConfig
    rewrites: RewritesConfig
    dtype: str = "float16"
    float8: Float8Config = field(default_factory=Float8Config)
    batch: int = 1
    size: tuple[int, int] | None = None


RUNGS = (
    Rung("0 eager, flash attention", replace(EAGER, attention="flash"), NONE),
    Rung("1 eager, constants folded", EAGER, rewrites_of(CONSTANTS)),
    Rung("5 eager, all rewrites, CUDA graph", RuntimeConfig(kind="eager"), ALL),
    Rung(BEST, COMPILED, ALL),
    Rung("4 compiled, upsampling folded, skips merged", COMPILED, rewrites_of(f"{CONSTANTS},{STEP_4}")),
    Rung("7 compiled, float8", COMPILED, ALL, dtype="float8"),
    Rung("5 compiled, all but fuse_norm, CUDA graph", COMPILED, replace(ALL, fuse_norm=False)),
    Rung("5 compiled, all but fuse_attention, CUDA graph", COMPILED, replace(ALL, fuse_attention=False)),
    Rung("5 compiled, all but fuse_geglu, CUDA graph", COMPILED, replace(ALL, fuse_geglu=False)),
    Rung("5 compiled, all but join_projections, CUDA graph", COMPILED, replace(ALL, join_projections=False)),
    Rung("5 compiled, all but fuse_picture, CUDA graph", COMPILED, replace(ALL, fuse_picture=False)),
    Rung("5 compiled, all but merge_residuals, CUDA graph", COMPILED, replace(ALL, merge_residuals=False)),
    Rung("2 compiled, constants folded, CUDA graph", COMPILED, rewrites_of(CONSTANTS)),
    Rung("3 compiled, constants and ReLUs", COMPILED, rewrites_of(f"{CONSTANTS},fuse_relu")),
    Rung("7 compiled, float8 products", COMPILED, ALL, dtype="float8", float8=Float8Config(convolutions=False)),
    Rung("compiled, bfloat16", COMPILED, ALL, dtype="bfloat16"),
    Rung("compiled, deterministic", replace(COMPILED, deterministic=True), ALL),
    Rung("compiled, no CUDA graph", replace(COMPILED, cuda_graph=False), ALL),
    Rung("compiled, batch 2", COMPILED, ALL, batch=2),
    Rung("compiled, batch 3", COMPILED, ALL, batch=3),
    Rung("compiled, batch 6", COMPILED, ALL, batch=6),
    Rung("compiled, float8, batch 3", COMPILED, ALL, dtype="float8", batch=3),
    Rung("compiled, 720x1280", COMPILED, ALL, size=(720, 1280)),
    Rung("compiled, crop 512x768", COMPILED, ALL, size=(512, 768)),
)
"""In order of what one wants to know first, for when the time ends."""

PAPER_RUNGS = (
    Rung("compiled, all rewrites, CUDA graph", COMPILED, ALL),
    Rung("compiled, float8", COMPILED, ALL, dtype="float8"),
)
QUICK_GUESS_S = {"eager": 45.0, "torch-compile": 120.0}
PAPER_GUESS_S = {"r3d2": 130.0, "r3d2-big": 300.0}
"""How long a rung takes, to prepare and to run, before one of its kind has been timed."""


def measure_ladder(setting: Setting, part: Part, *, variant: str) -> None:
    """Every rung in protocol quick, with the kernels of the best 16-bit one."""
    _measure(setting, part, variant, RUNGS, protocol=QUICK, guess_s=dict(QUICK_GUESS_S))


def measure_paper(setting: Setting, part: Part, *, variant: str) -> None:
    """The best rungs in the paper's protocol, run by run as long as there is time; three runs are wanted."""
    guess_s = {"torch-compile": PAPER_GUESS_S[variant]}
    rungs = [replace(rung, name=f"{rung.name}, run {run + 1}") for run in range(3) for rung in PAPER_RUNGS]
    _measure(setting, part, variant, rungs, protocol=PAPER, guess_s=guess_s)


def _measure(
    setting: Setting, part: Part, variant: str, rungs: Sequence[Rung], *, protocol: Protocol, guess_s: dict[str, float]
) -> None:
    """`guess_s`: seconds by kind of runtime; what is measured takes the guesses' place."""
    # What failed before is tried again, but after everything else.
    missing = sorted((rung for rung in rungs if not part.has(rung.name)), key=lambda rung: rung.name in part.rows)
    if not missing:
        return
    model = model_to_measure(setting.checkpoint, setting.variant(variant), seed=0)
    benches: dict[tuple[int, int], Bench] = {}
    taken_s: dict[str, float] = {}
    for rung in missing:
        kind = rung.runtime.kind
        if not setting.rehearsal and setting.seconds_left < taken_s.get(kind, guess_s[kind]):
            raise OutOfTimeError(f"no time for '{rung.name}': {setting.seconds_left:.0f} s left")
        start = time.monotonic()
        size = setting.size(*(rung.size or PAPER_SIZE))
        work = Work(
            size, batch=rung.batch, protocol=setting.protocol(protocol), runs=1, profile=rung.name == BEST
        )
        bench = benches.get(size)
        bench = Bench(model, work, setting.device, say=_say) if bench is None else bench.for_work(work)
        benches.setdefault(size, bench)
        part.put(rung.name, _row(bench, rung, setting))
        _forget(setting)
        taken_s[kind] = max(taken_s.get(kind, 0.0), time.monotonic() - start)


def _row(bench: Bench, rung: Rung, setting: Setting) -> dict[str, Any]:
    try:
        return bench.measure(Candidate(rung.name, rung_config(rung, setting)))
    except Exception as error:  # Triton's are no RuntimeErrors
        # A rung that this machine does not have must not cost the ones after it.
        print(f"{rung.name}: {error}", flush=True)
        return {"name": rung.name, "dtype": rung.dtype, "fault": f"{type(error).__name__}: {error}"[:1000]}


def rung_config(rung: Rung, setting: Setting) -> HarmonizerConfig:
    """On a CPU without what only a GPU has."""
    runtime = replace(rung.runtime, max_batch=max(rung.batch, 1))
    if setting.rehearsal:
        # A CPU compiles for minutes.
        runtime = replace(runtime, kind="eager", attention="auto", cuda_graph=False)
    return HarmonizerConfig(
        device=str(setting.device),
        dtype=setting.dtype(rung.dtype),  # type: ignore[arg-type]
        float8=rung.float8,
        runtime=runtime,
        rewrites=rung.rewrites,
    )


def _forget(setting: Setting) -> None:
    gc.collect()
    if setting.device.type == "cuda":
        torch.compiler.reset()
        torch.cuda.empty_cache()


def _say(text: str) -> None:
    print(text, flush=True)
