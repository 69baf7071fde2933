"""Calibrations that make no rig, because they do not say where a camera is on the vehicle: ROS' camera_calibration,
messages of a camera_info topic, Kalibr's camchain; and the table of nuScenes, which has the cameras of every vehicle.
"""

from __future__ import annotations

from typing import Any, NoReturn

from r3d2_ros.errors import InputError

COPY = "Copy {what} into a rig file as config/rigs/demo3.yaml is one"
ADD_POSE = f"{COPY}, and add the pose"
CAMERA_INFO_D = "k[0], k[4], k[2], k[5] (K: [fx, fy, cx, cy]), d (D), width and height"
KALIBR_D = "intrinsics (K), resolution and distortion_coeffs (D; radtan is plumb_bob, with a fifth coefficient of 0)"
NUSCENES_POSE = "camera_intrinsic (K), translation (xyz_m) and rotation (quat_wxyz, with axes: optical)"


def recognises(data: Any) -> bool:
    return _known(data) is not None


def refuse(data: Any, where: str) -> NoReturn:
    """InputError that says what is missing from what `recognises` knows."""
    got, hint = _known(data) or ("", "")
    raise InputError(where, "a rig: intrinsics and poses", got, hint)


def _known(data: Any) -> tuple[str, str] | None:
    """What it is, and what to do."""
    if isinstance(data, list):
        if not any(_has(entry, "sensor_token", "camera_intrinsic") for entry in data):
            return None
        got = "nuScenes' calibrated_sensor.json: sensors of all vehicles and days, without names and image sizes"
        return got, COPY.format(what=f"{NUSCENES_POSE} of one vehicle's cameras")
    if _has(data, "camera_matrix", "image_width"):
        return "a camera calibration (camera_matrix): it has intrinsics only", ADD_POSE.format(what="K and D")
    if _has(data, "k", "p", "width"):
        return "a CameraInfo message (k, p): it has intrinsics only", ADD_POSE.format(what=CAMERA_INFO_D)
    if isinstance(data, dict) and any(_has(entry, "camera_model", "intrinsics") for entry in data.values()):
        got = "a camchain of Kalibr (camera_model): it has intrinsics, and poses of cameras to each other"
        return got, f"{ADD_POSE.format(what=KALIBR_D)} of each in base_link"
    return None


def _has(data: Any, *keys: str) -> bool:
    return isinstance(data, dict) and data.keys() >= set(keys)
