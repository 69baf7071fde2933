"""Asset libraries: assets.yaml and the Gaussian files that it names."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r3d2_ros.errors import InputError, InputErrors, collecting
from r3d2_ros.formats.asset_fit import fit_notes, measure_box, sides_of
from r3d2_ros.formats.files import make_folder
from r3d2_ros.formats.load import load_gaussians
from r3d2_ros.formats.ply import write_inria_ply
from r3d2_ros.formats.sidecar import AssetKeys, resolve_path, write_yaml
from r3d2_ros.formats.transform import transform_gaussians
from r3d2_ros.geometry import Similarity
from r3d2_ros.input_files import not_a_file
from r3d2_ros.scene import Asset, AssetLibrary
from r3d2_ros.schema import load_yaml, validate

LIBRARY = "assets.yaml"


def load_library(path: str | Path) -> AssetLibrary:
    """The library of an assets.yaml, or of the folder that holds one.

    Everything in the YAML is checked at once, also that each file exists: InputErrors with every fault. The
    files themselves are read when an asset is first asked for, and kept; what is wrong with one then raises
    an InputError that names the asset and the file.
    """
    library, faults = usable_library(path)
    if faults:
        raise InputErrors(faults)
    return library


def usable_library(path: str | Path) -> tuple[AssetLibrary, list[InputError]]:
    """What `load_library` returns, without the entries that have faults, and these faults: to list what else is wrong.

    InputError(s) where there are no entries.
    """
    path = Path(path)
    path = path / LIBRARY if path.is_dir() else path
    data = load_yaml(path)
    if not isinstance(data, dict) or set(data) != {"assets"} or not isinstance(data["assets"], dict):
        got = f"the keys {', '.join(map(str, data))}" if isinstance(data, dict) else type(data).__name__
        raise InputError(str(path), "one key 'assets' with a mapping of name to asset", got)
    if not data["assets"]:
        raise InputError(f"{path}: assets", "at least one asset", "none")
    entries: dict[str, _Entry] = {}
    faults: list[InputError] = []
    for name, value in data["assets"].items():
        with collecting(faults):
            entries[name] = _entry(path, name, value)
    return AssetLibrary(_LazyAssets(entries)), faults


def load_asset(path: str | Path) -> Asset:
    """One Gaussian file, already in the vehicle frame, as an asset named after it, with its measured size."""
    loaded = load_gaussians(path)
    box = measure_box(loaded.gaussians)
    notes = fit_notes(loaded.gaussians, box, Similarity.identity(), None, str(path))
    return Asset(
        name=Path(path).stem,
        gaussians=loaded.gaussians,
        size_m=sides_of(box),
        notes=(*loaded.notes, *(f"{note} in an assets.yaml" for note in notes)),
    )


def write_library(folder: str | Path, library: AssetLibrary) -> Path:
    """Write each asset to `assets/<name>.ply` and the library to assets.yaml, last; returns its path.

    ValueError for a name that is not a file name (letters, digits, _ . -); InputError when a file cannot be
    written.
    """
    folder = Path(folder)
    names = list(library.assets)
    for name in names:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(f"expected an asset name of letters, digits, '_', '.' and '-', got {name!r}")
    make_folder(folder / "assets")
    entries: dict[str, dict[str, Any]] = {}
    for name in names:
        asset = library[name]
        file = f"assets/{name}.ply"
        write_inria_ply(folder / file, asset.gaussians)
        entries[name] = {"file": file, "size_m": [float(v) for v in asset.size_m]}
        entries[name] |= {key: getattr(asset, key) for key in ("category", "licence") if getattr(asset, key)}
    path = folder / LIBRARY
    write_yaml(path, {"assets": entries})
    return path


@dataclass(frozen=True, eq=False)
class _Entry:
    """One line of a library: where the asset lies and what is said of it; `where` names file and key."""

    name: str
    where: str
    file: Path
    keys: AssetKeys
    T_asset_file: Similarity

    def load(self) -> Asset:
        try:
            loaded = load_gaussians(self.file)
        except InputError as error:
            hint = f"{error.hint}. " if error.hint else ""
            named = f"{hint}It is the file of the asset '{self.name}' in {self.where}"
            raise InputError(error.where, error.expected, error.got, named) from error
        gaussians = transform_gaussians(loaded.gaussians, self.T_asset_file)
        box = measure_box(gaussians)
        return Asset(
            name=self.name,
            gaussians=gaussians,
            size_m=self.keys.size_m or sides_of(box),
            category=self.keys.category,
            licence=self.keys.licence,
            notes=(*loaded.notes, *fit_notes(gaussians, box, self.T_asset_file, self.keys.size_m, self.where)),
        )


def _entry(path: Path, name: Any, value: Any) -> _Entry:
    where = f"{path}: assets.{name}"
    if not isinstance(name, str) or not name:
        raise InputError(where, "a name, which is text", repr(name), "Put it in quotes" if name is not None else "")
    keys = validate(AssetKeys, value, where)
    file = resolve_path(path, f"assets.{name}.file", keys.file)
    if (got := not_a_file(file)) is not None:
        raise InputError(f"{where}.file", "an existing Gaussian file", f"{file}: {got}")
    return _Entry(name, where, file, keys, keys.T_asset_file.similarity)


class _LazyAssets(Mapping[str, Asset]):
    """Assets by name, each read on first use, once, also when several threads ask."""

    def __init__(self, entries: dict[str, _Entry]) -> None:
        self._entries = entries
        self._loaded: dict[str, Asset] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Asset:
        entry = self._entries[name]
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = entry.load()
            return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
