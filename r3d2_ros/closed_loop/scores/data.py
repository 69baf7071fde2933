"""The log as arrays, and what the scene adds: what every score starts from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from r3d2_ros.boxes import rectangle
from r3d2_ros.closed_loop.demands import Demand, Trajectory, demand_of
from r3d2_ros.closed_loop.reference import Reference
from r3d2_ros.closed_loop.run_log import RunLog
from r3d2_ros.closed_loop.scores.track import YAW, ActorTrack, X, Y
from r3d2_ros.closed_loop.scores.tracks import tracks
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Array
from r3d2_ros.lane_map import ROAD, SIDEWALK, SKY, LaneMap
from r3d2_ros.lines import Line

PLAN_STEP_S = 0.5


@dataclass(frozen=True)
class Score:
    """A figure, or None with what is missing for it. parts: what it was made of."""

    value: float | None
    missing: tuple[str, ...] = ()
    parts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PlanAt:
    """A plan at a frame: points [K, 2] of base_link and headings [K], 0.5 s apart, the first 0.5 s after the frame."""

    tick: int
    xy: Array
    yaw: Array


@dataclass(frozen=True, eq=False)
class RunData:
    """A run from t = 0 on. t_s [N] every tick, ego [N, 7], frames: numbers of the ticks with a frame set."""

    log: RunLog
    t_s: Array
    ego: Array
    driven: NDArray[np.bool_]
    actors: tuple[ActorTrack, ...]
    frames: NDArray[np.int64]
    reference: Reference

    @property
    def header(self) -> dict[str, Any]:
        return self.log.header

    @property
    def target(self) -> ActorTrack | None:
        return next((actor for actor in self.actors if actor.target), None)

    def actors_at(self, k: int) -> tuple[ActorTrack, ...]:
        """The actors that are in the world at tick k."""
        return tuple(actor for actor in self.actors if actor.there(k))

    def until(self, tick: int) -> RunData:
        """The run up to and with a tick, as if it had ended there."""
        n = tick + 1
        return replace(
            self,
            t_s=self.t_s[:n],
            ego=self.ego[:n],
            driven=self.driven[:n],
            actors=tuple(replace(actor, rows=actor.rows[:n]) for actor in self.actors),
            frames=self.frames[self.frames < n],
        )

    @cached_property
    def handed_over(self) -> int:
        """The tick whose frame set the first command that was followed answers; the number of ticks where none was."""
        driven = np.flatnonzero(self.driven)
        return max(int(driven[0]) - 1, 0) if len(driven) else len(self.driven)

    @cached_property
    def tick_s(self) -> float:
        return 1.0 / float(self.header["configuration"]["scenario"]["clock"]["clock_rate_hz"])

    def ego_box(self, k: int, *, shrink: float = 1.0) -> Array:
        """Corners [4, 2] of the ego at tick k."""
        vehicle = self.header["vehicle"]
        x, y, yaw = self.ego[k, [X, Y, YAW]]
        return rectangle(
            x,
            y,
            yaw,
            length_m=vehicle["length_m"] * shrink,
            width_m=vehicle["width_m"] * shrink,
            centre_m=vehicle["centre_m"],
        )

    @cached_property
    def centres(self) -> Array:
        """Centre of the ego's box [N, 2]."""
        yaw, ahead = self.ego[:, YAW], self.header["vehicle"]["centre_m"]
        return self.ego[:, :2] + ahead * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)

    @cached_property
    def plans(self) -> tuple[PlanAt, ...]:
        """The plan that holds at each frame in which the stack drives: the newest one of the frame period before it.

        Where no plan was sent, the trajectory that is followed counts as one, until another command takes its place.
        """
        return _plans(self)


def run_data(log: RunLog) -> RunData:
    """The arrays of a log. InputError for a log without a tick, or with records that are not what they should be."""
    ticks = log.of("tick")
    if not ticks:
        raise InputError(str(log.path), "a run that got beyond its start-up", "one that did not")
    try:
        ego = np.array([tick["ego"] for tick in ticks], np.float64)
        t_s = np.array([tick["t_s"] for tick in ticks], np.float64)
        reference = log.header["reference"]
        frame_times = [frame["t_s"] for frame in log.of("frame") if frame["phase"] != "startup"]
        return RunData(
            log=log,
            t_s=t_s,
            ego=ego,
            driven=np.array([tick["phase"] == "drive" for tick in ticks]),
            actors=tracks(log),
            frames=np.searchsorted(t_s, np.array(frame_times) - 1e-6),
            reference=Reference(
                Line(reference["path"]), np.array(reference["times_s"]), np.array(reference["s_m"])
            ),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(str(log.path), "records as a run writes them", f"{type(error).__name__}: {error}") from error


def _plans(data: RunData) -> tuple[PlanAt, ...]:
    stamps = [tick["stamp_ns"] for tick in data.log.of("tick")]
    period_ns = round(1e9 / float(data.header["configuration"]["scenario"]["clock"]["frame_rate_hz"]))
    sent = {record["of_stamp_ns"]: record["points"] for record in data.log.of("plan") if record["points"]}
    commands = _applied(data)
    found = []
    for k in data.frames[data.frames >= data.handed_over]:
        now = stamps[k]
        mine = [stamp for stamp in sent if now - period_ns < stamp <= now]
        if mine:
            points = np.array(sent[max(mine)], np.float64)
            found.append(PlanAt(int(k), points[:, :2], points[:, 2]))
        elif isinstance(trajectory := _last_before(commands, now), Trajectory):
            plan = _sampled(trajectory, now, data.ego[k])
            if plan is not None:
                found.append(PlanAt(int(k), *plan))
    return tuple(found)


def _applied(data: RunData) -> list[tuple[int, Demand]]:
    records = (record for record in data.log.of("command") if record["applied"])
    return [(record["stamp_ns"], demand_of(record["command"]["demand"])) for record in records]


def _last_before(commands: list[tuple[int, Demand]], now_ns: int) -> Demand | None:
    return next((demand for stamp, demand in reversed(commands) if stamp <= now_ns), None)


def _sampled(trajectory: Trajectory, now_ns: int, ego: Array) -> tuple[Array, Array] | None:
    """The trajectory every 0.5 s from now on: points and headings; None when it is over."""
    times = np.array([stamp - now_ns for stamp in trajectory.stamps_ns], np.float64) * 1e-9
    wanted = np.arange(PLAN_STEP_S, times[-1] + 1e-9, PLAN_STEP_S)
    if not len(wanted):
        return None
    xy = np.stack([np.interp(wanted, times, trajectory.xy[:, i]) for i in range(2)], axis=1)
    step = np.diff(np.concatenate([ego[None, :2], xy]), axis=0)
    still = np.linalg.norm(step, axis=1) < 1e-3
    yaw = np.where(still, ego[YAW], np.arctan2(step[:, 1], step[:, 0]))
    return xy, yaw


@dataclass(frozen=True, eq=False)
class SceneFacts:
    """What a scene knows beyond its pictures; None: it does not say. means [G, 3] in the map, labels [G] uint8."""

    lane_map: LaneMap | None = None
    means: Array | None = None
    labels: NDArray[np.uint8] | None = None

    @cached_property
    def obstacles(self) -> tuple[Array, cKDTree] | None:
        """Gaussians that are neither ground nor sky [K, 3], and a tree of their places [K, 2]."""
        if self.means is None or self.labels is None:
            return None
        points = self.means[(self.labels > SIDEWALK) & (self.labels != SKY)]
        return points, cKDTree(points[:, :2])

    @cached_property
    def ground(self) -> tuple[Array, cKDTree] | None:
        """Gaussians of the carriageway [K, 2], and a tree of them."""
        if self.means is None or self.labels is None:
            return None
        points = self.means[self.labels == ROAD][:, :2]
        return points, cKDTree(points)
