"""Leaves out road users that would drive through others: recorded paths may cross themselves, stop, or turn back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from r3d2_ros.boxes import Size, box, touch
from r3d2_ros.demo.ego import EgoMotion
from r3d2_ros.demo.movers import Mover
from r3d2_ros.geometry import Array

EGO_SIZE: Size = (4.7, 1.9, 1.5)
EGO_CENTRE_M = 1.4
"""The ego's box is this far ahead of base_link."""

STEP_S = 0.2


def without_collisions(movers: Sequence[Mover], motion: EgoMotion, sizes: Mapping[str, Size]) -> tuple[Mover, ...]:
    """The movers that never touch the ego or one that comes before them in the sequence."""
    ticks = _every(motion, STEP_S)
    taken: list[list[Array | None]] = [[box(motion.poses[k], EGO_SIZE, EGO_CENTRE_M) for k in ticks]]
    kept = []
    for mover in movers:
        places = [mover.at(motion.seconds(k)) for k in ticks]
        boxes = [None if place is None else box(place.T_world_actor, sizes[mover.asset]) for place in places]
        if not any(_meet(boxes, others) for others in taken):
            taken.append(boxes)
            kept.append(mover)
    return tuple(kept)


def _every(motion: EgoMotion, step_s: float) -> list[int]:
    """Numbers of ticks about `step_s` apart."""
    ticks = [0]
    for k in range(1, len(motion.poses)):
        if motion.seconds(k) - motion.seconds(ticks[-1]) >= step_s - 1e-6:
            ticks.append(k)
    return ticks


def _meet(boxes: Sequence[Array | None], others: Sequence[Array | None]) -> bool:
    return any(a is not None and b is not None and touch(a, b) for a, b in zip(boxes, others, strict=True))
