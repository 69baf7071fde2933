"""What the shipped model costs on a CPU: whole frames by runtime, and crops around the actors of a street."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from r3d2_ros.bench.harmonizer.network import Bench, Candidate, Work
from r3d2_ros.bench.harmonizer.protocol import QUICK_CPU
from r3d2_ros.bench.harmonizer.rig import measure_frames
from r3d2_ros.bench.harmonizer.setting import RigSize, rig_config, street_drive
from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.harmonizer.model.checkpoints import load_checkpoint
from r3d2_ros.harmonizer.model.shipped import shipped_model
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RoiConfig, RuntimeConfig

SIZE = (540, 960)
TICKS, QUICK_TICKS = 20, 5
ACTORS = 5
ROI_GOAL_MS = 250.0
"""For two cores."""

KINDS = ("eager", "torch-compile")
Row = dict[str, Any]


def measure_nano(*, quick: bool, say: Callable[[str], None] = lambda text: None) -> list[Row]:
    """Rows with name, ms_p50, ms_max, cpu_ms (processor time of all threads), goal_ms, within_goal.

    A runtime that this machine does not have is a row with `not_measured`. `quick`: fewer frames, eager alone.
    """
    protocol = replace(QUICK_CPU, passes=QUICK_TICKS, window=0) if quick else QUICK_CPU
    model = load_checkpoint(shipped_model("nano"), dtype=torch.float32)
    bench = Bench(model, Work(SIZE, batch=1, protocol=protocol, runs=1), torch.device("cpu"), say=say)
    rows = []
    for kind in KINDS[:1] if quick else KINDS:
        config = HarmonizerConfig(device="cpu", dtype="float32", runtime=RuntimeConfig(kind=kind))  # type: ignore[arg-type]
        rows.append(_whole_frame(bench, kind, config))
    return [*rows, _crops(ticks=QUICK_TICKS if quick else TICKS, say=say)]


def _whole_frame(bench: Bench, kind: str, config: HarmonizerConfig) -> Row:
    name = f"nano, whole frame, {kind}"
    try:
        row = bench.measure(Candidate(name, config))
    except (InputError, MissingPackageError, RuntimeError) as error:
        return {"name": name, "not_measured": " ".join(str(error).split())[:300]}
    run = row["runs"][0]
    return _row(name, p50=row["ms_p50"], largest=run["ms_max"], cpu=row["cpu_ms_mean"], goal_ms=None)


def _crops(*, ticks: int, say: Callable[[str], None]) -> Row:
    """Harmonizing a frame of a drive with ACTORS actors, region and crops included, rendering not.

    Eager: a CPU compiles a minute for each size of crop.
    """
    with tempfile.TemporaryDirectory(prefix="r3d2-bench-") as folder:
        harmonizer = HarmonizerConfig(
            backend="r3d2", checkpoint="nano", device="cpu", dtype="float32", roi=RoiConfig(enabled=True)
        )
        config = rig_config(Path(folder), RigSize(1, SIZE), harmonizer=harmonizer, splats=None, backend="cpu", say=say)
        drive = street_drive(ticks=ticks, rate_hz=1.0, actors=ACTORS, say=say)
        facts = measure_frames(config, drive, say=say)
    times = facts["stages_ms"]["harmonize"]
    name = f"nano, crops around {ACTORS} actors, eager"
    return _row(name, p50=times["p50"], largest=times["max"], cpu=facts["cpu_ms"]["harmonize"], goal_ms=ROI_GOAL_MS)


def _row(name: str, *, p50: float, largest: float, cpu: float, goal_ms: float | None) -> Row:
    return {
        "name": name,
        "width": SIZE[1],
        "height": SIZE[0],
        "threads": torch.get_num_threads(),
        "ms_p50": round(p50, 2),
        "ms_max": round(largest, 2),
        "cpu_ms": round(cpu, 2),
        "goal_ms": goal_ms,
        "within_goal": None if goal_ms is None else p50 <= goal_ms,
    }


def format_nano(rows: Sequence[Row]) -> str:
    """The rows as a table for people; times in ms."""
    lines = [f"{'harmonizer':<42} {'image':>9} {'median':>9} {'max':>9} {'cpu':>9}  goal"]
    for row in rows:
        if "not_measured" in row:
            lines.append(f"{row['name']:<42} not measured: {row['not_measured']}")
            continue
        goal = "" if row["goal_ms"] is None else f"{row['goal_ms']:g} {'met' if row['within_goal'] else 'MISSED'}"
        times = f"{row['ms_p50']:>9.1f} {row['ms_max']:>9.1f} {row['cpu_ms']:>9.1f}"
        lines.append(f"{row['name']:<42} {row['width']:>4}x{row['height']:<4} {times}  {goal}")
    return "\n".join(lines)
