"""Region: the pixels where inserted actors and their shadows can be; everywhere else the render stays as it is.

A harmonizer changes the whole frame a little, so its output is pasted back only here: users of the released R3D2-big
weights report 34 to 37 dB of PSNR between its output and its input outside the insert. The region is made of three
parts:

- the pixels in which an inserted actor is seen;
- around each actor that counts as seen, a rectangle: the bounding box of the pixels in the window of its projected box
  in which any actor is seen, widened in units of the box's height there (0.8 left and right, 0.45 down, 0.1 up are what
  the same users paste back);
- on the ground, the footprint of its box, grown by the length of its shadow.

Pixels say that an actor is seen, and not which: numbers of actors are rendered only where they are asked for. So an
actor counts as seen where any is in its window, and one that another hides adds its surroundings too.

Of the last two, only surfaces count on which the shadow can fall: what lies beyond by its depth is left out, and so is
the sky. At height z above ground the shadow ends `shadow_length` * z nearer to the actor than on the ground: it climbs
a wall beside the actor, and not one further away. An actor in whose window none is seen adds nothing, though its shadow
may be in view: an image-to-image model cannot know of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.harmonizer.compositing.region_cpu import actor_outlines, mark_surroundings
from r3d2_ros.harmonizer.settings import RegionConfig
from r3d2_ros.scene import AssetLibrary
from r3d2_ros.world import ActorState

NEAR_PLANE_M = 0.1
"""Boxes and footprints are cut here before they are projected."""

VERTICAL_SLACK_M = 0.5
"""A shadow may fall this far below the plane the actor stands on or above its roof: kerbs, sloping roads."""

BOX_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)])
"""Of a box of one metre whose ground centre is the origin, [8, 3]."""
_EDGES = np.array([(a, b) for a in range(8) for b in range(a) if (BOX_CORNERS[a] != BOX_CORNERS[b]).sum() == 1])
_NEIGHBOURS = np.ones((3, 3), np.uint8)
_ARC_RAD = np.radians(np.arange(0, 360, 30))
"""Directions of the rounded corners of a grown footprint; each corner has the four of its quadrant."""


@dataclass(frozen=True, eq=False)
class ActorBox:
    """An actor's box: size_m (length, width, height), the frame's origin at its ground centre, x forward, z up.

    `instance` is the actor's number in the instance images, `id` names it from frame to frame.
    """

    T_world_actor: Rigid
    size_m: tuple[float, float, float]
    id: str = ""
    instance: int = 0

    @property
    def corners(self) -> Array:
        """[8, 3] in the actor's frame."""
        return BOX_CORNERS * self.size_m

    def shadow_bounds(self, config: RegionConfig) -> Array:
        """[2, 3] lower and upper corner, in the actor's frame, of a box around all on which its shadow can fall."""
        length, width, height = self.size_m
        reach_m = config.ground_margin_m + config.shadow_length * height
        x, y = length / 2 + reach_m, width / 2 + reach_m
        return np.array([[-x, -y, -VERTICAL_SLACK_M], [x, y, height + VERTICAL_SLACK_M]])


def actor_boxes(actors: Sequence[ActorState], library: AssetLibrary) -> tuple[ActorBox, ...]:
    """The boxes of `actors`, with the size of the asset where an actor does not state its own."""
    return tuple(
        ActorBox(a.T_world_actor, library[a.asset].size_m if a.size_m is None else a.size_m, a.id, a.instance)
        for a in actors
    )


@dataclass(frozen=True, eq=False)
class Region:
    """mask [H, W] float32 in [0, 1], and bounds (top, left, bottom, right), ends exclusive, of where it is above 0."""

    mask: NDArray[np.float32]
    bounds: tuple[int, int, int, int]


def actor_region(
    *,
    actor_weight: NDArray[np.float32],
    depth: NDArray[np.float32],
    view: CameraView,
    boxes: Sequence[ActorBox],
    config: RegionConfig,
) -> NDArray[np.float32] | None:
    """The mask of `find_region` alone."""
    found = find_region(actor_weight=actor_weight, depth=depth, view=view, boxes=boxes, config=config)
    return None if found is None else found.mask


def find_region(
    *,
    actor_weight: NDArray[np.float32],
    depth: NDArray[np.float32],
    view: CameraView,
    boxes: Sequence[ActorBox],
    config: RegionConfig,
) -> Region | None:
    """Where a camera's picture may be changed, or None when no inserted actor is seen.

    actor_weight, depth  [H, W] float32 of the RenderedImage that `view` gave

    Outside the region the mask is exactly 0; at the k-th pixel from its edge it is k / (feather_px + 1), at most 1. The
    edge of the image is no edge of the region. Pixels in which an actor is seen have 1.
    """
    shape = (view.height_px, view.width_px)
    if actor_weight.shape != shape or depth.shape != shape:
        raise ValueError(f"expected images {shape}, got {actor_weight.shape} and {depth.shape}")
    # Not cv2.compare, which takes an image of one pixel for a scalar.
    seen = (np.ascontiguousarray(actor_weight) >= np.float32(config.min_weight)).view(np.uint8)
    around = np.zeros(shape, np.uint8)
    if boxes:
        [placed] = placed_boxes(boxes, [view], config)
        outlines = outlined(placed, shape, config)
        mark_surroundings(
            around, seen, np.ascontiguousarray(depth),
            outlines.windows, outlines.margins_px, outlines.footprints, outlines.reaches, config.shadow_length,
        )  # fmt: skip
    return _feathered(seen, around, config.feather_px)


@dataclass(frozen=True, eq=False)
class PlacedBoxes:
    """Some boxes as a camera has them before it.

    K        [3, 3] of the camera
    corners  [A, 8, 3] of the boxes, rings [A, 16, 3] of their grown footprints, in camera coordinates
    reaches  [A, 3, 6]: which surface points the shadows can reach, in the actors' frames, as affine functions of pixel
             and depth (see `fill_spans`)
    """

    K: Array
    corners: Array
    rings: Array
    reaches: Array


@dataclass(frozen=True, eq=False)
class Outlines:
    """Of the boxes that are in a camera's image, what of their surroundings is known before anything is seen.

    windows     [P, 4] of the boxes: left, top, right, bottom in pixels, ends exclusive
    margins_px  [P, 3] around what will be seen of the actors there: side, above, below
    footprints  [P, H, 2] columns of their grown footprints, row by row
    reaches     [P, 3, 6] of `PlacedBoxes`
    """

    windows: NDArray[np.int64]
    margins_px: Array
    footprints: NDArray[np.int32]
    reaches: Array


def outlined(placed: PlacedBoxes, shape: tuple[int, int], config: RegionConfig) -> Outlines:
    """In an image of `shape`."""
    margins = np.array([config.side, config.below, config.above, config.feather_px])
    windows, margins_px, footprints, actors = actor_outlines(
        placed.K, placed.corners, _EDGES, placed.rings, margins, NEAR_PLANE_M, *shape
    )
    return Outlines(windows, margins_px, footprints, placed.reaches[actors])


def placed_boxes(boxes: Sequence[ActorBox], views: Sequence[CameraView], config: RegionConfig) -> list[PlacedBoxes]:
    """The boxes, at least one, before each camera."""
    Ks = np.array([view.K for view in views])
    turned = np.array([view.T_camera_world.rotation for view in views])
    moved = np.array([view.T_camera_world.translation for view in views])
    rotations = turned[:, None] @ np.array([box.T_world_actor.rotation for box in boxes])
    origins = np.array([box.T_world_actor.translation for box in boxes]) @ np.swapaxes(turned, 1, 2) + moved[:, None]
    sizes = np.array([box.size_m for box in boxes], np.float64)
    shadow_m = config.ground_margin_m + config.shadow_length * sizes[:, 2]

    def placed(points: Array) -> Array:
        return points @ np.swapaxes(rotations, 2, 3) + origins[:, :, None]

    reaches = np.empty((len(views), len(boxes), 3, 6))
    reaches[..., :3] = np.swapaxes(rotations, 2, 3) @ np.linalg.inv(Ks)[:, None]
    reaches[..., 3] = -np.einsum("caji,caj->cai", rotations, origins)
    reaches[:, :, :2, 5] = sizes[:, :2] / 2 + shadow_m[:, None]
    reaches[:, :, :2, 4] = -reaches[:, :, :2, 5]
    reaches[:, :, 2, 4] = -VERTICAL_SLACK_M
    reaches[:, :, 2, 5] = sizes[:, 2] + VERTICAL_SLACK_M
    if not config.depth_test:
        reaches[..., 4:] = -np.inf, np.inf
    corners, rings = placed(BOX_CORNERS * sizes[:, None]), placed(_grown_footprints(sizes, shadow_m))
    return [PlacedBoxes(*one) for one in zip(Ks, corners, rings, reaches, strict=True)]


def _grown_footprints(sizes: Array, reach_m: Array) -> Array:
    """Footprints of boxes [A, 3] grown by `reach_m` [A] in every direction: convex rings [A, 16, 3] at z = 0."""
    quadrants = [_ARC_RAD[[k, k + 1, k + 2, (k + 3) % 12]] for k in (0, 3, 6, 9)]
    angles = np.concatenate(quadrants)
    signs = np.repeat([(1, 1), (-1, 1), (-1, -1), (1, -1)], 4, axis=0)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ring = np.zeros((len(sizes), 16, 3))
    ring[:, :, :2] = signs * sizes[:, None, :2] / 2 + reach_m[:, None, None] * arc
    return ring


def _feathered(seen: NDArray[np.uint8], around: NDArray[np.uint8], feather_px: int) -> Region | None:
    """The union of the pixels that see an actor and those around, without small holes, with a soft inner edge."""
    either = cv2.bitwise_or(seen, around)
    left, top, width, height = cv2.boundingRect(either)
    if not width or not seen.any():
        return None
    border = 2 * feather_px + 1
    first_row, first_column = max(top - border, 0), max(left - border, 0)
    window = np.s_[first_row : top + height + border, first_column : left + width + border]
    square = np.ones((2 * feather_px + 1,) * 2, np.uint8)
    region = cv2.bitwise_or(cv2.dilate(seen[window], square), around[window])
    region = cv2.morphologyEx(region, cv2.MORPH_CLOSE, square)
    mask = np.zeros(seen.shape, np.float32)
    mask[window] = _ramp(region, feather_px)
    left, top, width, height = cv2.boundingRect(region)
    top, left = first_row + top, first_column + left
    return Region(mask, (top, left, top + height, left + width))


def _ramp(region: NDArray[np.uint8], feather_px: int) -> NDArray[np.float32]:
    """min(d / (feather_px + 1), 1), d the chessboard distance to the nearest 0: how many erosions a pixel survives."""
    left = np.minimum(region, np.uint8(1))
    survived = left.copy()
    for _ in range(feather_px):
        left = cv2.erode(left, _NEIGHBOURS)
        survived = cv2.add(survived, left)
    steps = np.minimum(np.arange(256, dtype=np.float32) / np.float32(feather_px + 1), np.float32(1))
    return cv2.LUT(survived, steps)
