"""What campaign files of every kind share: names, paths, and what a file becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from r3d2_ros.campaign.task import Task
from r3d2_ros.config import PATH_KEYS, Scalar
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.resources import user_path
from r3d2_ros.schema import STRICT, Number

Kind = Literal["replay", "scenario"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
"""Without a dot, which stands between the parts of the names of tasks."""
Threads = Annotated[int, Field(ge=1, le=1024)]
GpuShare = Annotated[Number, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class CommonKeys:
    """How tasks of every kind are run."""

    __pydantic_config__ = STRICT
    out: Annotated[str, Field(min_length=1)]
    threads: Threads = 1
    gpus: GpuShare = 0.0
    tries: Annotated[int, Field(ge=1, le=100)] = 2
    timeout_s: Annotated[Number, Field(gt=0)] | None = None


@dataclass(frozen=True)
class Campaign:
    """A campaign, ready to run. out: folder of the results; files: what its tasks read; tries: of each in one run."""

    file: Path
    out: Path
    kind: Kind
    tasks: tuple[Task, ...]
    files: Mapping[Path, bytes] = field(default_factory=dict)
    tries: int = 1


def beside(path: Path, text: str) -> Path:
    """A path of the file `path`, absolute."""
    return (path.parent / user_path(text, str(path))).resolve()


def settings(path: Path, given: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Keys of the configuration that the file `path` sets, where relative paths are relative to it."""
    values = dict(given)
    for name in PATH_KEYS:
        value = values.get(name)
        if isinstance(value, str) and value not in ("", "street") and beside(path, value).exists():
            values[name] = str(beside(path, value))
    return values


def faults_of(error: InputError | InputErrors, where: str) -> list[InputError]:
    """The faults with `where` in front of each."""
    faults = error.faults if isinstance(error, InputErrors) else (error,)
    return [InputError(f"{where}: {fault.where}", fault.expected, fault.got, fault.hint) for fault in faults]
