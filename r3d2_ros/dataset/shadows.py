"""What inserts do to the light of the pixels around them: cast shadow and contact shade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.dataset.light import Insert, blocked_by
from r3d2_ros.dataset.occupancy import RAY_START_M, disc_directions
from r3d2_ros.geometry import Array
from r3d2_ros.street.build import LitStreet
from r3d2_ros.street.layout import KERB_HEIGHT_M
from r3d2_ros.street.options import Sun

F32 = NDArray[np.float32]

DISC_RAYS = 16
EDGE_SHARE = 0.06
"""Depth that varies by more than this share around a pixel may be a mixture of near and far."""
FAR_M = 1e4
"""Stands for no depth, the sky."""
_NEIGHBOURS = np.ones((5, 5), np.uint8)
ON_GROUND_M, FARTHEST_MOVED_M = 0.06, 1.5
KERB_STEPS, HALVINGS = 16, 10
"""How finely a ray is searched for the ground, to either side, and how often the piece that enters it is halved."""
MOST_CONTACT = 0.9
"""Beneath a thing some light still arrives, thrown back by the ground beside it."""
LEAST = 0.01
"""Shares below this are none."""
EDGE_WEIGHT = 0.02
"""From this weight of an insert in a pixel, its depth is no longer that of what is behind it."""


@dataclass(frozen=True, eq=False)
class Taken:
    """Shares [H, W] in 0..1 of the light on what is behind the inserts, that they take away.

    sun     of the direct sunlight there would be if nothing else stood in its way; 0 where something else does
    cast    of the direct sunlight that does arrive
    sky     of all other light
    """

    sun: F32
    cast: F32
    sky: F32


def surface_points(depth: F32, view: CameraView) -> Array:
    """World points [H, W, 3] of the pixels' centres at z-depth [H, W]; NaN where there is no depth."""
    v, u = np.mgrid[: view.height_px, : view.width_px] + 0.5
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(view.K).T
    return view.T_camera_world.inverse().apply(rays * np.asarray(depth, np.float64)[..., None])


def on_the_ground(points: Array, eye: Array, lit: LitStreet) -> Array:
    """Points [N, 3] of the road and the footways, moved along their rays from `eye` [3] onto the exact surface.

    A Gaussian has one depth all over, so that points from depth lie in steps, and shadows would have scalloped edges.
    Points farther than ON_GROUND_M from the surface stay as they are.
    """
    height = lit.ground_height(points[:, :2])
    ray = points - eye
    down = np.minimum(ray[:, 2:], -1e-6)
    moved = eye + ray * ((height - eye[2])[:, None] / down)
    with np.errstate(invalid="ignore"):
        away = np.abs(points[:, 2] - height)
        is_ground = (away < ON_GROUND_M) & (np.linalg.norm(moved - points, axis=1) < FARTHEST_MOVED_M)
        by_a_kerb = ~is_ground & (away < ON_GROUND_M + KERB_HEIGHT_M)
    on_it = np.where(is_ground[:, None], moved, points)
    # Beside a kerb the level below a point may not be that of the surface on its ray: it would end below the footway.
    at = on_it[is_ground]
    by_a_kerb[is_ground] = np.abs(at[:, 2] - lit.ground_height(at[:, :2])) > KERB_HEIGHT_M / 2
    on_it[by_a_kerb] = _beside_kerbs(points[by_a_kerb], eye, lit)
    return on_it


def _beside_kerbs(points: Array, eye: Array, lit: LitStreet) -> Array:
    """Points [N, 3], each moved to where its ray from `eye` [3] enters road, kerb's face or footway, at most a kerb's
    height above or below; those without a kerb on that piece of the ray stay."""
    ray = points - eye
    reach = np.minimum(KERB_HEIGHT_M / np.maximum(-ray[:, 2], 1e-6), FARTHEST_MOVED_M / np.linalg.norm(ray, axis=1))

    def ground_and_gap(shares: Array) -> tuple[Array, Array]:
        """Height of the ground, and of rays above it, so many of their lengths [K, N] beyond the points."""
        at = points + shares[..., None] * ray
        ground = lit.ground_height(at[..., :2].reshape(-1, 2)).reshape(shares.shape)
        return ground, at[..., 2] - ground

    shares = np.linspace(-1, 1, 2 * KERB_STEPS + 1)[:, None] * reach
    ground, gap = ground_and_gap(shares)
    enters = (gap[:-1] > 0) & (gap[1:] <= 0) & (np.ptp(ground, axis=0) > KERB_HEIGHT_M / 2)
    k = np.where(enters, np.abs(shares[:-1] + shares[1:]), np.inf).argmin(axis=0)
    rows = np.arange(len(points))
    low, high = shares[k, rows], shares[k + 1, rows]
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        still = ground_and_gap(middle[None])[1][0] > 0
        low, high = np.where(still, middle, low), np.where(still, high, middle)
    return points + np.where(enters.any(axis=0), low, 0.0)[:, None] * ray


def solid_depth(depth: F32, actor_weight: F32, view: CameraView, lit: LitStreet) -> F32:
    """Depth [H, W] of what is behind the inserts, without mixtures of near and far.

    At the outlines of things depth is a mean, and belongs to no surface. Those pixels, and those of the inserts'
    outlines, get the depth of the nearest pixel of a surface: one around which depth varies little, or of the road,
    which may be seen at any angle.
    """
    known = np.nan_to_num(depth, nan=FAR_M)
    steep = cv2.dilate(known, _NEIGHBOURS) > (1 + EDGE_SHARE) * cv2.erode(known, _NEIGHBOURS)
    steep &= np.isfinite(depth) & (actor_weight <= EDGE_WEIGHT)
    points = surface_points(depth, view)[steep]
    with np.errstate(invalid="ignore"):
        steep[steep] = ~(np.abs(points[:, 2] - lit.ground_height(points[:, :2])) < ON_GROUND_M)
    unknown = (steep | (actor_weight > EDGE_WEIGHT)).astype(np.uint8)
    if not unknown.any() or unknown.all():
        return depth
    _, labels = cv2.distanceTransformWithLabels(unknown, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    solid = unknown == 0
    depth_of = np.zeros(int(labels.max()) + 1, np.float32)
    depth_of[labels[solid]] = depth[solid]
    return depth_of[labels]


def light_taken(
    *,
    inserts: Sequence[Insert],
    depth: F32,
    actor_weight: F32,
    view: CameraView,
    lit: LitStreet,
    sun_radius_rad: float,
) -> Taken:
    """What `inserts` take away, by rays from each pixel's surface point towards the sun's disc.

    depth, actor_weight  [H, W] of the render with the inserts
    view                 in the frame of the street's scene
    """
    sun = lit.sun
    points = surface_points(solid_depth(depth, actor_weight, view, lit), view)
    known = np.isfinite(points).all(axis=-1) & (actor_weight < 1 - EDGE_WEIGHT)
    at = points[known]
    cast = np.zeros(len(at))
    rays = disc_directions(sun.direction, sun_radius_rad, DISC_RAYS)
    near = _can_be_shaded(at, inserts, sun)
    at[near] = on_the_ground(at[near], view.T_camera_world.inverse().translation, lit)
    cast[near] = blocked_by(inserts, at[near], rays, start_m=RAY_START_M)
    sunlit = np.zeros(len(at))
    shaded = cast >= LEAST
    sunlit[shaded] = lit.shadows.lit(at[shaded], np.broadcast_to([0.0, 0.0, 1.0], at[shaded].shape))
    open_sky = np.ones(len(at))
    for insert in inserts:
        open_sky *= 1 - insert.thing.contact.at(insert.T_scene_thing.inverse().apply(at))
    return Taken(
        sun=_image(known, np.where(shaded, cast * sunlit, 0.0)),
        cast=_image(known, np.where(shaded, cast, 0.0)),
        sky=_image(known, MOST_CONTACT * _floored(1 - open_sky)),
    )


def _can_be_shaded(points: Array, inserts: Sequence[Insert], sun: Sun) -> NDArray[np.bool_]:
    """Points [N, 3] whose way to the sun passes near an insert: within its bounding sphere's cylinder."""
    near = np.zeros(len(points), bool)
    for insert in inserts:
        offset = points - insert.T_scene_thing.apply([0, 0, insert.thing.size_m[2] / 2])
        along = offset @ sun.direction
        radius = np.linalg.norm(insert.thing.size_m) / 2 + 0.5
        near |= (np.einsum("ni,ni->n", offset, offset) - along**2 < radius**2) & (along < radius)
    return near


def _floored(share: Array) -> Array:
    """Shares below LEAST become 0, without a step."""
    return np.clip((share - LEAST) / (1 - LEAST), 0, 1)


def _image(known: NDArray[np.bool_], values: Array) -> F32:
    image = np.zeros(known.shape, np.float32)
    image[known] = values
    return image
