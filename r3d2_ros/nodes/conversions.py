"""Core types -> messages: the only place where quaternions change from wxyz (core) to xyzw (messages).

The other way is in `r3d2_ros.message_fields`.
"""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, TransformStamped
from sensor_msgs.msg import CameraInfo

from r3d2_ros.cameras import Camera
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.message_fields import NS


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


def camera_info_message(camera: Camera) -> CameraInfo:
    """CameraInfo of the published pixels (REP-104): a pinhole with the camera's K, zero plumb_bob, P = [K|0].

    The camera's own D is not applied to the picture, so it is never published.
    """
    message = CameraInfo()
    message.header.frame_id = camera.frame_id
    message.width, message.height = camera.width_px, camera.height_px
    message.distortion_model, message.d = "plumb_bob", [0.0] * 5
    K: Array = camera.K
    message.k = K.ravel().tolist()
    message.r = np.eye(3).ravel().tolist()
    message.p = np.hstack([K, np.zeros((3, 1))]).ravel().tolist()
    return message
