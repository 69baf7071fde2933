"""The ego vehicle: a kinematic bicycle at the rear axle, with limits. Parameters come from a named vehicle file.

Frame: base_link is the centre of the rear axle on the ground, x forward, y left, z up (REP-105, as in Autoware).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from r3d2_ros.boxes import Size, rectangle
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Array
from r3d2_ros.input_files import not_a_file
from r3d2_ros.resources import config_dir, user_path
from r3d2_ros.schema import STRICT, load_yaml, validate

STANDING_MPS = 1e-9
"""What rounding leaves of a speed that was braked away."""

Length = Annotated[float, Field(gt=0, le=50)]
Overhang = Annotated[float, Field(ge=-5, le=20)]


@dataclass(frozen=True, kw_only=True)
class Vehicle:
    """Measures and limits. `config/vehicles/car.yaml` says what each key means."""

    __pydantic_config__ = STRICT
    name: str = ""
    wheelbase_m: Length
    front_overhang_m: Overhang
    rear_overhang_m: Overhang
    width_m: Length
    height_m: Length
    max_steer_deg: Annotated[float, Field(gt=0, le=85)]
    max_steer_rate_dps: Annotated[float, Field(gt=0)]
    max_speed_mps: Annotated[float, Field(gt=0, le=150)]
    max_acceleration_mps2: Annotated[float, Field(gt=0, le=50)]
    max_braking_mps2: Annotated[float, Field(gt=0, le=50)]
    max_jerk_mps3: Annotated[float, Field(gt=0)]

    def __post_init__(self) -> None:
        if self.length_m <= 0:
            raise ValueError(f"overhangs and wheelbase that give a positive length, got {self.length_m:g} m in all")

    @property
    def length_m(self) -> float:
        return self.rear_overhang_m + self.wheelbase_m + self.front_overhang_m

    @property
    def centre_m(self) -> float:
        """The centre of the box is this far ahead of base_link."""
        return (self.wheelbase_m + self.front_overhang_m - self.rear_overhang_m) / 2

    @property
    def front_m(self) -> float:
        """From base_link to the front of the box."""
        return self.wheelbase_m + self.front_overhang_m

    @property
    def size_m(self) -> Size:
        return self.length_m, self.width_m, self.height_m

    def steer_for_curvature(self, curvature_1pm: float) -> float:
        """Front-wheel angle in radians that drives a curve of this curvature, within the limit."""
        limit = math.radians(self.max_steer_deg)
        return min(max(math.atan(self.wheelbase_m * curvature_1pm), -limit), limit)


def load_vehicle(source: str, folder: Path | None = None) -> Vehicle:
    """A vehicle of `config/vehicles/` by name, or of a YAML file relative to `folder`. InputError(s) for others."""
    shipped = config_dir() / "vehicles" / f"{source}.yaml"
    path = user_path(source, "ego.vehicle")
    path = shipped if len(path.parts) == 1 and shipped.is_file() else (folder or Path()) / path
    if (got := not_a_file(path)) is not None:
        expected = f"a vehicle file or one of {', '.join(shipped_vehicles())}"
        raise InputError("ego.vehicle", expected, f"'{source}': {got}")
    vehicle = validate(Vehicle, load_yaml(path), str(path))
    return vehicle if vehicle.name else replace(vehicle, name=path.stem)


def shipped_vehicles() -> list[str]:
    """Names of the vehicles in `config/vehicles/`."""
    return sorted(path.stem for path in (config_dir() / "vehicles").glob("*.yaml"))


@dataclass(frozen=True)
class VehicleState:
    """Pose of base_link in the plane of the map, and what moves it: speed and acceleration along x, front-wheel angle.

    Angles counter-clockwise, radians. The speed is never negative: there is no reverse gear.
    """

    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    acceleration_mps2: float = 0.0
    steer_rad: float = 0.0

    def box(self, vehicle: Vehicle) -> Array:
        """Corners [4, 2] of the vehicle on the ground."""
        return rectangle(
            self.x_m,
            self.y_m,
            self.yaw_rad,
            length_m=vehicle.length_m,
            width_m=vehicle.width_m,
            centre_m=vehicle.centre_m,
        )


@dataclass(frozen=True)
class Actuation:
    """What the vehicle is asked for: acceleration along x (negative: braking) and front-wheel angle (left positive)."""

    acceleration_mps2: float
    steer_rad: float


def advance(
    vehicle: Vehicle, state: VehicleState, wanted: Actuation, *, seconds: float, substeps: int = 4
) -> VehicleState:
    """The state `seconds` later. Source of the model: kinematic bicycle, reference point at the rear axle.

    In each substep the wheels turn and the acceleration changes at their limited rates; the path is the exact arc of
    the mean curvature, the distance exact for the mean acceleration. A vehicle that brakes stops, and stays; at
    its top speed it accelerates no more.
    """
    step_s = seconds / substeps
    for _ in range(substeps):
        state = _substep(vehicle, state, wanted, step_s)
    return state


def _substep(vehicle: Vehicle, state: VehicleState, wanted: Actuation, step_s: float) -> VehicleState:
    limit = math.radians(vehicle.max_steer_deg)
    steer = _towards(
        state.steer_rad,
        min(max(wanted.steer_rad, -limit), limit),
        math.radians(vehicle.max_steer_rate_dps) * step_s,
    )
    target = min(max(wanted.acceleration_mps2, -vehicle.max_braking_mps2), vehicle.max_acceleration_mps2)
    acceleration, mean = _ramp(state.acceleration_mps2, target, vehicle.max_jerk_mps3, step_s)
    speed, distance = _speed_and_distance(state.speed_mps, mean, vehicle.max_speed_mps, step_s)
    if speed == 0.0 and acceleration < 0.0:
        acceleration = 0.0  # brakes hold a standing vehicle, they do not push it
    if speed >= vehicle.max_speed_mps and acceleration > 0.0:
        acceleration = 0.0
    turn = distance * math.tan((state.steer_rad + steer) / 2) / vehicle.wheelbase_m
    chord = distance * (math.sin(turn / 2) / (turn / 2) if abs(turn) > 1e-9 else 1.0)
    return VehicleState(
        x_m=state.x_m + chord * math.cos(state.yaw_rad + turn / 2),
        y_m=state.y_m + chord * math.sin(state.yaw_rad + turn / 2),
        yaw_rad=math.remainder(state.yaw_rad + turn, math.tau),
        speed_mps=speed,
        acceleration_mps2=acceleration,
        steer_rad=steer,
    )


def _towards(value: float, target: float, most: float) -> float:
    return target if abs(target - value) <= most else value + math.copysign(most, target - value)


def _ramp(value: float, target: float, jerk: float, step_s: float) -> tuple[float, float]:
    """Value after the step, and its mean over the step, when it goes to `target` at the rate `jerk`."""
    ramp_s = min(step_s, abs(target - value) / jerk)
    end = _towards(value, target, jerk * step_s)
    return end, ((value + end) / 2 * ramp_s + end * (step_s - ramp_s)) / step_s


def _speed_and_distance(speed: float, acceleration: float, top_speed: float, step_s: float) -> tuple[float, float]:
    """Speed after the step and distance in it, for a constant acceleration between standstill and `top_speed`."""
    end = speed + acceleration * step_s
    if end < STANDING_MPS and acceleration < 0.0:
        return 0.0, speed**2 / (-2 * acceleration)
    if end > top_speed and acceleration > 0.0:
        top = max(speed, top_speed)
        reach_s = (top - speed) / acceleration
        return top, (speed + top) / 2 * reach_s + top * (step_s - reach_s)
    return end, (speed + end) / 2 * step_s
