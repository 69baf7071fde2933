"""The network alone, from PyTorch as it is to everything that is built, one row per rung; the steps of
docs/performance.md.

Each rung is a process. As many as the cores suffice for are prepared side by side, which takes minutes, and then timed
one by one, which takes seconds: tests/gpu/wave.py.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from r3d2_ros.bench.harmonizer.protocol import PAPER, QUICK, Protocol
from r3d2_ros.bench.harmonizer.report import NO_REWRITES, chosen_switches
from r3d2_ros.harmonizer.settings import Float8Config, RewritesConfig, RuntimeConfig
from tests.gpu.report import OutOfTimeError, Part
from tests.gpu.rung import TASK, Rung, Task
from tests.gpu.setting import Setting
from tests.gpu.wave import Child, Row, python, run_wave

CONSTANTS = "constant_prompt,constant_timestep,chunked_attention"
STEP_4 = "fuse_relu,fold_upsample,merge_skips"
BEST = "5 compiled, all rewrites"
ALL, NONE = RewritesConfig(), NO_REWRITES
EAGER = RuntimeConfig(kind="eager", cuda_graph=False)
COMPILED = RuntimeConfig(kind="torch-compile")


def rewrites_of(names: str) -> RewritesConfig:
    return chosen_switches(RewritesConfig, names, "rung")


RUNGS = (
    Rung("0 eager, flash attention", replace(EAGER, attention="flash"), NONE),
    Rung("1 eager, constants folded", EAGER, rewrites_of(CONSTANTS)),
    Rung("5 eager, all rewrites, CUDA graph", RuntimeConfig(kind="eager"), ALL),
    Rung(BEST, COMPILED, ALL),
    Rung("5 compiled, cuDNN's attention", replace(COMPILED, attention="cudnn"), ALL),
    Rung("4 compiled, upsampling folded, skips merged", COMPILED, rewrites_of(f"{CONSTANTS},{STEP_4}")),
    Rung("7 compiled, float8", COMPILED, ALL, dtype="float8"),
    Rung(
        "7 compiled, float8 with attention", COMPILED, ALL, dtype="float8", float8=Float8Config(attention=True),
        of=("r3d2-big",),
    ),
    Rung("5 compiled, all but fuse_norm", COMPILED, replace(ALL, fuse_norm=False)),
    Rung("5 compiled, all but fuse_attention", COMPILED, replace(ALL, fuse_attention=False)),
    Rung("5 compiled, all but fuse_geglu", COMPILED, replace(ALL, fuse_geglu=False)),
    Rung("5 compiled, all but join_projections", COMPILED, replace(ALL, join_projections=False)),
    Rung("5 compiled, all but fuse_picture", COMPILED, replace(ALL, fuse_picture=False)),
    Rung("5 compiled, all but merge_residuals", COMPILED, replace(ALL, merge_residuals=False)),
    Rung("2 compiled, constants folded", COMPILED, rewrites_of(CONSTANTS)),
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

REHEARSED = (RUNGS[0].name, BEST, "compiled, batch 3", "compiled, crop 512x768")
"""A process takes seconds to start, and most rungs differ in what a CPU does not have."""

PAPER_RUNGS = (
    Rung(BEST, COMPILED, ALL),
    Rung("7 compiled, float8", COMPILED, ALL, dtype="float8"),
)
MOST, CORES_EACH = 8, 3
"""Rungs in a wave, and cores that one needs to be prepared."""


@dataclass(frozen=True)
class Pace:
    """Expected seconds: until a wave is prepared when nothing is compiled yet, and to time one rung of it."""

    prepare_s: float
    timing_s: float


QUICK_PACE = {"r3d2": Pace(120.0, 30.0), "r3d2-big": Pace(150.0, 50.0)}
PAPER_PACE = {"r3d2": Pace(120.0, 85.0), "r3d2-big": Pace(150.0, 200.0)}
REHEARSAL_PACE = Pace(0.0, 1.0)


def measure_ladder(setting: Setting, part: Part, *, variant: str) -> None:
    """Every rung in protocol quick, with the kernels of the best 16-bit one."""
    rungs = [rung for rung in RUNGS if variant in rung.of and (rung.name in REHEARSED or not setting.rehearsal)]
    _measure(setting, part, variant, rungs, protocol=QUICK, pace=QUICK_PACE[variant], most=MOST)


def measure_paper(setting: Setting, part: Part, *, variant: str) -> None:
    """The best rungs in the paper's protocol, run by run as long as there is time; three runs are wanted.

    A wave has one run of each: later ones find compiled what the first one did.
    """
    runs = setting.scaled(3, 1)
    rungs = [replace(rung, name=f"{rung.name}, run {run + 1}") for run in range(runs) for rung in PAPER_RUNGS]
    _measure(setting, part, variant, rungs, protocol=PAPER, pace=PAPER_PACE[variant], most=len(PAPER_RUNGS))


def _measure(
    setting: Setting, part: Part, variant: str, rungs: Sequence[Rung], *, protocol: Protocol, pace: Pace, most: int
) -> None:
    """`most`: rungs in a wave, however many cores there are."""
    # What failed before is tried again, but after everything else.
    missing = sorted((rung for rung in rungs if not part.has(rung.name)), key=lambda rung: rung.name in part.rows)
    if not missing:
        return
    pace = REHEARSAL_PACE if setting.rehearsal else pace
    width = 1 if setting.rehearsal else max(1, min(most, (os.cpu_count() or 1) // CORES_EACH))
    protocol = setting.protocol(protocol)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shared = folder / "references"
        tasks = [Task(rung, setting, variant, protocol, rung.name == BEST, shared) for rung in missing]
        helper = _start("references", "tests.gpu.references", tasks, shared, width)
        try:
            while tasks:
                count = rungs_in_time(setting.seconds_left, pace, most=width)
                wave, tasks = tasks[:count], tasks[count:]
                left = _wave(wave, part, folder, helper, pace, width) if wave else tasks
                if left:
                    raise OutOfTimeError(f"no time for '{left[0].rung.name}': {setting.seconds_left:.0f} s left")
        finally:
            helper.kill()


def rungs_in_time(seconds: float, pace: Pace, *, most: int) -> int:
    """How many rungs a wave can have that is to end so soon."""
    return max(0, min(most, int((seconds - pace.prepare_s) / pace.timing_s)))


def _wave(tasks: Sequence[Task], part: Part, folder: Path, helper: Child, pace: Pace, width: int) -> list[Task]:
    """Those that there was no time for."""
    left = {task.rung.name: task for task in tasks}

    def put(name: str, row: Row) -> None:
        del left[name]
        part.put(name, row)
        print(f"{name}: {row.get('fault') or format(row['fps_mean'], '.3f') + ' images/s'}", flush=True)

    print(f"side by side: {'; '.join(left)}", flush=True)
    run_wave(
        [_start(task.rung.name, "tests.gpu.alone", task, Path(tempfile.mkdtemp(dir=folder)), width) for task in tasks],
        put, helper=helper, patience_s=pace.prepare_s, timing_s=pace.timing_s, deadline_s=tasks[0].setting.deadline_s,
    )  # fmt: skip
    return list(left.values())


def _start(name: str, module: str, task: object, folder: Path, width: int) -> Child:
    """A process that shares the cores with as many others as `width` says, unless the user has shared them out."""
    folder.mkdir(exist_ok=True)
    (folder / TASK).write_bytes(pickle.dumps(task))
    share = str(max(1, (os.cpu_count() or 1) // width))
    threads = {name: os.environ.get(name, share) for name in ("OMP_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS")}
    return Child(name, python(module), folder, threads)
