"""HUGSIM's simulation rigs, `configs/sim/*_camera.yaml` (hyzhou404/HUGSIM).

`v2c` maps the vehicle (x forward, y left, z up, rear axle on the ground) to the camera's optical frame;
rotations are intrinsic X-Y-Z Euler angles in degrees, R = Rx Ry Rz. `cam_rect` is applied to every camera in
its own optical frame: T_ego_camera = v2c^-1 cam_rect (sim/hugsim_env/envs/hug_sim.py). HUGSIM hands fx, fy,
cx, cy to gsplat as they are, which puts the first pixel centre at 0.5, so CameraInfo's principal point is
half a pixel less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from r3d2_ros.cameras import Camera, Rig, pixel_centre_K
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.geometry import Array, Rigid, rotation_from_rpy
from r3d2_ros.rigs.fields import (
    FOREIGN,
    FovDeg,
    Metres,
    PrincipalPx,
    SidePx,
    focal_from_fov,
    intrinsic_matrix,
    ros_name,
    size_faults,
    validate_at,
)
from r3d2_ros.schema import Number, validate

AnglesDeg = tuple[Number, Number, Number]
TranslationM = tuple[Metres, Metres, Metres]


@dataclass(frozen=True)
class ExtrinsicsEntry:
    __pydantic_config__ = FOREIGN
    v2c_rot: AnglesDeg
    v2c_trans: TranslationM


@dataclass(frozen=True)
class IntrinsicsEntry:
    __pydantic_config__ = FOREIGN
    H: SidePx
    W: SidePx
    cx: PrincipalPx
    cy: PrincipalPx
    fovx: FovDeg
    fovy: FovDeg


@dataclass(frozen=True)
class CameraEntry:
    __pydantic_config__ = FOREIGN
    extrinsics: ExtrinsicsEntry
    intrinsics: IntrinsicsEntry


@dataclass(frozen=True)
class RectEntry:
    __pydantic_config__ = FOREIGN
    rot: AnglesDeg = (0.0, 0.0, 0.0)
    trans: TranslationM = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class RigFile:
    __pydantic_config__ = FOREIGN
    cams: Annotated[dict[str, Any], Field(min_length=1)]
    cam_rect: RectEntry = RectEntry()


def recognises(data: Any) -> bool:
    return isinstance(data, dict) and "cams" in data


def parse(data: dict[str, Any], where: str, *, name: str) -> Rig:
    """The rig of a parsed file. InputErrors names every fault."""
    file = validate(RigFile, data, where)
    T_camera_rect = Rigid(rotation_from_euler_xyz(file.cam_rect.rot), np.array(file.cam_rect.trans))
    cameras: list[Camera] = []
    faults: list[InputError] = []
    for camera_name, entry in file.cams.items():
        try:
            cameras.append(_camera(camera_name, entry, where=where, T_camera_rect=T_camera_rect))
        except InputErrors as error:
            faults += error.faults
    if faults:
        raise InputErrors(faults)
    return Rig(name=name, cameras=tuple(cameras), notes=_notes(cameras, where))


def rotation_from_euler_xyz(angles_deg: AnglesDeg) -> Array:
    """Rotation [3, 3] of intrinsic X-Y-Z Euler angles in degrees: Rx Ry Rz (scipy's 'XYZ')."""
    x, y, z = np.radians(angles_deg)
    return rotation_from_rpy(x, 0.0, 0.0) @ rotation_from_rpy(0.0, y, 0.0) @ rotation_from_rpy(0.0, 0.0, z)


def _camera(camera_name: str, entry: Any, *, where: str, T_camera_rect: Rigid) -> Camera:
    camera = validate_at(CameraEntry, entry, where, key=f"cams.{camera_name}")
    lens, mount = camera.intrinsics, camera.extrinsics
    if faults := list(size_faults(lens.W, lens.H, f"{where}: cams.{camera_name}.intrinsics.W")):
        raise InputErrors(faults)
    T_camera_ego = Rigid(rotation_from_euler_xyz(mount.v2c_rot), np.array(mount.v2c_trans))
    K = intrinsic_matrix(
        (focal_from_fov(lens.W, lens.fovx), focal_from_fov(lens.H, lens.fovy), lens.cx, lens.cy)
    )
    return Camera(
        name=ros_name(camera_name),
        width_px=lens.W,
        height_px=lens.H,
        K=pixel_centre_K(K),
        T_ego_camera=T_camera_ego.inverse() @ T_camera_rect,
    )


def _notes(cameras: list[Camera], where: str) -> tuple[str, ...]:
    """HUGSIM's `cam_rect` can put cameras lower than any real vehicle has them: worth a line."""
    lowest = min(cameras, key=lambda camera: camera.T_ego_camera.translation[2])
    height_m = lowest.T_ego_camera.translation[2]
    if height_m >= 1.0:
        return ()
    return (f"{where}: '{lowest.name}' is {height_m:.2f} m above base_link, as the file's cam_rect says.",)
