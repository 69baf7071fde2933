"""Autoware sensor kits: `sensor_kit_calibration.yaml` with `sensors_calibration.yaml` beside it.

Each file maps a parent frame to its children, with x, y, z in metres and roll, pitch, yaw in radians (fixed
axes, URDF). Cameras are the frames `<camera>/camera_link` (x forward); the optical rotation is added here.
The files have no intrinsics, so the field of view is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera, Rig
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.geometry import Rigid
from r3d2_ros.rigs.fields import FOREIGN, Metres, centred_K, fov_notes, ros_name, validate_at
from r3d2_ros.schema import Number, load_yaml

KIT_FILE, BASE_FILE = "sensor_kit_calibration.yaml", "sensors_calibration.yaml"
CAMERA_SUFFIX = "camera_link"
WIDTH_PX, HEIGHT_PX = 1920, 1080
"""Image size where the caller gives none."""


@dataclass(frozen=True)
class MountEntry:
    __pydantic_config__ = FOREIGN
    x: Metres
    y: Metres
    z: Metres
    roll: Number
    pitch: Number
    yaw: Number


@dataclass(frozen=True)
class Mount:
    """A frame's place in the tree."""

    parent: str
    T_parent_child: Rigid


def recognises(data: Any) -> bool:
    frames = [entry for entry in data.values() if isinstance(entry, dict)] if isinstance(data, dict) else []
    mounts = [mount for frame in frames for mount in frame.values() if isinstance(mount, dict)]
    return any({"x", "y", "z", "yaw"} <= mount.keys() for mount in mounts)


def parse(
    data: dict[str, Any], path: Path, *, fov_deg: float | None, width_px: int | None, height_px: int | None
) -> Rig:
    """All cameras of the kit with one field of view. InputErrors names every fault.

    `path` is the file that `data` comes from; the other of the two files is read from the same folder.
    """
    mounts = _mounts(data, str(path))
    for sibling in (path.with_name(KIT_FILE), path.with_name(BASE_FILE)):
        if sibling != path and sibling.is_file():
            mounts = {**_mounts(load_yaml(sibling), str(sibling)), **mounts}
    names = {frame: ros_name(frame.removesuffix(CAMERA_SUFFIX).rstrip("/_") or "camera") for frame in mounts}
    frames = [frame for frame in mounts if frame.endswith(CAMERA_SUFFIX)]
    if not frames:
        raise InputError(
            str(path), f"at least one frame that ends with '{CAMERA_SUFFIX}'", ", ".join(mounts) or "none"
        )
    T_ego_links = {frame: _T_ego_frame(frame, mounts, path) for frame in frames}
    if fov_deg is None:
        raise InputError(
            str(path),
            "a field of view",
            "none: Autoware's sensor kit files have no intrinsics",
            "Give the horizontal field of view in degrees (rig.fov_deg, --fov).",
        )
    width, height = width_px or WIDTH_PX, height_px or HEIGHT_PX
    cameras = tuple(
        Camera(
            name=names[frame],
            width_px=width,
            height_px=height,
            K=centred_K(width, height, fov_deg),
            T_ego_camera=T_ego_link @ Rigid(R_BODY_OPTICAL, np.zeros(3)),
        )
        for frame, T_ego_link in T_ego_links.items()
    )
    note = (
        f"{path}: the file has no intrinsics: all {len(cameras)} cameras are {width}x{height} pinholes with "
        f"a horizontal field of view of {fov_deg:g} degrees."
    )
    return Rig(name=_kit_name(path), cameras=cameras, notes=(note, *fov_notes(fov_deg, "rig.fov_deg, --fov")))


def _mounts(data: Any, where: str) -> dict[str, Mount]:
    """Every frame of one file by name."""
    if not isinstance(data, dict):
        raise InputError(where, "a mapping of parent frames", type(data).__name__)
    mounts: dict[str, Mount] = {}
    faults: list[InputError] = []
    for parent, children in data.items():
        if not isinstance(children, dict):
            faults.append(InputError(f"{where}: {parent}", "a mapping of child frames", repr(children)[:120]))
            continue
        for child, entry in children.items():
            try:
                mount = validate_at(MountEntry, entry, where, key=f"{parent}.{child}")
            except InputErrors as error:
                faults += error.faults
                continue
            T = Rigid.from_rpy((mount.roll, mount.pitch, mount.yaw), (mount.x, mount.y, mount.z))
            mounts[str(child)] = Mount(str(parent), T)
    if faults:
        raise InputErrors(faults)
    return mounts


def _T_ego_frame(frame: str, mounts: dict[str, Mount], path: Path) -> Rigid:
    """Pose of `frame` in base_link along the chain of parents."""
    T, parent, seen = Rigid.identity(), frame, {frame}
    while parent != "base_link":
        if parent not in mounts:
            raise InputError(
                f"{path}: {frame}",
                f"a chain of frames up to base_link, with '{parent}' in {BASE_FILE} in the same folder",
                f"no parent of '{parent}'"
                + ("" if path.with_name(BASE_FILE).is_file() else f", and no {BASE_FILE}"),
            )
        T, parent = mounts[parent].T_parent_child @ T, mounts[parent].parent
        if parent in seen:
            raise InputError(
                f"{path}: {frame}", "a chain of frames up to base_link", f"a loop through '{parent}'"
            )
        seen.add(parent)
    return T


def _kit_name(path: Path) -> str:
    """The files have fixed names, so the name of a kit is that of its folder."""
    return path.resolve().parent.name if path.name in (KIT_FILE, BASE_FILE) else path.stem
