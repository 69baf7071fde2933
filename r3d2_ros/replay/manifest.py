"""replay.json: what a replay is made of, so that a later run goes on with the same one and with no other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from r3d2_ros.config import SimConfig, as_mapping
from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output
from r3d2_ros.formats.libraries import LIBRARY
from r3d2_ros.formats.scenes import find_scene
from r3d2_ros.harmonizer.model.shipped import model_folder
from r3d2_ros.resources import user_path
from r3d2_ros.rigs.autoware import BASE_FILE, KIT_FILE
from r3d2_ros.schema import load_yaml

MANIFEST = "replay.json"
WITHOUT_EFFECT = (
    "rendering.threads", "sync.queue_limit", "sync.stall_report_s", "sync.latest_rate_hz", "output.min_subscribers"
)  # fmt: skip
"""Keys of the configuration that change no picture."""


def described_config(config: SimConfig) -> dict[str, Any]:
    """The configuration as plain values, without what changes no picture."""
    data = as_mapping(config)
    for name in WITHOUT_EFFECT:
        section, key = name.split(".")
        data[section].pop(key)
    return data


def described_files(config: SimConfig, bag_files: tuple[Path, ...]) -> dict[str, list[int]]:
    """Path -> [bytes, time of the last change] of the bag's files and of those that the pictures are made from."""
    found: dict[str, list[int]] = {}
    for path in (*bag_files, *_sources(config)):
        stat = path.stat()
        found[str(path.absolute())] = [stat.st_size, stat.st_mtime_ns]
    return found


def _sources(config: SimConfig) -> Iterator[Path]:
    """The files that the configuration names, and those that these name. The embedded street belongs to the version."""
    library = user_path(config.assets.library, "assets.library") if config.assets.library else None
    if config.scene.source != "street":
        sidecar = user_path(config.scene.sidecar, "scene.sidecar") if config.scene.sidecar else None
        scene = find_scene(user_path(config.scene.source, "scene.source"), sidecar)
        library = library or scene.library
        named = [scene.keys.trajectory_file, scene.keys.sky.image]
        folder = scene.gaussians.parent if scene.sidecar is None else scene.sidecar.parent
        yield from _existing([scene.gaussians, scene.sidecar, *(folder / name for name in named if name)])
    if library is not None and config.assets.library != "street":
        yield from _library_files(library / LIBRARY if library.is_dir() else library)
    classes, rig = user_path(config.assets.classes, "assets.classes"), user_path(config.rig.source, "rig.source")
    kit = [rig.parent / name for name in (KIT_FILE, BASE_FILE) if rig.is_file()]  # an Autoware rig is made of both
    yield from _existing([classes, rig, *kit])
    if config.harmonizer.backend != "none":
        checkpoint = model_folder(config.harmonizer.checkpoint, "harmonizer.checkpoint")
        yield from _existing(sorted(checkpoint.rglob("*")))


def _library_files(path: Path) -> Iterator[Path]:
    assets = load_yaml(path)["assets"].values()
    yield from _existing([path, *(path.parent / entry["file"] for entry in assets)])


def _existing(paths: Iterable[Path | None]) -> Iterator[Path]:
    yield from (path for path in paths if path is not None and path.is_file())


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of an earlier run, None where there is none or it is not readable."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    with atomic_output(path) as file:
        file.write(json.dumps(manifest, indent=1, allow_nan=False).encode() + b"\n")


def check_same(path: Path, earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """InputError that names the first difference when an earlier run was another replay."""
    difference = _difference(earlier, json.loads(json.dumps(now)), "")
    if difference:
        hint = "Choose another --out, or replace it with --overwrite"
        raise InputError(str(path), "an earlier run of this very replay", difference, hint)


def _difference(earlier: Any, now: Any, name: str) -> str:
    if isinstance(earlier, dict) and isinstance(now, dict):
        for key in [*now, *(key for key in earlier if key not in now)]:
            found = _difference(earlier.get(key), now.get(key), f"{name}.{key}" if name else key)
            if found:
                return found
        return ""
    return "" if earlier == now else f"one with {name} {_short(earlier)} instead of {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
