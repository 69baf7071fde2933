"""PandaSet's `static_extrinsic_calibration.yaml` (scaleapi/pandaset-devkit, docs/).

Its transforms map the main LiDAR to each camera, p_camera = R p_lidar + t, and that LiDAR has x left, y
back, z up. K and D are OpenCV's, so K is CameraInfo's. The file states neither the image size nor where the
LiDAR sits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from r3d2_ros.cameras import Camera, Rig
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.geometry import Rigid
from r3d2_ros.rigs.fields import FOREIGN, Metres, intrinsic_matrix, quat_faults, ros_name, validate_at
from r3d2_ros.schema import Number

WIDTH_PX, HEIGHT_PX = 1920, 1080
"""All six cameras, PandaSet paper (arXiv:2112.12610), section III."""

LIDAR_XYZ_M = (0.84, 0.0, 2.0)
"""Main LiDAR in base_link. x: its distance to the rear axle, as py123d (autonomousvision/py123d,
pandaset_utils.py) has it. z: an estimate from the height of the vehicle (Chrysler Pacifica, 1.777 m) and a
rack that keeps the lowest camera, 0.31 m below the LiDAR, about as high as the edge of the roof."""

R_BODY_LIDAR = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
"""Rotation from the LiDAR's axes (x left, y back, z up) to body axes (x forward, y left, z up)."""


@dataclass(frozen=True)
class QuatEntry:
    __pydantic_config__ = FOREIGN
    w: Number
    x: Number
    y: Number
    z: Number


@dataclass(frozen=True)
class PointEntry:
    __pydantic_config__ = FOREIGN
    x: Metres
    y: Metres
    z: Metres


@dataclass(frozen=True)
class TransformEntry:
    __pydantic_config__ = FOREIGN
    rotation: QuatEntry
    translation: PointEntry


@dataclass(frozen=True)
class ExtrinsicEntry:
    __pydantic_config__ = FOREIGN
    transform: TransformEntry


@dataclass(frozen=True)
class IntrinsicEntry:
    __pydantic_config__ = FOREIGN
    K: tuple[Number, Number, Number, Number, Number, Number, Number, Number, Number]
    D: tuple[Number, Number, Number, Number, Number] = (0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class CameraEntry:
    __pydantic_config__ = FOREIGN
    extrinsic: ExtrinsicEntry
    intrinsic: IntrinsicEntry


def recognises(data: Any) -> bool:
    return isinstance(data, dict) and any(
        isinstance(entry, dict) and "extrinsic" in entry for entry in data.values()
    )


def parse(data: dict[str, Any], where: str, *, name: str) -> Rig:
    """The entries with an `intrinsic`, as the others are LiDARs. InputErrors names every fault."""
    cameras: list[Camera] = []
    faults: list[InputError] = []
    for sensor, entry in data.items():
        if not isinstance(entry, dict) or "intrinsic" not in entry:
            continue
        try:
            cameras.append(_camera(str(sensor), entry, where))
        except InputErrors as error:
            faults += error.faults
    if faults:
        raise InputErrors(faults)
    if not cameras:
        raise InputError(
            where, "at least one camera (an entry with 'intrinsic')", f"only {', '.join(map(str, data))}"
        )
    x_m, y_m, z_m = LIDAR_XYZ_M
    notes = (
        f"{where}: no place of the LiDAR in the file: assumed x {x_m}, y {y_m}, z {z_m} m in base_link.",
        f"{where}: no image size in the file: PandaSet's {WIDTH_PX}x{HEIGHT_PX}.",
    )
    return Rig(name=name, cameras=tuple(cameras), notes=notes)


def _camera(sensor: str, entry: dict[str, Any], where: str) -> Camera:
    camera = validate_at(CameraEntry, entry, where, key=sensor)
    rotation, translation = camera.extrinsic.transform.rotation, camera.extrinsic.transform.translation
    quat_wxyz = (rotation.w, rotation.x, rotation.y, rotation.z)
    faults = list(quat_faults(quat_wxyz, f"{where}: {sensor}.extrinsic.transform.rotation"))
    fx, skew, cx, k10, fy, cy, *last = camera.intrinsic.K
    if not (0 < fx <= 1e6 and 0 < fy <= 1e6) or (skew, k10, *last) != (0, 0, 0, 0, 1):
        expected = "fx 0 cx 0 fy cy 0 0 1 with fx, fy > 0"
        faults.append(InputError(f"{where}: {sensor}.intrinsic.K", expected, str(list(camera.intrinsic.K))))
    if faults:
        raise InputErrors(faults)
    T_camera_lidar = Rigid.from_quat(quat_wxyz, (translation.x, translation.y, translation.z))
    return Camera(
        name=ros_name(sensor),
        width_px=WIDTH_PX,
        height_px=HEIGHT_PX,
        K=intrinsic_matrix((fx, fy, cx, cy)),
        T_ego_camera=Rigid(R_BODY_LIDAR, np.array(LIDAR_XYZ_M)) @ T_camera_lidar.inverse(),
        D=camera.intrinsic.D,
        distortion_model="plumb_bob",
    )
