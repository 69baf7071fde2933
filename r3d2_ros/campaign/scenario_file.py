"""Campaign files of closed-loop runs: scenarios, with what they vary, x stacks x configurations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field

from r3d2_ros.assembly import scene_path
from r3d2_ros.campaign.keys import Campaign, CommonKeys, GpuShare, Name, Threads, beside, faults_of, settings
from r3d2_ros.campaign.scenarios import Driver, Means, run_file, scenario_task
from r3d2_ros.campaign.task import Task
from r3d2_ros.closed_loop.controllers import CONTROLLERS
from r3d2_ros.closed_loop.example_stacks import example_stack, stack_command
from r3d2_ros.closed_loop.runs import RunSpec, check_differ, described, load_runs, scenario_path, with_seeds
from r3d2_ros.closed_loop.session import Scenes
from r3d2_ros.config import Scalar, SimConfig, config_from
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.formats.scenes import find_scene
from r3d2_ros.replay.manifest import described_files
from r3d2_ros.resources import user_path
from r3d2_ros.schema import STRICT, Number

DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
MAX_NAME_BYTES = 200
"""Of a run, whose name becomes one of files."""


@dataclass(frozen=True, kw_only=True)
class StackKeys:
    """What drives: a built-in controller, an example stack over ROS 2, or a program over ROS 2.

    version  of the stack, in the user's words: when it changes, its runs are done again
    """

    __pydantic_config__ = STRICT
    controller: str | None = None
    stack: str | None = None
    command: str | None = None
    max_age: Annotated[Number, Field(ge=0, le=60)] | None = None
    version: Annotated[str, Field(coerce_numbers_to_str=True)] = ""

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.controller, self.stack, self.command)) != 1:
            raise ValueError("one of controller, stack and command")
        if self.controller is not None and self.max_age is not None:
            raise ValueError("no max_age for a controller, which answers at once")


@dataclass(frozen=True, kw_only=True)
class VariantKeys:
    """Keys of the simulator's configuration that beat those of the scenarios, and what the tasks need."""

    __pydantic_config__ = STRICT
    set: dict[str, Scalar] = field(default_factory=dict)
    threads: Threads | None = None
    gpus: GpuShare | None = None


@dataclass(frozen=True, kw_only=True)
class ScenarioCampaignKeys(CommonKeys):
    """The keys of a campaign file: every run of every scenario with every stack and configuration."""

    scenarios: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    stacks: Annotated[dict[Name, StackKeys], Field(min_length=1)]
    configurations: Annotated[dict[Name, VariantKeys], Field(min_length=1)] | None = None
    seeds: int | None = None


def scenario_campaign(path: Path, keys: ScenarioCampaignKeys) -> Campaign:
    """The campaign of the file `path`; every run is planned. InputErrors: every fault, with file and key."""
    return _Maker(path, keys).campaign()


class _Maker:
    def __init__(self, path: Path, keys: ScenarioCampaignKeys) -> None:
        self._path, self._keys, self._out = path, keys, beside(path, keys.out)
        self._scenes = Scenes()
        self._faults: list[InputError] = []
        self._inputs: dict[SimConfig, tuple[Path, ...]] = {}

    def campaign(self) -> Campaign:
        keys = self._keys
        drivers = {name: self._driver(name, entry) for name, entry in keys.stacks.items()}
        variants = {n: v for n, v in (keys.configurations or {"": VariantKeys()}).items() if self._is_usable(n, v)}
        runs = [
            (name, spec)
            for source in self._sources()
            for name, variant in variants.items()
            for spec in self._runs(source, variant)
        ]
        if self._faults:
            raise InputErrors(list({str(fault): fault for fault in self._faults}.values()))
        tasks: list[Task] = []
        specs: list[RunSpec] = []
        for name, plain in runs:
            for stack, driver in drivers.items():
                assert driver is not None
                group = f"{stack}.{name}" if name else stack
                spec = replace(plain, run_id=self._checked(f"{plain.run_id}.{group}"), group=group)
                specs.append(spec)
                tasks.append(
                    scenario_task(
                        spec,
                        driver=driver,
                        inputs=self._inputs[spec.sim] + self._reference(spec),
                        out=self._out,
                        means=self._means(variants[name]),
                    )
                )
        check_differ(specs)
        files = {
            run_file(self._out, spec.run_id): yaml.dump(described(spec), Dumper=DUMPER, sort_keys=False).encode()
            for spec in specs
        }
        return Campaign(self._path, self._out, "scenario", tuple(tasks), files, keys.tries)

    def _driver(self, name: str, entry: StackKeys) -> Driver | None:
        """None where it cannot be used; the fault is kept."""
        words: list[str] = []
        try:
            if entry.controller is not None:
                if entry.controller not in CONTROLLERS:
                    raise InputError("controller", f"one of {', '.join(CONTROLLERS)}", f"'{entry.controller}'")
                title, words = entry.controller, [f"--controller={entry.controller}"]
            elif entry.stack is not None:
                title, words = f"stack {example_stack(entry.stack).name}", [f"--stack={entry.stack}"]
            else:
                command = entry.command or ""
                title, words = f"stack {stack_command(command).name}", [f"--stack-command={command}"]
        except InputError as error:
            self._faults += faults_of(error, f"{self._path}: stacks.{name}")
            return None
        options: dict[str, Scalar] = {"version of the stack": entry.version} if entry.version else {}
        if entry.max_age is not None:
            words.append(f"--max-age={entry.max_age:g}")
            options["max_age"] = entry.max_age
        return Driver(title, tuple(words), options, over_ros=entry.controller is None)

    def _is_usable(self, name: str, variant: VariantKeys) -> bool:
        """Its keys by themselves, so that their faults are not those of the scenarios."""
        try:
            config_from({}, where=f"{self._path}: configurations.{name}", overrides=settings(self._path, variant.set))
        except (InputError, InputErrors) as error:
            self._faults += error.faults if isinstance(error, InputErrors) else [error]
            return False
        return True

    def _sources(self) -> Iterable[Path]:
        """The scenario files: a folder stands for those that lie in it."""
        for k, source in enumerate(self._keys.scenarios):
            where = f"{self._path}: scenarios.{k}"
            try:
                folder = beside(self._path, source)
                if not folder.is_dir():
                    yield scenario_path(source, self._path.parent)
                elif found := sorted(folder.glob("*.yaml")):
                    yield from found
                else:
                    raise InputError(source, "a folder with scenarios (*.yaml)", "none in it")
            except InputError as error:
                self._faults += faults_of(error, where)

    def _runs(self, source: Path, variant: VariantKeys) -> list[RunSpec]:
        """The runs of a scenario in a configuration, which can be planned; faults are kept."""
        try:
            specs = load_runs(source, settings(self._path, variant.set))
            if self._keys.seeds is not None:
                specs = with_seeds(specs, self._keys.seeds, f"{self._path}: seeds")
            specs = [self._with_threads(spec, variant) for spec in specs]
            for spec in specs:
                self._check(spec)
            return specs
        except InputErrors as errors:
            self._faults += errors.faults
        except InputError as error:
            self._faults.append(error)
        return []

    def _with_threads(self, spec: RunSpec, variant: VariantKeys) -> RunSpec:
        rendering = spec.sim.rendering
        if rendering.threads:
            return spec
        threads = variant.threads or self._keys.threads
        return replace(spec, sim=replace(spec.sim, rendering=replace(rendering, threads=threads)))

    def _check(self, spec: RunSpec) -> None:
        """InputError for what the run names and is not there."""
        # A plan depends on nothing else of the configuration, so that libraries are read once for many of them.
        self._scenes.plan(replace(spec, sim=SimConfig(scene=spec.sim.scene, assets=spec.sim.assets)))
        self._scenes.check_rig(spec)
        if spec.sim not in self._inputs:
            self._inputs[spec.sim] = _input_files(spec.sim)

    def _reference(self, spec: RunSpec) -> tuple[Path, ...]:
        """Files that the reference path is read from; it may be a bag of many."""
        name = spec.scenario.ego.reference.file
        if not name:
            return ()
        path = (spec.folder / user_path(name, spec.where)).absolute()
        return tuple(sorted(file for file in path.rglob("*") if file.is_file())) if path.is_dir() else (path,)

    def _checked(self, run_id: str) -> str:
        if len(run_id.encode()) > MAX_NAME_BYTES:
            expected = f"names of runs of at most {MAX_NAME_BYTES} bytes"
            raise InputError(f"{self._path}: scenarios, stacks", expected, run_id)
        return run_id

    def _means(self, variant: VariantKeys) -> Means:
        keys = self._keys
        gpus = keys.gpus if variant.gpus is None else variant.gpus
        return Means(variant.threads or keys.threads, gpus, keys.timeout_s)


def _input_files(sim: SimConfig) -> tuple[Path, ...]:
    """The files that the pictures are made from, and those that paths and scores are."""
    found = [Path(path) for path in described_files(sim, ())]
    if sim.scene.source != "street":
        sidecar = user_path(sim.scene.sidecar, "scene.sidecar") if sim.scene.sidecar else None
        files = find_scene(scene_path(sim.scene.source, lambda text: None), sidecar)
        found += [path.absolute() for path in (files.lane_map, files.labels) if path is not None]
    return tuple(found)
