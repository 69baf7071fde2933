"""Which paths are measured, the table of their rows, and the figures of the paper that stand below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from r3d2_ros.bench.harmonizer.accuracy import RATIO_L2, RATIO_MAX, SIXTEEN_BIT
from r3d2_ros.bench.harmonizer.network import Candidate, Row
from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.settings import Float8Config, HarmonizerConfig, RewritesConfig, RuntimeConfig

QUALITY_UNMEASURED = "random weights: quality unmeasured"

PAPER_ROWS: tuple[dict[str, Any], ...] = (
    {"gpu": "RTX 5090", "variant": "r3d2", "fps_mean": 13.359, "fps_std": 0.024},
    {"gpu": "RTX 5090", "variant": "r3d2-big", "fps_mean": 4.067, "fps_std": 0.005},
    {"gpu": "H200", "variant": "r3d2", "fps_mean": 18.129, "fps_std": 0.078},
    {"gpu": "H200", "variant": "r3d2-big", "fps_mean": 5.964, "fps_std": 0.037},
)
"""Table 4 of the R3D2 paper (arXiv 2506.07826): stable-fast, batch 1, 1080x1920, 1000 + 1000 passes."""

Switches = TypeVar("Switches", RewritesConfig, Float8Config)


def chosen_switches(switches: type[Switches], text: str | None, argument: str) -> Switches:
    """Those of a list by commas are on, all for None. InputError, naming `argument`, for a name that is no switch."""
    known = [entry.name for entry in fields(switches)]
    names = known if text is None else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise InputError(argument, f"names by commas of {', '.join(known)}", f"'{name}'")
    return switches(**{name: name in names for name in known})


NO_REWRITES = chosen_switches(RewritesConfig, "", "")


def candidates(config: HarmonizerConfig, *, compare: bool, deterministic: bool) -> list[Candidate]:
    """The path of `config`; with `deterministic` also the same with pinned kernels; with `compare` before both the
    plain eager network, without rewrites and graphs: in 16 bit, but on a CPU, which has no fast 16 bit, in float32."""
    found = [Candidate(config.runtime.kind, config)]
    if compare:
        dtype = config.dtype
        if dtype not in SIXTEEN_BIT:
            dtype = "float32" if config.device == "cpu" else "float16"
        runtime = RuntimeConfig(kind="eager", cuda_graph=False, max_batch=config.runtime.max_batch)
        plain = replace(config, dtype=dtype, runtime=runtime, rewrites=NO_REWRITES)
        bits = 16 if dtype in SIXTEEN_BIT else 32
        found.insert(0, Candidate(f"eager {bits}-bit baseline", plain))
    if deterministic:
        pinned = replace(config, runtime=replace(config.runtime, deterministic=True))
        found.append(Candidate(f"{config.runtime.kind}, deterministic", pinned))
    return found


COLUMNS = (
    "path", "variant", "dtype", "image", "batch", "protocol", "FPS", "ms mean / p50 / p99", "CPU ms", "TFLOP/s",
    "peak MiB", "rel. L2", "x 16-bit error",
)  # fmt: skip


def network_table(rows: Sequence[Row], *, variant: str, random_weights: bool) -> str:
    """Markdown, the paper's rows last, and below it what a reader must know of the rows."""
    cells = [_cells(row, variant) for row in rows] + [_paper_cells(row) for row in PAPER_ROWS]
    widths = [max(len(line[k]) for line in [COLUMNS, *cells]) for k in range(len(COLUMNS))]
    lines = [_line(COLUMNS, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    lines += [_line(line, widths) for line in cells]
    return "\n".join([*lines, "", *notes(rows, random_weights=random_weights)])


def notes(rows: Sequence[Row], *, random_weights: bool) -> list[str]:
    """What a reader must know of rows, one sentence a line."""
    found = []
    if any(row["protocol"]["label"] != "paper" for row in rows if "fault" not in row):
        found.append("Rows of different protocols, sizes and batches are not compared with each other or the paper's.")
    for row in rows:
        if "fault" in row:
            found.append(f"{row['name']}: FAILED: {row['fault']}")
            continue
        if not row["accepted"]:
            worst = max((run["window_change"] for run in row["runs"] if run["window_change"] is not None), default=None)
            change = "no two windows of passes" if worst is None else f"the last two windows differ by {worst:.1%}"
            limit = f"limit {row['protocol']['tolerance']:.0%}"
            found.append(f"{row['name']}: NOT ACCEPTED, {change} ({limit}): the speed had not settled.")
        if row["accuracy"]["within_limit"] is False:
            limits = f"{RATIO_L2:g} times that of eager 16 bit (L2), {RATIO_MAX:g} times (largest)"
            found.append(f"{row['name']}: the error is BEYOND THE LIMIT of {limits}.")
        if row["accuracy"]["saturated"] > 0.5:
            share = row["accuracy"]["saturated"]
            found.append(f"{row['name']}: {share:.0%} of the reference output is exactly 0 or 1, where no error shows.")
    return [*found, QUALITY_UNMEASURED] if random_weights else found


def _cells(row: Row, variant: str) -> tuple[str, ...]:
    if "fault" in row:
        return (row["name"], variant, row["dtype"], *["-"] * 3, "FAILED", *["-"] * 6)
    ratio = row["accuracy"]["ratio_l2"]
    memory = row["memory"].get("allocated_mib", row["memory"].get("resident_mib"))
    size = row["size"]
    return (
        row["name"],
        variant,
        row["dtype"],
        f"{size['height']}x{size['width']}",
        str(row["batch"]),
        row["protocol"]["label"] + ("" if row["accepted"] else " (not accepted)"),
        f"{row['fps_mean']:.3f} +- {row['fps_std']:.3f}",
        f"{row['ms_mean']:.1f} / {row['ms_p50']:.1f} / {row['ms_p99']:.1f}",
        f"{row['cpu_ms_mean']:.1f}",
        f"{row['tflop_per_s']:.3g}",
        f"{memory:.0f}",
        f"{row['accuracy']['relative_l2']:.1e}",
        "-" if ratio is None else f"{ratio:.2f}",
    )


def _paper_cells(row: dict[str, Any]) -> tuple[str, ...]:
    fps = f"{row['fps_mean']:.3f} +- {row['fps_std']:.3f}"
    ms = f"{1e3 / row['fps_mean']:.1f} / - / -"
    name = f"the paper's, {row['gpu']}, stable-fast"
    return (name, row["variant"], "-", "1080x1920", "1", "paper", fps, ms, *["-"] * 5)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)) + " |"
