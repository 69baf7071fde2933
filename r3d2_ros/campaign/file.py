"""Campaign files (YAML): what is to be done, validated before anything starts. `docs/campaigns.md` shows every key."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from r3d2_ros.assembly import check_config_library, load_config_rig
from r3d2_ros.campaign.replays import ReplayKeys, replay_task
from r3d2_ros.campaign.task import Configuration, Task
from r3d2_ros.config import Scalar, load_config
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.resources import user_path
from r3d2_ros.rigs.fields import Number
from r3d2_ros.schema import STRICT, load_yaml, validate

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
"""Without a dot, which stands between bag and configuration in the names of tasks."""
Threads = Annotated[int, Field(ge=1, le=1024)]
GpuShare = Annotated[Number, Field(ge=0, le=1)]


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
class CampaignKeys:
    """The keys of a campaign file. Without `tasks`, every bag with every configuration."""

    __pydantic_config__ = STRICT
    out: Annotated[str, Field(min_length=1)]
    bags: Annotated[dict[Name, Annotated[BagKeys, BeforeValidator(_path_alone)]], Field(min_length=1)]
    configurations: Annotated[dict[Name, ConfigurationKeys], Field(min_length=1)]
    replay: ReplayKeys = field(default_factory=ReplayKeys)
    tasks: dict[Name, TaskKeys] = field(default_factory=dict)
    threads: Threads = 1
    gpus: GpuShare = 0.0
    tries: Annotated[int, Field(ge=1, le=100)] = 2
    timeout_s: Annotated[Number, Field(gt=0)] | None = None


@dataclass(frozen=True)
class Campaign:
    """A campaign, ready to run. out: folder of the results; tries: of each task in one run."""

    file: Path
    out: Path
    tasks: tuple[Task, ...]
    configurations: tuple[Configuration, ...]
    tries: int


def load_campaign(source: str | Path) -> Campaign:
    """The campaign of a file. Relative paths are relative to it. InputErrors: every fault, with file and key."""
    path = user_path(source, "campaign").absolute()
    keys = validate(CampaignKeys, load_yaml(path), str(path))
    out = _beside(path, keys.out)
    faults: list[InputError] = []
    bags = {name: replace(bag, path=str(_beside(path, bag.path))) for name, bag in keys.bags.items()}
    for name, bag in bags.items():
        if not Path(bag.path).exists():
            faults.append(InputError(f"{path}: bags.{name}", "a bag", f"{bag.path}: no such file or folder"))
    configurations: dict[str, Configuration] = {}
    for name, entry in keys.configurations.items():
        try:
            configurations[name] = _configuration(name, entry, keys=keys, path=path, out=out)
        except (InputError, InputErrors) as error:
            for fault in error.faults if isinstance(error, InputErrors) else (error,):
                where = f"{path}: configurations.{name}: {fault.where}"
                faults.append(InputError(where, fault.expected, fault.got, fault.hint))
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
    tasks = [
        replay_task(
            name,
            bag=Path(bags[bag_name].path),
            keys=options.over(ReplayKeys(ego=bags[bag_name].ego, actors=bags[bag_name].actors)).over(keys.replay),
            configuration=configurations[configuration_name],
            out=out,
            timeout_s=keys.timeout_s,
        )
        for name, (bag_name, configuration_name, options) in pairs.items()
    ]
    return Campaign(path, out, tuple(tasks), tuple(configurations.values()), keys.tries)


def _pairs(keys: CampaignKeys) -> dict[str, tuple[str, str, ReplayKeys]]:
    """Name of each task -> bag, configuration and its own options."""
    if keys.tasks:
        return {name: (task.bag, task.configuration, task) for name, task in keys.tasks.items()}
    return {f"{bag}.{name}": (bag, name, ReplayKeys()) for bag in keys.bags for name in keys.configurations}


def _configuration(name: str, entry: ConfigurationKeys, *, keys: CampaignKeys, path: Path, out: Path) -> Configuration:
    """Loads what the configuration names, so that its faults are found before the first task."""
    threads = entry.threads or keys.threads
    config = load_config(_beside(path, entry.file) if entry.file else None, entry.set)
    if config.rendering.threads == 0:
        config = replace(config, rendering=replace(config.rendering, threads=threads))
    load_config_rig(config)
    check_config_library(config)
    gpus = keys.gpus if entry.gpus is None else entry.gpus
    return Configuration(name, config, out / "configurations" / f"{name}.yaml", threads, gpus)


def _beside(path: Path, text: str) -> Path:
    """A path of the file `path`, absolute."""
    return (path.parent / user_path(text, str(path))).resolve()
