"""Campaign files of replays: bags x configurations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field

from r3d2_ros.assembly import check_config_library, load_config_rig
from r3d2_ros.campaign.keys import Campaign, CommonKeys, GpuShare, Name, Threads, beside, faults_of, settings
from r3d2_ros.campaign.replays import ReplayKeys, replay_task
from r3d2_ros.campaign.task import Configuration
from r3d2_ros.config import Scalar, as_mapping, load_config
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.schema import STRICT


@dataclass(frozen=True, kw_only=True)
class BagKeys:
    """A bag: its path alone, or with the topics that are not to be chosen by themselves."""

    __pydantic_config__ = STRICT
    path: Annotated[str, Field(min_length=1)]
    ego: str | None = None
    actors: str | None = None


def _path_alone(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


@dataclass(frozen=True, kw_only=True)
class ConfigurationKeys:
    """A configuration file (none: the defaults) with keys set on top, and what its tasks need."""

    __pydantic_config__ = STRICT
    file: str = ""
    set: dict[str, Scalar] = field(default_factory=dict)
    threads: Threads | None = None
    gpus: GpuShare | None = None


@dataclass(frozen=True, kw_only=True)
class TaskKeys(ReplayKeys):
    """One task by name: a bag and a configuration of the file; options here beat those of `replay`."""

    kind: Literal["replay"] = "replay"
    bag: str
    configuration: str


@dataclass(frozen=True, kw_only=True)
class ReplayCampaignKeys(CommonKeys):
    """The keys of a campaign file. Without `tasks`, every bag with every configuration."""

    bags: Annotated[dict[Name, Annotated[BagKeys, BeforeValidator(_path_alone)]], Field(min_length=1)]
    configurations: Annotated[dict[Name, ConfigurationKeys], Field(min_length=1)]
    replay: ReplayKeys = field(default_factory=ReplayKeys)
    tasks: dict[Name, TaskKeys] = field(default_factory=dict)


def replay_campaign(path: Path, keys: ReplayCampaignKeys) -> Campaign:
    """The campaign of the file `path`. InputErrors: every fault, with file and key."""
    out = beside(path, keys.out)
    faults: list[InputError] = []
    bags = {name: replace(bag, path=str(beside(path, bag.path))) for name, bag in keys.bags.items()}
    for name, bag in bags.items():
        if not Path(bag.path).exists():
            faults.append(InputError(f"{path}: bags.{name}", "a bag", f"{bag.path}: no such file or folder"))
    configurations: dict[str, Configuration] = {}
    for name, entry in keys.configurations.items():
        try:
            configurations[name] = _configuration(name, entry, keys=keys, path=path, out=out)
        except (InputError, InputErrors) as error:
            faults += faults_of(error, f"{path}: configurations.{name}")
    pairs = _pairs(keys)
    for name, (bag_name, configuration_name, _) in pairs.items():
        for key, given, known in (
            ("bag", bag_name, list(bags)),
            ("configuration", configuration_name, list(keys.configurations)),
        ):
            if given not in known:
                where = f"{path}: tasks.{name}.{key}"
                faults.append(InputError(where, f"one of the file: {', '.join(known)}", f"'{given}'"))
    if faults:
        raise InputErrors(faults)
    tasks = []
    for name, (bag_name, configuration_name, options) in pairs.items():
        bag = bags[bag_name]
        try:
            task = replay_task(
                name,
                bag=Path(bag.path),
                keys=options.over(ReplayKeys(ego=bag.ego, actors=bag.actors)).over(keys.replay),
                configuration=configurations[configuration_name],
                out=out,
                timeout_s=keys.timeout_s,
            )
            tasks.append(task)
        except (InputError, InputErrors) as error:
            where = f"tasks.{name}" if keys.tasks else f"replay, with configuration {configuration_name}"
            faults += faults_of(error, f"{path}: {where}")
    if faults:
        # Without `tasks` the same options are those of every bag.
        raise InputErrors(list({(fault.where, fault.expected): fault for fault in faults}.values()))
    files = {
        configuration.file: yaml.safe_dump(as_mapping(configuration.config), sort_keys=False).encode()
        for configuration in configurations.values()
    }
    return Campaign(path, out, "replay", tuple(tasks), files, keys.tries)


def _pairs(keys: ReplayCampaignKeys) -> dict[str, tuple[str, str, ReplayKeys]]:
    """Name of each task -> bag, configuration and its own options."""
    if keys.tasks:
        return {name: (task.bag, task.configuration, task) for name, task in keys.tasks.items()}
    return {f"{bag}.{name}": (bag, name, ReplayKeys()) for bag in keys.bags for name in keys.configurations}


def _configuration(
    name: str, entry: ConfigurationKeys, *, keys: ReplayCampaignKeys, path: Path, out: Path
) -> Configuration:
    """Loads what the configuration names, so that its faults are found before the first task."""
    threads = entry.threads or keys.threads
    config = load_config(beside(path, entry.file) if entry.file else None, settings(path, entry.set))
    if config.rendering.threads == 0:
        config = replace(config, rendering=replace(config.rendering, threads=threads))
    rig = load_config_rig(config)
    check_config_library(config)
    gpus = keys.gpus if entry.gpus is None else entry.gpus
    return Configuration(name, config, rig, out / "configurations" / f"{name}.yaml", threads, gpus)
