"""What a campaign is made of, as values that can be sent to another process or machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from r3d2_ros.cameras import Rig
from r3d2_ros.config import Scalar, SimConfig, leaves

State = Literal["waiting", "running", "done", "partly", "failed"]
"""partly: everything that can be made is there, and what is missing was named."""

TryState = Literal["done", "partly", "failed", "stopped"]
"""stopped: it was asked to end."""
PACKAGES = ("numpy", "scipy", "numba", "torch", "diffusers", "gsplat")
"""Packages whose versions can change a result."""
FINISHED: tuple[Literal["done", "partly"], ...] = ("done", "partly")


@dataclass(frozen=True)
class Configuration:
    """A configuration under its name. file: where it is written for the tasks; gpus: share of one GPU."""

    name: str
    config: SimConfig
    rig: Rig
    file: Path
    threads: int
    gpus: float


@dataclass(frozen=True)
class Task:
    """One `r3d2` command.

    kind     of `work.JUDGES`
    words    the command line
    options  what of the words decides the result, by name
    inputs   the files that it reads
    out      the folder or file with its results
    log      what it says
    gpus     share of one GPU; 0: it sees none
    version  of r3d2_ros, which is to be that of the machine it runs on
    unset    variables of the environment that it does not get
    """

    name: str
    kind: str
    words: tuple[str, ...]
    options: Mapping[str, Scalar]
    inputs: tuple[Path, ...]
    out: Path
    log: Path
    threads: int
    gpus: float
    version: str
    timeout_s: float | None = None
    unset: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """What the end of a command means. told: its result in words; result: what is kept of the JSON that it printed."""

    state: TryState
    reason: str = ""
    told: str = ""
    result: dict[str, Any] | None = None


@dataclass(frozen=True)
class Ended:
    """How a try ended.

    versions  of the packages where it ran
    result    what is kept of the JSON that the command printed; told: the same in words
    """

    state: TryState
    reason: str = ""
    seconds: float = 0.0
    host: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    told: str = ""


def chosen(config: SimConfig) -> dict[str, Scalar]:
    """The keys of a configuration that differ from the defaults, dotted."""
    defaults = {leaf.name: leaf.value for leaf in leaves(SimConfig())}
    return {leaf.name: leaf.value for leaf in leaves(config) if leaf.value != defaults[leaf.name]}
