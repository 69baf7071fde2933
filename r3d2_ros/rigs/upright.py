"""Whether a camera stands upright on the vehicle: a rotation read with the wrong axes lies on its side or looks up."""

from __future__ import annotations

from typing import Literal

import numpy as np

from r3d2_ros.cameras import R_BODY_OPTICAL
from r3d2_ros.geometry import Array

Axes = Literal["body", "optical"]

MAX_TILT_DEG = 60.0
"""An image whose upper side is further than this from the vehicle's up axis is not upright."""
MAX_LEVEL_DEG = 60.0
"""Of a camera that looks further up or down, roll says nothing."""


def tilt_note(R_ego_optical: Array, *, axes: Axes) -> str:
    """What to say of a camera that is not upright; empty for the others, and for those that look down or up.

    axes  of the rotation from which R_ego_optical [3, 3] was made; where the other axes make the camera upright, they
          are asked for
    """
    if _is_upright(R_ego_optical):
        return ""
    right, down, forward = R_ego_optical.T
    pitch_deg = float(np.degrees(np.arcsin(np.clip(forward[2], -1.0, 1.0))))
    is_level = abs(pitch_deg) < MAX_LEVEL_DEG
    roll_deg = abs(float(np.degrees(np.arctan2(-right[2], -down[2]))))
    way = f"looks {'up' if pitch_deg > 0 else 'down'} by {abs(pitch_deg):.0f} degrees"
    what = f"its image is rolled by {roll_deg:.0f} degrees" if is_level else f"it {way}"
    if axes == "body" and _is_upright(R_ego_optical @ R_BODY_OPTICAL.T):
        return f"{what}: is its rotation that of the optical axes? Then it needs axes: optical"
    if axes == "optical" and _is_upright(R_ego_optical @ R_BODY_OPTICAL):
        return f"{what}: is its rotation that of body axes? Then leave out axes: optical"
    return what if is_level else ""


def _is_upright(R_ego_optical: Array) -> bool:
    return bool(-R_ego_optical[2, 1] > np.cos(np.radians(MAX_TILT_DEG)))
