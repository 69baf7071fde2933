"""Trajectory tracking: gains that stabilise, and errors that go to zero."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from r3d2_ros.closed_loop.control import SPEED_TIME_S, STOPPING_MPS, Control, twist_actuation
from r3d2_ros.closed_loop.demands import Command, Trajectory, TwistDemand
from r3d2_ros.closed_loop.lqr import STEP_S, Tracker, lateral_gain, longitudinal_gain
from r3d2_ros.closed_loop.vehicle import Actuation, VehicleState, advance, load_vehicle
from r3d2_ros.geometry import Array

CAR = load_vehicle("car")
TICK_NS = 10_000_000
LONG_AGO_NS = 1_700_000_000_000_000_000
"""Stamps of a real clock: seconds since 1970 in nanoseconds do not fit float64."""


def trajectory(place: Callable[[float], tuple[float, float]], seconds: float, step_s: float = 0.5) -> Trajectory:
    times = np.arange(0.0, seconds + 1e-9, step_s)
    stamps = tuple(LONG_AGO_NS + round(t * 1e9) for t in times)
    return Trajectory(stamps, np.array([place(float(t)) for t in times]))


def follow(wanted: Trajectory, state: VehicleState, seconds: float) -> list[VehicleState]:
    tracker, states = Tracker(wanted), [state]
    for k in range(round(seconds * 100)):
        asked = tracker.actuation(LONG_AGO_NS + k * TICK_NS, states[-1], CAR)
        states.append(advance(CAR, states[-1], asked, seconds=0.01))
    return states


@pytest.mark.parametrize("speed", [1.0, 2.0, 8.0, 15.0, 30.0])
def test_closed_loop_is_stable(speed: float) -> None:
    """All eigenvalues of A - BK lie inside the unit circle."""
    per_m, per_rad = lateral_gain(speed, CAR.wheelbase_m)
    A = np.array([[1.0, speed * STEP_S], [0.0, 1.0]])
    B = np.array([[0.5 * speed**2 * STEP_S**2 / CAR.wheelbase_m], [speed * STEP_S / CAR.wheelbase_m]])
    assert np.abs(np.linalg.eigvals(A - B @ np.array([[per_m, per_rad]]))).max() < 1.0
    per_m, per_mps = longitudinal_gain()
    A, B = np.array([[1.0, STEP_S], [0.0, 1.0]]), np.array([[0.5 * STEP_S**2], [STEP_S]])
    assert np.abs(np.linalg.eigvals(A - B @ np.array([[per_m, per_mps]]))).max() < 1.0


def test_gain_is_the_best_one() -> None:
    """No gain near it costs less over a long run from (1 m, 0 rad): that is what optimal means."""
    speed = 8.0
    A = np.array([[1.0, speed * STEP_S], [0.0, 1.0]])
    B = np.array([0.5 * speed**2 * STEP_S**2 / CAR.wheelbase_m, speed * STEP_S / CAR.wheelbase_m])

    def cost(K: Array) -> float:
        x, total = np.array([1.0, 0.0]), 0.0
        for _ in range(2000):
            u = float(-K @ x)
            total += x[0] ** 2 + 4.0 * x[1] ** 2 + 20.0 * u**2
            x = A @ x + B * u
        return total

    best = np.array(lateral_gain(speed, CAR.wheelbase_m))
    for change in ([0.02, 0.0], [-0.02, 0.0], [0.0, 0.05], [0.0, -0.05]):
        assert cost(best) < cost(best + change)


@pytest.mark.parametrize("speed", [2.0, 5.0, 10.0, 20.0])
def test_it_comes_back_from_a_metre_beside(speed: float) -> None:
    states = follow(trajectory(lambda t: (speed * t, 0.0), 14.0), VehicleState(0.0, 1.0, 0.0, speed), 12.0)
    beside = [state.y_m for state in states]
    assert abs(beside[-1]) < 0.01
    assert min(beside) > -0.1  # hardly any overshoot
    assert states[-1].x_m == pytest.approx(12.0 * speed, abs=0.02)


def test_it_catches_up_with_the_time() -> None:
    """2 m behind and 1 m/s too slow at first; where it should be after 10 s."""
    states = follow(trajectory(lambda t: (8.0 * t, 0.0), 12.0), VehicleState(-2.0, 0.0, 0.0, 7.0), 10.0)
    assert states[-1].x_m == pytest.approx(80.0, abs=0.02)
    assert states[-1].speed_mps == pytest.approx(8.0, abs=0.02)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_circle_of_20_m(side: float) -> None:
    """Points 4 m apart: the spline between them is within a centimetre of the circle, and so is the vehicle."""

    def place(t: float) -> tuple[float, float]:
        angle = 8.0 * t / 20.0
        return 20.0 * math.sin(angle), side * (20.0 - 20.0 * math.cos(angle))

    start = VehicleState(0.0, 0.0, 0.0, 8.0, steer_rad=side * math.atan(CAR.wheelbase_m / 20.0))
    states = follow(trajectory(place, 14.0), start, 12.0)
    radii = [math.hypot(state.x_m, state.y_m - side * 20.0) for state in states[300:]]
    assert max(abs(radius - 20.0) for radius in radii) < 0.03


def test_it_brakes_with_the_trajectory_and_stands_at_its_end() -> None:
    """From 8 m/s with 2 m/s2: 4 s and 16 m. Afterwards the last point is where it stays."""

    def place(t: float) -> tuple[float, float]:
        t = min(t, 4.0)
        return 8.0 * t - t * t, 0.0

    states = follow(trajectory(place, 6.0, step_s=0.25), VehicleState(0.0, 0.0, 0.0, 8.0), 10.0)
    assert states[-1].speed_mps < 0.01
    assert states[-1].x_m == pytest.approx(16.0, abs=0.3)
    assert max(abs(s.y_m) for s in states) < 1e-6


def test_a_plan_to_stand_still() -> None:
    states = follow(trajectory(lambda t: (5.0, 2.0), 3.0), VehicleState(5.0, 2.0, 0.3, 4.0), 3.0)
    assert states[-1].speed_mps == 0.0


def replanned(state: VehicleState, acceleration_mps2: float, seconds: float, *, first_s: float) -> VehicleState:
    """The vehicle after a time in which every 0.1 s a plan of a constant acceleration begins where it is by then.

    first_s  the first point lies so far ahead of now
    """
    for frame in range(round(seconds * 10)):
        now_ns, start = LONG_AGO_NS + frame * 10 * TICK_NS, state
        times = first_s + np.arange(0.0, 3.01, 0.5)
        x = start.x_m + start.speed_mps * times + acceleration_mps2 * times**2 / 2
        stamps = tuple(now_ns + round(t * 1e9) for t in times)
        tracker = Tracker(Trajectory(stamps, np.stack([x, np.zeros(len(x))], axis=1)))
        for k in range(10):
            state = advance(CAR, state, tracker.actuation(now_ns + k * TICK_NS, state, CAR), seconds=0.01)
    return state


@pytest.mark.parametrize("first_s", [0.1, 0.5, 1.0])
@pytest.mark.parametrize(("speed", "acceleration"), [(8.0, 0.0), (12.0, -2.0), (4.0, 1.5), (0.0, 1.0)])
def test_a_plan_that_begins_ahead_of_now(speed: float, acceleration: float, first_s: float) -> None:
    """For 2 s; the acceleration is reached within 0.04 s, at 50 m/s3."""
    state = replanned(VehicleState(0.0, 0.0, 0.0, speed), acceleration, 2.0, first_s=first_s)
    assert state.speed_mps == pytest.approx(speed + 2.0 * acceleration, abs=0.05)


@pytest.mark.parametrize(
    ("acceleration", "x_m", "speed"),
    [
        (8.0, -1.0, 0.0),  # until 0.5 s before it has stood, 1 m back at 8 m/s2
        (-1.0, -24.5, 5.0),  # 1 s before it has begun to brake: 4.5 m, and 20 m in the 4 s before that
    ],
)
def test_long_before_a_plan_begins_the_speed_is_constant(acceleration: float, x_m: float, speed: float) -> None:
    """5 s before a first point at x = 0 and with 4 m/s."""
    times = np.arange(0.0, 3.01, 0.5)
    stamps = tuple(LONG_AGO_NS + round((5.0 + t) * 1e9) for t in times)
    xy = np.stack([4.0 * times + acceleration * times**2 / 2, np.zeros(len(times))], axis=1)
    asked = Tracker(Trajectory(stamps, xy)).actuation(LONG_AGO_NS, VehicleState(x_m, 0.0, 0.0, speed), CAR)
    assert asked.acceleration_mps2 == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("acceleration", [0.5, 1.0, 2.0])
def test_plans_from_standstill_start_in_time(acceleration: float) -> None:
    state = replanned(VehicleState(0.0, 0.0, 0.0, 0.0), acceleration, 1.0 / acceleration, first_s=0.0)
    assert state.speed_mps == pytest.approx(1.0, abs=0.05)


def test_it_stands_while_its_plan_does() -> None:
    """3 s, then 2 m/s2."""
    wanted = trajectory(lambda t: (max(t - 3.0, 0.0) ** 2, 0.0), 6.0, step_s=0.25)
    states = follow(wanted, VehicleState(0.0, 0.0, 0.0, 0.0), 5.0)
    assert states[270].x_m < 1e-3
    assert states[500].x_m == pytest.approx(4.0, abs=0.1)


def test_two_points_are_a_line() -> None:
    states = follow(trajectory(lambda t: (5.0 * t, 0.0), 0.5), VehicleState(0.0, 0.0, 0.0, 5.0), 0.4)
    assert states[-1].x_m == pytest.approx(2.0, abs=0.01)


def test_twist_gives_the_curve_of_its_yaw_rate() -> None:
    """5 m/s and 0.5 rad/s are a circle of 10 m: tan(steer) = wheelbase / 10."""
    asked = twist_actuation(TwistDemand(5.0, 0.5), VehicleState(0.0, 0.0, 0.0, 5.0), CAR)
    assert asked.steer_rad == pytest.approx(math.atan(CAR.wheelbase_m / 10.0))
    assert asked.acceleration_mps2 == 0.0


def test_twist_approaches_its_speed() -> None:
    control, state = Control(CAR), VehicleState(0.0, 0.0, 0.0, 5.0)
    control.use(Command(0, TwistDemand(5.5, 0.0), "twist"))
    for _ in range(round(5 * SPEED_TIME_S / 0.01)):
        state = advance(CAR, state, control.actuation(0, state), seconds=0.01)
    assert state.speed_mps == pytest.approx(5.5, abs=0.01)  # five time constants
    control.use(Command(0, TwistDemand(-3.0, 0.0), "twist"))
    for _ in range(500):
        state = advance(CAR, state, control.actuation(0, state), seconds=0.01)
    assert state.speed_mps == 0.0


def test_a_twist_of_no_speed_comes_to_a_standstill_gently() -> None:
    """From 8 m/s e^(-t / 0.4) is below 0.1 m/s after 1.8 s, jerk and the limit of 8 m/s2 apart; then 0.4 s."""
    states = [VehicleState(0.0, 0.0, 0.0, 8.0)]
    for _ in range(260):
        states.append(advance(CAR, states[-1], twist_actuation(TwistDemand(0.0, 0.0), states[-1], CAR), seconds=0.01))
    assert states[-1].speed_mps == 0.0
    assert min(s.acceleration_mps2 for s in states if s.speed_mps < STOPPING_MPS) > -0.3


def test_without_a_command_it_coasts_as_it_is() -> None:
    assert Control(CAR).actuation(0, VehicleState(0, 0, 0, 5.0, 1.0, 0.1)) == Actuation(0.0, 0.1)
