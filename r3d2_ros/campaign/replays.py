"""Tasks of the kind `replay`: the options that a campaign file gives, the command, and what its end means."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from r3d2_ros.campaign.task import Configuration, Judged, Task, chosen
from r3d2_ros.config import Scalar
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.replay.manifest import WITHOUT_EFFECT, described_files
from r3d2_ros.replay.options import BAG_SUFFIX, ReplayOptions, checked
from r3d2_ros.replay.output import ALSO
from r3d2_ros.replay.ticks import replay_rig
from r3d2_ros.schema import STRICT, Number
from r3d2_ros.versions import own_version

Seconds = Annotated[Number, Field(ge=0)]
Words = list[Annotated[str, Field(min_length=1, pattern="^[^,]+$")]]

PARTLY = 3
"""Exit status of `r3d2 replay` when something is missing and was named."""


@dataclass(frozen=True, kw_only=True)
class ReplayKeys:
    """Options of `r3d2 replay`, under the same names; None: not given. bag_out: an MCAP bag instead of a folder."""

    __pydantic_config__ = STRICT
    ego: str | None = None
    actors: str | None = None
    start: Seconds | None = None
    duration: Seconds | None = None
    rate: Annotated[Number, Field(gt=0, le=1000)] | None = None
    every: Annotated[int, Field(ge=1)] | None = None
    cameras: Words | None = None
    anchor: Literal["start"] | None = None
    format: Literal["jpg", "png", "mp4", "raw"] | None = None
    source_topics: Words | None = None
    also: Words | None = None
    bag_out: bool | None = None

    def over(self, other: ReplayKeys) -> ReplayKeys:
        """These options, and those of `other` where these are not given."""
        names = [entry.name for entry in dataclasses.fields(ReplayKeys)]
        mine = {name: getattr(self, name) for name in names}
        return ReplayKeys(**{n: getattr(other, n) if value is None else value for n, value in mine.items()})

    def given(self) -> dict[str, Scalar]:
        """Options of the command by name."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(ReplayKeys)}
        values.pop("bag_out")
        return {n: ",".join(v) if isinstance(v, list) else v for n, v in values.items() if v is not None}


def replay_task(
    name: str, *, bag: Path, keys: ReplayKeys, configuration: Configuration, out: Path, timeout_s: float | None
) -> Task:
    """The task that replays a bag. InputError(s) for what `r3d2 replay` would refuse before it opens the bag: options
    that do not fit together or the configuration, and a file that the configuration names and that cannot be found."""
    target = out / "tasks" / (name + BAG_SUFFIX if keys.bag_out else name)
    _check(keys, bag=bag, target=target, configuration=configuration)
    options = keys.given()
    words = ["replay", str(bag), "--config", str(configuration.file), "--out", str(target), "--json"]
    # One word for each option, so that a value that begins with a dash is not taken for another one.
    words += [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    inputs = tuple(Path(path) for path in described_files(configuration.config, tuple(_files(bag))))
    config = {key: value for key, value in chosen(configuration.config).items() if key not in WITHOUT_EFFECT}
    return Task(
        name=name,
        kind="replay",
        words=tuple(words),
        options={"bag_out": bool(keys.bag_out), **options, **config},
        inputs=inputs,
        out=target,
        log=out / "logs" / f"{name}.log",
        threads=configuration.threads,
        gpus=configuration.gpus,
        version=own_version(),
        timeout_s=timeout_s,
    )


def _check(keys: ReplayKeys, *, bag: Path, target: Path, configuration: Configuration) -> None:
    """InputErrors: every fault of the options that can be found without the bag."""
    unknown = [kind for kind in keys.also or () if kind not in ALSO]
    shown: dict[str, Any] = {ALSO[kind]: True for kind in keys.also or () if kind in ALSO}
    options = ReplayOptions(
        bag=bag,
        out=target,
        config=replace(configuration.config, output=replace(configuration.config.output, **shown)),
        cameras=tuple(keys.cameras or ()),
        image_format=keys.format or "",
        rate_hz=keys.rate,
        source_topics=tuple(keys.source_topics or ()),
    )
    faults = []
    if unknown:
        faults.append(InputError("--also", f"some of {', '.join(ALSO)}", ", ".join(f"'{kind}'" for kind in unknown)))
    for check in (
        lambda: checked(options),
        lambda: replay_rig(configuration.rig, cameras=options.cameras, rate_hz=options.rate_hz),
    ):
        try:
            check()
        except InputError as error:
            faults.append(error)
    if faults:
        raise InputErrors(faults)


def _files(bag: Path) -> Iterator[Path]:
    if bag.is_dir():
        yield from (path for path in sorted(bag.rglob("*")) if path.is_file())
    else:
        yield bag


def judge_replay(status: int, result: dict[str, Any] | None) -> Judged | None:
    """The end of a replay that ended by itself; None when it did neither all nor all that can be done."""
    if status not in (0, PARTLY) or result is None:
        return None
    counts = result["frame_sets"]
    told = f"{counts['done']} of {counts['asked_for']} frame sets"
    if status == 0:
        return Judged("done", "", told, result)
    missing = [f"{count} without pictures: {reason}" for reason, count in counts["missing"].items()]
    missing += [f"not read: {text}" for text in result["unreadable"]]
    if result["fault"] or counts["not_begun"]:
        return Judged("failed", result["fault"] or "some frame sets are not done", told, result)
    return Judged("partly", "; ".join(missing), told, result)
