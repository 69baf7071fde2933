"""A linear-quadratic regulator that keeps the vehicle on a trajectory: gains from the discrete Riccati equation.

Lateral: state (distance to the left of the path, heading against it), input front-wheel angle beside that of the curve.
Longitudinal: state (distance and speed beyond those of the trajectory at this time), input acceleration beside its own.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.linalg import solve_discrete_are

from r3d2_ros.closed_loop.demands import Trajectory
from r3d2_ros.closed_loop.vehicle import Actuation, Vehicle, VehicleState
from r3d2_ros.geometry import Array

STEP_S = 0.02
"""Time step of the model that the gains are for."""

LATERAL_COST = np.diag([1.0, 4.0])
STEER_COST = 20.0
LONGITUDINAL_COST = np.diag([0.5, 1.0])
ACCELERATION_COST = 1.0
MIN_SPEED_MPS = 1.0
"""Below it the wheels hardly move the vehicle sideways; the gains of this speed are used."""

SPEED_STEP_MPS = 0.25
SAMPLE_S = 0.05
STANDING_MPS = 0.2
"""A path that is slower than this has no direction of its own."""

LEAD_S = 1.0
"""The first acceleration says nothing about what was longer ago."""


@functools.lru_cache(maxsize=4096)
def lateral_gain(speed_mps: float, wheelbase_m: float) -> tuple[float, float]:
    """(per metre, per radian) of the front-wheel angle; `speed_mps` at least MIN_SPEED_MPS."""
    v, h = speed_mps, STEP_S
    A = np.array([[1.0, v * h], [0.0, 1.0]])
    B = np.array([[0.5 * v * v * h * h / wheelbase_m], [v * h / wheelbase_m]])
    return _gain(A, B, LATERAL_COST, STEER_COST)


@functools.lru_cache(maxsize=1)
def longitudinal_gain() -> tuple[float, float]:
    """(per metre, per metre per second) of the acceleration."""
    h = STEP_S
    return _gain(np.array([[1.0, h], [0.0, 1.0]]), np.array([[0.5 * h * h], [h]]), LONGITUDINAL_COST, ACCELERATION_COST)


def _gain(A: Array, B: Array, state_cost: Array, input_cost: float) -> tuple[float, float]:
    """K of the input -K x that minimises the sum of x'Qx + u'Ru over all future steps."""
    R = np.array([[input_cost]])
    P = solve_discrete_are(A, B, state_cost, R)
    K = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
    return float(K[0, 0]), float(K[0, 1])


class Tracker:
    """Follows one trajectory: a cubic spline over its times, sampled every SAMPLE_S.

    Beyond its ends the path goes on straight. After its last point the vehicle is braked to a stop. Before its first
    time its speed is as its first acceleration has it, LEAD_S back at most, and constant before that: of a plan that is
    made anew in every frame, with its first point ahead, no other part is ever followed.
    """

    def __init__(self, trajectory: Trajectory) -> None:
        # Seconds since the first point: float64 would not hold nanoseconds since 1970.
        self._start_ns = trajectory.stamps_ns[0]
        times = np.array([stamp - self._start_ns for stamp in trajectory.stamps_ns], np.float64) * 1e-9
        curve = make_interp_spline(times, trajectory.xy, k=min(3, len(times) - 1))
        self._t = np.linspace(0.0, times[-1], max(2, math.ceil(times[-1] / SAMPLE_S) + 1))
        first, second = curve(self._t, 1), curve(self._t, 2)
        self._xy = curve(self._t)
        self._speed = np.linalg.norm(first, axis=1)
        self._moving = self._speed > STANDING_MPS
        # Of slow samples too: a stack that plans anew from standstill would never be followed out of it.
        self._acceleration = np.gradient(self._speed, self._t)
        safe = np.where(self._moving, self._speed, 1.0)
        bend = (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / safe**3
        self._curvature = np.where(self._moving, bend, 0.0)
        self._heading = np.arctan2(first[:, 1], first[:, 0])
        self._s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(self._xy, axis=0), axis=1))])

    def actuation(self, stamp_ns: int, state: VehicleState, vehicle: Vehicle) -> Actuation:
        """What brings the vehicle to the trajectory and keeps it there."""
        now = (stamp_ns - self._start_ns) * 1e-9
        if not self._moving.any():  # a plan to stand still
            return Actuation(-vehicle.max_braking_mps2, state.steer_rad)
        k = self._nearest(state)
        heading = float(self._heading[k])
        dx, dy = state.x_m - float(self._xy[k, 0]), state.y_m - float(self._xy[k, 1])
        at_m = float(self._s[k]) + math.cos(heading) * dx + math.sin(heading) * dy
        left_m = math.cos(heading) * dy - math.sin(heading) * dx
        turn = math.remainder(state.yaw_rad - heading, math.tau)
        wanted_m, speed, acceleration = self._wanted(now)
        per_m, per_mps = longitudinal_gain()
        acceleration -= per_m * (at_m - wanted_m) + per_mps * (state.speed_mps - speed)
        # Gains are kept for steps of speed, so that the Riccati equation is not solved in every tick.
        steps = max(MIN_SPEED_MPS, round(state.speed_mps / SPEED_STEP_MPS) * SPEED_STEP_MPS)
        per_left, per_turn = lateral_gain(steps, vehicle.wheelbase_m)
        curve = vehicle.steer_for_curvature(float(self._curvature[k]))
        return Actuation(acceleration, curve - per_left * left_m - per_turn * turn)

    def _wanted(self, now: float) -> tuple[float, float, float]:
        """(distance along the path, speed, acceleration) of the trajectory at a time."""
        if now >= self._t[-1]:
            return float(self._s[-1]), 0.0, 0.0
        if now >= 0.0:
            s, speed, acceleration = (np.interp(now, self._t, v) for v in (self._s, self._speed, self._acceleration))
            return float(s), float(speed), float(acceleration)
        speed, acceleration = float(self._speed[0]), float(self._acceleration[0])
        lead = -min(-now, LEAD_S, speed / acceleration if acceleration > 0.0 else math.inf)  # it never went back
        before = speed + acceleration * lead
        return (speed + before) / 2 * lead + before * (now - lead), before, acceleration if lead == now else 0.0

    def _nearest(self, state: VehicleState) -> int:
        """Number of the moving sample nearest to the vehicle: where the path stands still it has no direction."""
        distance = np.hypot(self._xy[:, 0] - state.x_m, self._xy[:, 1] - state.y_m)
        return int(np.argmin(np.where(self._moving, distance, np.inf)))
