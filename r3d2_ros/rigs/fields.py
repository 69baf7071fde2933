"""What every rig file has in common: the limits of its numbers, and names that ROS accepts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict, Field

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.geometry import QUAT_TOLERANCE
from r3d2_ros.schema import Number, refuse_bool, validate

MAX_SIDE_PX = 8192
MAX_PIXELS = 64_000_000

MAX_RADIANS = 3.2
"""Above pi: a field of view below is more often one in radians than that of a telescope."""

FOREIGN = ConfigDict(extra="ignore", allow_inf_nan=False)
"""For formats of other projects: keys that are not read here are theirs to have."""

NAME_PATTERN = r"[A-Za-z][A-Za-z0-9_]*"
"""One token of a ROS 2 topic name (design.ros2.org/articles/topic_and_service_names.html)."""


SidePx = Annotated[int, BeforeValidator(refuse_bool), Field(ge=1, le=MAX_SIDE_PX)]
FocalPx = Annotated[Number, Field(gt=0, le=1e6)]
PrincipalPx = Annotated[Number, Field(ge=-1e6, le=1e6)]
FovDeg = Annotated[Number, Field(gt=0, lt=180)]
Metres = Annotated[Number, Field(ge=-1000, le=1000)]

T = TypeVar("T")


def validate_at(cls: type[T], data: Any, where: str, *, key: str) -> T:
    """`schema.validate` of the part `key` of the file `where`: faults name file and full key."""
    try:
        return validate(cls, data, where)
    except InputErrors as error:
        faults = [
            InputError(
                f"{where}: {'.'.join(filter(None, (key, _key(fault, where))))}",
                fault.expected,
                fault.got,
                fault.hint,
            )
            for fault in error.faults
        ]
        raise InputErrors(faults) from None


def _key(fault: InputError, where: str) -> str:
    return fault.where.removeprefix(where).removeprefix(": ")


def size_faults(width_px: int, height_px: int, where: str) -> Iterable[InputError]:
    if width_px * height_px > MAX_PIXELS:
        got = f"{width_px}x{height_px} = {width_px * height_px / 1e6:.1f} megapixels"
        yield InputError(where, f"an image of at most {MAX_PIXELS // 1_000_000} megapixels", got)


def quat_faults(quat_wxyz: tuple[float, ...], where: str) -> Iterable[InputError]:
    norm = float(np.linalg.norm(quat_wxyz))
    if abs(norm - 1.0) > QUAT_TOLERANCE:
        yield InputError(where, "a quaternion of length 1", f"{list(quat_wxyz)} of length {norm:.6g}")


def ros_name(text: str) -> str:
    """`text` as a ROS name: other characters become '_', 'camera_' goes before what starts with no letter."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return name if re.fullmatch(NAME_PATTERN, name) else f"camera_{name}".rstrip("_")


def fov_notes(fov_deg: float, where: str) -> tuple[str, ...]:
    """A note on a field of view that may have been meant in radians."""
    if fov_deg >= MAX_RADIANS:
        return ()
    return (f"{where}: {fov_deg:g} degrees: is this in radians? Then it is {np.degrees(fov_deg):.4g} degrees",)


def focal_from_fov(size_px: int, fov_deg: float) -> float:
    """Focal length in pixels of a pinhole whose image of `size_px` spans `fov_deg` from edge to edge."""
    return float(size_px / (2.0 * np.tan(np.radians(fov_deg) / 2.0)))


def centred_K(width_px: int, height_px: int, fov_x_deg: float) -> NDArray[np.float64]:
    """K (CameraInfo convention): square pixels, principal point at the image centre, (size - 1) / 2."""
    return intrinsic_matrix(
        (focal_from_fov(width_px, fov_x_deg),) * 2 + ((width_px - 1) / 2, (height_px - 1) / 2)
    )


def intrinsic_matrix(fx_fy_cx_cy: tuple[float, float, float, float]) -> NDArray[np.float64]:
    fx, fy, cx, cy = fx_fy_cx_cy
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
