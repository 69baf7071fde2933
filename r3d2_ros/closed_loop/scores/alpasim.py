"""AlpaSim scene score: progress along the reference, or 0 after an at-fault collision or off the road.

Source: NVlabs/alpasim, scene score with its defaults. Steps are the frame sets and the last tick. Collisions count with
boxes that are 2 % smaller and have round corners, as there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely

from r3d2_ros.boxes import rectangle
from r3d2_ros.closed_loop.scores.data import RunData, Score
from r3d2_ros.closed_loop.scores.track import X, Y
from r3d2_ros.geometry import Array
from r3d2_ros.lane_map import LaneMap

PROGRESS_SATURATION = 0.8
MIN_REFERENCE_M = 5.0
SHRINK = 0.98
ROUNDNESS = 0.25
"""Radius of the corners, in lengths of the shorter side."""

MAX_DEVIATION_M = 4.0
NEAR_LANE_M = 6.0
EDGE_M = 1e-3


@dataclass(frozen=True)
class _Step:
    front: bool
    rear: bool
    lateral: bool
    offroad: bool
    progress: float
    deviation_m: float

    @property
    def collision(self) -> bool:
        return self.front or self.rear or self.lateral


def alpasim(data: RunData, lane_map: LaneMap | None) -> Score:
    """The score. Without a lane map nothing is off the road, as there; `parts` says so."""
    steps = _steps(data, lane_map)
    length_m = float(shapely.LineString(data.reference.line.points[:, :2]).length)
    kept = _kept(steps)
    at_fault = any(step.front or step.lateral for step in kept)
    offroad = any(step.offroad for step in kept)
    progressed = kept[-1].progress
    part = 1.0 if length_m < MIN_REFERENCE_M else min(min(max(progressed, 0.0), 1.0) / PROGRESS_SATURATION, 1.0)
    parts = {
        "collision_at_fault": at_fault,
        "collision_front": any(step.front for step in kept),
        "collision_rear": any(step.rear for step in kept),
        "collision_lateral": any(step.lateral for step in kept),
        "offroad": offroad,
        "lane_map": lane_map is not None,
        "progress_clipped_rel": progressed,
        "gt_dist_traveled_m": length_m,
        "steps": len(kept),
    }
    return Score(0.0 if at_fault or offroad else part, parts=parts)


def off_road_s(data: RunData, lane_map: LaneMap | None) -> float | None:
    """When the stack was first off the road as this score has it, also far from the reference; infinity: never.

    None without edges of the road, which nobody can leave.
    """
    if lane_map is None or not lane_map.road_edges:
        return None
    road = _Road(lane_map)
    driven = (k for k in _ticks(data) if data.driven[k])
    left = (k for k in driven if road.is_left(_Rounded.of_ego(data, k).polygon, data.ego[k, [X, Y]]))
    return next((float(data.t_s[k]) for k in left), math.inf)


def _kept(steps: list[_Step]) -> list[_Step]:
    """Up to the first collision or step off the road, then up to the first that is too far from the reference."""
    end = next((k for k, step in enumerate(steps) if step.collision or step.offroad), len(steps) - 1)
    steps = steps[: end + 1]
    end = next((k for k, step in enumerate(steps) if step.deviation_m >= MAX_DEVIATION_M), len(steps) - 1)
    return steps[: end + 1]


def _ticks(data: RunData) -> list[int]:
    return sorted({*(int(k) for k in data.frames), len(data.t_s) - 1})


def _steps(data: RunData, lane_map: LaneMap | None) -> list[_Step]:
    ticks = _ticks(data)
    reference = shapely.LineString(data.reference.line.points[:, :2])
    centres = [shapely.Point(data.centres[k]) for k in ticks]
    along = _along(data, ticks)
    if len(along) > 2:  # the first two are interpolated in the original
        along[:2] = np.linspace(0.0, along[2], 3)[:2].tolist()
    deviations = [0.0, 0.0, *(float(reference.distance(centre)) for centre in centres[2:])]
    road = None if lane_map is None else _Road(lane_map)
    steps = []
    for number, k in enumerate(ticks):
        front, rear, lateral = _collision(data, k)
        ego = _Rounded.of_ego(data, k)
        offroad = road is not None and road.is_left(ego.polygon, data.ego[k, [X, Y]])
        steps.append(_Step(front, rear, lateral, offroad, along[number], deviations[number]))
    return steps


def _along(data: RunData, ticks: list[int]) -> list[float]:
    """Shares of the reference, 0 to 1. Followed step by step, so that the reference may come back to where it was."""
    line, s, found = data.reference.line, data.reference.s_at(0.0), []
    for k in ticks:
        s = line.project(data.centres[k], near_m=s)
        found.append(min(max(s / line.length_m, 0.0), 1.0))
    return found


class _Rounded:
    """A box, 2 % smaller, with round corners; where its front and its rear are."""

    def __init__(self, corners: Array, radius_m: float) -> None:
        self.polygon = shapely.Polygon(corners).buffer(-radius_m).buffer(radius_m)
        self._corners, self._radius_m = corners, radius_m

    @classmethod
    def of_ego(cls, data: RunData, k: int) -> _Rounded:
        vehicle = data.header["vehicle"]
        side = min(vehicle["length_m"], vehicle["width_m"]) * SHRINK
        return cls(data.ego_box(k, shrink=SHRINK), ROUNDNESS * side)

    @property
    def front(self) -> shapely.Geometry:
        return shapely.LineString(self._corners[0:2]).buffer(self._radius_m).intersection(self.polygon)

    @property
    def rear(self) -> shapely.Geometry:
        return shapely.LineString(self._corners[2:4]).buffer(self._radius_m).intersection(self.polygon)


def _collision(data: RunData, k: int) -> tuple[bool, bool, bool]:
    """(front, rear, lateral) at tick k. With several actors the last one of the scenario that is hit counts."""
    found = (False, False, False)
    ego = _Rounded.of_ego(data, k)
    for actor in data.actors_at(k):
        x, y, _, yaw, _ = actor.rows[k]
        length_m, width_m, _ = actor.size_m
        corners = rectangle(x, y, yaw, length_m=length_m * SHRINK, width_m=width_m * SHRINK)
        other = _Rounded(corners, ROUNDNESS * min(length_m, width_m) * SHRINK).polygon
        if not ego.polygon.intersects(other):
            continue
        front = bool(other.intersects(ego.front))
        rear = not front and bool(other.intersects(ego.rear))
        found = (front, rear, not front and not rear)
    return found


class _Road:
    """Lanes as polygons, and the edges of the carriageway."""

    def __init__(self, lane_map: LaneMap) -> None:
        self._lanes = [shapely.make_valid(shapely.Polygon(lane.outline)) for lane in lane_map.lanes]
        self._centres = [shapely.LineString(lane.centre[:, :2]) for lane in lane_map.lanes]
        self._edges = [shapely.LineString(edge[:, :2]) for edge in lane_map.road_edges]

    def is_left(self, ego: shapely.Geometry, base_link: Array) -> bool:
        """Whether the ego is in no lane, nor in nearby lanes together, and touches the nearest edge of the road."""
        place = shapely.Point(base_link)
        pairs = zip(self._lanes, self._centres, strict=True)
        near = [lane for lane, centre in pairs if centre.distance(place) <= NEAR_LANE_M]
        if any(lane.contains(ego) for lane in near):
            return False
        if len(near) > 1 and shapely.union_all(near).contains(ego):
            return False
        return bool(self._edges) and min(edge.distance(ego) for edge in self._edges) < EDGE_M

