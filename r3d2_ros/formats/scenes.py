"""Scenes on disk: a Gaussian file and scene.yaml with its place in the map, sky and capture path."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.errors import InputError, collecting, raise_collected
from r3d2_ros.formats.cleaning import LoadedGaussians
from r3d2_ros.formats.files import make_folder
from r3d2_ros.formats.images import read_image, write_png
from r3d2_ros.formats.load import load_gaussians, refuse_sog
from r3d2_ros.formats.ply import write_inria_ply
from r3d2_ros.formats.sidecar import BoundsKeys, SceneKeys, SkyKeys, resolve_path, transform_keys, write_yaml
from r3d2_ros.formats.trajectories import poses_from_rows, read_trajectory_csv, write_trajectory_csv
from r3d2_ros.geometry import Rigid, Similarity
from r3d2_ros.input_files import not_a_file
from r3d2_ros.scene import Scene
from r3d2_ros.schema import load_yaml, validate_usable
from r3d2_ros.sky import Sky

SIDECAR = "scene.yaml"
YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, eq=False)
class SceneFiles:
    """Where the parts of a scene lie. InputError for those that the sidecar names where they cannot be meant.

    source   the Gaussian file, when it was not the sidecar that led to it
    sidecar  None when there is only a Gaussian file
    """

    source: Path | None
    sidecar: Path | None
    keys: SceneKeys

    @property
    def gaussians(self) -> Path:
        """The Gaussian file."""
        path = self.source or self._named("gaussians")
        if path is None:
            raise InputError(f"{self.sidecar}: gaussians", "the name of a Gaussian file", "nothing")
        return path

    @property
    def library(self) -> Path | None:
        """assets.yaml of the library that the scene names."""
        return self._named("assets")

    @property
    def lane_map(self) -> Path | None:
        """lane_map.yaml that the scene names."""
        return self._named("lane_map")

    @property
    def labels(self) -> Path | None:
        """Semantic classes of the scene's Gaussians."""
        return self._named("labels")

    def _named(self, key: str) -> Path | None:
        value = getattr(self.keys, key)
        return resolve_path(self.sidecar, key, value) if self.sidecar is not None and value else None


def find_scene(source: str | Path, sidecar: str | Path | None = None) -> SceneFiles:
    """Find and validate, without reading Gaussians, what `load_scene` would read.

    source   a Gaussian file, a scene.yaml, or a folder that holds one
    sidecar  the scene.yaml to use; without it, the one in the folder, or beside a Gaussian file `<stem>.yaml`
             or the scene.yaml whose `gaussians` names that file
    InputError(s) when there is nothing there or the YAML is wrong.
    """
    files, faults = look_for_scene(source, sidecar)
    with collecting(faults):
        _ = files.gaussians  # which is named, in the folder
    raise_collected(faults)
    return files


def look_for_scene(
    source: str | Path, sidecar: str | Path | None = None
) -> tuple[SceneFiles, list[InputError]]:
    """What `find_scene` returns, without the keys that have faults, and these faults: to list what else is wrong.

    InputError(s) when there is nothing there, or no YAML.
    """
    source, sidecar = Path(source), None if sidecar is None else Path(sidecar)
    if source.is_dir() or source.suffix.lower() in YAML_SUFFIXES:
        path = sidecar or (source / SIDECAR if source.is_dir() else source)
        keys, faults = _read_keys(path)
        return SceneFiles(None, path, keys), faults
    if sidecar is not None:
        keys, faults = _read_keys(sidecar)
        return SceneFiles(source, sidecar, keys), faults
    faults = []
    for candidate in (source.with_suffix(".yaml"), source.with_name(SIDECAR)):
        if candidate.is_file():
            keys, found = _read_keys(candidate)
            faults += found
            own = candidate.stem == source.stem and not keys.gaussians
            if own or (
                keys.gaussians and _same_file(resolve_path(candidate, "gaussians", keys.gaussians), source)
            ):
                return SceneFiles(source, candidate, keys), faults
    return SceneFiles(source, None, SceneKeys()), faults


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What is known of a scene beside its Gaussians, as in `Scene`."""

    T_map_scene: Similarity = field(default_factory=Similarity.identity)
    sky: Sky = field(default_factory=Sky)
    trajectory: tuple[Rigid, ...] = ()
    bounds: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()


def load_scene(source: str | Path, sidecar: str | Path | None = None) -> Scene:
    """The scene of a Gaussian file, a scene.yaml, or a folder that holds one; see `find_scene`.

    InputError(s) name file and key for everything that cannot be used.
    """
    files = find_scene(source, sidecar)
    faults: list[InputError] = []
    with collecting(faults):
        loaded = load_gaussians(files.gaussians)
    with collecting(faults):
        around = read_surroundings(files)
    raise_collected(faults)
    return _scene(files, loaded, around)


def build_scene(files: SceneFiles, loaded: LoadedGaussians) -> Scene:
    """The scene of Gaussians already read and the keys of its sidecar."""
    return _scene(files, loaded, read_surroundings(files))


def read_surroundings(files: SceneFiles) -> Surroundings:
    """Place, sky, trajectory and bounds of a scene. InputError(s) with what is wrong with all of them."""
    if files.sidecar is None:
        note = f"{files.gaussians}: no {SIDECAR} describes it, so the scene frame is taken as the map frame"
        return Surroundings(notes=(note,))
    T_map_scene = files.keys.T_map_scene.similarity
    faults: list[InputError] = []
    with collecting(faults):
        sky, notes = _sky(files.keys.sky, files.sidecar, T_map_scene)
    with collecting(faults):
        trajectory = _trajectory(files.keys, files.sidecar, T_map_scene)
    with collecting(faults):
        bounds = _bounds(files.keys.bounds, files.sidecar)
    raise_collected(faults)
    return Surroundings(T_map_scene, sky, trajectory, bounds, notes)


def _scene(files: SceneFiles, loaded: LoadedGaussians, around: Surroundings) -> Scene:
    keys = files.keys
    return Scene(
        name=keys.name or files.gaussians.stem,
        background=loaded.gaussians,
        T_map_scene=around.T_map_scene,
        sky=around.sky,
        trajectory=around.trajectory,
        bounds=around.bounds,
        antialiased=keys.antialiased,
        procedural=keys.procedural,
        licence=keys.licence,
        notes=(*loaded.notes, *around.notes),
    )


def _read_keys(path: Path) -> tuple[SceneKeys, list[InputError]]:
    if (got := not_a_file(path)) is not None:
        refuse_sog(path.parent)
        hint = "A scene folder holds it beside the Gaussian file; without one, give the Gaussian file itself"
        raise InputError(str(path), f"a {SIDECAR}", got, hint)
    data = load_yaml(path)
    if not isinstance(data, dict):
        raise InputError(str(path), "a mapping of keys such as 'gaussians'", type(data).__name__)
    return validate_usable(SceneKeys, data, str(path))


def _same_file(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.samefile(b)


def _sky(keys: SkyKeys, sidecar: Path, T_map_scene: Similarity) -> tuple[Sky, tuple[str, ...]]:
    if keys.image and keys.colour is not None:
        raise InputError(f"{sidecar}: sky", "'colour' or 'image'", "both")
    R_sky_world = T_map_scene.rotation.T.copy()  # the sky was seen in the scene frame
    if not keys.image:
        colour = np.asarray(keys.colour or (0.0, 0.0, 0.0), np.float32)
        return Sky(colour=colour, R_sky_world=R_sky_world), ()
    path = resolve_path(sidecar, "sky.image", keys.image)
    image = read_image(path)
    height, width = image.shape[:2]
    note = (
        f"{path}: {width}x{height} is not twice as wide as high, so the sky is stretched to the full sphere"
    )
    return Sky(image=image, R_sky_world=R_sky_world), () if width == 2 * height else (note,)


def _trajectory(keys: SceneKeys, sidecar: Path, T_map_scene: Similarity) -> tuple[Rigid, ...]:
    rows, where = dict(enumerate(keys.trajectory, start=1)), f"{sidecar}: trajectory: row"
    if keys.trajectory_file:
        if rows:
            raise InputError(f"{sidecar}: trajectory", "'trajectory' or 'trajectory_file'", "both")
        csv_path = resolve_path(sidecar, "trajectory_file", keys.trajectory_file)
        rows, where = read_trajectory_csv(csv_path), f"{csv_path}: line"
    return poses_from_rows(rows, T_map_scene.rotation, where)


def _bounds(keys: BoundsKeys, sidecar: Path) -> NDArray[np.float64] | None:
    if keys.min is None and keys.max is None:
        return None
    if (
        keys.min is None
        or keys.max is None
        or not all(a < b for a, b in zip(keys.min, keys.max, strict=True))
    ):
        got = f"min {keys.min}, max {keys.max}"
        raise InputError(f"{sidecar}: bounds", "'min' and 'max' with min < max on each axis", got)
    return np.array([keys.min, keys.max], np.float64)


def write_scene(
    folder: str | Path, scene: Scene, *, assets: str = "", lane_map: str = "", labels: str = ""
) -> Path:
    """Write scene.ply, scene.yaml and, where there are any, sky.png and trajectory.csv; returns scene.yaml.

    assets, lane_map, labels  paths of files relative to the folder, named in scene.yaml when given
    scene.yaml is written last, so that a folder that has it is complete. The sky keeps 8 bits per channel.
    ValueError when the sky is not aligned with the scene frame; InputError when a file cannot be written.
    """
    folder = Path(folder)
    make_folder(folder)
    if not np.allclose(scene.sky.R_sky_world, scene.T_map_scene.rotation.T, atol=1e-9):
        raise ValueError(
            "expected R_sky_world = T_map_scene.rotation^T: scene.yaml keeps the sky in the scene frame"
        )
    write_inria_ply(folder / "scene.ply", scene.background)
    data: dict[str, Any] = {
        "gaussians": "scene.ply",
        "name": scene.name,
        "licence": scene.licence,
        "T_map_scene": transform_keys(scene.T_map_scene),
        "antialiased": bool(scene.antialiased),
        "procedural": bool(scene.procedural),
        "sky": {"colour": [float(v) for v in scene.sky.colour]},
    }
    if scene.sky.image is not None:
        write_png(folder / "sky.png", scene.sky.image)
        data["sky"] = {"image": "sky.png"}
    if scene.bounds is not None:
        data["bounds"] = {"min": scene.bounds[0].tolist(), "max": scene.bounds[1].tolist()}
    if scene.trajectory:
        write_trajectory_csv(folder / "trajectory.csv", scene.trajectory)
        data["trajectory_file"] = "trajectory.csv"
    data |= {key: name for key, name in (("assets", assets), ("lane_map", lane_map), ("labels", labels)) if name}
    path = folder / SIDECAR
    write_yaml(path, data)
    return path
