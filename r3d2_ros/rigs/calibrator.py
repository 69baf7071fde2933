"""Calibrations that make no rig, because they do not say where a camera is on the vehicle: ROS' camera_calibration,
messages of a camera_info topic, Kalibr's camchain; the table of nuScenes, which has the cameras of every vehicle, and
its records; and nerfstudio's transforms.json, whose poses are those of pictures.
"""

from __future__ import annotations

from typing import Any, NoReturn

from r3d2_ros.errors import InputError

COPY = "Copy {what} into a rig file as config/rigs/demo3.yaml is one"
ADD_POSE = f"{COPY}, and add the pose"
CAMERA_INFO_D = "k[0], k[4], k[2], k[5] (K: [fx, fy, cx, cy]), d (D), width and height"
ROS1_CAMERA_INFO_D = "K[0], K[4], K[2], K[5] (K: [fx, fy, cx, cy]), D, width and height"
KALIBR_D = "intrinsics (K), resolution and distortion_coeffs (D; radtan is plumb_bob, with a fifth coefficient of 0)"
NUSCENES_POSE = "camera_intrinsic (K), translation (xyz_m) and rotation (quat_wxyz, with axes: optical)"
EXPORT_SCENE = (
    "The simulator renders Gaussians: train them in nerfstudio, write them with `ns-export gaussian-splat`, and "
    "give the PLY as scene.source"
)


def recognises(data: Any) -> bool:
    return _known(data) is not None


def refuse(data: Any, where: str) -> NoReturn:
    """InputError that says what is missing from what `recognises` knows."""
    got, hint = _known(data) or ("", "")
    raise InputError(where, "a rig: intrinsics and poses", got, hint)


def _known(data: Any) -> tuple[str, str] | None:
    """What it is, and what to do."""
    if any(_has(entry, "sensor_token", "camera_intrinsic") for entry in _entries(data)):
        got = "nuScenes' calibrated_sensor.json: sensors of all vehicles and days, without names and image sizes"
        return got, COPY.format(what=f"{NUSCENES_POSE} of one vehicle's cameras")
    if _has(data, "camera_matrix", "image_width"):
        return "a camera calibration (camera_matrix): it has intrinsics only", ADD_POSE.format(what="K and D")
    if _has(data, "k", "p", "width"):
        return "a CameraInfo message (k, p): it has intrinsics only", ADD_POSE.format(what=CAMERA_INFO_D)
    if _has(data, "K", "P", "width"):
        return "a CameraInfo message of ROS 1 (K, P): it has intrinsics only", ADD_POSE.format(what=ROS1_CAMERA_INFO_D)
    if _has(data, "sensor_token", "camera_intrinsic"):
        got = "a record of nuScenes' calibrated_sensor: one sensor, without its name and image size"
        return got, COPY.format(what=NUSCENES_POSE)
    if _has(data, "frames") and any(_has(entry, "transform_matrix") for entry in _entries(data["frames"])):
        return "nerfstudio's transforms.json: intrinsics, and the poses of pictures, none on a vehicle", EXPORT_SCENE
    if isinstance(data, dict) and any(_has(entry, "camera_model", "intrinsics") for entry in data.values()):
        got = "a camchain of Kalibr (camera_model): it has intrinsics, and poses of cameras to each other"
        return got, f"{ADD_POSE.format(what=KALIBR_D)} of each in base_link"
    return None


def _entries(data: Any) -> list[Any]:
    return data if isinstance(data, list) else []


def _has(data: Any, *keys: str) -> bool:
    return isinstance(data, dict) and data.keys() >= set(keys)
