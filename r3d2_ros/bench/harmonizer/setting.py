"""What a rig is measured in: a configuration as anyone's, with the street, a rig and weights written to a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from r3d2_ros.bench.harmonizer.drive import rig_drive
from r3d2_ros.config import AssetsConfig, OutputConfig, RenderingConfig, RigConfig, SceneConfig, SimConfig
from r3d2_ros.demo.drive import Drive
from r3d2_ros.formats.libraries import LIBRARY
from r3d2_ros.formats.scenes import load_scene, write_scene
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import quat_to_matrix
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.street import StreetOptions, cached_street, load_lanes
from r3d2_ros.sync import SyncConfig

Say = Callable[[str], None]

FIELD_OF_VIEW_DEG, FRONT_FIELD_DEG = 70.0, 84.0
CAMERA_HEIGHT_M = 1.5
SPREAD, SHRINK = 0.5, 0.75
"""Parts of a divided Gaussian lie within SPREAD standard deviations of it and have SHRINK of its size."""


@dataclass(frozen=True)
class RigSize:
    """cameras: evenly turned about the vertical, the first to the front; size: rows and columns of their images."""

    cameras: int
    size: tuple[int, int]


def rig_config(
    folder: Path,
    rig: RigSize,
    *,
    harmonizer: HarmonizerConfig,
    splats: int | None,
    backend: str = "auto",
    device: str = "cuda:0",
    say: Say = lambda text: None,
) -> SimConfig:
    """A configuration whose files are written to `folder`: the rig, and the street where it has to have `splats`.

    splats           None: as many as the embedded street has
    backend, device  of the renderer
    """
    rig_file = folder / "rig.yaml"
    rig_file.write_text(rig_text(rig))
    scene = "street" if splats is None else str(_divided_street(folder / "scene", splats, say))
    return SimConfig(
        scene=SceneConfig(source=scene),
        assets=AssetsConfig(library="street"),
        rig=RigConfig(source=str(rig_file)),
        rendering=RenderingConfig(backend=backend, device=device),  # type: ignore[arg-type]
        harmonizer=harmonizer,
        sync=SyncConfig(actors="required"),
        output=OutputConfig(raw=False, compressed=True, min_subscribers=1),
    )


def rig_text(rig: RigSize) -> str:
    """The YAML of a rig of the project's own kind."""
    rows, columns = rig.size
    cameras = {}
    for k in range(rig.cameras):
        yaw_deg = 360.0 * k / rig.cameras
        rpy_deg = [0.0, 0.0, yaw_deg if yaw_deg <= 180.0 else yaw_deg - 360.0]
        cameras[f"camera_{k}"] = {"pose": {"xyz_m": [1.0, 0.0, CAMERA_HEIGHT_M], "rpy_deg": rpy_deg}}
    field = FRONT_FIELD_DEG if rig.cameras == 1 else FIELD_OF_VIEW_DEG
    defaults = {"width_px": columns, "height_px": rows, "fov_x_deg": field, "rate_hz": 10.0}
    return yaml.safe_dump({"name": f"{rig.cameras} x {columns}x{rows}", "defaults": defaults, "cameras": cameras})


def street_drive(*, ticks: int, rate_hz: float, actors: int, say: Say = lambda text: None) -> Drive:
    """The drive of `rig_drive` along the embedded street."""
    lanes = load_lanes(cached_street(StreetOptions(), say=say))
    return rig_drive(lanes, ticks=ticks, rate_hz=rate_hz, actors=actors)


def _divided_street(folder: Path, splats: int, say: Say) -> Path:
    """The embedded street with `splats` Gaussians, as a scene folder."""
    street = cached_street(StreetOptions(), say=say)
    scene = load_scene(street)
    say(f"the street with {splats:,} splats instead of {len(scene.background):,}")
    background = divided(scene.background, splats)
    folder.mkdir(parents=True)
    write_scene(folder, replace(scene, background=background), assets=str(street / LIBRARY))
    return folder


def divided(gaussians: Gaussians, count: int) -> Gaussians:
    """`count` Gaussians with about the same picture: each is divided into as many as it takes, or some are left out.

    The parts of one lie within it, smaller, with its colour and opacity. Seeded: the same every time.
    """
    rng = np.random.default_rng(0)
    whole, more = divmod(count, len(gaussians))
    one_more = rng.choice(len(gaussians), more, replace=False)
    source = np.sort(np.concatenate([np.repeat(np.arange(len(gaussians)), whole), one_more]))
    parts = np.bincount(source, minlength=len(gaussians))[source]
    picked = gaussians.select(source)
    several = (parts > 1)[:, None]
    offsets = SPREAD * picked.scales * rng.uniform(-1, 1, picked.scales.shape)
    turned = np.einsum("nij,nj->ni", quat_to_matrix(picked.quats), offsets)
    return replace(
        picked,
        means=(picked.means + np.where(several, turned, 0.0)).astype(np.float32),
        scales=np.where(several, SHRINK * picked.scales, picked.scales).astype(np.float32),
    )
