"""What a rig means physically: where a camera looks, and where in its image a point of the world is seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from r3d2_ros.cameras import Camera
from r3d2_ros.geometry import Array


def heading_deg(camera: Camera) -> float:
    """Direction of the optical axis in base_link: 0 forward, 90 left, 180 back, -90 right."""
    forward = camera.T_ego_camera.rotation[:, 2]
    return float(np.degrees(np.arctan2(forward[1], forward[0])))


def elevation_deg(camera: Camera) -> float:
    """Angle of the optical axis above the horizon."""
    return float(np.degrees(np.arcsin(camera.T_ego_camera.rotation[2, 2])))


def height_m(camera: Camera) -> float:
    return float(camera.T_ego_camera.translation[2])


def pixel(camera: Camera, point_ego: ArrayLike) -> Array:
    """Pixel (CameraInfo convention) of a point [3] in base_link that lies in front of the camera."""
    x, y, z = camera.T_ego_camera.inverse().apply(np.asarray(point_ego, np.float64))
    assert z > 0, f"{point_ego} is behind {camera.name}"
    u, v, w = camera.K @ (x, y, z)
    return np.array([u / w, v / w])


def sees(camera: Camera, point_ego: ArrayLike) -> bool:
    if camera.T_ego_camera.inverse().apply(np.asarray(point_ego, np.float64))[2] <= 0:
        return False
    u, v = pixel(camera, point_ego)
    return bool(-0.5 <= u < camera.width_px - 0.5 and -0.5 <= v < camera.height_px - 0.5)
