"""HD-Score of HUGSIM: route completion times the mean of what the plan at each frame is worth.

    HD = RC * mean_t [ NC_t * DAC_t * (5 TTC_t + 2 C_t) / 7 ]

Source: hyzhou404/HUGSIM, its score calculator. Plans are points of base_link every 0.5 s; boxes are centred on the
vehicle's centre. The road is the scene's Gaussians labelled road, obstacles are those that are neither ground nor sky.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from r3d2_ros.boxes import rectangle, touch
from r3d2_ros.closed_loop.scores.data import PLAN_STEP_S, PlanAt, RunData, SceneFacts, Score
from r3d2_ros.closed_loop.scores.track import YAW, X, Y, Z
from r3d2_ros.geometry import Array

BOX_LENGTH_M, BOX_WIDTH_M, BOX_HEIGHT_M = 3.0, 1.6, 1.5
MAX_POINTS_INSIDE = 100
STANDING_M = 1.0
TTC_S = (0.5, 1.0)
TTC_WEIGHT, COMFORT_WEIGHT = 5.0, 2.0
FEW, SOME = 0.3, 0.5
"""Shares of the footprint's cells with road under them: below FEW it has left the road, below SOME half of it."""

LIMITS = {"lat": 4.89, "lon_low": -4.05, "lon_high": 2.40, "yaw_acc": 1.93, "jerk": 8.37, "yaw_rate": 0.95}
REACHED = 0.9
DENSE_M, DENSIFYING_PASSES = 0.1, 5
RECORDING_S = 0.1
"""The reference path stands for the recorded cameras: a place every 0.1 s."""


@dataclass(frozen=True)
class HdOptions:
    """lateral: also limit the lateral acceleration, which the published code computes as zero.

    stock_recording: points as the stock loop records them: moved by what the ego did in the step, without the last
    one, headings towards the next point.
    """

    lateral: bool = False
    stock_recording: bool = False


@dataclass(frozen=True)
class _Parts:
    nc: list[float] = field(default_factory=list)
    dac: list[float] = field(default_factory=list)
    ttc: list[float] = field(default_factory=list)
    comfort: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)

    def add(self, nc: float, dac: float, ttc: float, comfort: float) -> None:
        total = nc * dac * (TTC_WEIGHT * ttc + COMFORT_WEIGHT * comfort) / (TTC_WEIGHT + COMFORT_WEIGHT)
        for values, value in ((self.nc, nc), (self.dac, dac), (self.ttc, ttc), (self.comfort, comfort)):
            values.append(value)
        self.total.append(total)


def hd_score(data: RunData, scene: SceneFacts, options: HdOptions | None = None) -> Score:
    """The score with its parts, each the mean over the frames that have a plan of at least two points."""
    options = options or HdOptions()
    completion = route_completion(data)
    missing = []
    if scene.labels is None:
        missing.append("labels of the scene's Gaussians (scene.yaml: labels)")
    plans = [plan for plan in (_recorded(data, p, options) for p in data.plans) if len(plan.xy) >= 2]
    if not plans:
        missing.append("a plan of at least two points (~/input/plan, or trajectories as commands)")
    if missing:
        return Score(None, tuple(missing), {"RC": completion})
    parts = _Parts()
    for plan in plans:
        points, yaws = _with_pose(data, plan)
        collides = not _free(data, scene, plan.tick, points, yaws)
        # A plan that collides stays 0 whatever else it does.
        parts.add(
            0.0 if collides else 1.0,
            drivable(scene, _boxes(data, points, yaws)),
            0.0 if collides or not _time_left(data, scene, plan.tick, points, yaws) else 1.0,
            comfortable(points, yaws, lateral=options.lateral),
        )
    means = {
        "NC": float(np.mean(parts.nc)),
        "DAC": float(np.mean(parts.dac)),
        "TTC": float(np.mean(parts.ttc)),
        "C": float(np.mean(parts.comfort)),
    }
    value = completion * float(np.mean(parts.total))
    return Score(value, parts={"RC": completion, **means, "frames": len(plans)})


def route_completion(data: RunData) -> float:
    """Furthest recorded place that the ego came to, by number, as a share of 90 % of all of them, at most 1."""
    reference = data.reference
    end_s = reference.time_at(reference.length_m) or float(reference.times_s[-1])
    times = np.arange(0.0, end_s + 1e-9, RECORDING_S)
    places = np.array([reference.line.at(reference.s_at(float(t)))[:2] for t in times])
    for _ in range(DENSIFYING_PASSES):
        places = _densified(places)
    driven = data.ego[data.frames][:, [X, Y]]
    nearest = [int(np.argmin(np.hypot(places[:, 0] - x, places[:, 1] - y))) for x, y in driven]
    return min(1.0, (max(nearest) + 1) / (REACHED * len(places)))


def _densified(places: Array) -> Array:
    """With a midpoint wherever neighbours are further apart than DENSE_M."""
    if len(places) < 2:
        return places
    far = np.flatnonzero(np.linalg.norm(np.diff(places, axis=0), axis=1) > DENSE_M)
    return np.insert(places, far + 1, (places[far] + places[far + 1]) / 2, axis=0)


def _recorded(data: RunData, plan: PlanAt, options: HdOptions) -> PlanAt:
    if not options.stock_recording:
        return plan
    later = data.frames[min(int(np.searchsorted(data.frames, plan.tick)) + 1, len(data.frames) - 1)]
    before, after = data.ego[plan.tick], data.ego[later]
    turn = after[YAW] - before[YAW]
    c, s = math.cos(turn), math.sin(turn)
    xy = (plan.xy - before[[X, Y]]) @ np.array([[c, s], [-s, c]]) + after[[X, Y]]
    step = np.diff(xy, axis=0)
    return PlanAt(plan.tick, xy[:-1], np.arctan2(step[:, 1], step[:, 0]))


def _with_pose(data: RunData, plan: PlanAt) -> tuple[Array, Array]:
    """P_0, the ego's pose, and the planned points: [K, 2] and headings [K]."""
    ego = data.ego[plan.tick]
    points = np.concatenate([ego[None, [X, Y]], plan.xy])
    yaws = np.concatenate([[ego[YAW]], plan.yaw])
    if np.linalg.norm(points[-1] - points[0]) < STANDING_M:
        yaws = np.full(len(yaws), ego[YAW])
    return points, yaws


def _boxes(data: RunData, points: Array, yaws: Array) -> list[Array]:
    centre_m = data.header["vehicle"]["centre_m"]
    return [
        rectangle(x, y, yaw, length_m=BOX_LENGTH_M, width_m=BOX_WIDTH_M, centre_m=centre_m)
        for (x, y), yaw in zip(points, yaws, strict=True)
    ]


def _free(data: RunData, scene: SceneFacts, tick: int, points: Array, yaws: Array) -> bool:
    """Whether no box of the plan holds too much of the background or touches a car where that is by then."""
    step = round(PLAN_STEP_S / data.tick_s)
    for i, box in enumerate(_boxes(data, points, yaws)):
        k = min(tick + i * step, len(data.t_s) - 1)  # beyond the recording, its last moment
        if any(touch(box, actor.box(k)) for actor in data.actors_at(k)):
            return False
        if _inside(scene, box, float(data.ego[tick, Z])) > MAX_POINTS_INSIDE:
            return False
    return True


def _inside(scene: SceneFacts, box: Array, ground_m: float) -> int:
    """Number of obstacle Gaussians in the box on the ground."""
    assert scene.obstacles is not None
    points, tree = scene.obstacles
    centre = box.mean(axis=0)
    near = tree.query_ball_point(centre, math.hypot(BOX_LENGTH_M, BOX_WIDTH_M) / 2)
    if len(near) <= MAX_POINTS_INSIDE:
        return len(near)
    along, across = _axes(box)
    offset = points[near, :2] - centre
    height = points[near, 2] - ground_m
    inside = (np.abs(offset @ along) <= BOX_LENGTH_M / 2) & (np.abs(offset @ across) <= BOX_WIDTH_M / 2)
    return int(np.count_nonzero(inside & (height >= 0.0) & (height <= BOX_HEIGHT_M)))


def _axes(box: Array) -> tuple[Array, Array]:
    along, across = box[0] - box[3], box[0] - box[1]
    return along / np.linalg.norm(along), across / np.linalg.norm(across)


def drivable(scene: SceneFacts, boxes: list[Array]) -> float:
    """DAC: 0 once less than 30 % of a footprint's four cells have road in them, 0.5 below 50 %, else 1.

    With four cells a share is 0, 0.25, 0.5, 0.75 or 1, so that 0.5 never comes out; as in the published code.
    """
    worst = 1.0
    for box in boxes:
        share = _road_share(scene, box)
        if share < FEW:
            return 0.0
        if share < SOME:
            worst = 0.5
    return worst


def _road_share(scene: SceneFacts, box: Array) -> float:
    """Share of the 2 x 2 cells of a footprint that hold a Gaussian of the road."""
    assert scene.ground is not None
    points, tree = scene.ground
    centre = box.mean(axis=0)
    near = points[tree.query_ball_point(centre, math.hypot(BOX_LENGTH_M, BOX_WIDTH_M) / 2)]
    along, across = _axes(box)
    u, v = (near - centre) @ along, (near - centre) @ across
    inside = (np.abs(u) <= BOX_LENGTH_M / 2) & (np.abs(v) <= BOX_WIDTH_M / 2)
    cells = {(bool(a > 0), bool(b > 0)) for a, b in zip(u[inside], v[inside], strict=True)}
    return len(cells) / 4


def _time_left(data: RunData, scene: SceneFacts, tick: int, points: Array, yaws: Array) -> bool:
    """Whether the plan is free also where it would be 0.5 s and 1 s further on at the speed of each point."""
    velocity = np.diff(points, axis=0) / PLAN_STEP_S
    velocity = np.concatenate([velocity[:1], velocity])
    return all(_free(data, scene, tick, points + velocity * seconds, yaws) for seconds in TTC_S)


def comfortable(points: Array, yaws: Array, *, lateral: bool = False) -> float:
    """C: 1 when accelerations, jerk and yaw rates of the plan stay within the limits, by finite differences."""
    if len(points) < 4:
        return 1.0
    speed = np.linalg.norm(np.diff(points, axis=0), axis=1) / PLAN_STEP_S
    rate = np.angle(np.exp(1j * np.diff(yaws))) / PLAN_STEP_S
    lon, yaw_acc = np.diff(speed) / PLAN_STEP_S, np.diff(rate) / PLAN_STEP_S
    jerk = np.diff(lon) / PLAN_STEP_S
    within = (
        np.all((lon >= LIMITS["lon_low"]) & (lon <= LIMITS["lon_high"]))
        and np.all(np.abs(jerk) <= LIMITS["jerk"])
        and np.all(np.abs(rate) <= LIMITS["yaw_rate"])
        and np.all(np.abs(yaw_acc) <= LIMITS["yaw_acc"])
        and (not lateral or np.all(np.abs(rate * speed) <= LIMITS["lat"]))
    )
    return 1.0 if within else 0.0
