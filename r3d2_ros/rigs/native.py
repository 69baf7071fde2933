"""The project's own rig files. `config/rigs/demo3.yaml` shows every key with its meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera, Rig
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.geometry import Rigid
from r3d2_ros.lenses import DISTORTION_COUNTS, LensModel
from r3d2_ros.rigs.fields import (
    NAME_PATTERN,
    FocalPx,
    FovDeg,
    Metres,
    PrincipalPx,
    SidePx,
    centred_K,
    fov_notes,
    intrinsic_matrix,
    quat_faults,
    size_faults,
    validate_at,
)
from r3d2_ros.rigs.upright import tilt_note
from r3d2_ros.schema import STRICT, Number, validate

TOPIC_PATTERN = r"^[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*$"
FRAME_PATTERN = r"^[^\s/]\S*$"


@dataclass(frozen=True)
class PoseEntry:
    """Pose of a camera in base_link: exactly one of `rpy_deg` and `quat_wxyz`."""

    __pydantic_config__ = STRICT
    xyz_m: Annotated[tuple[Metres, Metres, Metres], Field(description="position in base_link, metres")]
    rpy_deg: Annotated[
        tuple[Number, Number, Number] | None, Field(description="fixed-axis roll, pitch, yaw (URDF), degrees")
    ] = None
    quat_wxyz: Annotated[
        tuple[Number, Number, Number, Number] | None, Field(description="unit quaternion, instead of rpy_deg")
    ] = None
    axes: Annotated[
        Literal["body", "optical"],
        Field(
            description="axes that the rotation turns: body (x forward, z up) or optical (z forward, y down)"
        ),
    ] = "body"


def _not_a_matrix(value: Any) -> Any:
    """For BeforeValidator: a 3x3 matrix, as camera_info and nuScenes have it, is told with the four numbers of it."""
    rows = [one for row in value for one in row] if _is_list_of(value, 3, list) else value
    if _is_list_of(rows, 9, int | float):
        fx, fy, cx, cy = rows[0], rows[4], rows[2], rows[5]
        meant = f"[{fx:g}, {fy:g}, {cx:g}, {cy:g}]"
        raise PydanticCustomError("matrix", "[fx, fy, cx, cy], of this 3x3 matrix {meant}", {"meant": meant})
    return value


def _is_list_of(value: Any, count: int, kind: Any) -> bool:
    return isinstance(value, list) and len(value) == count and all(isinstance(one, kind) for one in value)


@dataclass(frozen=True)
class SharedEntry:
    """Keys that `defaults` may set for every camera."""

    __pydantic_config__ = STRICT
    width_px: Annotated[SidePx | None, Field(description="image width, pixels")] = None
    height_px: Annotated[SidePx | None, Field(description="image height, pixels")] = None
    K: Annotated[
        tuple[FocalPx, FocalPx, PrincipalPx, PrincipalPx] | None,
        Field(
            description="fx, fy, cx, cy in pixels as in CameraInfo: the centre of the first pixel is (0, 0)"
        ),
        BeforeValidator(_not_a_matrix),
    ] = None
    fov_x_deg: Annotated[
        FovDeg | None,
        Field(description="horizontal field of view, lens included, instead of K; principal point at the centre"),
    ] = None
    distortion_model: Annotated[
        Literal["plumb_bob", "rational_polynomial", "equidistant"], Field(description="meaning of D")
    ] = "plumb_bob"
    D: Annotated[
        tuple[Number, ...], Field(description="distortion coefficients: none, or all of the model")
    ] = ()
    rate_hz: Annotated[Number, Field(description="exposures per second", gt=0, le=1000)] = 10.0
    phase_s: Annotated[Number, Field(description="time of the first exposure, below 1 / rate_hz", ge=0)] = 0.0


@dataclass(frozen=True, kw_only=True)
class CameraEntry(SharedEntry):
    """One camera of the file, with the defaults filled in."""

    __pydantic_config__ = STRICT
    pose: Annotated[PoseEntry, Field(description="pose in base_link")]
    frame_id: Annotated[
        str,
        Field(
            description="tf frame of the images; <camera>_optical_frame when left out", pattern=FRAME_PATTERN
        ),
    ] = ""
    topic: Annotated[
        str,
        Field(
            description="topic prefix below the rig's namespace; <camera> when left out",
            pattern=TOPIC_PATTERN,
        ),
    ] = ""


@dataclass(frozen=True, kw_only=True)
class RigFile:
    """The whole file; cameras are validated one by one, after the defaults are filled in."""

    __pydantic_config__ = STRICT
    name: Annotated[
        str, Field(description="name of the rig; the file's name when left out", max_length=100)
    ] = ""
    defaults: Annotated[dict[str, Any], Field(description="keys that hold for every camera")] = field(
        default_factory=dict
    )
    cameras: Annotated[
        dict[str, Any], Field(description="cameras by name, in publishing order", min_length=1)
    ]


def parse(data: Any, where: str, *, name: str) -> Rig:
    """The rig of a parsed file, called `name` unless the file says. InputErrors names every fault."""
    file = validate(RigFile, data, where)
    faults: list[InputError] = []
    try:
        validate_at(SharedEntry, file.defaults, where, key="defaults")
    except InputErrors as error:
        faults += error.faults
    of_defaults = {fault.where for fault in faults}
    cameras: list[Camera] = []
    for camera_name, entry in file.cameras.items():
        try:
            cameras.append(_camera(camera_name, entry, defaults=file.defaults, where=where))
        except InputErrors as error:
            own = f"{where}: cameras.{camera_name}."
            for fault in error.faults:
                key = fault.where.removeprefix(own)
                # What a camera took from `defaults` and is a fault there is reported once.
                if f"{where}: defaults.{key}" not in of_defaults or key.split(".")[0] in entry:
                    faults.append(fault)
    faults += _shared_names(cameras, where)
    if faults:
        raise InputErrors(faults)
    notes = (*_fov_notes(file, where), *_tilt_notes(file, cameras, where))
    return Rig(name=file.name or name, cameras=tuple(cameras), notes=notes)


def _fov_notes(file: RigFile, where: str) -> Iterable[str]:
    for name, entry in file.cameras.items():
        fov_x_deg = {**_applicable(file.defaults, entry), **entry}.get("fov_x_deg")
        if fov_x_deg is not None:
            yield from fov_notes(float(fov_x_deg), f"{where}: cameras.{name}.fov_x_deg")


def _tilt_notes(file: RigFile, cameras: Iterable[Camera], where: str) -> Iterable[str]:
    for camera in cameras:
        axes = file.cameras[camera.name]["pose"].get("axes", "body")
        if note := tilt_note(camera.T_ego_camera.rotation, axes=axes):
            yield f"{where}: cameras.{camera.name}.pose: {note}"


def _camera(name: str, entry: Any, *, defaults: dict[str, Any], where: str) -> Camera:
    key = f"cameras.{name}"
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > 100:
        raise InputErrors(
            [
                InputError(
                    f"{where}: {key}", "a ROS name: a letter, then letters, digits and _", f"{name!r}"[:120]
                )
            ]
        )
    if not isinstance(entry, dict):
        raise InputErrors(
            [InputError(f"{where}: {key}", "a mapping of camera keys such as 'pose'", repr(entry)[:120])]
        )
    camera = validate_at(CameraEntry, {**_applicable(defaults, entry), **entry}, where, key=key)
    if faults := list(_camera_faults(camera, f"{where}: {key}")):
        raise InputErrors(faults)
    assert camera.width_px is not None and camera.height_px is not None
    return Camera(
        name=name,
        width_px=camera.width_px,
        height_px=camera.height_px,
        K=intrinsic_matrix(camera.K) if camera.K else _K_from_fov(camera),
        T_ego_camera=_T_ego_camera(camera.pose),
        D=camera.D,
        distortion_model=camera.distortion_model,
        rate_hz=camera.rate_hz,
        phase_s=camera.phase_s,
        frame_id=camera.frame_id,
        topic=camera.topic,
    )


def _applicable(defaults: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """Defaults for one camera: its own K replaces a default field of view, and the other way round."""
    known = {f.name for f in fields(SharedEntry)}  # an unknown key is a fault of `defaults` alone
    if "K" in entry or "fov_x_deg" in entry:
        known -= {"K", "fov_x_deg"}
    return {key: value for key, value in defaults.items() if key in known}


def _camera_faults(camera: CameraEntry, where: str) -> Iterable[InputError]:
    """What one key alone cannot show."""
    for key, value in (("width_px", camera.width_px), ("height_px", camera.height_px)):
        if value is None:
            yield InputError(
                f"{where}.{key}", "a value", "nothing (the key is missing)", "Set it here or in 'defaults'."
            )
    if camera.width_px and camera.height_px:
        yield from size_faults(camera.width_px, camera.height_px, f"{where}.width_px")
    if (camera.K is None) == (camera.fov_x_deg is None):
        got = "neither" if camera.K is None else "both"
        yield InputError(f"{where}.K", "either K: [fx, fy, cx, cy] or fov_x_deg", got)
    count = DISTORTION_COUNTS[camera.distortion_model]
    if camera.D and len(camera.D) != count:
        yield InputError(
            f"{where}.D",
            f"{count} coefficients for '{camera.distortion_model}', or none",
            f"{len(camera.D)} of them",
        )
    elif any(camera.D) and camera.fov_x_deg and not _edge(camera, camera.fov_x_deg) > 0:
        got = f"{camera.fov_x_deg:g} degrees with D {list(camera.D)}"
        yield InputError(f"{where}.fov_x_deg", "a field of view that the lens has", got)
    if camera.phase_s >= 1.0 / camera.rate_hz:
        yield InputError(
            f"{where}.phase_s", f"less than one period ({1.0 / camera.rate_hz:g} s)", f"{camera.phase_s:g} s"
        )
    pose = camera.pose
    if (pose.rpy_deg is None) == (pose.quat_wxyz is None):
        got = "neither" if pose.rpy_deg is None else "both"
        yield InputError(
            f"{where}.pose", "either rpy_deg: [roll, pitch, yaw] or quat_wxyz: [w, x, y, z]", got
        )
    if pose.quat_wxyz is not None:
        yield from quat_faults(pose.quat_wxyz, f"{where}.pose.quat_wxyz")


def _shared_names(cameras: list[Camera], where: str) -> Iterable[InputError]:
    """Two cameras must not publish on one topic or as one frame."""
    for attribute in ("topic", "frame_id"):
        first: dict[str, str] = {}
        for camera in cameras:
            value = getattr(camera, attribute)
            if value in first:
                yield InputError(
                    f"{where}: cameras.{camera.name}.{attribute}",
                    "a value of its own",
                    f"'{value}', as '{first[value]}'",
                )
            first.setdefault(value, camera.name)


def _K_from_fov(camera: CameraEntry) -> Any:
    """Square pixels, principal point at the image centre; at its edge the ray of half the field of view."""
    assert camera.width_px and camera.height_px and camera.fov_x_deg
    if not LensModel(camera.distortion_model, camera.D).bends:
        return centred_K(camera.width_px, camera.height_px, camera.fov_x_deg)
    focal_px = camera.width_px / 2 / _edge(camera, camera.fov_x_deg)
    return intrinsic_matrix((focal_px, focal_px, (camera.width_px - 1) / 2, (camera.height_px - 1) / 2))


def _edge(camera: CameraEntry, fov_x_deg: float) -> float:
    """Image coordinate of the ray of half the field of view, to the right; NaN where the lens does not see so far."""
    half = np.radians(fov_x_deg / 2)
    ray = np.array([np.sin(half), 0.0, np.cos(half)])
    return float(LensModel(camera.distortion_model, camera.D).points(ray)[0])


def _T_ego_camera(pose: PoseEntry) -> Rigid:
    if pose.quat_wxyz is not None:
        T_ego_link = Rigid.from_quat(pose.quat_wxyz, pose.xyz_m)
    else:
        T_ego_link = Rigid.from_rpy(np.radians(pose.rpy_deg or (0.0, 0.0, 0.0)), pose.xyz_m)
    return T_ego_link if pose.axes == "optical" else T_ego_link @ Rigid(R_BODY_OPTICAL, np.zeros(3))
