"""A scenario from a recorded drive: the ego's path with its times, and the tracks of the actors that a bag has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from r3d2_ros.assembly import load_config_library, load_config_scene
from r3d2_ros.closed_loop.entity_view import EGO
from r3d2_ros.closed_loop.recorded_drive import LogOptions, Track, read_drive
from r3d2_ros.closed_loop.scenario import Phases
from r3d2_ros.config import SimConfig
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.replay.place import anchor, distance_notes
from r3d2_ros.replay.recording import open_recording
from r3d2_ros.replay.ticks import Place
from r3d2_ros.scene import Scene

EGO_STEP_M, ACTOR_STEP_M, MOST_S = 0.25, 1.0, 1.0
"""Points of a path are this far apart, or this long."""

PARKED_M = 0.75
"""Whoever stays within this has not moved: tracks of parked cars jitter."""

MIN_DRIVE_M = 1.0

WAITS_S = 1.0
"""Who stays within EGO_STEP_M for so long at the end of a drive waits there."""


def scenario_from_log(
    bag: Path, *, config: SimConfig, sim: Mapping[str, Any], options: LogOptions
) -> tuple[dict[str, Any], list[str]]:
    """The scenario as a mapping for its file, and what the user should know. `sim`: its section `sim`.

    InputError(s) for a bag, a topic or an actor that is not there.
    """
    library = load_config_library(config)
    scene = load_config_scene(config.scene)
    with open_recording(bag, config=config, library=library, ego=options.ego, actors=options.actors) as recording:
        drive = read_drive(recording, config, library, options)
    ego, tracks, where, notes = drive.ego, drive.tracks, drive.where, drive.notes
    T = _placed(ego, scene, options, notes)
    unknown = [name for name in (*options.hide, *options.replace, options.target) if name and name not in tracks]
    if unknown:
        known = ", ".join(sorted(tracks)) or "no actors"
        raise InputError("--hide, --replace, --target", f"ids of this bag: {known}", ", ".join(unknown))
    for name, asset in options.replace.items():
        if asset not in library:
            raise InputError(f"--replace {name}", f"one of {', '.join(sorted(library.assets))}", f"'{asset}'")
    kept = {name: track for name, track in tracks.items() if name not in options.hide}
    if EGO in kept:
        hint = f"--hide {EGO} leaves it out"
        raise InputError(f"{where}: actors", f"other ids than '{EGO}', which is the vehicle", f"an actor '{EGO}'", hint)
    ego_times, ego_points = _path(ego, T)
    seconds = round(float(ego_times[-1]), 3)
    if seconds <= Phases().warmup_s:
        expected = f"a part of the drive that is longer than the warm-up of {Phases().warmup_s:g} s"
        raise InputError(where, expected, f"{seconds:g} s")
    times, points = _thinned(ego_times, ego_points, step_m=EGO_STEP_M)
    if float(np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1).sum()) < MIN_DRIVE_M:
        raise InputError(where, f"a drive of at least {MIN_DRIVE_M:g} m", "one that stands")
    waits = seconds - float(times[-1]) >= WAITS_S
    data = {
        "type": "log",
        "description": f"Recorded drive {bag.name}",
        "sim": dict(sim),
        "ego": {"reference": {"points": _rows(points), "times_s": [round(float(t), 4) for t in times]}},
        "actors": [_actor(name, track, T, options) for name, track in kept.items()],
        # The path ends where the ego waits: a run that ended there would not see what it waits for.
        "end": {"duration_s": seconds} | ({"at_goal": False} if waits else {}),
        "pass": {"no_collision": True},
    }
    counts = f"{len(kept)} actors, {len(options.hide)} hidden"
    notes.append(f"{len(times)} points of the ego over {seconds:.1f} s, {counts}")
    if waits:
        notes.append(f"the ego waits from {times[-1]:.1f} s on: end.at_goal is false, so that the run goes on as long")
    return data, notes


def _placed(ego: Mapping[float, Rigid], scene: Scene, options: LogOptions, notes: list[str]) -> Rigid:
    """T_map_recorded; tells how far the drive lies from the scene."""
    places: list[Place] = []
    for pose in ego.values():
        x, y, z = (float(v) for v in pose.translation)
        places.append((x, y, z, pose.yaw_rad))
    T = anchor(places[0], scene) if options.anchor else None
    notes += distance_notes(places, scene, T)
    return T or Rigid.identity()


def _path(ego: Mapping[float, Rigid], T: Rigid) -> tuple[Array, Array]:
    times = np.array(list(ego))
    return times - times[0], np.array([(T @ pose).translation for pose in ego.values()])


def _thinned(times: Array, points: Array, *, step_m: float, most_s: float = math.inf) -> tuple[Array, Array]:
    """Points at least `step_m` apart, or `most_s`, from the one kept before; the first and the last are kept.

    Without `most_s` not a last one that is where the one before it is, nor one for which it waited: a reference has no
    place twice.
    """
    keep = [0]
    for i in range(1, len(times)):
        away = np.linalg.norm(points[i, :2] - points[keep[-1], :2]) >= step_m
        if away or times[i] - times[keep[-1]] >= most_s:
            keep.append(i)
    last = len(times) - 1
    waits = times[last] - times[keep[-1]] >= WAITS_S
    elsewhere = not waits and np.linalg.norm(points[last, :2] - points[keep[-1], :2]) > 1e-3
    if keep[-1] != last and (elsewhere or math.isfinite(most_s)):
        keep.append(last)
    return times[keep], points[keep]


def _actor(name: str, track: Track, T: Rigid, options: LogOptions) -> dict[str, Any]:
    poses = [T @ pose for pose in track.poses]
    points = np.array([pose.translation for pose in poses])
    replaced = options.replace.get(name)
    entry: dict[str, Any] = {"id": name, "asset": replaced or track.asset}
    if track.size_m is not None and replaced is None:
        entry["size_m"] = [round(float(v), 3) for v in track.size_m]
    if name == options.target:
        entry["target"] = True
    if np.ptp(points[:, :2], axis=0).max() < PARKED_M:
        middle = poses[len(poses) // 2]
        x, y, z = (round(float(v), 3) for v in np.median(points, axis=0))
        return entry | {"place": {"x": x, "y": y, "z": z, "yaw_deg": round(math.degrees(middle.yaw_rad), 2)}}
    times = np.array(track.times_s)
    times, points = _thinned(times, points, step_m=ACTOR_STEP_M, most_s=MOST_S)
    return entry | {
        "motion": {
            "kind": "path",
            "frame": "map",
            "points": _rows(points),
            "times_s": [round(float(t), 4) for t in times],
        }
    }


def _rows(points: Array) -> list[list[float]]:
    return [[round(float(v), 3) for v in row] for row in points]

