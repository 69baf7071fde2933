"""Files of ROS' camera_calibration: one camera's intrinsics, which alone make no rig."""

from __future__ import annotations

from typing import Any, NoReturn

from r3d2_ros.errors import InputError


def recognises(data: Any) -> bool:
    return isinstance(data, dict) and {"camera_matrix", "image_width"} <= data.keys()


def refuse(where: str) -> NoReturn:
    """InputError that says what is missing."""
    expected, got = "a rig: intrinsics and poses", "a camera calibration (camera_matrix): it has intrinsics only"
    hint = "Copy K and D into a rig file as config/rigs/demo3.yaml is one, and add the pose"
    raise InputError(where, expected, got, hint)
