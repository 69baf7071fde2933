"""The files that the demo writes for its own processes: configuration, rig, drive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from r3d2_ros.cameras import Camera, Rig
from r3d2_ros.config import Scalar, SimConfig, as_mapping, load_config
from r3d2_ros.formats.sidecar import write_yaml

CONFIG, RIG, DRIVE, POSES, SUMMARY, SHEET, BEFORE_AFTER = (
    "sim.yaml", "rig.yaml", "drive.json", "poses.csv", "summary.json", "contact_sheet.png", "before_after.png"
)  # fmt: skip
NODE_LOG, DRIVER_LOG = "sim_node.log", "driver.log"


@dataclass(frozen=True)
class HarmonizerChoice:
    """backend and folder as the configuration has them; name: as the user said it."""

    name: str
    backend: str
    folder: Path


def video(camera: str) -> str:
    """Name of a camera's video."""
    return f"{camera}.mp4"


def clear(folder: Path, cameras: Sequence[str]) -> None:
    """Remove what an earlier demo left, so that nothing old is taken for new."""
    names = (CONFIG, RIG, DRIVE, POSES, SUMMARY, SHEET, BEFORE_AFTER, NODE_LOG, DRIVER_LOG)
    for name in (*names, *map(video, cameras)):
        (folder / name).unlink(missing_ok=True)


def write_config(
    path: Path, *, scene: Path, rig: str, fov_deg: float, backend: str, harmonizer: HarmonizerChoice | None
) -> SimConfig:
    """The simulator's configuration for the demo: lock-step, and no picture before somebody receives it.

    A harmonizer runs on crops around the actors, and the picture before it is published too.
    """
    chosen: dict[str, Scalar] = {}
    if harmonizer is not None:
        chosen = {
            "harmonizer.backend": harmonizer.backend,
            "harmonizer.checkpoint": str(harmonizer.folder),
            "harmonizer.roi.enabled": True,
            "output.image_rendered": True,
        }
    config = load_config(
        None,
        {
            "scene.source": str(scene),
            "rig.source": rig,
            "rig.fov_deg": fov_deg,
            "rendering.backend": backend,
            "sync.mode": "lockstep",
            "sync.tick": "ego",
            "sync.actors": "required",
            "output.min_subscribers": 1,
            **chosen,
        },
    )
    write_yaml(path, as_mapping(config))
    return config


def narrower(rig: Rig, width_px: int) -> Rig:
    """The rig with cameras at most `width_px` wide, shapes and fields of view kept."""
    return replace(rig, cameras=tuple(_narrower(camera, width_px) for camera in rig.cameras))


def _narrower(camera: Camera, width_px: int) -> Camera:
    if camera.width_px <= width_px:
        return camera
    return camera.resized(width_px, max(2, round(camera.height_px * width_px / camera.width_px / 2) * 2))


def write_rig(path: Path, rig: Rig) -> None:
    """The rig as a file of the project's own kind."""
    write_yaml(path, {"name": rig.name, "cameras": {camera.name: _entry(camera) for camera in rig.cameras}})


def _entry(camera: Camera) -> dict[str, Any]:
    T = camera.T_ego_camera
    return {
        "width_px": camera.width_px,
        "height_px": camera.height_px,
        "K": [float(camera.K[0, 0]), float(camera.K[1, 1]), float(camera.K[0, 2]), float(camera.K[1, 2])],
        "distortion_model": camera.distortion_model,
        "D": list(camera.D),
        "rate_hz": camera.rate_hz,
        "phase_s": camera.phase_s,
        "topic": camera.topic,
        "frame_id": camera.frame_id,
        "pose": {"xyz_m": T.translation.tolist(), "quat_wxyz": T.quat_wxyz.tolist(), "axes": "optical"},
    }
