"""What can be seen of an insert without its target: shadow, brightness beside its surroundings, contact with ground.

The measures are those by which users of the released R3D2 weights judged their pictures. numpy and OpenCV only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.geometry import Array
from r3d2_ros.harmonizer.compositing.region import ActorBox

Picture = NDArray[np.uint8]
Part = NDArray[np.bool_]

LUMA = np.array([0.2126, 0.7152, 0.0722])
"""Weights of R, G, B (Rec. ITU-R BT.709); they are applied to the pictures' values as they are, gamma included."""

LOWER_SHARE = 0.7
"""The shadow score counts the lower 70 % of an insert's region."""

HAS_SHADOW = 0.05
"""A picture has a shadow from this score on."""

DARKENED = 0.2
"""Predicted shadow: luminance at most 1 - DARKENED of the input's. Contact darkening is mostly weaker, sun stronger."""

TRUE_SHADOW = 0.5
"""True shadow: the inserts take away at least this share of the sunlight."""

RING_SHARE = 0.15
"""Width of the ring around an insert, in heights of the insert in the picture; at least RING_MIN_PX."""
RING_MIN_PX = 3

WORST_ERROR = math.log(255)
"""Largest luminance error of an insert, that of one grey level in place of 255. A logarithm knows no black."""

VEHICLE_M, OVERHANG_M = 2.0, 0.7
"""Boxes at least this long stand on four wheels, which are so far from the box's ends; shorter ones on their centre."""

NEAREST_M = 0.5


@dataclass(frozen=True, eq=False)
class Insert:
    """One insert of a sample.

    mask    [H, W] its pixels that lie in no other insert's box; none where these are too few to stand for it
    seen    whether the sample's mask has pixels in its box
    region  [H, W] the pixels that a harmonizer may change because of it, without those of any insert and those that lie
            in the boxes of several
    bottom  its lowest edge in the mask, rows; None where the image's edge cuts it off
    """

    mask: Part
    region: Part
    box: ActorBox
    bottom: int | None
    seen: bool = True


def luminance(picture: Picture) -> Array:
    """[H, W] float64, 0 to 255."""
    return picture.astype(np.float64) @ LUMA


def darkening(luma: Array, base: Array) -> Array:
    """1 - luma / base, in [0, 1]; 0 where the base is black."""
    ratio = np.divide(luma, base, out=np.ones_like(luma), where=base > 0)
    return np.clip(1 - ratio, 0, 1)


def shadow_score(darker: Array, insert: Insert) -> float | None:
    """Darkening beside the insert, over the lower part of its region, in pixels of the insert; None where it has none.

    darker  [H, W], `darkening` of the picture
    """
    pixels = np.count_nonzero(insert.mask)
    rows = np.flatnonzero((insert.region | insert.mask).any(axis=1))
    if not pixels or not rows.size:
        return None
    top, bottom = rows[0], rows[-1] + 1
    first = bottom - round(LOWER_SHARE * (bottom - top))
    return float(darker[first:bottom][insert.region[first:bottom]].sum() / pixels)


def luminance_ratio(luma: Array, insert: Insert, others: Part) -> float | None:
    """Median luminance of the insert / that of the ring around it, without the pixels of other inserts.

    None where one of them has no pixels, or the ring is black.
    """
    rows = np.flatnonzero(insert.mask.any(axis=1))
    if not rows.size:
        return None
    width = max(RING_MIN_PX, round(RING_SHARE * (rows[-1] + 1 - rows[0])))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    ring = (cv2.dilate(insert.mask.astype(np.uint8), kernel) > 0) & ~insert.mask & ~others
    if not ring.any():
        return None
    around = float(np.median(luma[ring]))
    return float(np.median(luma[insert.mask])) / around if around > 0 else None


def log_ratio(ratio: float | None, right: float | None) -> float | None:
    """|ln(ratio / right)|: how far a brightness is from the right one, the same for too bright and too dark.

    At most WORST_ERROR, which an insert has that is black, or whose ring is, where they should not be. None where there
    is nothing to compare with: no `right`, or a black one.
    """
    if not right:
        return None
    return min(abs(math.log(ratio / right)), WORST_ERROR) if ratio else WORST_ERROR


def shadow_overlap(darker: Array, true_shadow: NDArray[np.float32], beside: Part) -> tuple[int, int, int]:
    """Pixels of intersection, of union and of the true shadow.

    darker  [H, W], `darkening` of the picture; from DARKENED on it is the predicted shadow
    true_shadow  [H, W] share of the sunlight that the inserts take away; from TRUE_SHADOW on it is shadow
    beside  [H, W] where both are looked at: the region without the inserts
    """
    predicted, true = (darker >= DARKENED) & beside, (true_shadow >= TRUE_SHADOW) & beside
    return int((predicted & true).sum()), int((predicted | true).sum()), int(true.sum())


def ground_gap_m(insert: Insert, view: CameraView) -> float | None:
    """Metres between the ground contact and the insert's lowest pixel row; positive: it floats.

    The contact is projected from the box: of its wheels the one that is lowest in the picture, or, of a short box,
    its centre. Its depth turns rows into metres. None where the image's edge cuts the insert off or no contact is
    before the camera.
    """
    if insert.bottom is None:
        return None
    length, width, _ = insert.box.size_m
    points = np.zeros((1, 3))
    if length >= VEHICLE_M:
        x, y = max(length / 2 - OVERHANG_M, 0.0), width / 2
        points = np.array([(x, y, 0), (x, -y, 0), (-x, y, 0), (-x, -y, 0)])
    in_camera = view.T_camera_world.apply(insert.box.T_world_actor.apply(points))
    in_camera = in_camera[in_camera[:, 2] > NEAREST_M]
    if not len(in_camera):
        return None
    rows = view.K[1, 1] * in_camera[:, 1] / in_camera[:, 2] + view.K[1, 2]
    lowest = int(np.argmax(rows))
    return float((rows[lowest] - insert.bottom) * in_camera[lowest, 2] / view.K[1, 1])
