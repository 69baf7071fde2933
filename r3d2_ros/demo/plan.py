"""From the demo's options to a street and a drive through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from r3d2_ros.demo.drive import Drive
from r3d2_ros.demo.ego import RATE_HZ, SLOW_FROM_M, recorded_motion, scripted_motion
from r3d2_ros.demo.script import CAST, make_drive
from r3d2_ros.errors import InputError
from r3d2_ros.formats.libraries import LIBRARY, load_library
from r3d2_ros.lines import Line
from r3d2_ros.polylines import thinned
from r3d2_ros.replay.ego_path import EgoPath, read_ego_path
from r3d2_ros.street import StreetOptions, cached_street, load_lanes
from r3d2_ros.street.options import path_of

Say = Callable[[str], None]

SECONDS = 12.0
"""Length of the scripted drive; a shorter one is its beginning."""

MIN_SECONDS = 0.5
RUN_UP_M = 30.0
"""How long the ego cruises before it slows down for the crossing."""

PATH_SPACING_M = 1.0


@dataclass(frozen=True)
class Plan:
    """A scene folder and a drive through it."""

    scene: Path
    drive: Drive


def plan_street(seconds: float | None, say: Say) -> Plan:
    """The scripted drive through the embedded street. InputError when it would leave the street."""
    wanted = SECONDS if seconds is None else seconds
    _check_seconds(wanted)
    scene = cached_street(StreetOptions(), say=say)
    lanes = load_lanes(scene)
    lane = Line(lanes.ego)
    zebra_m = lane.project(lanes.crossing.mean(axis=0))
    motion = scripted_motion(
        lane,
        start_m=max(0.0, zebra_m + SLOW_FROM_M - RUN_UP_M),
        crossing_m=zebra_m,
        ticks=max(1, round(max(wanted, SECONDS) * RATE_HZ)),
    )
    longest = motion.time_at(lane.length_m)
    if longest is not None:
        raise InputError("--seconds", f"at most {longest:.0f} s, then the street ends", f"{wanted:g}")
    drive = make_drive("the embedded street", motion, lanes, _sizes(scene))
    return Plan(scene, _first(drive, wanted))


def plan_bag(bag: Path, *, topic: str | None, full: bool, seconds: float | None, say: Say) -> Plan:
    """The drive of a rosbag2 through a street that is built along it. InputError for a bag that cannot be used."""
    path = read_ego_path(bag, topic)
    if len(path) < 2:
        raise InputError(f"{bag}: {path.topic}", "at least two poses", str(len(path)))
    if path.skipped:
        say(f"{bag}: {path.skipped} messages without a usable pose or with a repeated stamp are left out")
    with path_of(bag):
        scene = cached_street(StreetOptions(path=_street_path(bag, path)), say=say)
    lanes = load_lanes(scene)
    motion = recorded_motion(path if full else path.sampled(RATE_HZ), Line(lanes.ego))
    drive = make_drive(f"{bag.name}, {path.topic}", motion, lanes, _sizes(scene))
    if seconds is not None:
        _check_seconds(seconds)
        drive = _first(drive, seconds)
    return Plan(scene, drive)


def _street_path(bag: Path, path: EgoPath) -> tuple[tuple[float, float, float], ...]:
    """The points that `r3d2 street --along BAG` builds along, so that both find the same street in the cache."""
    points = thinned(path.positions, PATH_SPACING_M)
    if len(points) < 2:
        expected = f"a drive that leads at least {PATH_SPACING_M:g} m away"
        raise InputError(f"{bag}: {path.topic}", expected, f"{len(path)} poses in one place")
    return tuple((float(x), float(y), float(z)) for x, y, z in points)


def _check_seconds(seconds: float) -> None:
    if not MIN_SECONDS <= seconds <= 3600:
        raise InputError("--seconds", f"{MIN_SECONDS:g} or more", f"{seconds:g}")


def _first(drive: Drive, seconds: float) -> Drive:
    """The part of a drive before `seconds`."""
    ticks = tuple(tick for k, tick in enumerate(drive.ticks) if drive.seconds_at(k) < seconds - 1e-6)
    return replace(drive, ticks=ticks, moments=tuple(m for m in drive.moments if m.tick < len(ticks)))


def _sizes(scene: Path) -> dict[str, tuple[float, float, float]]:
    library = load_library(scene / LIBRARY)
    return {name: library[name].size_m for name in CAST}
