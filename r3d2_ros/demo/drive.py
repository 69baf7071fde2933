"""A drive as data: the ego and every actor at every tick, and which moments are worth a look. As JSON, too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output
from r3d2_ros.geometry import Rigid

NS = 1_000_000_000
MIN_SHOWN = 3


@dataclass(frozen=True)
class DriveActor:
    """An actor at one tick; `speed_mps` along its x axis."""

    id: str
    asset: str
    T_world_actor: Rigid
    speed_mps: float


@dataclass(frozen=True)
class DriveTick:
    """The world at one stamp; `speed_mps` of the ego along its x axis."""

    stamp_ns: int
    T_world_ego: Rigid
    speed_mps: float
    actors: tuple[DriveActor, ...]


@dataclass(frozen=True)
class Moment:
    """A tick, by its number, that shows something."""

    tick: int
    label: str


@dataclass(frozen=True)
class Drive:
    """Ticks in order of their stamps."""

    name: str
    ticks: tuple[DriveTick, ...]
    moments: tuple[Moment, ...] = ()

    @property
    def duration_s(self) -> float:
        return (self.ticks[-1].stamp_ns - self.ticks[0].stamp_ns) / NS

    @property
    def actor_ids(self) -> tuple[str, ...]:
        """Every actor that appears, in order of appearance."""
        return tuple(dict.fromkeys(actor.id for tick in self.ticks for actor in tick.actors))

    @property
    def rate_hz(self) -> float:
        """Ticks per second of message time; 10 for a single tick."""
        return (len(self.ticks) - 1) / self.duration_s if len(self.ticks) > 1 else 10.0

    def seconds_at(self, tick: int) -> float:
        """Seconds from the first tick to the tick of this number."""
        return (self.ticks[tick].stamp_ns - self.ticks[0].stamp_ns) / NS


def shown_moments(drive: Drive) -> tuple[Moment, ...]:
    """The drive's moments, filled up to MIN_SHOWN with others where it is too short to have them."""
    if len(drive.moments) >= MIN_SHOWN:
        return drive.moments
    labels = {moment.tick: moment.label for moment in drive.moments}
    last = len(drive.ticks) - 1
    for k in range(MIN_SHOWN):
        if len(labels) < MIN_SHOWN:
            labels.setdefault(round(last * (k + 0.5) / MIN_SHOWN), "")
    return tuple(Moment(tick, label) for tick, label in sorted(labels.items()))


def write_drive(path: Path, drive: Drive) -> None:
    """Write the drive as JSON. InputError when that is not possible."""
    ticks = [
        {
            "stamp_ns": tick.stamp_ns,
            "ego": _pose(tick.T_world_ego),
            "speed_mps": round(tick.speed_mps, 4),
            "actors": [
                {"id": a.id, "asset": a.asset, "pose": _pose(a.T_world_actor), "speed_mps": round(a.speed_mps, 4)}
                for a in tick.actors
            ],
        }
        for tick in drive.ticks
    ]
    moments = [{"tick": moment.tick, "label": moment.label} for moment in drive.moments]
    data = {"name": drive.name, "poses": "x y z qw qx qy qz in map", "moments": moments, "ticks": ticks}
    with atomic_output(path) as file:
        file.write(json.dumps(data).encode())


def read_drive(path: Path) -> Drive:
    """Read what `write_drive` wrote. InputError when it is something else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        ticks = tuple(_tick(entry) for entry in data["ticks"])
        moments = tuple(Moment(int(entry["tick"]), str(entry["label"])) for entry in data["moments"])
        return Drive(str(data["name"]), ticks, moments)
    except OSError as error:
        raise InputError(str(path), "a drive that can be read", error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(str(path), "a drive (JSON)", f"{type(error).__name__}: {error}") from error


def _tick(entry: dict[str, Any]) -> DriveTick:
    actors = tuple(
        DriveActor(str(a["id"]), str(a["asset"]), _rigid(a["pose"]), float(a["speed_mps"])) for a in entry["actors"]
    )
    return DriveTick(int(entry["stamp_ns"]), _rigid(entry["ego"]), float(entry["speed_mps"]), actors)


def _pose(T: Rigid) -> list[float]:
    return [*T.translation.tolist(), *T.quat_wxyz.tolist()]


def _rigid(values: list[float]) -> Rigid:
    return Rigid.from_quat(values[3:7], values[:3])
