"""What approximate modes cost in quality, against the exact network on whole frames, on a drive through the street."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from r3d2_ros.assembly import assemble, load_harmonizer
from r3d2_ros.bench.harmonizer.differences import Differences
from r3d2_ros.bench.harmonizer.drive import world_states
from r3d2_ros.bench.harmonizer.faults import RigRunError
from r3d2_ros.bench.harmonizer.rig import Stepper
from r3d2_ros.config import SimConfig
from r3d2_ros.demo.drive import Drive
from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.harmonizer.settings import HarmonizerConfig, is_resolution
from r3d2_ros.simulator import FrameSet, Simulator

GOAL_DB = 38.0
"""A mode whose pictures are nearer than this to the exact ones counts towards the speed goals."""

MODES = ("roi", "half", "720p", "fp8")
"""What makes the exact network an approximate one; 720p can be any rows. Several joined by + are one mode:
`720p+roi`."""


def chosen_modes(text: str) -> tuple[str, ...]:
    """Names by commas; InputError for one that is no mode, and for none."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip())) or ("",)
    for name in names:
        parts = name.split("+")
        for part in parts:
            if part == "full" or not (part in MODES or is_resolution(part)):
                hint = "Several joined by + are one mode, and 720p can be any rows from 100p to 9999p"
                raise InputError("--quality", f"names by commas of {', '.join(MODES)}", f"'{part}'", hint)
        if sum(map(is_resolution, parts)) > 1:
            raise InputError("--quality", "one resolution for a mode", f"'{name}'")
    return names


def _approximate(exact: HarmonizerConfig, name: str) -> HarmonizerConfig:
    return functools.reduce(_with, name.split("+"), exact)


def _with(exact: HarmonizerConfig, part: str) -> HarmonizerConfig:
    """`exact` with one of `MODES`."""
    if part == "roi":
        return replace(exact, roi=replace(exact.roi, enabled=True))
    return replace(exact, dtype="float8") if part == "fp8" else replace(exact, resolution=part)


def measure_quality(
    config: SimConfig, drive: Drive, modes: Sequence[str], *, say: Callable[[str], None] = lambda text: None
) -> list[dict[str, Any]]:
    """A row per mode: `Differences.facts`, whether it counts towards the goal, and stage times of both.

    config  of the exact network: region, whole frames, full resolution; its renders go through every mode. A mode that
            this machine does not have gives a row with `not_measured`.
    """
    states = world_states(drive)
    simulator = assemble(config, say).simulator
    steppers = {"exact": Stepper(simulator)}
    rows: dict[str, dict[str, Any]] = {name: {"mode": name} for name in modes}
    for name in modes:
        changed = replace(config, harmonizer=_approximate(config.harmonizer, name))
        try:
            steppers[name] = Stepper(_beside(simulator, changed, say))
        except (InputError, MissingPackageError) as error:
            rows[name]["not_measured"] = str(error)
    measured = [name for name in modes if name in steppers]
    sums = {name: {camera.name: Differences() for camera in simulator.rig.cameras} for name in measured}
    times: dict[str, list[float]] = {name: [] for name in steppers}
    for number, state in enumerate(states):
        rendered = simulator.render(state)
        sets = {name: stepper.harmonize(rendered) for name, stepper in steppers.items()}
        for name, frame_set in sets.items():
            times[name].append(sum(frame.harmonize_ms for frame in frame_set.frames))
        for name in measured:
            _add(sums[name], sets["exact"], sets[name])
        if number % 20 == 0:
            say(f"frame {number} of {len(states)}")
    for name in measured:
        per_camera = {camera: differences.facts() for camera, differences in sums[name].items()}
        rows[name] |= {
            "cameras": per_camera,
            **_worst(per_camera),
            "harmonize_ms_exact": float(np.median(times["exact"])),
            "harmonize_ms_mode": float(np.median(times[name])),
        }
    return list(rows.values())


def _beside(simulator: Simulator, config: SimConfig, say: Callable[[str], None]) -> Simulator:
    """The same scene and renderer with the harmonizer of another configuration, ready to harmonize."""
    other = Simulator(
        scene=simulator.scene,
        library=simulator.library,
        rig=simulator.rig,
        renderer=simulator.renderer,
        harmonizer=load_harmonizer(config, say),
    )
    other.warm_up_harmonizer()
    return other


def _add(sums: dict[str, Differences], exact: FrameSet, mode: FrameSet) -> None:
    for failure in (*exact.failures, *mode.failures):
        raise RigRunError(f"camera '{failure.camera.name}' has no picture: {failure.reason}")
    for before, after in zip(exact.frames, mode.frames, strict=True):
        region = np.zeros(before.rgb.shape[:2], bool) if before.mask is None else np.asarray(before.mask) > 0
        sums[before.camera.name].add(rendered=before.rendered, exact=before.rgb, mode=after.rgb, region=region)


def _worst(per_camera: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of all cameras that had a region: the lowest PSNR, the largest of everything else."""
    seen = [facts for facts in per_camera.values() if facts["frames_with_region"]]
    if not seen:
        return {"psnr_db": None, "counts_towards_goal": None, "reason": "no inserted actor was in view"}
    found: dict[str, Any] = {"identical": all(facts["identical"] for facts in seen)}
    found |= {name: min(facts[name] for facts in seen) for name in ("psnr_db", "psnr_db_lowest")}
    for name in ("flicker_exact", "flicker_mode", "edge_step_exact", "edge_step_mode", "line_step"):
        values = [facts[name] for facts in seen if facts[name] is not None]
        found[name] = max(values) if values else None
    return found | {"counts_towards_goal": found["psnr_db"] >= GOAL_DB}


def quality_table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    columns = (
        "mode", "PSNR dB (worst frame)", "counts (>= 38 dB)", "flicker exact -> mode", "edge step exact -> mode",
        "line step", "harmonize ms exact -> mode",
    )  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        if "not_measured" in row or row["psnr_db"] is None:
            reason = row.get("not_measured") or row["reason"]
            lines.append(f"| {row['mode']} | not measured: {reason} |" + " |" * (len(columns) - 2))
            continue
        cells = (
            row["mode"],
            "the same bytes" if row["identical"] else f"{row['psnr_db']:.1f} ({row['psnr_db_lowest']:.1f})",
            "yes" if row["counts_towards_goal"] else "no",
            f"{_grey(row['flicker_exact'])} -> {_grey(row['flicker_mode'])}",
            f"{_grey(row['edge_step_exact'])} -> {_grey(row['edge_step_mode'])}",
            _grey(row["line_step"]),
            f"{row['harmonize_ms_exact']:.1f} -> {row['harmonize_ms_mode']:.1f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _grey(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
