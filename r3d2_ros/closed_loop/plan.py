"""From a run's scenario to everything resolved and drawn: reference path, actors with their motions, lane map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from r3d2_ros.boxes import Size
from r3d2_ros.closed_loop.jitter import Drawn, draw
from r3d2_ros.closed_loop.motions import (
    AlongPath,
    Following,
    Motion,
    Standing,
    Straight,
    Timed,
    smooth_line,
)
from r3d2_ros.closed_loop.reference import Reference
from r3d2_ros.closed_loop.runs import RunSpec, in_scenario
from r3d2_ros.closed_loop.scenario import (
    REFERENCE_LANE,
    ActorKeys,
    ConstantVelocity,
    EgoKeys,
    FollowPath,
    IdmFollower,
    LanePlace,
    Parked,
    Place,
    Start,
)
from r3d2_ros.closed_loop.traffic import PlannedActor, Traffic
from r3d2_ros.closed_loop.vehicle import Vehicle, VehicleState
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.lane_map import LaneMap
from r3d2_ros.lines import EXTENSION_M, Line
from r3d2_ros.polylines import read_polyline
from r3d2_ros.resources import user_path
from r3d2_ros.scene import AssetLibrary

MIN_REFERENCE_M = 1.0
MEETING_M = 0.3


@dataclass(frozen=True, eq=False)
class RunPlan:
    """A run, ready to go: nothing in it depends on chance, files or the wall clock any more."""

    spec: RunSpec
    vehicle: Vehicle
    reference: Reference
    traffic: Traffic

    @property
    def start(self) -> VehicleState:
        """The ego at t = 0."""
        return self.reference.state_at(0.0, self.vehicle)


def plan_run(spec: RunSpec, *, lane_map: LaneMap | None, library: AssetLibrary) -> RunPlan:
    """Resolve and draw. InputError, with file and key, for lanes, assets and places that are not there."""
    planner = _Planner(spec, lane_map, library)
    return RunPlan(spec, spec.vehicle, planner.reference, Traffic(planner.actors))


class _Planner:
    def __init__(self, spec: RunSpec, lane_map: LaneMap | None, library: AssetLibrary) -> None:
        self._spec, self._lane_map, self._library = spec, lane_map, library
        rng = np.random.default_rng(spec.seed)
        ego = spec.scenario.ego
        # Places and meetings are arranged before anything is drawn: else they would take back what the jitter changes.
        line = self._reference_line(ego)
        self._meant = self._reference(line, ego, Drawn())
        self.reference = self._reference(line, ego, draw(rng, ego.jitter))
        self.actors = tuple(
            self._actor(keys, draw(rng, keys.jitter), f"actors.{k}") for k, keys in enumerate(spec.scenario.actors)
        )

    def _where(self, key: str) -> str:
        return f"{self._spec.where}: {key}"

    # The ego

    def _reference_line(self, ego: EgoKeys) -> Line:
        keys, where = ego.reference, self._where("ego.reference")
        if keys.lane:
            line = self._line(keys.lane, f"{where}.lane")
            to_m = line.length_m if keys.to_m is None else keys.to_m
            _check_near(line, keys.from_m, keys.lane, f"{where}.from_m")
            _check_near(line, to_m, keys.lane, f"{where}.to_m")
            return _cut(line, keys.from_m, to_m, where)
        if keys.file:
            path = self._spec.folder / user_path(keys.file, f"{where}.file")
            try:
                points = read_polyline(path)
            except (InputError, InputErrors) as error:
                raise in_scenario(error, f"{where}.file") from error
            return _polyline(points, f"{where}.file: {path}")
        line = _polyline([(p[0], p[1], p[2] if len(p) > 2 else 0.0) for p in keys.points], f"{where}.points")
        if keys.times_s and len(line.s) != len(keys.times_s):
            raise InputError(f"{where}.points", "points that differ, where there are times_s", "one twice")
        return line

    def _reference(self, line: Line, ego: EgoKeys, drawn: Drawn) -> Reference:
        keys = ego.reference
        if keys.times_s:
            times, s = np.array(keys.times_s) - keys.times_s[0], line.s
            self._check_speeds(keys.times_s, s)
            return Reference(line, times, s)
        if drawn.longitudinal_m:
            line = _cut(line, drawn.longitudinal_m, line.length_m, self._where("ego.jitter"))
        if drawn.lateral_m:
            line = line.shifted_left(drawn.lateral_m)
        assert ego.speed_mps is not None
        most = self._spec.vehicle.max_speed_mps
        if ego.speed_mps > most:
            key = "vary.speed_mps" if "speed_mps" in self._spec.variation else "ego.speed_mps"
            expected = f"at most {most:g}, max_speed_mps of the vehicle '{self._spec.vehicle.name}'"
            raise InputError(self._where(key), expected, f"{ego.speed_mps:g}")
        return Reference.at_speed(line, min(max(0.0, ego.speed_mps + drawn.speed_mps), most))

    def _check_speeds(self, times_s: Sequence[float], s: Array) -> None:
        speeds, vehicle = np.diff(s) / np.diff(times_s), self._spec.vehicle
        k = int(np.argmax(speeds))
        if speeds[k] > vehicle.max_speed_mps:
            expected = f"at most {vehicle.max_speed_mps:g} m/s, max_speed_mps of the vehicle '{vehicle.name}'"
            got = f"{speeds[k]:.4g} m/s from {times_s[k]:g} to {times_s[k + 1]:g} s"
            raise InputError(self._where("ego.reference.times_s"), expected, got)

    # Lanes and places

    def _line(self, name: str, where: str) -> Line:
        if self._lane_map is None:
            expected = "points or a file, for this scene has no lane map"
            raise InputError(where, expected, f"the lane '{name}'", "scene.yaml names one with lane_map")
        return _polyline(self._lane_map.line(name, where), where)

    def _lane(self, name: str, where: str) -> Line:
        return self._meant.line if name == REFERENCE_LANE else self._line(name, where)

    def _lane_of(self, place: LanePlace, where: str) -> Line:
        """The lane of a place that is on it, or not far beyond its ends."""
        line = self._lane(place.lane, f"{where}.lane")
        _check_near(line, place.s_m, place.lane, f"{where}.s_m")
        return line

    def _pose(self, place: Place, where: str) -> Rigid:
        if isinstance(place, LanePlace):
            T = self._lane_of(place, where).pose(place.s_m)
            x, y, z = (float(v) for v in T.apply((0.0, place.left_m, 0.0)))
            return Rigid.from_xyz_yaw(x, y, z, T.yaw_rad + math.radians(place.heading_deg))
        return Rigid.from_xyz_yaw(place.x, place.y, place.z, math.radians(place.yaw_deg))

    # Actors

    def _actor(self, keys: ActorKeys, drawn: Drawn, key: str) -> PlannedActor:
        if keys.asset not in self._library:
            known = ", ".join(sorted(self._library.assets))
            varied = keys.target and "asset" in self._spec.variation
            where = self._where("vary.asset" if varied else f"{key}.asset")
            raise InputError(where, f"one of {known or 'no assets'}", f"'{keys.asset}'")
        asset = self._library[keys.asset]
        size_m = keys.size_m or asset.size_m
        start = None if isinstance(keys.motion, Parked) else keys.motion.start
        meant = self._motion(keys, Drawn(), size_m, self._where(key))
        starts_s, waits = self._starts(meant, start, self._where(f"{key}.motion.start"))
        speed = 0.0
        if isinstance(keys.motion, IdmFollower):
            own = keys.motion.desired_speed_mps if keys.motion.speed_mps is None else keys.motion.speed_mps
            speed = max(0.0, own + drawn.speed_mps)
        return PlannedActor(
            id=keys.id,
            asset=keys.asset,
            category=asset.category,
            size_m=size_m,
            target=keys.target,
            motion=self._motion(keys, drawn, size_m, self._where(key)),
            starts_s=starts_s,
            trigger_m=start.distance_m if start is not None and start.distance_m is not None else 0.0,
            waits=waits,
            speed_mps=speed,
        )

    def _motion(self, keys: ActorKeys, drawn: Drawn, size_m: Size, where: str) -> Motion:
        motion = keys.motion
        if isinstance(motion, FollowPath):
            return self._path(motion, drawn, f"{where}.motion")
        assert keys.place is not None
        if isinstance(motion, IdmFollower):
            return self._follower(keys, motion, drawn, size_m, where)
        T = self._pose(keys.place, f"{where}.place")
        x, y, z = (float(v) for v in T.apply((drawn.longitudinal_m, drawn.lateral_m, 0.0)))
        T = Rigid.from_xyz_yaw(x, y, z, T.yaw_rad + drawn.yaw_rad)
        if isinstance(motion, ConstantVelocity):
            return Straight(T, max(0.1, motion.speed_mps + drawn.speed_mps))
        return Standing(T)

    def _follower(
        self, keys: ActorKeys, motion: IdmFollower, drawn: Drawn, size_m: Size, where: str
    ) -> Following:
        place = keys.place
        assert isinstance(place, LanePlace)
        return Following(
            line=self._lane_of(place, f"{where}.place"),
            start_m=place.s_m + drawn.longitudinal_m,
            left_m=place.left_m + drawn.lateral_m,
            keys=motion,
            half_length_m=size_m[0] / 2,
            half_width_m=size_m[1] / 2,
        )

    def _path(self, motion: FollowPath, drawn: Drawn, where: str) -> Motion:
        points = np.array([self._point(motion.frame, point, where, k) for k, point in enumerate(motion.points)])
        try:
            line, s = smooth_line(points)
        except ValueError as error:
            raise InputError(f"{where}.points", str(error), "one place") from error
        if drawn.longitudinal_m or drawn.lateral_m:
            ahead = line.pose(0.0)
            shift = ahead.apply((drawn.longitudinal_m, drawn.lateral_m, 0.0)) - ahead.translation
            line, s = smooth_line(points + shift)
        if motion.speed_mps is None:
            return Timed(line, np.array(motion.times_s), s)
        return AlongPath(line, max(0.1, motion.speed_mps + drawn.speed_mps), motion.acceleration_mps2)

    def _point(self, frame: str, point: tuple[float, ...], where: str, k: int) -> Array:
        if frame == "map":
            return np.array([point[0], point[1], point[2] if len(point) > 2 else 0.0])
        if len(point) > 2:
            raise InputError(f"{where}.points", "[s, left] on a lane", str(list(point)))
        line = self._lane(frame, f"{where}.frame")
        _check_near(line, point[0], frame, f"{where}.points.{k}")
        return line.pose(point[0]).apply((0.0, point[1], 0.0))

    def _starts(self, motion: Motion, start: Start | None, where: str) -> tuple[float | None, bool]:
        """(when the motion begins, whether the actor stands until then)."""
        if start is None or start.time_s is not None:
            return (0.0 if start is None or start.time_s is None else start.time_s), True
        if start.distance_m is not None:
            return None, True
        s_m, place = self._meeting(motion)
        centre_m = self._meant.locate(*place)[0] - self._spec.vehicle.centre_m
        meeting_s = self._meant.time_at(centre_m)
        if meeting_s is None or meeting_s <= 0.0:
            expected = "a place that the ego passes after the start of its reference"
            raise InputError(where, expected, f"one at {centre_m:.1f} m of {self._meant.length_m:.1f} m")
        assert isinstance(motion, Straight | AlongPath)
        begins_s = meeting_s - motion.seconds_to(s_m)
        if isinstance(motion, AlongPath) and begins_s < 0.0:
            got = f"{begins_s:.2f} s for meeting at {meeting_s:.2f} s"
            raise InputError(where, "a start that is not before the ego's", got, "Move the meeting further away")
        return begins_s, isinstance(motion, AlongPath)

    def _meeting(self, motion: Motion) -> tuple[float, tuple[float, float]]:
        """Where on its line an actor meets the ego's reference: (s, (x, y)).

        For a path it is the first place that is as near to the reference as it gets, up to MEETING_M.
        """
        if isinstance(motion, Straight):
            x, y, _ = motion.T_world_start.translation
            return 0.0, (float(x), float(y))
        assert isinstance(motion, AlongPath)
        points = motion.line.points
        beside = np.array([abs(self._meant.locate(float(x), float(y))[1]) for x, y, _ in points])
        k = int(np.flatnonzero(beside <= beside.min() + MEETING_M)[0])
        return float(motion.line.s[k]), (float(points[k, 0]), float(points[k, 1]))


def _polyline(points: ArrayLike, where: str) -> Line:
    """The line of points [M, 3] that come from outside. InputError, naming `where`, when they are one place."""
    try:
        return Line(points)
    except ValueError as error:
        raise InputError(where, str(error), "one place") from error


def _check_near(line: Line, s_m: float, lane: str, where: str) -> None:
    """InputError, naming `where`, for a distance along a lane that is far beyond its ends: a typo, not a place."""
    most_m = line.length_m + EXTENSION_M
    if not -EXTENSION_M <= s_m <= most_m:
        expected = f"{-EXTENSION_M:g} to {most_m:g} m for the lane '{lane}', which is {line.length_m:g} m long"
        raise InputError(where, expected, f"{s_m:g} m")


def _cut(line: Line, from_m: float, to_m: float, where: str) -> Line:
    """The part of a line between two distances; beyond its ends it is straight."""
    if to_m - from_m < MIN_REFERENCE_M:
        raise InputError(where, f"a path of at least {MIN_REFERENCE_M:g} m", f"from {from_m:g} m to {to_m:g} m")
    inner = line.points[(line.s > from_m) & (line.s < to_m)]
    return Line(np.concatenate([line.at(from_m)[None], inner, line.at(to_m)[None]]))
