"""Stacks as plain functions, for runs without ROS: what a stack would see goes in, its command comes out.

The example stacks of the ROS face use the same logic behind topics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from r3d2_ros.closed_loop.actions import Snapshot
from r3d2_ros.closed_loop.demands import Command
from r3d2_ros.closed_loop.inbox import Plan
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.stacks.constant_velocity import ConstantVelocity
from r3d2_ros.closed_loop.stacks.depth_aeb import DepthAeb, DepthView
from r3d2_ros.closed_loop.stacks.path_follower import PathFollower
from r3d2_ros.closed_loop.vehicle import Actuation
from r3d2_ros.simulator import FrameSet


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
    """Commands carry the stamp of the frame set, so that runs are deterministic."""

    def step(self, observation: Observation) -> Command | None:
        return Command(observation.snapshot.stamp_ns, self.actuation(observation))

    def plan(self, observation: Observation) -> Plan | None:
        return None

    def actuation(self, observation: Observation) -> Actuation:
        raise NotImplementedError


class ConstantVelocityController(_Answering):
    def __init__(self, plan: RunPlan) -> None:
        self._stack = ConstantVelocity()

    def actuation(self, observation: Observation) -> Actuation:
        return self._stack.actuation(observation.snapshot.ego.speed_mps)


class DepthAebController(_Answering):
    """Brakes on the depth images of every camera that looks ahead."""

    def __init__(self, plan: RunPlan) -> None:
        self._stack = DepthAeb(front_m=plan.vehicle.front_m, width_m=plan.vehicle.width_m)

    def actuation(self, observation: Observation) -> Actuation:
        views = [
            DepthView(frame.depth, frame.camera.K, frame.camera.T_ego_camera)
            for frame in observation.frame_set.frames
            if frame.camera.T_ego_camera.rotation[0, 2] > 0.5
        ]
        return self._stack.actuation(views, observation.snapshot.ego.speed_mps)


class PathFollowerController(_Answering):
    def __init__(self, plan: RunPlan) -> None:
        speed = plan.reference.speed_at(0.0)
        self._stack = PathFollower(plan.reference.line.points, speed_mps=speed, wheelbase_m=plan.vehicle.wheelbase_m)

    def actuation(self, observation: Observation) -> Actuation:
        ego = observation.snapshot.ego
        return self._stack.actuation(ego.x_m, ego.y_m, ego.yaw_rad, ego.speed_mps)

    def plan(self, observation: Observation) -> Plan | None:
        snapshot = observation.snapshot
        xy, yaw = self._stack.plan(snapshot.ego.x_m, snapshot.ego.y_m, steps=6, step_s=0.5)
        return Plan(snapshot.stamp_ns, xy, yaw)


CONTROLLERS: dict[str, Callable[[RunPlan], Controller]] = {
    "constant_velocity": ConstantVelocityController,
    "depth_aeb": DepthAebController,
    "path_follower": PathFollowerController,
}
"""Name -> what makes the controller of a run."""
