"""What `r3d2 scenario` does, as functions of its arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from r3d2_ros.closed_loop.actions import Outcome
from r3d2_ros.closed_loop.controllers import CONTROLLERS, Controller, Observation
from r3d2_ros.closed_loop.film import Film
from r3d2_ros.closed_loop.from_log import scenario_from_log
from r3d2_ros.closed_loop.header import header
from r3d2_ros.closed_loop.in_process import run_in_process
from r3d2_ros.closed_loop.interrupts import Interrupts
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.recorded_drive import LogOptions
from r3d2_ros.closed_loop.replaying import LoggedCommands, LoggedEdits, spec_of
from r3d2_ros.closed_loop.report import REPORT
from r3d2_ros.closed_loop.results import (
    JUNIT,
    LOG,
    RESULTS,
    RUNS,
    exit_code,
    read_never_began,
    read_results,
    score_folder,
    seconds_of,
)
from r3d2_ros.closed_loop.run_log import LogWriter, read_log
from r3d2_ros.closed_loop.runs import RunSpec, load_runs, runs_of, shipped_scenarios, with_seeds
from r3d2_ros.closed_loop.session import Execute, Scenes, SessionOptions, results_of, run_session, write_results
from r3d2_ros.config import Scalar, config_from
from r3d2_ros.errors import InputError, InputErrors, MissingPackageError
from r3d2_ros.formats.files import make_folder, write_problem
from r3d2_ros.formats.sidecar import write_yaml
from r3d2_ros.resources import user_path
from r3d2_ros.simulator import FrameSet

Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """Exit status, and what to print: as text, or as JSON."""

    status: int = 0
    text: str = ""
    data: Any = None


def run_scenarios(args: argparse.Namespace, say: Say, interrupts: Interrupts) -> Result:
    """Run the scenarios with a built-in controller."""
    if args.controller not in CONTROLLERS:
        raise InputError("--controller", f"one of {', '.join(CONTROLLERS)}", f"'{args.controller}'")

    def made(scenes: Scenes) -> InProcess:
        return InProcess(scenes, args.controller, interrupts)

    return run_with(args, say, interrupts, connect=lambda scenes: nullcontext(made(scenes)))


def run_with(
    args: argparse.Namespace,
    say: Say,
    interrupts: Interrupts,
    *,
    connect: Callable[[Scenes], AbstractContextManager[Execute]],
    adapt: Callable[[RunSpec], RunSpec] = lambda spec: spec,
) -> Result:
    """Run the scenarios, changed by `adapt`, with what `connect` makes; it stays open for all of them."""
    specs = [adapt(spec) for spec in _specs(args)]
    scenes = Scenes(say)
    with nullcontext(args.out) if args.out else _new_folder() as out:
        options = SessionOptions(out, args.baseline, args.resume, report=not args.no_report)
        say(f"{len(specs)} run{'s' if len(specs) > 1 else ''} into {out}")
        with interrupts.held(), connect(scenes) as execute:
            results = run_session(specs, options, scenes=scenes, execute=execute, interrupts=interrupts, say=say)
    text = results_text(out, results) if options.report else ""
    return Result(exit_code(results["runs"]), text, results)


def _specs(args: argparse.Namespace) -> list[RunSpec]:
    overrides = dict(_override(text) for text in args.overrides)
    files: list[list[RunSpec]] = []
    faults: list[InputError] = []
    for source in args.scenarios:
        try:
            files.append(load_runs(source, overrides))
        except InputErrors as errors:
            faults += errors.faults
        except InputError as error:
            faults.append(error)
    if faults:
        raise InputErrors(faults)
    if args.seeds is not None:
        files = [with_seeds(specs, args.seeds, "--seeds") for specs in files]
    return [spec for specs in files for spec in specs]


def _override(text: str) -> tuple[str, Scalar]:
    import yaml

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError("--set", "KEY=VALUE", f"'{text}'")
    try:
        parsed = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):  # no value of YAML: text
        parsed = value
    return key, parsed if isinstance(parsed, bool | int | float) else value


@contextmanager
def _new_folder() -> Iterator[Path]:
    """A folder in out/ of this session's own, made at once, for others may start now; none is left that stays empty."""
    base = Path("out")
    make_folder(base)
    for k in count(1):
        path = base / (f"scenario-{k}" if k > 1 else "scenario")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(str(path), "a folder that can be written", write_problem(path, error)) from error
        break
    try:
        yield path
    finally:
        with suppress(OSError):
            path.rmdir()


def results_text(out: Path, results: dict[str, Any]) -> str:
    """What is worse, the means, and where everything is."""
    lines = [f"worse: {line}" for line in results["regressions"]]
    for name, means in (results["groups"] or {"": results["means"]}).items():
        scores = [
            f"{key} {means[key]:.3f}"
            for key in ("neuroncap", "hd", "alpasim", "collision_rate")
            if means[key] is not None
        ]
        lines.append(f"{name}{': ' if name else ''}means of {means['runs']} runs: {', '.join(scores) or 'none'}")
    lines.append(f"{out / RESULTS}  {out / JUNIT}  {out / REPORT}")
    return "\n".join(lines)


class InProcess:
    """Does a run in this process with a built-in controller, and films it."""

    def __init__(self, scenes: Scenes, name: str, interrupts: Interrupts) -> None:
        self.name = name
        self._scenes, self._interrupts = scenes, interrupts

    def __call__(self, plan: RunPlan, folder: Path) -> Outcome:
        return self.drive(plan, folder, controller=CONTROLLERS[self.name](plan))

    def drive(self, plan: RunPlan, folder: Path, *, controller: Controller) -> Outcome:
        with self._interrupts.ready():
            simulator = self._scenes.simulator(plan.spec.sim).simulator
        film = Film(folder, simulator.rig)

        def on_frame(frame_set: FrameSet, observation: Observation) -> None:
            film.add(frame_set, observation.snapshot)

        with LogWriter(folder / LOG) as log:
            log.write("header", **header(plan, controller=self.name, renderer=simulator.renderer.name))
            return run_in_process(plan, simulator, controller, log, interrupts=self._interrupts, on_frame=on_frame)


def from_log(args: argparse.Namespace, say: Say) -> Result:
    """Write a scenario of a recorded drive, if it can be run."""
    source = args.scene if args.scene == "street" else str(user_path(args.scene, "--scene").absolute())
    sim: dict[str, Any] = {"scene": {"source": source}}
    for key, value in map(_override, args.overrides):
        section, _, leaf = key.partition(".")
        sim.setdefault(section, {})[leaf] = value
    options = LogOptions(
        ego=args.ego_topic,
        actors=args.actors_topic,
        start_s=args.start,
        duration_s=args.duration,
        pass_number=args.pass_number,
        anchor=args.anchor == "start",
        hide=tuple(args.hide),
        replace=dict(_replacement(text) for text in args.replace),
        target=args.target,
    )
    if args.out.exists():
        raise InputError(str(args.out), "the name of a new file", "one that exists")
    config = config_from(sim, where="--scene, --set")
    data, notes = scenario_from_log(args.bag, config=config, sim=sim, options=options)
    for note in notes:
        say(f"note: {note}")
    runs = runs_of(data, args.out)
    scenes = Scenes()
    for spec in runs:
        scenes.plan(spec)
    make_folder(args.out.absolute().parent)
    write_yaml(args.out, data)
    return Result(text=f"{args.out}: {runs[0].run_id}")


def _replacement(text: str) -> tuple[str, str]:
    name, equals, asset = text.rpartition("=")
    if not equals or not name or not asset:
        raise InputError("--replace", "ID=ASSET", f"'{text}'")
    return name, asset


def list_scenarios(args: argparse.Namespace, say: Say) -> Result:
    """The shipped scenarios with their types and descriptions."""
    rows = []
    for name in shipped_scenarios():
        scenario = load_runs(name)[0].scenario
        rows.append({"name": name, "type": scenario.type, "description": scenario.description})
    width = max(len(row["name"]) for row in rows)
    text = "\n".join(f"{row['name']:<{width}}  {row['type']:<10}  {row['description']}" for row in rows)
    return Result(text=text, data=rows)


def check_scenarios(args: argparse.Namespace, say: Say) -> Result:
    """Plan every run of the files, and look at its rig and harmonizer; nothing is rendered."""
    scenes, faults, notes, rows = Scenes(say), list[str](), list[str](), []
    for source in args.scenarios:
        specs: list[RunSpec] = []
        found: list[InputError] = []
        with _collected(found):
            specs = load_runs(source)
        for check in (scenes.plan, scenes.check_rig, scenes.check_harmonizer):
            with _collected(found):
                try:
                    for spec in specs:
                        check(spec)
                except MissingPackageError as error:
                    notes.append(f"note: {source}: the harmonizer is not checked: {error}")
        faults += map(str, found)
        if not found:
            rows.append({"file": str(source), "runs": [spec.run_id for spec in specs]})
    lines = [*faults, *notes, *(f"{row['file']}: no faults, {len(row['runs'])} runs" for row in rows)]
    return Result(1 if faults else 0, "\n".join(lines), {"faults": faults, "notes": notes, "scenarios": rows})


@contextmanager
def _collected(faults: list[InputError]) -> Iterator[None]:
    """Faults of what is done meanwhile are added to `faults`."""
    try:
        yield
    except InputErrors as errors:
        faults += errors.faults
    except InputError as error:
        faults.append(error)


def replay_run(args: argparse.Namespace, say: Say) -> Result:
    """Repeat a run from its log; exit status 1 when anything differs."""
    path = args.run / LOG if args.run.is_dir() else args.run
    log = read_log(path)
    spec = spec_of(log)
    scenes = Scenes(say)
    plan = scenes.plan(spec)
    folder = args.out
    make_folder(folder)
    simulator = scenes.simulator(spec.sim).simulator
    with LogWriter(folder / LOG) as writer:
        writer.write(
            "header", **header(plan, controller=f"log of {log.header['controller']}", renderer=simulator.renderer.name)
        )
        edits = LoggedEdits(log, simulator.library)
        run_in_process(plan, simulator, None, writer, commands=LoggedCommands(log), edits=edits)
    again = read_log(folder / LOG)
    score_folder(folder, scenes.facts(spec.sim))
    same = log.end is not None and again.end is not None and log.end["digest"] == again.end["digest"]
    text = (
        "identical: every pose, command and picture"
        if same
        else _difference(log.of("tick", "frame"), again.of("tick", "frame"))
    )
    return Result(0 if same else 1, text, {"identical": same})


def _difference(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> str:
    """The first tick or frame set that is not the same."""
    before = [r for r in before if r.get("phase") != "startup"]
    now = [r for r in now if r.get("phase") != "startup"]
    for a, b in zip(before, now, strict=False):
        for key in ("ego", "actors", "hashes"):
            if a.get(key) != b.get(key):
                return f"different from t = {a['t_s']:.2f} s on: {key} of the {a['record']}"
    return f"different: {len(before)} ticks and frame sets, now {len(now)}"


def report_folder(args: argparse.Namespace, say: Say) -> Result:
    """Score every run of a folder anew from its log, and write results and report."""
    folder = args.folder
    scenes = Scenes(say)
    summaries = []
    for run in sorted((folder / RUNS).glob("*")):
        if (run / LOG).is_file():
            summaries.append(score_folder(run, scenes.facts(spec_of(read_log(run / LOG)).sim)))
        elif (summary := read_never_began(run)) is not None:
            summaries.append(summary)
    if not summaries:
        raise InputError(str(folder), f"a folder with runs ({RUNS}/*/{LOG})", "none")
    baseline = None if args.baseline is None else read_results(args.baseline)
    results = results_of(summaries, seconds=seconds_of(folder), baseline=baseline)
    write_results(folder, results)
    return Result(exit_code(summaries), results_text(folder, results), results)
