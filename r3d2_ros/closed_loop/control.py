"""From the command in force to what the vehicle is asked for in a tick."""

from __future__ import annotations

from r3d2_ros.closed_loop.demands import Command, Trajectory, TwistDemand
from r3d2_ros.closed_loop.lqr import Tracker
from r3d2_ros.closed_loop.vehicle import Actuation, Vehicle, VehicleState

SPEED_TIME_S = 0.4
"""A wanted speed is approached with this time constant."""

STOPPING_MPS = 0.1
"""Below it the braking towards a stop becomes no weaker: a vehicle that creeps for seconds is none that stands."""

MIN_TURNING_MPS = 0.5
"""Below it a wanted yaw rate would ask for any angle; the angle of this speed is used."""


class Control:
    """Turns the command in force into an actuation, tick by tick. What it keeps follows from that command alone."""

    def __init__(self, vehicle: Vehicle) -> None:
        self._vehicle = vehicle
        self._command: Command | None = None
        self._tracker: Tracker | None = None

    def use(self, command: Command) -> None:
        """Put a command in force."""
        self._command = command
        self._tracker = Tracker(command.demand) if isinstance(command.demand, Trajectory) else None

    def actuation(self, stamp_ns: int, state: VehicleState) -> Actuation:
        """What to ask of the vehicle now. Without a command: coast straight on as it is."""
        if self._command is None:
            return Actuation(0.0, state.steer_rad)
        if self._tracker is not None:
            return self._tracker.actuation(stamp_ns, state, self._vehicle)
        demand = self._command.demand
        if isinstance(demand, TwistDemand):
            return twist_actuation(demand, state, self._vehicle)
        assert isinstance(demand, Actuation)
        return demand


def twist_actuation(demand: TwistDemand, state: VehicleState, vehicle: Vehicle) -> Actuation:
    """Towards the wanted speed, with the wheel angle whose curve gives the wanted yaw rate at the present speed.

    A negative speed brakes to a stop: there is no reverse gear.
    """
    acceleration = (max(demand.speed_mps, 0.0) - state.speed_mps) / SPEED_TIME_S
    if demand.speed_mps <= 0.0:
        acceleration = min(acceleration, -STOPPING_MPS / SPEED_TIME_S)
    speed = max(state.speed_mps, MIN_TURNING_MPS)
    return Actuation(acceleration, vehicle.steer_for_curvature(demand.yaw_rate_radps / speed))


def stopping(state: VehicleState, vehicle: Vehicle) -> Actuation:
    """Full braking with the wheels as they are."""
    return Actuation(-vehicle.max_braking_mps2, state.steer_rad)

