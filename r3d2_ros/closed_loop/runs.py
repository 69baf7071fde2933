"""Scenario files: found, read, checked, and expanded into the runs that they stand for.

A run file holds one of these runs with everything that is chosen, and is read like a scenario file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from r3d2_ros.closed_loop.scenario import ActorKeys, FollowPath, LanePlace, MapPlace, Scenario
from r3d2_ros.closed_loop.vehicle import Vehicle, load_vehicle
from r3d2_ros.config import Scalar, SimConfig, as_mapping, config_from
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.input_files import not_a_file
from r3d2_ros.resources import config_dir, user_path
from r3d2_ros.schema import load_yaml, validate

MAX_RUNS = 100_000
MAX_SEEDS = 10_000
NOT_SCENARIOS = ("reference",)
"""Files in config/scenarios/ that document the keys."""


@dataclass(frozen=True)
class RunSpec:
    """One run: a scenario with one combination of what it varies, and the seed.

    variation  what was chosen: asset, offset_m, speed_mps, seed, those that vary
    folder     what relative paths of the scenario are relative to
    group      runs that are averaged together, such as those of one stack; empty: all
    """

    run_id: str
    scenario: Scenario
    seed: int
    sim: SimConfig
    vehicle: Vehicle
    folder: Path
    where: str
    variation: dict[str, Any] = field(default_factory=dict)
    group: str = ""


def scenario_path(source: str | Path, folder: Path = Path()) -> Path:
    """The file that `source` means: a path, of `folder`, or NAME of the shipped `config/scenarios/NAME.yaml`."""
    name = user_path(source, "scenario")
    path = folder / name
    if not_a_file(path) is None:
        return path
    shipped = config_dir() / "scenarios" / f"{name}.yaml"
    if len(name.parts) == 1 and shipped.is_file():
        return shipped
    expected = f"a scenario file or one of {', '.join(shipped_scenarios())}"
    raise InputError("scenario", expected, f"'{source}': {not_a_file(path)}")


def shipped_scenarios() -> list[str]:
    """Names of the scenarios in `config/scenarios/`."""
    names = sorted(path.stem for path in (config_dir() / "scenarios").glob("*.yaml"))
    return [name for name in names if name not in NOT_SCENARIOS]


def load_runs(source: str | Path, overrides: dict[str, Scalar] | None = None) -> list[RunSpec]:
    """The runs of a scenario file, or the one of a run file.

    overrides  dotted keys of the simulator's configuration, which beat the file's

    InputErrors with file and key of every fault.
    """
    path = scenario_path(source)
    data = load_yaml(path)
    if not isinstance(data, dict):
        raise InputError(str(path), "a mapping of keys such as 'ego' and 'actors'", type(data).__name__)
    return [run_from(data, str(path), overrides)] if "run_id" in data else runs_of(data, path, overrides)


def runs_of(data: Mapping[str, Any], path: Path, overrides: dict[str, Scalar] | None = None) -> list[RunSpec]:
    """The runs of a scenario whose file, of which `data` is the contents, is or will be at `path`. InputErrors as in
    `load_runs`."""
    scenario = validate(Scenario, {"name": path.stem, **data}, str(path))
    faults: list[InputError] = []
    sim, vehicle = SimConfig(), None
    try:
        sim = config_from(scenario.sim, where=f"{path}: sim", folder=path.parent, overrides=overrides)
    except (InputError, InputErrors) as error:
        faults += _faults(error)
    try:
        vehicle = load_vehicle(scenario.ego.vehicle, path.parent)
    except (InputError, InputErrors) as error:
        faults += [replace_where(fault, str(path)) for fault in _faults(error)]
    if faults or vehicle is None:
        raise InputErrors(faults)
    return [
        RunSpec(run_id, varied, seed, sim, vehicle, path.parent, str(path), variation)
        for run_id, varied, seed, variation in _expanded(scenario, str(path))
    ]


def described(spec: RunSpec) -> dict[str, Any]:
    """A run as plain values, from which `run_from` makes it again."""
    return {
        "run_id": spec.run_id,
        "group": spec.group,
        "variation": spec.variation,
        "folder": str(spec.folder.absolute()),
        "configuration": {
            "scenario": dataclasses.asdict(spec.scenario),
            "sim": as_mapping(spec.sim),
            "vehicle": dataclasses.asdict(spec.vehicle),
            "seed": spec.seed,
        },
    }


def configuration_hash(spec: RunSpec) -> str:
    """SHA-256 of everything that is chosen for a run; 64 hexadecimal digits."""
    text = json.dumps(described(spec)["configuration"], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def run_from(data: Mapping[str, Any], where: str, overrides: dict[str, Scalar] | None = None) -> RunSpec:
    """The run that `described` described. InputError(s), with `where`, for something else."""
    try:
        configuration = data["configuration"]
        scenario = dict(configuration["scenario"])
        scenario["pass"] = scenario.pop("criteria")
        return RunSpec(
            run_id=str(data["run_id"]),
            scenario=validate(Scenario, scenario, where),
            seed=int(configuration["seed"]),
            sim=config_from(configuration["sim"], where=where, overrides=overrides),
            vehicle=validate(Vehicle, configuration["vehicle"], where),
            folder=Path(data["folder"]),
            where=where,
            variation=dict(data["variation"]),
            group=str(data.get("group", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError | InputErrors):
            raise
        raise InputError(where, "a run as it is written", f"{type(error).__name__}: {error}") from error


def with_seeds(specs: Sequence[RunSpec], count: int, where: str) -> list[RunSpec]:
    """Each combination of a file with the seeds 0 to count - 1 instead of its own. InputError for a wrong count."""
    if not 1 <= count <= MAX_SEEDS:
        raise InputError(where, f"1 to {MAX_SEEDS}", str(count))
    once = {_around_seed(spec): spec for spec in specs}
    return [
        replace(spec, run_id=f"{before}-s{seed}{after}", seed=seed, variation={**spec.variation, "seed": seed})
        for (before, after), spec in once.items()
        for seed in range(count)
    ]


def _around_seed(spec: RunSpec) -> tuple[str, str]:
    """What stands in the run's id before and after its seed: in a campaign the group follows."""
    after = f".{spec.group}" if spec.group else ""
    return spec.run_id.removesuffix(after).removesuffix(f"-s{spec.seed}"), after


def check_differ(specs: Sequence[RunSpec]) -> None:
    """InputError when two runs would have the same folder."""
    counts = Counter(spec.run_id for spec in specs)
    if twice := sorted(run_id for run_id, count in counts.items() if count > 1):
        raise InputError("scenarios", "run ids that differ", f"{', '.join(twice[:3])} more than once")


def _faults(error: InputError | InputErrors) -> list[InputError]:
    return list(error.faults) if isinstance(error, InputErrors) else [error]


def replace_where(fault: InputError, path: str) -> InputError:
    """The fault with the file in front of its key, where it has a key alone."""
    where = fault.where if fault.where.startswith(("/", path)) else f"{path}: {fault.where}"
    return InputError(where, fault.expected, fault.got, fault.hint)


def in_scenario(error: InputError | InputErrors, where: str) -> InputError | InputErrors:
    """The fault, or faults, with `where`, such as the scenario's file, in front of what they name."""
    faults = [InputError(f"{where}: {f.where}", f.expected, f.got, f.hint) for f in _faults(error)]
    return faults[0] if isinstance(error, InputError) else InputErrors(faults)


def _expanded(scenario: Scenario, where: str) -> list[tuple[str, Scenario, int, dict[str, Any]]]:
    """Every combination of what varies: (run id, scenario without `vary`, seed, what was chosen)."""
    vary = {entry.name: getattr(scenario.vary, entry.name) for entry in dataclasses.fields(scenario.vary)}
    axes = {name: values for name, values in vary.items() if values}
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > MAX_RUNS:
        raise InputError(f"{where}: vary", f"at most {MAX_RUNS} combinations", str(count))
    runs = []
    for values in itertools.product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        seed = chosen.get("seed", scenario.seed)
        words = [scenario.name, *(_word(name, value) for name, value in chosen.items() if name != "seed"), f"s{seed}"]
        runs.append(("-".join(words), _varied(scenario, chosen), seed, chosen))
    counts = Counter(run_id for run_id, *_ in runs)
    if twice := sorted(run_id for run_id, count in counts.items() if count > 1):
        raise InputError(f"{where}: vary", "values that differ", f"{', '.join(twice[:3])} more than once")
    return runs


def _word(name: str, value: Any) -> str:
    text = str(value) if isinstance(value, str) else f"{value:g}"
    return {"asset": "", "offset_m": "o", "speed_mps": "v"}[name] + text.replace("/", "_")


def _varied(scenario: Scenario, chosen: dict[str, Any]) -> Scenario:
    target, ego = scenario.target, scenario.ego
    actors = list(scenario.actors)
    if target is not None:
        changed = replace(target, asset=chosen.get("asset", target.asset))
        if chosen.get("offset_m"):
            changed = _beside(changed, chosen["offset_m"])
        actors[scenario.actors.index(target)] = changed
    if "speed_mps" in chosen:
        ego = replace(ego, speed_mps=chosen["speed_mps"])
    return replace(scenario, actors=actors, ego=ego, vary=type(scenario.vary)())


def _beside(actor: ActorKeys, offset_m: float) -> ActorKeys:
    """The actor `offset_m` further to the left of its lane, or of its heading where its place is in the map."""
    if isinstance(actor.place, LanePlace):
        return replace(actor, place=replace(actor.place, left_m=actor.place.left_m + offset_m))
    if isinstance(actor.place, MapPlace):
        yaw = math.radians(actor.place.yaw_deg)
        x, y = actor.place.x - offset_m * math.sin(yaw), actor.place.y + offset_m * math.cos(yaw)
        return replace(actor, place=replace(actor.place, x=x, y=y))
    assert isinstance(actor.motion, FollowPath)
    return replace(actor, motion=_path_beside(actor.motion, offset_m))


def _path_beside(motion: FollowPath, offset_m: float) -> FollowPath:
    """All points to the left of the lane, or of the path's first stretch where its points are in the map."""
    dx, dy = 0.0, offset_m
    if motion.frame == "map":
        (x0, y0, *_), (x1, y1, *_) = motion.points[:2]
        length = max(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 1e-9)
        dx, dy = -(y1 - y0) / length * offset_m, (x1 - x0) / length * offset_m
    points: list[Any] = [(p[0] + dx, p[1] + dy, *p[2:]) for p in motion.points]
    return replace(motion, points=points)
