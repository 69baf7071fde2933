"""Runs one after the other: each gets a folder with its log, film and summary; together they get their results.

    OUT/results.json  junit.xml  report.html
    OUT/runs/<run id>/run.jsonl  summary.json  film/
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from r3d2_ros.assembly import Assembled, assemble, load_config_library, load_config_rig, scene_path
from r3d2_ros.closed_loop.actions import Outcome
from r3d2_ros.closed_loop.interrupts import Interrupts
from r3d2_ros.closed_loop.plan import RunPlan, plan_run
from r3d2_ros.closed_loop.report import write_report
from r3d2_ros.closed_loop.results import (
    JUNIT,
    LOG,
    RESULTS,
    RUNS,
    SUMMARY,
    junit,
    means,
    means_of_groups,
    one_line,
    read_results,
    regressions,
    score_folder,
    seconds_of,
    write_json,
)
from r3d2_ros.closed_loop.runs import RunSpec, check_differ, configuration_hash, in_scenario
from r3d2_ros.closed_loop.scores.data import SceneFacts
from r3d2_ros.closed_loop.scores.summary import never_began
from r3d2_ros.config import RigConfig, SimConfig
from r3d2_ros.errors import InputError, InputErrors, MissingPackageError
from r3d2_ros.formats.files import atomic_output, free_name, make_folder
from r3d2_ros.formats.load import load_gaussians
from r3d2_ros.formats.scenes import SceneFiles, build_scene, find_scene
from r3d2_ros.harmonizer.packages import need_packages
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.lane_map import LaneMap, load_labels, load_lane_map
from r3d2_ros.resources import user_path
from r3d2_ros.scene import AssetLibrary

Say = Callable[[str], None]


class Execute(Protocol):
    """What does a run: writes run.jsonl into its folder and says how it ended."""

    @property
    def name(self) -> str:
        """What drives, as the log has it."""

    def __call__(self, plan: RunPlan, folder: Path) -> Outcome:
        """Do the run."""


@dataclass
class Scenes:
    """What runs share: scenes, libraries and simulators, loaded once for each configuration."""

    say: Say = lambda text: None
    _assembled: dict[SimConfig, Assembled] = field(default_factory=dict)
    _lane_maps: dict[SimConfig, LaneMap | None] = field(default_factory=dict)
    _libraries: dict[SimConfig, AssetLibrary] = field(default_factory=dict)
    _facts: dict[SimConfig, SceneFacts] = field(default_factory=dict)
    _checked: set[RigConfig | HarmonizerConfig] = field(default_factory=set)

    def check_rig(self, spec: RunSpec) -> None:
        """InputError(s), naming the scenario, for a rig that cannot be used."""
        if spec.sim.rig in self._checked:
            return
        try:
            load_config_rig(spec.sim)
        except (InputError, InputErrors) as error:
            raise in_scenario(error, spec.where) from error
        self._checked.add(spec.sim.rig)

    def check_harmonizer(self, spec: RunSpec) -> None:
        """InputErrors, naming the scenario, for what the harmonizer's start would find, but for what depends on the
        machine. MissingPackageError where it cannot be looked for.
        """
        config = spec.sim.harmonizer
        if config.backend == "none" or config in self._checked:
            return
        need_packages(f"harmonizer.backend: {config.backend}")
        from r3d2_ros.harmonizer.checking import harmonizer_faults  # imports torch

        if faults := harmonizer_faults(config):
            raise in_scenario(InputErrors(faults), spec.where)
        self._checked.add(config)

    def plan(self, spec: RunSpec) -> RunPlan:
        """The run, resolved. InputError(s), naming the scenario, when the scene has not what that names."""
        if spec.sim not in self._lane_maps:
            try:
                path = self._files(spec.sim).lane_map
                lane_map = None if path is None else load_lane_map(path)
                self._libraries[spec.sim] = load_config_library(spec.sim, self.say)
            except (InputError, InputErrors) as error:
                raise in_scenario(error, spec.where) from error
            self._lane_maps[spec.sim] = lane_map
        return plan_run(spec, lane_map=self._lane_maps[spec.sim], library=self._libraries[spec.sim])

    def simulator(self, sim: SimConfig) -> Assembled:
        """The simulator of a configuration, ready to step."""
        if sim not in self._assembled:
            self._assembled.clear()  # scenes are large: one at a time
            self._assembled[sim] = assembled = assemble(sim, self.say, library=self._libraries.get(sim))
            for note in assembled.notes:
                self.say(note)
        return self._assembled[sim]

    def facts(self, sim: SimConfig) -> SceneFacts:
        """What scores want to know of the scene."""
        if sim not in self._facts:
            self._facts[sim] = scene_facts(self._files(sim))
        return self._facts[sim]

    def _files(self, sim: SimConfig) -> SceneFiles:
        sidecar = user_path(sim.scene.sidecar, "scene.sidecar") if sim.scene.sidecar else None
        return find_scene(scene_path(sim.scene.source, self.say), sidecar)


def scene_facts(files: SceneFiles) -> SceneFacts:
    """Lane map and labelled Gaussians of a scene, as far as it has them. InputError for files that cannot be used."""
    lane_map = None if files.lane_map is None else load_lane_map(files.lane_map)
    if files.labels is None:
        return SceneFacts(lane_map)
    loaded = load_gaussians(files.gaussians)
    labels = load_labels(files.labels, len(loaded.kept))[loaded.kept]
    scene = build_scene(files, loaded)
    means = scene.T_map_scene.apply(scene.background.means.astype(np.float64) + scene.background.origin)
    return SceneFacts(lane_map, means, labels)


@dataclass(frozen=True)
class SessionOptions:
    """out: folder; baseline: folder of earlier results; resume: keep runs that are finished.

    report  write the results of the runs together; without it others may write runs into the same folder meanwhile
    """

    out: Path
    baseline: Path | None = None
    resume: bool = False
    report: bool = True


def run_session(
    specs: Sequence[RunSpec],
    options: SessionOptions,
    *,
    scenes: Scenes,
    execute: Execute,
    interrupts: Interrupts,
    say: Say,
) -> dict[str, Any]:
    """Plan everything, run everything, write the results where that is asked for; returns them.

    Faults of scenarios are found before the first run. A signal ends the session with the results of what is done;
    signals are held but for the planning and where `execute` is ready for them.
    """
    with interrupts.ready():
        plans = [scenes.plan(spec) for spec in specs]
        for spec in specs:
            scenes.check_rig(spec)
            if spec.sim.harmonizer != specs[0].sim.harmonizer:  # which the first run starts before anything is done
                scenes.check_harmonizer(spec)
    check_differ(specs)
    baseline = None if options.baseline is None else read_results(options.baseline)
    done = {plan.spec.run_id: _finished(options, plan, driver=execute.name, say=say) for plan in plans}
    _check_folder(options, plans, done, say)
    seconds = {run_id: took for run_id, took in seconds_of(options.out).items() if done.get(run_id) is not None}
    try:
        for number, plan in enumerate(plans, start=1):
            run_id = plan.spec.run_id
            summary = done[run_id]
            if summary is None:
                interrupts.check()
                start = time.monotonic()
                summary = done[run_id] = _run(plan, options.out / RUNS / run_id, scenes, execute)
                seconds[run_id] = time.monotonic() - start
            say(f"[{number}/{len(plans)}] {one_line(summary)}")
    except KeyboardInterrupt as error:
        count = sum(summary is not None for summary in done.values())
        say(f"interrupted{f' by {error}' if str(error) else ''}: {count} of {len(plans)} runs are done, "
            f"--out {options.out} --resume does the others")  # fmt: skip
        raise
    finally:
        summaries = [summary for summary in done.values() if summary is not None]
        results = results_of(summaries, seconds=seconds, baseline=baseline)
        if options.report:
            write_results(options.out, results)
    return results


def _run(
    plan: RunPlan, folder: Path, scenes: Scenes, execute: Execute
) -> dict[str, Any]:
    make_folder(folder)
    try:
        execute(plan, folder)
    except (InputError, InputErrors, MissingPackageError, MemoryError) as error:  # the next run would meet the same
        if isinstance(error, InputError | InputErrors) and not (folder / LOG).exists():  # what the simulator is made of
            raise in_scenario(error, plan.spec.where) from error
        raise
    except Exception as error:  # the other runs go on
        reason = f"{type(error).__name__}: {error}"
        scenes.say(f"{plan.spec.run_id}: {reason}")
        if not (folder / LOG).exists():
            summary = never_began(plan.spec, controller=execute.name, reason=reason)
            write_json(folder / SUMMARY, summary)
            return summary
    return score_folder(folder, scenes.facts(plan.spec.sim))


def _finished(options: SessionOptions, plan: RunPlan, *, driver: str, say: Say) -> dict[str, Any] | None:
    """The summary of this very run when an earlier session finished it, where that is asked for."""
    path = options.out / RUNS / plan.spec.run_id / SUMMARY
    if not options.resume or not path.is_file():
        return None
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(summary, dict) or summary.get("verdict") not in ("passed", "failed", "invalid"):
        return None
    if summary.get("controller") != driver:
        say(f"{plan.spec.run_id}: run again, it was driven by {summary.get('controller')} and now is by {driver}")
        return None
    if summary.get("configuration_hash") != configuration_hash(plan.spec):
        say(f"{plan.spec.run_id}: run again, its scenario or configuration was another one")
        return None
    return summary


def _check_folder(
    options: SessionOptions, plans: list[RunPlan], done: dict[str, dict[str, Any] | None], say: Say
) -> None:
    """Logs of earlier runs are never overwritten: those of runs that are done again are set aside when resuming.

    Nor are the results of earlier runs, which those of this session would replace, unless that is asked for.
    """
    make_folder(options.out)
    earlier = [path for name in (LOG, SUMMARY) for path in sorted((options.out / RUNS).glob(f"*/{name}"))]
    others = [path for path in earlier if path.parent.name not in done]
    mine = [path for path in earlier if path.name == LOG and path.parent.name in done]
    if refused := [] if options.resume else [*mine, *(others if options.report else ())]:
        hint = (
            "Choose another folder, or --resume to keep the finished runs of these scenarios. Scenarios that belong in "
            "one folder are run by one command, or with --no-report and then r3d2 scenario report"
        )
        raise InputError(str(options.out), "a folder without earlier runs", str(refused[0]), hint)
    if others and options.report:
        count = len({path.parent for path in others})
        say(f"runs in {options.out} that are not in these results: {count}; r3d2 scenario report {options.out} "
            "writes those of all")  # fmt: skip
    for log in mine:
        if done[log.parent.name] is not None:
            continue
        log.rename(free_name(log))
        (log.parent / SUMMARY).unlink(missing_ok=True)  # it is that log's


def results_of(
    summaries: list[dict[str, Any]], *, seconds: dict[str, float], baseline: dict[str, Any] | None
) -> dict[str, Any]:
    """These runs together."""
    return {
        "means": means(summaries),
        "groups": means_of_groups(summaries),
        "regressions": [] if baseline is None else regressions(summaries, baseline),
        "seconds": {run_id: round(value, 3) for run_id, value in seconds.items()},
        "runs": summaries,
    }


def write_results(out: Path, results: dict[str, Any]) -> None:
    """results.json, junit.xml and report.html of these results."""
    write_json(out / RESULTS, results)
    with atomic_output(out / JUNIT) as file:
        file.write(junit(results["runs"], results["seconds"]))
    write_report(out, results)
