"""The messages that a replay writes: those that the live node publishes, made without ROS."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import Camera
from r3d2_ros.message_fields import NS
from r3d2_ros.published import COMPRESSED_FORMAT, calibration
from r3d2_ros.replay.definitions import standard_types
from r3d2_ros.simulator import FrameSet
from r3d2_ros.sync import Tick

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
TF_MESSAGE = "tf2_msgs/msg/TFMessage"
FRAME_SET = "r3d2_ros/msg/FrameSet"


def serialised(message: Any) -> memoryview:
    """The CDR bytes of a message."""
    return standard_types().serialize_cdr(message, message.__msgtype__)


def _make(msgtype: str, **fields: Any) -> Any:
    return standard_types().types[msgtype](**fields)


def header(stamp_ns: int, frame_id: str) -> Any:
    sec, nanosec = divmod(stamp_ns, NS)
    stamp = _make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return _make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def image(pixels: NDArray, *, stamp_ns: int, frame_id: str, encoding: str) -> Any:
    """`pixels` [H, W] or [H, W, 3] in the type of the encoding."""
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
    return _make(
        IMAGE, header=header(stamp_ns, frame_id), height=height, width=width, encoding=encoding, is_bigendian=0,
        step=data.size // height, data=data,
    )  # fmt: skip


def compressed_image(jpeg: bytes, *, stamp_ns: int, frame_id: str) -> Any:
    data = np.frombuffer(jpeg, np.uint8)
    return _make(COMPRESSED_IMAGE, header=header(stamp_ns, frame_id), format=COMPRESSED_FORMAT, data=data)


def camera_info(camera: Camera, stamp_ns: int) -> Any:
    stated = calibration(camera)
    roi = _make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return _make(
        CAMERA_INFO, header=header(stamp_ns, camera.frame_id), height=camera.height_px, width=camera.width_px,
        distortion_model=stated.distortion_model, d=np.array(stated.d), k=np.array(stated.k), r=np.array(stated.r),
        p=np.array(stated.p), binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip


def static_transforms(cameras: tuple[Camera, ...], *, stamp_ns: int, base_link: str) -> Any:
    """base_link -> optical frame of each camera."""
    transforms = []
    for camera in cameras:
        x, y, z = camera.T_ego_camera.translation.tolist()
        w, qx, qy, qz = camera.T_ego_camera.quat_wxyz.tolist()
        moved = _make(
            "geometry_msgs/msg/Transform",
            translation=_make("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
            rotation=_make("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=w),
        )
        transforms.append(
            _make(
                "geometry_msgs/msg/TransformStamped",
                header=header(stamp_ns, base_link), child_frame_id=camera.frame_id, transform=moved,
            )
        )  # fmt: skip
    return _make(TF_MESSAGE, transforms=transforms)


def _status(camera: str, **fields: Any) -> Any:
    stated = {
        "published": False, "raw": False, "reason": "", "content_hash": "",
        "render_ms": 0.0, "harmonize_ms": 0.0, "encode_ms": 0.0, "publish_ms": 0.0,
    }  # fmt: skip
    return _make("r3d2_ros/msg/CameraStatus", camera=camera, **(stated | fields))


def frame_set_message(
    index: int, tick: Tick, frame_set: FrameSet, *, base_link: str, encode_ms: dict[str, float]
) -> Any:
    """The statement of what a frame set holds; its cameras in the rig's order."""
    statuses = {
        failure.camera.name: _status(failure.camera.name, reason=failure.reason) for failure in frame_set.failures
    }
    for frame in frame_set.frames:
        name = frame.camera.name
        statuses[name] = _status(
            name, published=True, content_hash=frame.content_hash, render_ms=frame.render_ms,
            harmonize_ms=frame.harmonize_ms, encode_ms=encode_ms.get(name, 0.0),
        )  # fmt: skip
    return _make(
        FRAME_SET,
        header=header(frame_set.stamp_ns, base_link),
        index=index,
        cameras=[statuses[camera.name] for camera in tick.due],
        instance_ids=list(frame_set.instance_ids),
        off_path_m=frame_set.off_path_m,
        off_path_deg=frame_set.off_path_deg,
        out_of_bounds_m=frame_set.out_of_bounds_m,
    )


def missing_frame_set(index: int, tick: Tick, reason: str, *, base_link: str) -> Any:
    """A frame set without pictures: every camera with the reason."""
    return _make(
        FRAME_SET,
        header=header(tick.stamp_ns, base_link),
        index=index,
        cameras=[_status(camera.name, reason=reason) for camera in tick.due],
        instance_ids=[],
        off_path_m=math.nan,
        off_path_deg=math.nan,
        out_of_bounds_m=math.nan,
    )
