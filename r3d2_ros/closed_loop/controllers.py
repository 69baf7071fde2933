"""Stacks as plain functions, for runs without ROS: what a stack would see goes in, its command comes out.

The example stacks of the ROS face use the same logic behind topics.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from r3d2_ros.closed_loop.actions import Snapshot
from r3d2_ros.closed_loop.demands import Command
from r3d2_ros.closed_loop.inbox import Plan
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.stacks.constant_velocity import ConstantVelocity
from r3d2_ros.closed_loop.stacks.depth_aeb import DepthAeb, DepthView
from r3d2_ros.closed_loop.stacks.path_follower import PathFollower
from r3d2_ros.closed_loop.vehicle import Actuation, VehicleState
from r3d2_ros.geometry import Array
from r3d2_ros.simulator import FrameSet

PLAN_STEPS, PLAN_STEP_S = 6, 0.5


@dataclass(frozen=True, eq=False)
class Observation:
    """What a stack gets at a frame: the frame set and the ego, not the actors."""

    snapshot: Snapshot
    frame_set: FrameSet


class Controller(Protocol):
    """Answers each frame set; None: no command for this one."""

    def step(self, observation: Observation) -> Command | None: ...

    def plan(self, observation: Observation) -> Plan | None:
        """What it means to do; None when it does not say."""


class _Answering:
    """Commands carry the stamp of the frame set, so that runs are deterministic. It means to go on as it does."""

    _wanted = Actuation(0.0, 0.0)

    def step(self, observation: Observation) -> Command | None:
        self._wanted = self.actuation(observation)
        return Command(observation.snapshot.stamp_ns, self._wanted)

    def plan(self, observation: Observation) -> Plan | None:
        ego = observation.snapshot.ego
        return Plan(observation.snapshot.stamp_ns, *straight_plan(ego, self._wanted.acceleration_mps2))

    def actuation(self, observation: Observation) -> Actuation:
        raise NotImplementedError


def straight_plan(ego: VehicleState, acceleration_mps2: float) -> tuple[Array, Array]:
    """Straight ahead for PLAN_STEPS steps with an acceleration, standing once it has stopped: points and headings."""
    t = PLAN_STEP_S * np.arange(1, PLAN_STEPS + 1)
    if acceleration_mps2 < 0.0:
        t = np.minimum(t, ego.speed_mps / -acceleration_mps2)
    s = ego.speed_mps * t + 0.5 * acceleration_mps2 * t**2
    xy = np.array([ego.x_m, ego.y_m]) + s[:, None] * [math.cos(ego.yaw_rad), math.sin(ego.yaw_rad)]
    return xy, np.full(PLAN_STEPS, ego.yaw_rad)


class ConstantVelocityController(_Answering):
    def __init__(self, plan: RunPlan) -> None:
        self._stack = ConstantVelocity()

    def actuation(self, observation: Observation) -> Actuation:
        return self._stack.actuation(observation.snapshot.ego.speed_mps)


class DepthAebController(_Answering):
    """Brakes on the depth image of the camera that looks most straight ahead."""

    def __init__(self, plan: RunPlan) -> None:
        self._stack = DepthAeb(front_m=plan.vehicle.front_m, width_m=plan.vehicle.width_m)

    def actuation(self, observation: Observation) -> Actuation:
        frame = max(observation.frame_set.frames, key=lambda frame: float(frame.camera.T_ego_camera.rotation[0, 2]))
        view = DepthView(frame.depth, frame.camera.K, frame.camera.T_ego_camera, frame.camera.lens)
        return self._stack.actuation([view], observation.snapshot.ego.speed_mps)


class PathFollowerController(_Answering):
    def __init__(self, plan: RunPlan) -> None:
        speed = plan.reference.speed_at(0.0)
        self._stack = PathFollower(plan.reference.line.points, speed_mps=speed, wheelbase_m=plan.vehicle.wheelbase_m)

    def actuation(self, observation: Observation) -> Actuation:
        ego = observation.snapshot.ego
        return self._stack.actuation(ego.x_m, ego.y_m, ego.yaw_rad, ego.speed_mps)

    def plan(self, observation: Observation) -> Plan | None:
        snapshot = observation.snapshot
        xy, yaw = self._stack.plan(snapshot.ego.x_m, snapshot.ego.y_m, steps=PLAN_STEPS, step_s=PLAN_STEP_S)
        return Plan(snapshot.stamp_ns, xy, yaw)


CONTROLLERS: dict[str, Callable[[RunPlan], Controller]] = {
    "constant_velocity": ConstantVelocityController,
    "depth_aeb": DepthAebController,
    "path_follower": PathFollowerController,
}
"""Name -> what makes the controller of a run."""
