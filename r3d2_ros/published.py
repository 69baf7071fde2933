"""What is published of a camera, by the live node and into bags: topics, encodings, pixels, calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import Camera
from r3d2_ros.config import OutputConfig
from r3d2_ros.lenses import DISTORTION_COUNTS
from r3d2_ros.simulator import CameraFrame, mask_bytes

IMAGE_TOPICS = {
    "raw": ("rgb8", "image_raw"),
    "depth": ("32FC1", "depth"),
    "instance": ("16UC1", "instance"),
    "image_rendered": ("rgb8", "image_rendered"),
    "harmonizer_mask": ("mono8", "harmonizer_mask"),
}
"""Key of the `output` section -> encoding and topic below the camera's."""

INFO_TOPIC, COMPRESSED_TOPIC = "camera_info", "image_raw/compressed"

COMPRESSED_FORMAT = "rgb8; jpeg compressed bgr8"
"""image_transport's convention: encoding of the source, then what the JPEG decodes to."""


def camera_topic(camera: Camera, config: OutputConfig) -> str:
    """The topic above a camera's, relative to the namespace of the node unless the rig gives an absolute one."""
    if config.namespace and not camera.topic.startswith("/"):
        return f"{config.namespace.rstrip('/')}/{camera.topic}"
    return camera.topic


def pixels(frame: CameraFrame, name: str) -> NDArray:
    """What one of IMAGE_TOPICS shows: [H, W] or [H, W, 3] in the type of its encoding."""
    match name:  # no other image is asked for: some are made, or brought from a GPU, at that moment
        case "raw":
            return frame.rgb
        case "image_rendered":
            return frame.rendered
        case "depth":
            return frame.depth
        case "harmonizer_mask":
            return mask_bytes(frame)
    assert name == "instance" and frame.instance is not None
    return frame.instance


@dataclass(frozen=True)
class Calibration:
    """The fields of CameraInfo (REP-104): k and r row-major 3x3, p row-major 3x4."""

    distortion_model: str
    d: list[float]
    k: list[float]
    r: list[float]
    p: list[float]


def calibration(camera: Camera) -> Calibration:
    """That of the published pixels: the camera's K and D, and P = [K|0], with which they can be rectified.

    Of a pinhole, zero plumb_bob.
    """
    K = camera.K
    model = camera.distortion_model if camera.is_distorted else "plumb_bob"
    return Calibration(
        distortion_model=model,
        d=list(camera.D) if camera.is_distorted and camera.D else [0.0] * DISTORTION_COUNTS[model],
        k=K.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=np.hstack([K, np.zeros((3, 1))]).ravel().tolist(),
    )
