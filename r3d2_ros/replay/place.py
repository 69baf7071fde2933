"""Where a drive lies with respect to the scene, and how it is moved to the scene's beginning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Rigid
from r3d2_ros.replay.ticks import Moment, Place
from r3d2_ros.scene import Scene

SAMPLES = 200
"""Places along the drive that are looked at."""

FAR_OFF_PATH_M = 10.0


def sampled_places(moments: Sequence[Moment]) -> tuple[Place, ...]:
    """Places along a drive or a part of it, the first one first."""
    places = [moment.place for moment in moments if moment.place is not None]
    if not places:
        return ()
    chosen = np.unique(np.linspace(0, len(places) - 1, SAMPLES).astype(int))
    return tuple(places[i] for i in chosen)


def anchor(beginning: Place | None, scene: Scene) -> Rigid:
    """T_scene_recorded that puts the first place of the drive onto the first pose of the scene's capture.

    It turns about z alone, so that what stood upright stays so. InputError for a scene without a capture trajectory.
    """
    if scene.path is None:
        raise InputError("--anchor start", "a scene with the trajectory of its capture", f"'{scene.name}' without one")
    if beginning is None:
        raise InputError("--anchor start", "a drive with a known pose", "none")
    x, y, z, yaw = beginning
    target = scene.path.poses[0]
    target_x, target_y, target_z = target.translation.tolist()
    wanted = Rigid.from_xyz_yaw(target_x, target_y, target_z, target.yaw_rad)
    return wanted @ Rigid.from_xyz_yaw(x, y, z, yaw).inverse()


def distance_notes(places: Sequence[Place], scene: Scene, T_map_recorded: Rigid | None) -> list[str]:
    """What the user should know of a drive that leaves the scene, or that was captured elsewhere."""
    if not places:
        return []
    recorded = np.array(places)[:, :3]
    points = recorded if T_map_recorded is None else T_map_recorded.apply(recorded)
    hint = "" if T_map_recorded is not None else "; --anchor start moves it to where the capture begins"
    if scene.path is None:
        hint = ""
    outside, what = scene.outside_m(points)
    notes = []
    if outside.min() > 0:
        notes.append(
            f"the drive lies outside {what}, by {outside.min():.1f} m or more, {outside[0]:.1f} m at its "
            f"beginning: the pictures show little or nothing of the scene{hint}"
        )
    elif outside.max() > 0:
        share = 100 * float((outside > 0).mean())
        notes.append(f"{share:.0f} % of the drive lie outside {what}, by up to {outside.max():.1f} m{hint}")
    if scene.path is not None and not outside.min() > 0:
        off_m = [scene.path.deviation(Rigid(np.eye(3), point))[0] for point in points]
        if max(off_m) > FAR_OFF_PATH_M:
            notes.append(
                f"the drive is up to {max(off_m):.1f} m off the path of the capture: quality falls there{hint}"
            )
    return notes
