"""Where a camera and an insert stand in a street: chosen by chance, as traffic would have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from r3d2_ros.boxes import box, gap_m
from r3d2_ros.cameras import Camera, CameraView, Rig
from r3d2_ros.dataset.garage import Thing
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.harmonizer.compositing.region import BOX_CORNERS
from r3d2_ros.street.build import LitStreet
from r3d2_ros.street.ground import ground_height
from r3d2_ros.street.layout import HALF_ROAD_M
from r3d2_ros.street.route import LANE_OFFSET_M

Rng = np.random.Generator

AHEAD_M = (8.0, 36.0)
ASIDE_M = (-3.0, 14.0)
"""How far ahead of the ego's rear axle inserts stand, before the front camera and before the others."""
NEAREST_M = 4.5
"""Depth of the nearest corner of an insert's box, at least."""
GAP_M = 0.6
"""Between two inserts."""
EGO_SIZE_M, EGO_CENTRE_M = (4.5, 1.9, 1.6), 1.45
SHADE_KEPT = 0.25
"""Of the places that a house keeps from a sun, this share is used."""
LEAST_COVERED = 0.2
"""Of the smaller of two outlines in the image that cover each other, so much is common to both, at least."""


@dataclass(frozen=True, eq=False)
class Standpoint:
    """The ego's pose in the scene's frame, and its camera."""

    T_scene_ego: Rigid
    camera: Camera

    @property
    def view(self) -> CameraView:
        return self.camera.view(self.T_scene_ego)


def draw_standpoint(lit: LitStreet, rig: Rig, rng: Rng) -> Standpoint:
    """The ego somewhere in its lane, not quite straight; mostly its front camera."""
    s = rng.uniform(2.0, lit.route.drive_length_m - 26.0)
    pose = _pose(lit, s=s, t=-LANE_OFFSET_M + rng.uniform(-0.5, 0.5), yaw_rad=np.radians(rng.normal(0, 1.5)))
    sides = [camera for camera in rig.cameras if camera.name != "front"]
    camera = rig["front"] if rng.random() < 0.75 or not sides else sides[int(rng.integers(len(sides)))]
    shaken = Rigid.from_rpy(np.radians([rng.normal(0, 0.5), rng.normal(0, 1.2), 0]), [0, 0, rng.uniform(-0.12, 0.12)])
    return Standpoint(pose, replace(camera, T_ego_camera=shaken @ camera.T_ego_camera))


def _pose(lit: LitStreet, *, s: float, t: float, yaw_rad: float) -> Rigid:
    """On the ground at (s, t) of the route, turned by `yaw_rad` from the direction of the drive."""
    x, y, z = lit.route.at(np.array([s]), np.array([t]))[0]
    left = lit.route.left(np.array([s]))[0]
    z += float(ground_height(np.array([t]))[0])
    return Rigid.from_xyz_yaw(float(x), float(y), float(z), float(np.arctan2(-left[0], left[1])) + yaw_rad)


def draw_place(
    thing: Thing,
    lits: Sequence[LitStreet],
    standpoint: Standpoint,
    taken: list[Array],
    rng: Rng,
    *,
    fits: Callable[[Rigid], bool] = lambda pose: True,
    tries: int = 300,
) -> Rigid | None:
    """A pose of `thing` in the scene's frame in view of the camera, clear of the ego and of the outlines `taken`.

    lits  the street under each of its suns, all of which reach most of the places
    fits  what else is asked of the pose

    None where nothing fits.
    """
    lit = lits[0]
    view, (s_ego, _, _) = standpoint.view, lit.route.locate(standpoint.T_scene_ego.translation[None, :2])
    outlines = [box(standpoint.T_scene_ego, EGO_SIZE_M, EGO_CENTRE_M), *taken]
    for _ in range(tries):
        t, yaw_rad = _lateral(thing, rng)
        near, far = AHEAD_M if standpoint.camera.name == "front" else ASIDE_M
        pose = _pose(lit, s=float(s_ego[0]) + near + (far - near) * rng.uniform(0, 1) ** 1.5, t=t, yaw_rad=yaw_rad)
        outline = box(pose, thing.size_m)
        if not _in_view(thing, pose, view) or min(gap_m(outline, other) for other in outlines) < GAP_M:
            continue
        if not fits(pose):
            continue
        if all(_sunlit(pose, each) for each in lits) or rng.random() < SHADE_KEPT:
            return pose
    return None


def _lateral(thing: Thing, rng: Rng) -> tuple[float, float]:
    """Offset to the left of the road's middle, and yaw against the drive's direction."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    along = 0.0 if side < 0 else np.pi  # traffic keeps to the right
    if thing.on_foot:
        if rng.random() < 0.5:
            return side * rng.uniform(4.3, 6.2), rng.choice([0, np.pi]) + np.radians(rng.normal(0, 12))
        return rng.uniform(-3.4, 3.4), side * np.pi / 2 + np.radians(rng.normal(0, 12))
    half_width = thing.size_m[1] / 2
    kerb = HALF_ROAD_M - half_width - 0.15
    way = rng.choice(["driving", "kerb", "turning"], p=[0.6, 0.28, 0.12])
    if way == "driving":
        return side * (LANE_OFFSET_M + rng.normal(0, 0.2)), along + np.radians(rng.normal(0, 2.5))
    if way == "kerb":
        return side * max(kerb, LANE_OFFSET_M), along + np.radians(rng.normal(0, 1.5))
    return rng.uniform(-1.8, 1.8), rng.uniform(0, 2 * np.pi)


def _in_view(thing: Thing, pose: Rigid, view: CameraView) -> bool:
    """Whether the box is far enough and at least the middle of its foot or of itself is in the image."""
    corners = view.T_camera_world.apply(pose.apply(BOX_CORNERS * thing.size_m))
    if corners[:, 2].min() < NEAREST_M:
        return False
    middle = view.K @ view.T_camera_world.apply(pose.apply([0, 0, thing.size_m[2] / 2]))
    u, v = middle[:2] / middle[2]
    return bool(0 <= u < view.width_px and 0 <= v < view.height_px)


def cover_each_other(view: CameraView, one: tuple[Thing, Rigid], other: tuple[Thing, Rigid]) -> bool:
    """Whether the image's rectangles around the boxes of two things, each with its pose, overlap by LEAST_COVERED."""
    a, b = (_rectangle_px(thing, pose, view) for thing, pose in (one, other))
    common, areas = np.minimum(a[1], b[1]) - np.maximum(a[0], b[0]), [np.prod(r[1] - r[0]) for r in (a, b)]
    return bool(common.min() > 0 and np.prod(common) >= LEAST_COVERED * min(areas))


def _rectangle_px(thing: Thing, pose: Rigid, view: CameraView) -> Array:
    """[2, 2] first and last corner, within the image, around a box that `_in_view` finds there."""
    corners = view.T_camera_world.apply(pose.apply(BOX_CORNERS * thing.size_m)) @ view.K.T
    uv = np.clip(corners[:, :2] / corners[:, 2:], 0.0, [view.width_px, view.height_px])
    return np.stack([uv.min(axis=0), uv.max(axis=0)])


def _sunlit(pose: Rigid, lit: LitStreet) -> bool:
    place = pose.translation[None] + [0, 0, 0.2]
    return bool(lit.shadows.lit(place, np.array([[0.0, 0.0, 1.0]]))[0] > 0.5)


def crop_of(view: CameraView, size: tuple[int, int], points: Array, rng: Rng) -> CameraView:
    """The view of a part of the image of `size` (rows, columns) that shows `points` [N, 3], as far as they fit.

    Pixels are those of the whole image. The part begins at a multiple of 8 pixels, or where the image's end forbids
    it; where there is room, the points are somewhere in it rather than in its middle.
    """
    seen = view.T_camera_world.apply(points)
    seen = seen[seen[:, 2] > 0.5] @ view.K.T
    uv = seen[:, :2] / seen[:, 2:]
    start = []
    for low, high, length, frame in (
        (uv[:, 1].min(), uv[:, 1].max(), size[0], view.height_px),
        (uv[:, 0].min(), uv[:, 0].max(), size[1], view.width_px),
    ):
        low, high = np.clip([low, high], 0, frame)
        first, last = sorted((high - length, low))
        begin = rng.uniform(first, last) if high - low < length else (low + high - length) / 2 + rng.normal(0, 16)
        start.append(int(min(max(begin, 0), frame - length) // 8 * 8))
    return window_of(view, start[0], start[1], size)


def window_of(view: CameraView, top: int, left: int, size: tuple[int, int]) -> CameraView:
    """The view of rows top.. and columns left.. of the image."""
    K = view.K.copy()
    K[:2, 2] -= [left, top]
    return replace(view, K=K, height_px=size[0], width_px=size[1])
