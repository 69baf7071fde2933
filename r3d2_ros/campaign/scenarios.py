"""Tasks of the kind `scenario`: one closed-loop run each, the command, and what its end means."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from r3d2_ros.campaign.task import Judged, Task
from r3d2_ros.closed_loop.results import RUNS, what_happened
from r3d2_ros.closed_loop.runs import RunSpec
from r3d2_ros.config import Scalar
from r3d2_ros.demo.domain import VARIABLE
from r3d2_ros.replay.manifest import WITHOUT_EFFECT
from r3d2_ros.versions import own_version

TASKS = "tasks"
"""Folder of the run files, beside that of the runs."""

DRIVER = "driver"
NO_OPTIONS = ("description", "sim")
"""Keys of a scenario that decide nothing; `sim` does by what became of it."""

VERDICTS = ("passed", "failed", "invalid")
MAX_SHOWN = 80


@dataclass(frozen=True)
class Driver:
    """What drives. name: as the log of a run has it; words: of the command; options: what decides the result."""

    name: str
    words: tuple[str, ...]
    options: Mapping[str, Scalar]
    over_ros: bool


@dataclass(frozen=True)
class Means:
    """What a task gets."""

    threads: int
    gpus: float
    timeout_s: float | None


def run_file(out: Path, run_id: str) -> Path:
    """Where a campaign keeps a run with everything that is chosen."""
    return out / TASKS / f"{run_id}.yaml"


def scenario_task(spec: RunSpec, *, driver: Driver, inputs: tuple[Path, ...], out: Path, means: Means) -> Task:
    """The task that does a run into `out`, the folder of the campaign, where all runs lie side by side."""
    words = ["scenario", "run", str(run_file(out, spec.run_id)), *driver.words, f"--out={out}"]
    return Task(
        name=spec.run_id,
        kind="scenario",
        # A run that a killed try had finished is kept, and the log of one that it had not is set aside.
        words=(*words, "--resume", "--no-report", "--json"),
        options=_options(spec, driver),
        inputs=inputs,
        out=out / RUNS / spec.run_id,
        log=out / "logs" / f"{spec.run_id}.log",
        threads=means.threads,
        gpus=means.gpus,
        version=own_version(),
        timeout_s=means.timeout_s,
        # Runs side by side in the domain that the user has set would hear each other: each finds one of its own.
        unset=(VARIABLE,) if driver.over_ros else (),
    )


def _options(spec: RunSpec, driver: Driver) -> dict[str, Scalar]:
    """What decides the result of a run, by name, without what is left at its default."""
    sim = {f"sim.{name}": value for name, value in given(spec.sim) if name not in WITHOUT_EFFECT}
    scenario = {name: value for name, value in given(spec.scenario) if name not in NO_OPTIONS}
    vehicle = dict(given(spec.vehicle, "vehicle."))
    return {DRIVER: driver.name, **driver.options, "seed": spec.seed, **scenario, **sim, **vehicle}


def given(value: Any, prefix: str = "") -> Iterator[tuple[str, Scalar]]:
    """Dotted names and values of the fields of a dataclass, and of those below it, that are not their defaults."""
    for entry in dataclasses.fields(value):
        mine, name = getattr(value, entry.name), prefix + entry.name
        if entry.default is not dataclasses.MISSING and mine == entry.default:
            continue
        if entry.default_factory is not dataclasses.MISSING and mine == entry.default_factory():
            continue
        if dataclasses.is_dataclass(mine):
            yield from given(mine, name + ".")
        elif isinstance(mine, list | tuple) and mine and all(dataclasses.is_dataclass(one) for one in mine):
            for k, one in enumerate(mine):
                yield from given(one, f"{name}.{k}.")
        else:
            yield name, mine if isinstance(mine, str | int | float) else _short(mine)


def _short(value: Any) -> str:
    """Values that are no scalar, as text that is the same when they are."""
    text = json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= MAX_SHOWN else f"{len(value)} values ({xxhash.xxh3_128_hexdigest(text.encode())})"


def judge_scenario(status: int, result: dict[str, Any] | None) -> Judged | None:
    """The end of a run by its results: a verdict finishes the task, whatever it is; a run that broke off does not."""
    if status not in (0, 1, 2) or result is None or len(result.get("runs", ())) != 1:
        return None
    run = result["runs"][0]
    scores = {name: score["value"] for name, score in run["scores"].items()}
    kept = {"verdict": run["verdict"], "reasons": run["reasons"], "scores": scores, "digest": run["digest"]}
    if run["verdict"] not in VERDICTS:
        return Judged("failed", "; ".join(run["reasons"]), "", kept)
    return Judged("done", "", what_happened(run), kept)
