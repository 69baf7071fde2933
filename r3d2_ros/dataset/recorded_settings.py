"""The file that says which recorded drives become pairs, and which of their pictures are used."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from r3d2_ros.dataset.meta import NAME
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.schema import STRICT, load_yaml, validate


@dataclass(frozen=True)
class SelectionRules:
    """Which drives and pictures are used; the defaults are the paper's.

    reject_weather    drives with any of these tags are left out
    reject_glare      so are drives with strong sun glare
    min_actors        replaced actors that are seen in a picture, at least
    min_pixels        pixels of each of them that count as seen
    largest_share     of a picture that they may cover together
    """

    __pydantic_config__ = STRICT
    reject_weather: tuple[str, ...] = ("heavy_rain", "fog", "snow")
    reject_glare: bool = True
    min_actors: Annotated[int, Field(ge=1, le=1000)] = 1
    min_pixels: Annotated[int, Field(ge=1)] = 160
    largest_share: Annotated[float, Field(gt=0, le=1)] = 0.8


@dataclass(frozen=True)
class RecordedDrive:
    """One drive: a bag with the ego and the actors, and the configuration of the simulator with scene, rig and library.

    config   its library holds the recorded actors as they were reconstructed
    photos   folder of <camera>/<stamp in nanoseconds>.png or .jpg, for `target: photo`; undistorted, of the rig's size
    """

    __pydantic_config__ = STRICT
    name: Annotated[str, Field(pattern=NAME)]
    split: Literal["train", "val", "test"]
    bag: str
    config: str
    photos: str = ""
    ego: str = ""
    actors: str = ""
    weather: tuple[str, ...] = ()
    glare: bool = False


@dataclass(frozen=True)
class RecordedSettings:
    """The whole file.

    assets   assets.yaml of what takes the place of recorded actors
    fit      size of an asset: that of the recorded actor's box, or its own
    seed     chooses among assets that fit equally well
    every    of the frame sets of a drive every n-th
    cameras  names; none: all of the rig
    """

    __pydantic_config__ = STRICT
    assets: str
    drives: Annotated[tuple[RecordedDrive, ...], Field(min_length=1)]
    target: Literal["reconstruction", "photo"] = "reconstruction"
    fit: Literal["box", "asset"] = "box"
    seed: Annotated[int, Field(ge=0)] = 0
    every: Annotated[int, Field(ge=1)] = 1
    cameras: tuple[str, ...] = ()
    select: SelectionRules = field(default_factory=SelectionRules)


def load_settings(path: str | Path) -> RecordedSettings:
    """Read the file. InputError(s) with the key of every fault, also a name that two drives have."""
    settings = validate(RecordedSettings, load_yaml(path), str(path))
    faults, seen = [], set[str]()
    for k, drive in enumerate(settings.drives):
        if drive.name in seen:
            faults.append(InputError(f"{path}: drives.{k}.name", "a name of its own", f"'{drive.name}' again"))
        seen.add(drive.name)
        if settings.target == "photo" and not drive.photos:
            faults.append(InputError(f"{path}: drives.{k}.photos", "a folder, for target: photo", "none"))
    if faults:
        raise InputErrors(faults)
    return settings


def why_left_out(drive: RecordedDrive, rules: SelectionRules) -> str | None:
    """The rule that leaves a whole drive out, or None."""
    bad = sorted({*drive.weather} & {*rules.reject_weather})
    if bad:
        return f"weather: {', '.join(bad)}"
    return "sun glare" if drive.glare and rules.reject_glare else None
