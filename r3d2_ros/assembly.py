"""From a configuration to a Simulator: every file is found, read and checked here, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from r3d2_ros.cameras import Rig
from r3d2_ros.config import SceneConfig, SimConfig, prefixed
from r3d2_ros.errors import InputError, collecting, raise_collected
from r3d2_ros.formats.libraries import load_library
from r3d2_ros.formats.scenes import find_scene, load_scene
from r3d2_ros.harmonizer.model.config import PROCEDURAL
from r3d2_ros.harmonizer.model.shipped import model_folder
from r3d2_ros.harmonizer.packages import need_packages
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.input_files import not_a_file
from r3d2_ros.rendering import make_renderer
from r3d2_ros.rendering.base import RenderSettings
from r3d2_ros.resources import user_path
from r3d2_ros.rigs import load_rig
from r3d2_ros.scene import AssetLibrary, Scene
from r3d2_ros.simulator import Simulator

if TYPE_CHECKING:
    from r3d2_ros.harmonizer.harmonizer import Harmonizer

Say = Callable[[str], None]


@dataclass(frozen=True)
class Assembled:
    """A simulator ready to step, and what its parts want the user to know."""

    simulator: Simulator
    notes: tuple[str, ...]


def assemble(
    config: SimConfig,
    say: Say = lambda text: None,
    *,
    rig: Rig | None = None,
    library: AssetLibrary | None = None,
    warm_harmonizer: bool = True,
) -> Assembled:
    """Load scene, assets and rig, choose the renderer, compile and upload. `say` gets a line per stage.

    `rig` and `library` take the place of those that the configuration names, for callers that have loaded them.
    Without `warm_harmonizer` the harmonizer is left to whoever harmonizes in another thread, such as `HarmonizeThread`.
    InputError(s) for files that cannot be used, MissingPackageError for a named backend that is not installed.
    """
    start = time.perf_counter()
    rig = rig or load_config_rig(config)
    scene = load_config_scene(config.scene, say)
    library = library or load_config_library(config, say)
    say(
        f"scene '{scene.name}': {len(scene.background)} Gaussians, "
        f"rig '{rig.name}': {len(rig.cameras)} cameras ({time.perf_counter() - start:.1f} s)"
    )
    settings = render_settings(config, scene)
    renderer = make_renderer(
        config.rendering.backend, settings, device=config.rendering.device, threads=config.rendering.threads
    )
    harmonizer = load_harmonizer(config, say)
    start = time.perf_counter()
    simulator = Simulator(
        scene=scene,
        library=library,
        rig=rig,
        renderer=renderer,
        harmonizer=harmonizer,
        instances=config.output.instance,
    )
    if bent := ", ".join(_lens_facts(simulator)):
        say(f"lenses: {bent} ({time.perf_counter() - start:.1f} s)")
    start = time.perf_counter()
    if warm_harmonizer:
        simulator.warm_up()
    else:
        simulator.warm_up_renderer()
    say(f"renderer '{renderer.name}' ready ({time.perf_counter() - start:.1f} s)")
    notes = (
        *rig.notes,
        *scene.notes,
        *library.notes,
        *_temporal_notes(config, rig),
        *harmonizer_notes(config.harmonizer, scene),
    )
    return Assembled(simulator, notes)


def harmonizer_notes(config: HarmonizerConfig, scene: Scene) -> list[str]:
    """What a user should know once of a harmonizer that loads: what it was trained on, and a slow dtype."""
    return [*_training_notes(config, scene), *_precision_notes(config)]


def _training_notes(config: HarmonizerConfig, scene: Scene) -> list[str]:
    """Says so where a checkpoint has only seen procedural streets and the scene is none."""
    if config.backend != "r3d2" or scene.procedural:
        return []
    from r3d2_ros.harmonizer.model.checkpoints import load_config

    trained_on = load_config(model_folder(config.checkpoint, "harmonizer.checkpoint")).trained_on
    if set(trained_on) != {PROCEDURAL}:
        return []
    return [
        f"harmonizer '{config.checkpoint}' was trained on procedural streets only, and scene '{scene.name}' is none: "
        "light and shadows may be wrong. Train one on pairs of such scenes (r3d2 train), or use R3D2's weights"
    ]


def _precision_notes(config: HarmonizerConfig) -> list[str]:
    """Says so where the dtype makes a harmonizer slow on its device."""
    if config.backend == "none":
        return []
    from r3d2_ros.harmonizer.runtime.device import find_device

    device, dtype = find_device(config.device), _dtype_name(config)
    if device.type == "cuda" and dtype == "float32":
        return [
            f"harmonizer computes in float32 on {device}, without tensor cores: harmonizer.dtype float16 is much faster"
        ]
    if device.type == "cpu" and not _cpu_has_instructions(dtype):
        return [
            f"harmonizer computes in {dtype} on a CPU that has no instructions for it: harmonizer.dtype float32 is "
            "faster there"
        ]
    return []


def _dtype_name(config: HarmonizerConfig) -> str:
    """In which the network computes everything but 8-bit products."""
    if config.dtype != "checkpoint":
        return "float16" if config.dtype == "float8" else config.dtype
    folder = model_folder(config.checkpoint, "harmonizer.checkpoint")
    if config.backend == "r3d2":
        from r3d2_ros.harmonizer.model.checkpoints import load_config

        return load_config(folder).dtype
    from r3d2_ros.harmonizer.model.r3d2 import dtype_name
    from r3d2_ros.harmonizer.pipelines.folders import read_pipeline_folder
    from r3d2_ros.harmonizer.pipelines.network import stored_dtype

    return dtype_name(stored_dtype(read_pipeline_folder(folder)))


def _cpu_has_instructions(dtype: str) -> bool:
    """Whether oneDNN, which computes convolutions and products on a CPU, has some; true where it does not say."""
    import torch

    names = {"bfloat16": "_is_mkldnn_bf16_supported", "float16": "_is_mkldnn_fp16_supported"}
    says = getattr(torch.ops.mkldnn, names[dtype], None) if dtype in names else None
    return True if says is None else bool(says())


def _lens_facts(simulator: Simulator) -> Iterator[str]:
    """Of each distorted camera, what is rendered for it."""
    for camera in simulator.rig.cameras:
        lens = simulator.lens(camera)
        if not lens.is_identity:
            share = sum(face.width_px * face.height_px for face in lens.faces) / (camera.width_px * camera.height_px)
            pinholes = "1 pinhole" if len(lens.faces) == 1 else f"{len(lens.faces)} pinholes"
            yield f"{camera.name} as {pinholes} with {share:.1f} times its pixels"


def _temporal_notes(config: SimConfig, rig: Rig) -> list[str]:
    """Cameras that are exposed too seldom for the temporal mode of the harmonizer."""
    temporal = config.harmonizer.temporal
    if config.harmonizer.backend == "none" or not temporal.enabled or config.sync.tick != "rate":
        return []
    return [
        f"camera '{camera.name}': harmonizer.temporal carries nothing over, because {1 / camera.rate_hz:g} s between "
        f"its exposures are more than max_gap_s, {temporal.max_gap_s:g} s"
        for camera in rig.cameras
        if 1 / camera.rate_hz > temporal.max_gap_s
    ]


def load_harmonizer(config: SimConfig, say: Say = lambda text: None) -> Harmonizer | None:
    """The harmonizer that the configuration names, None for backend 'none'.

    MissingPackageError where it could not run, InputError(s) for what it cannot use.
    """
    if config.harmonizer.backend == "none":
        return None
    start = time.perf_counter()
    need_packages(f"harmonizer.backend: {config.harmonizer.backend}")
    from r3d2_ros.harmonizer.backends import load_network
    from r3d2_ros.harmonizer.harmonizer import Harmonizer

    network = load_network(config.harmonizer)
    harmonizer = Harmonizer(config.harmonizer, network)
    spent_s = time.perf_counter() - start
    say(f"harmonizer '{config.harmonizer.checkpoint}' loaded on {network.device} ({spent_s:.1f} s)")
    return harmonizer


def load_config_rig(config: SimConfig) -> Rig:
    """The rig that the configuration names, the frames of its cameras behind `frames.prefix`."""
    rig = load_rig(
        config.rig.source,
        kind=config.rig.kind,
        fov_deg=config.rig.fov_deg or None,
        rectified=config.rig.lens == "rectified",
    )
    prefix = config.frames.prefix
    cameras = tuple(replace(camera, frame_id=prefixed(prefix, camera.frame_id)) for camera in rig.cameras)
    return replace(rig, cameras=cameras) if prefix else rig


def load_config_scene(config: SceneConfig, say: Say = lambda text: None) -> Scene:
    return load_scene(scene_path(config.source, say), _sidecar_path(config))


def _sidecar_path(config: SceneConfig) -> Path | None:
    return user_path(config.sidecar, "scene.sidecar") if config.sidecar else None


def load_config_library(config: SimConfig, say: Say = lambda text: None) -> AssetLibrary:
    """The library that the configuration names, else the scene's, else the embedded one; every asset is read.

    InputError(s) with what is wrong with all of them.
    """
    path = _library_path(config, say)
    library = load_library(path)
    faults: list[InputError] = []
    for name in library.assets:
        with collecting(faults):
            library[name]
    raise_collected(faults)
    say(f"{len(library.assets)} assets from {path}")
    return library


def open_config_library(config: SimConfig, say: Say = lambda text: None) -> AssetLibrary:
    """The same; an asset is read when it is first asked for."""
    return load_library(_library_path(config, say))


def check_config_library(config: SimConfig, say: Say = lambda text: None) -> None:
    """InputError(s) when the library that the configuration names cannot be used; its assets are not read."""
    open_config_library(config, say)


def _library_path(config: SimConfig, say: Say) -> Path:
    source = config.assets.library
    if source and source != "street":
        return user_path(source, "assets.library")
    if not source:
        files = find_scene(scene_path(config.scene.source, say), _sidecar_path(config.scene))
        if files.library is not None:
            return files.library
    return scene_path("street", say) / "assets.yaml"


def scene_path(source: str, say: Say = lambda text: None) -> Path:
    """The path that `scene.source` means; the embedded street is built into the cache on first use."""
    if source == "street":
        from r3d2_ros.street import StreetOptions, cached_street

        return cached_street(StreetOptions(), say=say)
    path = user_path(source, "scene.source")
    if not path.is_dir() and (got := not_a_file(path)) is not None:
        expected = "'street', a Gaussian file (.ply, .splat) or a scene folder"
        raise InputError("scene.source", expected, f"'{source}': {got}")
    return path


def render_settings(config: SimConfig, scene: Scene) -> RenderSettings:
    rendering = config.rendering
    antialiased = scene.antialiased if rendering.mode == "scene" else rendering.mode == "antialiased"
    return RenderSettings(
        near_plane_m=rendering.near_plane_m,
        far_plane_m=rendering.far_plane_m,
        eps2d=rendering.eps2d,
        antialiased=antialiased,
    )
