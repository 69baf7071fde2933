"""`r3d2 check`: every fault of a file, with file, key and expected value, before anything runs with it."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from r3d2_ros.actors_file import load_actors, load_assets
from r3d2_ros.cameras import Rig
from r3d2_ros.closed_loop.runs import load_runs
from r3d2_ros.closed_loop.scenario import Scenario
from r3d2_ros.closed_loop.vehicle import Vehicle, load_vehicle
from r3d2_ros.config import (
    AssetsConfig,
    SceneConfig,
    SimConfig,
    config_from,
    load_config,
    refuse_ros_parameters,
)
from r3d2_ros.errors import InputError, InputErrors, MissingPackageError, collecting
from r3d2_ros.foreign_files import HEAD_BYTES, foreign_file
from r3d2_ros.formats.cleaning import LoadedGaussians
from r3d2_ros.formats.libraries import usable_library
from r3d2_ros.formats.load import load_gaussians, refuse_sog
from r3d2_ros.formats.ply_elements import is_ply
from r3d2_ros.formats.scenes import SIDECAR, find_scene, look_for_scene, read_surroundings
from r3d2_ros.formats.sidecar import SceneKeys
from r3d2_ros.harmonizer.packages import need_packages
from r3d2_ros.harmonizer.runtime.kernel_cache import cache_folder
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.input_files import not_a_file, open_input
from r3d2_ros.lane_map import LaneMapKeys, load_labels, load_lane_map
from r3d2_ros.replay.classes import load_class_table
from r3d2_ros.resources import user_path
from r3d2_ros.rigs import autoware, calibrator, detect_kind, load_rig, shipped_rigs
from r3d2_ros.rigs.native import RigFile
from r3d2_ros.schema import load_yaml, without

EXAMPLES = """examples:
  r3d2 check my_sim.yaml            a configuration, and the rig, scene, library and harmonizer that it names
  r3d2 check my_rig.yaml            a rig: r3d2, PandaSet, HUGSIM or Autoware
  r3d2 check scenes/town            scene.yaml and everything that it names
  r3d2 check assets.yaml            a library and every asset in it
  r3d2 check actors.yaml --json     an actors file; result as one JSON object
  r3d2 check my_scenario.yaml       a scenario with its vehicle, lanes and assets; also vehicles and lane maps
  r3d2 check scan.ply               a Gaussian file, read whole

What a file is follows from its content; --kind says it. Exit status: 0 no fault, 1 faults, 2 wrong arguments."""

STAND_IN_FOV_DEG = 90.0
"""For rig files without intrinsics: their other keys can be checked with any field of view."""

KINDS = "a configuration, rig, scene.yaml, assets.yaml, scenario, vehicle, lane map, list of actors or Gaussian file"
GAUSSIAN_SUFFIXES = (".ply", ".splat", ".spz", ".sog", ".ksplat")
"""Also of formats that are not read: the reader says which are."""

MAX_LINES = 100
"""Faults, and notes, that are printed as text: a long list has the same fault in every entry."""

CLOSE = 0.8
"""Similarity of a mistyped key to the one that was meant, as in difflib."""


@dataclass
class Findings:
    """What a check found; `collect` takes the faults of the code inside it."""

    faults: list[InputError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def collect(self) -> Iterator[None]:
        try:
            with collecting(self.faults):
                yield
        except OSError as error:
            path, got = str(error.filename or "file"), error.strerror or str(error)
            self.faults.append(InputError(path, "a file that can be read", got))


def add_parser(subparsers: Any) -> None:
    """Add `check` to the result of `ArgumentParser.add_subparsers`."""
    parser = subparsers.add_parser(
        "check",
        help="validate a configuration, rig, scene, library, scenario, actors or Gaussian file",
        description="Print every fault of a file, with file, key, expected value and value.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the file, or a scene folder")
    parser.add_argument("--kind", choices=list(CHECKS), help="what the file is; without it, by its content")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Check, print what was found, return 1 when there are faults."""
    findings = Findings()
    path, kind = args.file, args.kind
    with findings.collect():
        if path.is_dir():
            path = path / SIDECAR
            if not path.exists():
                find_scene(path.parent)  # which says what a scene folder holds
        kind = kind or kind_of_file(path)
        CHECKS[kind](path, findings)
    if args.json:
        print(json.dumps(_as_json(path, kind, findings), indent=2))
    else:
        print(_as_text(path, kind, findings))
    return 1 if findings.faults else 0


def kind_of_file(path: Path) -> str:
    """Name in CHECKS of what a file is. InputError when it is none, or cannot be read."""
    refuse_sog(path)
    with open_input(path, expected=f"a file to check: {KINDS}") as file:
        start = file.read(HEAD_BYTES)
    if is_ply(start) or path.suffix.lower() in GAUSSIAN_SUFFIXES:
        return "gaussians"
    if (foreign := foreign_file(start)) is not None:  # of any size
        raise InputError(str(path), KINDS, foreign.what, foreign.hint)
    try:
        data = load_yaml(path)
    except InputError as error:
        raise InputError(error.where, error.expected, error.got, error.hint or f"It can be {KINDS}") from error
    return detect(data, path)


def detect(data: Any, path: Path) -> str:
    """Name in CHECKS of what parsed YAML is. InputError when it looks like none."""
    refuse_ros_parameters(data, str(path))
    if calibrator.recognises(data):
        return "rig"  # which it is not enough for: the reader says what is missing
    if isinstance(data, list) and (not data or any(_is_actor(entry) for entry in data)):
        return "actors"
    if isinstance(data, dict):
        try:
            detect_kind(data, str(path))
            return "rig"
        except InputError:
            pass
        if _is_library(data):
            return "assets"
        if set(data) == {"actors"} and isinstance(data["actors"], list):
            return "actors"  # of which its file is the list alone: its reader says so
        known = {
            "configuration": SimConfig,
            "scene": SceneKeys,
            "rig": RigFile,
            "scenario": Scenario,
            "vehicle": Vehicle,
            "lane map": LaneMapKeys,
        }
        hits = {kind: _hits(data, [entry.name for entry in dataclasses.fields(cls)]) for kind, cls in known.items()}
        best = max(hits, key=lambda kind: hits[kind])
        if hits[best]:
            return best
    got = f"the keys {', '.join(map(str, data))}"[:200] if isinstance(data, dict) and data else type(data).__name__
    raise InputError(str(path), KINDS, got, "Say what it is with --kind")


def _hits(data: dict[Any, Any], names: list[str]) -> int:
    """Keys that are one of `names`, or nearly; none where only a few are nearly one: those of another program."""
    hits = sum(bool(difflib.get_close_matches(str(key), names, n=1, cutoff=CLOSE)) for key in data)
    return hits if 2 * hits > len(data) or any(str(key) in names for key in data) else 0


def _is_actor(entry: Any) -> bool:
    return isinstance(entry, dict) and bool(difflib.get_close_matches("asset", map(str, entry), n=1, cutoff=CLOSE))


def _is_library(data: dict[Any, Any]) -> bool:
    """A configuration has a section `assets` too, with keys of its own."""
    entries = data.get("assets")
    own = {entry.name for entry in dataclasses.fields(AssetsConfig)}
    return set(data) == {"assets"} and isinstance(entries, dict) and not own & set(entries)


def _check_configuration(path: Path, findings: Findings) -> None:
    config = _usable_part(path, findings)
    with findings.collect():
        source = _named(path, "rig.source", config.rig.source, known=shipped_rigs())
        rectified = config.rig.lens == "rectified"
        fov_deg = config.rig.fov_deg or None
        _note_rig(load_rig(source, kind=config.rig.kind, fov_deg=fov_deg, rectified=rectified), source, findings)
    if config.assets.classes:
        with findings.collect():
            _named(path, "assets.classes", config.assets.classes)
            load_class_table(config)
    library = None
    if config.scene.source != "street" or config.scene.sidecar:
        with findings.collect():
            library = _check_scene_of(path, config.scene, findings)
    if config.assets.library:
        library = None
    if config.assets.library not in ("", "street"):
        with findings.collect():
            library = Path(_named(path, "assets.library", config.assets.library))
    if library is not None:
        with findings.collect():
            _check_library(library, findings)
    _check_harmonizer(path, config.harmonizer, findings)


def _usable_part(path: Path, findings: Findings) -> SimConfig:
    """The configuration with defaults for what has faults, so that the files it names are checked too."""
    with findings.collect():
        return load_config(path)
    data = load_yaml(path)
    if not isinstance(data, dict):
        return SimConfig()
    faults, depth = tuple(findings.faults), 2
    while depth:
        keys = [tuple(fault.where.removeprefix(f"{path}: ").split(".")) for fault in faults]
        usable = without(data, {key[:depth] for key in keys})
        if usable == data:
            depth -= 1  # what is wrong with a section is none of its keys
            continue
        data = usable
        try:
            return config_from(data, where=str(path), folder=path.parent)
        except InputErrors as errors:
            faults = errors.faults  # of what does not go with a default, and perhaps with what was meant
    return SimConfig()


def _check_harmonizer(path: Path, config: HarmonizerConfig, findings: Findings) -> None:
    """What its start would find, but for what depends on the machine; a note where it cannot be looked for."""
    if config.backend == "none":
        misspelt = any(fault.where.endswith("harmonizer.backend") for fault in findings.faults)
        if config.checkpoint and not misspelt:
            findings.notes.append(f"{path}: harmonizer.checkpoint has no effect: harmonizer.backend is none")
        return
    with findings.collect():
        _check_cache(path, config.runtime.cache)
    try:
        need_packages("This check")
        from r3d2_ros.harmonizer.checking import harmonizer_faults

        faults = harmonizer_faults(config)
    except MissingPackageError as error:
        findings.notes.append(f"{path}: harmonizer.checkpoint is not checked: {error}")
        return
    for fault in faults:
        where = f"{path}: {fault.where}" if fault.where.startswith("harmonizer.") else fault.where
        findings.faults.append(InputError(where, fault.expected, fault.got, fault.hint))


def _check_cache(path: Path, configured: str) -> None:
    """A folder that is not there yet is left to the program, which makes it."""
    key = "harmonizer.runtime.cache"
    if configured and user_path(configured, f"{path}: {key}").exists():
        try:
            cache_folder(configured)
        except InputError as error:
            raise InputError(f"{path}: {error.where}", error.expected, error.got, error.hint) from error


def _named(path: Path, key: str, value: str, *, known: Sequence[str] = ()) -> str:
    """The file that a configuration means, or `value` when it is one of `known`. InputError when there is none."""
    for candidate in (path.parent / value, user_path(value, f"{path}: {key}")):
        if candidate.exists():
            return str(candidate)
    if value in known:
        return value
    expected = f"an existing file or one of {', '.join(known)}" if known else "an existing file or folder"
    raise InputError(f"{path}: {key}", expected, f"'{value}'")


def _check_scene_of(path: Path, scene: SceneConfig, findings: Findings) -> Path | None:
    """Check the scene that a configuration names; returns the library that belongs to it."""
    sidecar = _named(path, "scene.sidecar", scene.sidecar) if scene.sidecar else None
    if scene.source == "street" and sidecar is not None:
        source = str(Path(sidecar).parent)  # a folder, as the street is one: the sidecar names the Gaussians
    else:
        source = _named(path, "scene.source", scene.source)
    return _check_scene_files(source, sidecar, findings)


def _check_rig(path: Path, findings: Findings) -> None:
    data = load_yaml(path)
    if autoware.recognises(data):
        findings.notes.append(f"{path}: has no intrinsics, so it needs a field of view: --fov, or rig.fov_deg")
        load_rig(path, fov_deg=STAND_IN_FOV_DEG)
    else:
        _note_rig(load_rig(path), str(path), findings)


def _note_rig(rig: Rig, source: str, findings: Findings) -> None:
    """A rig's notes, and what is wrong with lenses for which no pinholes can be rendered."""
    findings.notes += rig.notes
    for camera in (camera for camera in rig.cameras if camera.is_distorted):
        from r3d2_ros.rendering.lens import check_lens  # with numba, which takes a while to import

        with findings.collect():
            try:
                check_lens(camera)
            except InputError as fault:
                raise InputError(f"{source}: {fault.where}", fault.expected, fault.got, fault.hint) from None


def _check_scene(path: Path, findings: Findings) -> None:
    library = _check_scene_files(path, None, findings)
    if library is not None:
        _check_library(library, findings)


def _check_scene_files(source: str | Path, sidecar: str | None, findings: Findings) -> Path | None:
    """Check Gaussians, sky, trajectory, bounds, lane map and labels of a scene; returns the library that it names."""
    files, faults = look_for_scene(source, sidecar)
    findings.faults += faults
    loaded = None
    with findings.collect():
        loaded = load_gaussians(files.gaussians)
        findings.notes += loaded.notes
    with findings.collect():
        findings.notes += read_surroundings(files).notes
    with findings.collect():
        if files.labels is not None:
            _check_labels(files.labels, loaded)
    with findings.collect():
        if files.lane_map is not None:
            load_lane_map(files.lane_map)
    with findings.collect():
        return files.library
    return None


def _check_labels(path: Path, loaded: LoadedGaussians | None) -> None:
    """How many there have to be is known when the Gaussians could be read."""
    if loaded is not None:
        load_labels(path, len(loaded.kept))
    elif (got := not_a_file(path)) is not None:
        raise InputError(str(path), "a .npy file with a label for each Gaussian of the scene", got)


def _check_gaussians(path: Path, findings: Findings) -> None:
    loaded = load_gaussians(path)
    count, degree = len(loaded.gaussians), loaded.gaussians.sh_degree
    findings.notes += [f"{path}: {count} Gaussians of SH degree {degree} ({loaded.format})", *loaded.notes]


def _check_library(path: Path, findings: Findings) -> None:
    library, faults = usable_library(path)
    findings.faults += faults
    for name in library.assets:
        with findings.collect():
            _note(library[name].notes, findings)


def _note(notes: Sequence[str], findings: Findings) -> None:
    """Add those that are new: several assets may be of one file."""
    findings.notes += [note for note in notes if note not in findings.notes]


def _check_actors(path: Path, findings: Findings) -> None:
    entries = load_actors(path)
    assets = load_assets(entries, path=path, library=None)
    _note(assets.notes, findings)
    names = sorted({entry.asset for entry in entries} - set(assets.assets))
    if names:
        findings.notes.append(f"{path}: expected in the library that it is used with: {', '.join(names)}")


def _check_scenario(path: Path, findings: Findings) -> None:
    """Every run is resolved; the scene's Gaussians are not read."""
    from r3d2_ros.closed_loop.session import Scenes  # imports the renderer's kernels: half a second

    scenes = Scenes()
    runs = load_runs(path)
    for harmonizer in dict.fromkeys(spec.sim.harmonizer for spec in runs):
        _check_harmonizer(path, harmonizer, findings)
    for spec in runs:
        scenes.plan(spec)
        scenes.check_rig(spec)
    findings.notes.append(f"{path}: {len(runs)} run{'s' if len(runs) > 1 else ''}")


def _check_vehicle(path: Path, findings: Findings) -> None:
    load_vehicle(str(path.absolute()))


def _check_lane_map(path: Path, findings: Findings) -> None:
    load_lane_map(path)


CHECKS: dict[str, Callable[[Path, Findings], None]] = {
    "configuration": _check_configuration,
    "rig": _check_rig,
    "scene": _check_scene,
    "assets": _check_library,
    "actors": _check_actors,
    "gaussians": _check_gaussians,
    "scenario": _check_scenario,
    "vehicle": _check_vehicle,
    "lane map": _check_lane_map,
}


def _as_json(path: Path, kind: str | None, findings: Findings) -> dict[str, Any]:
    faults = [
        {"where": fault.where, "expected": fault.expected, "got": fault.got, "hint": fault.hint}
        for fault in findings.faults
    ]
    return {"file": str(path), "kind": kind, "valid": not faults, "faults": faults, "notes": findings.notes}


def _first(lines: list[str]) -> list[str]:
    left = len(lines) - MAX_LINES
    return lines if left <= 0 else [*lines[:MAX_LINES], f"... and {left} more like these; --json has all"]


def _as_text(path: Path, kind: str | None, findings: Findings) -> str:
    count = len(findings.faults)
    what = f"{path} ({kind})" if kind else str(path)
    verdict = "no faults" if not count else f"{count} fault{'s' if count > 1 else ''}"
    lines = [*_first(list(map(str, findings.faults))), *_first([f"note: {note}" for note in findings.notes])]
    return "\n".join([*lines, f"{what}: {verdict}"])
