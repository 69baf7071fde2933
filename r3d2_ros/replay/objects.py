"""Objects of perception messages: who is where, of which class and how large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from r3d2_ros.message_fields import position, quat_wxyz

AUTOWARE_CLASSES = (
    "unknown", "car", "truck", "bus", "trailer", "motorcycle", "bicycle", "pedestrian",
    "animal", "hazard", "over_drivable", "under_drivable",
)  # fmt: skip
"""ObjectClassification.label of autoware_perception_msgs."""

DERIVED_CLASSES = (
    "unknown", "unknown_small", "unknown_medium", "unknown_big", "pedestrian", "bicycle", "car", "truck", "motorcycle",
    "other_vehicle", "barrier", "sign",
)  # fmt: skip
"""Object.classification of derived_object_msgs."""

BOX, SPHERE, CYLINDER = 1, 2, 3
"""shape_msgs/SolidPrimitive.type."""
POLYGON = 2
"""autoware_perception_msgs/Shape.type."""

Numbers = tuple[float, float, float]


@dataclass(frozen=True)
class SeenObject:
    """One object as a message gives it, unchecked.

    id         the same in every message that sees it; empty: the message type does not say
    label      its class in lower case
    size_m     (length, width, height) of its box; None: not known
    is_centre  the position is the centre of the box; else it means what `assets.actor_pose` says
    """

    id: str
    label: str
    position_m: Numbers
    quat_wxyz: tuple[float, float, float, float]
    size_m: Numbers | None
    is_centre: bool


def autoware_objects(message: Any) -> list[SeenObject]:
    """TrackedObjects and PredictedObjects: the pose is the centre of the shape."""
    return [_autoware_object(entry) for entry in message.objects]


def _autoware_object(entry: Any) -> SeenObject:
    kinematics = entry.kinematics
    stated = getattr(kinematics, "pose_with_covariance", None) or kinematics.initial_pose_with_covariance
    best = max(entry.classification, key=lambda c: c.probability, default=None)
    label = 0 if best is None else best.label
    return SeenObject(
        id=bytes(entry.object_id.uuid).hex(),
        label=AUTOWARE_CLASSES[label] if label < len(AUTOWARE_CLASSES) else f"class_{label}",
        position_m=position(stated.pose),
        quat_wxyz=quat_wxyz(stated.pose),
        size_m=_autoware_size(entry.shape),
        is_centre=True,
    )


def _autoware_size(shape: Any) -> Numbers | None:
    """Length, width, height. A polygon has its footprint and its height instead."""
    d = shape.dimensions
    if shape.type != POLYGON:
        return _positive(d.x, d.y, d.z)
    if not shape.footprint.points:
        return None
    xs, ys = ([getattr(point, axis) for point in shape.footprint.points] for axis in "xy")
    return _positive(max(xs) - min(xs), max(ys) - min(ys), d.z)


def derived_objects(message: Any) -> list[SeenObject]:
    """derived_object_msgs/ObjectArray, whose definition does not say where in the object its pose is."""
    return [
        SeenObject(
            id=str(entry.id),
            label=DERIVED_CLASSES[entry.classification]
            if entry.classification < len(DERIVED_CLASSES)
            else f"class_{entry.classification}",
            position_m=position(entry.pose),
            quat_wxyz=quat_wxyz(entry.pose),
            size_m=_primitive_size(entry.shape),
            is_centre=False,
        )
        for entry in message.objects
    ]


def _primitive_size(shape: Any) -> Numbers | None:
    """BOX has x, y, z; SPHERE a radius; CYLINDER a height and a radius."""
    d = [float(value) for value in shape.dimensions]
    if shape.type == BOX and len(d) == 3:
        return _positive(*d)
    if shape.type == SPHERE and d:
        return _positive(2 * d[0], 2 * d[0], 2 * d[0])
    if shape.type == CYLINDER and len(d) >= 2:
        return _positive(2 * d[1], 2 * d[1], d[0])
    return None


def vision_detections(message: Any) -> list[SeenObject]:
    """vision_msgs/Detection3DArray, of version 4 and, with the definitions of the bag, of earlier ones."""
    return [_detection(entry) for entry in message.detections]


def _detection(entry: Any) -> SeenObject:
    best = max(entry.results, key=_score, default=None)
    hypothesis = getattr(best, "hypothesis", best)
    label = "unknown" if hypothesis is None else getattr(hypothesis, "class_id", None) or getattr(hypothesis, "id", "")
    size = entry.bbox.size
    return SeenObject(
        id=getattr(entry, "id", "") or getattr(entry, "tracking_id", ""),
        label=str(label).strip().lower(),
        position_m=position(entry.bbox.center),
        quat_wxyz=quat_wxyz(entry.bbox.center),
        size_m=_positive(size.x, size.y, size.z),
        is_centre=True,
    )


def _score(result: Any) -> float:
    return float(getattr(result, "hypothesis", result).score)


def _positive(length: float, width: float, height: float) -> Numbers | None:
    """The size, or None for one that is not stated."""
    size = (float(length), float(width), float(height))
    return size if all(0 < value < float("inf") for value in size) else None


OBJECT_TYPES: dict[str, Callable[[Any], list[SeenObject]]] = {
    "autoware_perception_msgs/msg/TrackedObjects": autoware_objects,
    "autoware_perception_msgs/msg/PredictedObjects": autoware_objects,
    "autoware_auto_perception_msgs/msg/TrackedObjects": autoware_objects,
    "autoware_auto_perception_msgs/msg/PredictedObjects": autoware_objects,
    "derived_object_msgs/msg/ObjectArray": derived_objects,
    "vision_msgs/msg/Detection3DArray": vision_detections,
}
