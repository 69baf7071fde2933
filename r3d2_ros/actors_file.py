"""Actors files: a YAML list of actors placed in the map, for single pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.formats.libraries import load_asset
from r3d2_ros.geometry import Rigid
from r3d2_ros.input_checks import MAX_COORDINATE_M
from r3d2_ros.input_files import not_a_file
from r3d2_ros.resources import user_path
from r3d2_ros.scene import Asset, AssetLibrary
from r3d2_ros.schema import STRICT, Number, load_yaml, validate
from r3d2_ros.state_buffer import MAX_INSTANCES
from r3d2_ros.world import ActorState

Metres = Annotated[Number, Field(ge=-MAX_COORDINATE_M, le=MAX_COORDINATE_M)]
SizeM = Annotated[Number, Field(gt=0, le=1000)]

EXAMPLE = "[{id: car_1, asset: car, x: 20, y: 3.5, z: 0, yaw_deg: 180}]"


@dataclass(frozen=True)
class ActorEntry:
    """One actor: its frame (ground centre of the box, x forward) in the map, metres and degrees.

    asset  a Gaussian file in the vehicle frame, relative to the actors file, where it has a '/' or ends in .ply or
           .splat; else the name of an asset of the library
    size   length, width, height instead of the asset's own
    """

    __pydantic_config__ = STRICT
    id: Annotated[str, Field(min_length=1, coerce_numbers_to_str=True)]
    asset: Annotated[str, Field(min_length=1)]
    x: Metres
    y: Metres
    z: Metres
    yaw_deg: Number
    size: tuple[SizeM, SizeM, SizeM] | None = None


def load_actors(path: str | Path) -> tuple[ActorEntry, ...]:
    """The actors of a file, checked. InputErrors names file, actor and key of every fault."""
    path = Path(path)
    data = load_yaml(path)
    if not isinstance(data, list):
        got = "an empty file" if data is None else f"a {type(data).__name__}"
        raise InputError(str(path), "a list of actors", got, f"For example {EXAMPLE}, or [] for none")
    if len(data) > MAX_INSTANCES:
        raise InputError(str(path), f"at most {MAX_INSTANCES} actors", str(len(data)))
    entries: list[ActorEntry] = []
    faults: list[InputError] = []
    for number, item in enumerate(data, start=1):
        try:
            entries.append(_entry(path, number, item))
        except InputErrors as errors:
            faults.extend(errors.faults)
        except InputError as error:
            faults.append(error)
    faults += _repeated_ids(path, data)
    if faults:
        raise InputErrors(faults)
    return tuple(entries)


def _entry(path: Path, number: int, item: Any) -> ActorEntry:
    where = f"{path}: actor {number}"
    if not isinstance(item, dict):
        raise InputError(where, "a mapping with id, asset, x, y, z, yaw_deg", repr(item)[:80])
    return validate(ActorEntry, item, f"{where} ('{item['id']}')" if "id" in item else where)


def _repeated_ids(path: Path, items: list[Any]) -> list[InputError]:
    first: dict[str, int] = {}
    faults = []
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict) or "id" not in item:
            continue
        name = str(item["id"])
        if name in first:
            where = f"{path}: actor {number} ('{name}'): id"
            faults.append(InputError(where, "an id of its own", f"that of actor {first[name]}"))
        first.setdefault(name, number)
    return faults


def actor_states(entries: tuple[ActorEntry, ...]) -> tuple[ActorState, ...]:
    """The actors placed; instance k is the k-th of the file. Their `asset` is the entry's own."""
    return tuple(
        ActorState(
            id=entry.id,
            asset=entry.asset,
            T_world_actor=Rigid.from_xyz_yaw(entry.x, entry.y, entry.z, math.radians(entry.yaw_deg)),
            size_m=entry.size,
            instance=number,
        )
        for number, entry in enumerate(entries, start=1)
    )


def load_assets(
    entries: tuple[ActorEntry, ...], *, path: str | Path, library: Callable[[], AssetLibrary] | None
) -> AssetLibrary:
    """The assets that the entries of the actors file `path` use, under the names they use.

    Names are looked up in `library()`, which is called only for them (None: they are not checked and stay out of the
    result), whatever lies beside the file. InputErrors for names and files that are not there, and for unusable files.
    """
    path = Path(path)
    assets: dict[str, Asset] = {}
    faults: list[InputError] = []
    names: AssetLibrary | None = None
    for number, entry in enumerate(entries, start=1):
        if entry.asset in assets:
            continue
        where = f"{path}: actor {number} ('{entry.id}'): asset"
        try:
            if _means_file(entry.asset):
                assets[entry.asset] = _file_asset(path.parent / user_path(entry.asset, where), where)
            elif library is not None:
                names = names or library()
                if entry.asset not in names:
                    expected = f"one of {', '.join(sorted(names.assets)) or 'no assets'}, or a Gaussian file"
                    is_file = not_a_file(path.parent / entry.asset) is None
                    hint = f"The file of that name is './{entry.asset}'" if is_file else ""
                    raise InputError(where, expected, f"'{entry.asset}'", hint)
                assets[entry.asset] = names[entry.asset]
        except InputError as error:
            faults.append(error)
    if faults:
        raise InputErrors(faults)
    return AssetLibrary(assets)


def _file_asset(file: Path, where: str) -> Asset:
    if (got := not_a_file(file)) is not None:
        raise InputError(where, "an existing Gaussian file", f"{file}: {got}")
    try:
        return load_asset(file)
    except InputError as error:
        hint = f"{error.hint}. " if error.hint else ""
        raise InputError(error.where, error.expected, error.got, f"{hint}It is named by {where}") from error


def _means_file(asset: str) -> bool:
    return "/" in asset or Path(asset).suffix.lower() in (".ply", ".splat")
