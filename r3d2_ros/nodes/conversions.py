"""Core types -> messages: the only place where quaternions change from wxyz (core) to xyzw (messages).

The other way is in `r3d2_ros.message_fields`.
"""

from __future__ import annotations

from collections.abc import Iterable

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, TransformStamped
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from r3d2_ros.cameras import Camera
from r3d2_ros.geometry import Rigid
from r3d2_ros.message_fields import NS
from r3d2_ros.published import calibration


def ns_to_stamp(stamp_ns: int) -> Time:
    sec, nanosec = divmod(stamp_ns, NS)
    return Time(sec=sec, nanosec=nanosec)


def write_pose(pose: Pose, T: Rigid) -> None:
    """Put the transform into a geometry_msgs/Pose."""
    pose.position.x, pose.position.y, pose.position.z = T.translation.tolist()
    q = pose.orientation
    q.w, q.x, q.y, q.z = T.quat_wxyz.tolist()


def transform_message(T_parent_child: Rigid, parent: str, child: str, stamp: Time) -> TransformStamped:
    message = TransformStamped()
    message.header.frame_id, message.header.stamp, message.child_frame_id = parent, stamp, child
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = T_parent_child.translation.tolist()
    q.w, q.x, q.y, q.z = T_parent_child.quat_wxyz.tolist()
    return message


def camera_transforms(cameras: Iterable[Camera], base_link: str, stamp: Time) -> TFMessage:
    """Where the cameras are on the vehicle, for /tf_static."""
    return TFMessage(
        transforms=[transform_message(camera.T_ego_camera, base_link, camera.frame_id, stamp) for camera in cameras]
    )


def camera_info_message(camera: Camera) -> CameraInfo:
    """CameraInfo of the published pixels; see `calibration`."""
    message, stated = CameraInfo(), calibration(camera)
    message.header.frame_id = camera.frame_id
    message.width, message.height = camera.width_px, camera.height_px
    message.distortion_model, message.d = stated.distortion_model, stated.d
    message.k, message.r, message.p = stated.k, stated.r, stated.p
    return message
