"""Streets on disk: a scene folder with its assets and lanes, and the cache of those already made."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.formats.files import atomic_output, make_folder, write_problem
from r3d2_ros.formats.libraries import LIBRARY, write_library
from r3d2_ros.formats.scenes import SIDECAR, write_scene
from r3d2_ros.input_files import not_a_file
from r3d2_ros.lane_map import LABELS, LANE_MAP, write_lane_map
from r3d2_ros.resources import cache_dir
from r3d2_ros.schema import load_yaml
from r3d2_ros.street.lanes import LANES, write_lanes
from r3d2_ros.street.options import LICENCE, StreetOptions

if TYPE_CHECKING:
    from r3d2_ros.street.build import Street

KEPT = 8
UNFINISHED = ".street-unfinished"
"""A file in the folder of a street that is being written: what an interrupted run leaves is no scene of the user's."""
WRITTEN = (SIDECAR, "scene.ply", "sky.png", "trajectory.csv", LIBRARY, LANES, LANE_MAP, LABELS)


def write_street(folder: str | Path, street: Street, *, force: bool = False) -> Path:
    """Write scene.ply, sky.png, trajectory.csv, assets/*.ply, assets.yaml, lanes.yaml, lane_map.yaml, labels.npy
    and, last, scene.yaml.

    force  replace files of these names whoever made them, and not only those of an earlier street
    Returns scene.yaml: a folder that has it is complete. InputError when something cannot be written, and as of
    `check_street_folder` without `force`.
    """
    folder = Path(folder)
    if not force:
        check_street_folder(folder)
    make_folder(folder)
    with atomic_output(folder / UNFINISHED):
        pass
    try:
        (folder / SIDECAR).unlink(missing_ok=True)
    except OSError as error:
        (folder / UNFINISHED).unlink(missing_ok=True)
        got = write_problem(folder / SIDECAR, error)
        raise InputError(str(folder / SIDECAR), "a file that can be replaced", got) from error
    write_library(folder, street.library)
    write_lanes(folder, street.lanes)
    write_lane_map(folder / LANE_MAP, street.lane_map)
    with atomic_output(folder / LABELS) as file:
        np.save(file, street.labels, allow_pickle=False)
    sidecar = write_scene(folder, street.scene, assets=LIBRARY, lane_map=LANE_MAP, labels=LABELS)
    (folder / UNFINISHED).unlink(missing_ok=True)
    return sidecar


def check_street_folder(folder: Path) -> None:
    """InputError for a folder with files that a street would replace, unless they are those of an earlier street, or
    of one that was not finished."""
    try:
        names = {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(str(folder), "a folder that can be read and written", error.strerror or str(error)) from error
    found = [name for name in WRITTEN if name in names]
    found += ["assets/*.ply"] if any((folder / "assets").glob("*.ply")) else []
    if found and UNFINISHED not in names and not _is_of_a_street(folder / SIDECAR):
        hint = "Choose another folder, or replace such files with --force"
        raise InputError(str(folder), "a folder without a scene, or one of `r3d2 street`", ", ".join(found), hint)


def _is_of_a_street(sidecar: Path) -> bool:
    """Whether `write_street` wrote this scene.yaml, or most likely so."""
    try:
        keys = load_yaml(sidecar)
    except (InputError, InputErrors):
        return False
    return isinstance(keys, dict) and keys.get("procedural") is True and keys.get("licence") == LICENCE


def cached_street(options: StreetOptions | None = None, *, say: Callable[[str], None] | None = None) -> Path:
    """Folder of the street of `options` in the user's cache (`resources.cache_dir`), made when it is not there yet.

    `say` gets one line when the street has to be made. Two processes may ask at once: each makes its own folder and
    the first to finish gives it its name. InputError when the disk is full.
    """
    options = options or StreetOptions()
    folder = cache_dir() / "streets" / _key(options)
    if _is_complete(folder):
        with suppress(OSError):  # where several share a cache, it may be another user's
            os.utime(folder)
        return folder
    from r3d2_ros.street.build import build_street  # takes longer than all of the above

    if say:
        say(f"making the procedural street (once, about 15 s) in {folder}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        workplace = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    except OSError as error:
        raise InputError(str(folder.parent), "a folder that can be written", error.strerror or str(error)) from error
    try:
        write_street(workplace, build_street(options))
        _publish(workplace, folder)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    _forget_old(folder.parent)
    return folder


def _forget_old(streets: Path) -> None:
    """Keep the KEPT streets that were used last: each has some 80 MB, and every release makes its own."""
    complete = [path for path in streets.iterdir() if _is_complete(path)]
    for path in sorted(complete, key=_last_use, reverse=True)[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)


def _is_complete(folder: Path) -> bool:
    """Whether a whole street is there, as far as this user may look."""
    return not_a_file(folder / SIDECAR) is None


def _last_use(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # another process has just forgotten it
        return 0.0


def _publish(workplace: Path, folder: Path) -> None:
    """Give the finished folder its name, unless another process was faster."""
    workplace.chmod(0o755)
    try:
        workplace.rename(folder)
    except OSError as error:
        if not _is_complete(folder):
            got = "a folder without scene.yaml" if folder.is_dir() else error.strerror or str(error)
            raise InputError(str(folder), "a complete street or nothing", got, "Please remove it") from error


def _key(options: StreetOptions) -> str:
    """Names options and the code that turns them into a street: other sources, another folder."""
    digest = hashlib.sha256(json.dumps(asdict(options), sort_keys=True).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:20]
