"""The vehicle against closed formulas: circles, braking distances, limits."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.closed_loop.vehicle import (
    Actuation,
    Vehicle,
    VehicleState,
    advance,
    load_vehicle,
    shipped_vehicles,
)
from r3d2_ros.errors import InputError, InputErrors

AT_ONCE = 1e12
"""A rate that is no limit."""

CAR = Vehicle(
    wheelbase_m=2.5,
    front_overhang_m=0.8,
    rear_overhang_m=0.7,
    width_m=1.8,
    height_m=1.5,
    max_steer_deg=40.0,
    max_steer_rate_dps=AT_ONCE,
    max_speed_mps=30.0,
    max_acceleration_mps2=4.0,
    max_braking_mps2=8.0,
    max_jerk_mps3=AT_ONCE,
)
STEP_S = 0.01


def drive(vehicle: Vehicle, state: VehicleState, wanted: Actuation, seconds: float) -> list[VehicleState]:
    states = [state]
    for _ in range(round(seconds / STEP_S)):
        states.append(advance(vehicle, states[-1], wanted, seconds=STEP_S))
    return states


def test_box_and_centre() -> None:
    assert (CAR.length_m, CAR.front_m) == (4.0, 3.3)
    assert CAR.centre_m == pytest.approx(1.3)
    corners = VehicleState(10.0, 0.0, 0.0, 0.0).box(CAR)
    np.testing.assert_allclose(corners, [[13.3, 0.9], [13.3, -0.9], [9.3, -0.9], [9.3, 0.9]])


def test_circle_of_known_radius() -> None:
    """tan(steer) = wheelbase / radius: with 2.5 m and 10 m, every state is 10 m from (0, 10)."""
    steer = math.atan(2.5 / 10.0)
    start = VehicleState(0.0, 0.0, 0.0, 5.0, steer_rad=steer)
    states = drive(CAR, start, Actuation(0.0, steer), 12.0)
    radii = [math.hypot(s.x_m, s.y_m - 10.0) for s in states]
    assert max(abs(r - 10.0) for r in radii) < 1e-9
    # 5 m/s for 12 s is 60 m, which is 6 radians of this circle.
    assert states[-1].yaw_rad == pytest.approx(6.0 - math.tau)
    assert states[-1].x_m == pytest.approx(10.0 * math.sin(6.0))


def test_braking_distance() -> None:
    """20 m/s and 8 m/s2: 400 / 16 = 25 m and 2.5 s, then it stands."""
    states = drive(CAR, VehicleState(0.0, 0.0, 0.0, 20.0), Actuation(-9.0, 0.0), 4.0)
    assert states[-1].x_m == pytest.approx(25.0, abs=1e-9)
    assert states[round(2.49 / STEP_S)].speed_mps == pytest.approx(0.08)
    assert states[round(2.51 / STEP_S)].speed_mps == 0.0
    assert (states[-1].speed_mps, states[-1].acceleration_mps2) == (0.0, 0.0)


def test_braking_distance_with_limited_jerk() -> None:
    """80 m/s3 reach 8 m/s2 after 0.1 s, 0.4 m/s and 2 - 80 * 0.001 / 6 m; from 19.6 m/s it takes 19.6^2 / 16 m."""
    vehicle = replace(CAR, max_jerk_mps3=80.0)
    states = drive(vehicle, VehicleState(0.0, 0.0, 0.0, 20.0), Actuation(-8.0, 0.0), 4.0)
    assert states[-1].x_m == pytest.approx(2.0 - 0.08 / 6 + 19.6**2 / 16, abs=1e-4)
    jerks = np.diff([s.acceleration_mps2 for s in states[:20]]) / STEP_S
    assert np.abs(jerks).max() == pytest.approx(80.0)


def test_a_stop_within_a_step_is_exact() -> None:
    """1 m/s and 8 m/s2: 1/16 m, although 0.125 s is no multiple of the step."""
    assert drive(CAR, VehicleState(0.0, 0.0, 0.0, 1.0), Actuation(-8.0, 0.0), 1.0)[-1].x_m == pytest.approx(0.0625)


def test_it_drives_off_again() -> None:
    states = drive(CAR, VehicleState(0.0, 0.0, 0.0, 0.0), Actuation(2.0, 0.0), 3.0)
    assert states[-1].speed_mps == pytest.approx(6.0)
    assert states[-1].x_m == pytest.approx(9.0)


def test_top_speed() -> None:
    """28 m/s + 4 m/s2 reach 30 m/s after 0.5 s and 14.5 m; 0.5 s more are 15 m."""
    last = drive(CAR, VehicleState(0.0, 0.0, 0.0, 28.0), Actuation(10.0, 0.0), 1.0)[-1]
    assert (last.speed_mps, last.x_m) == (30.0, pytest.approx(29.5))
    assert last.acceleration_mps2 == 0.0, "it goes no faster"


def test_at_top_speed_the_brakes_act_at_once() -> None:
    """From no acceleration a jerk of 40 m/s3 makes -0.4 m/s2 of 10 ms: 0.002 m/s less."""
    vehicle = replace(CAR, max_jerk_mps3=40.0)
    fast = drive(vehicle, VehicleState(0.0, 0.0, 0.0, 30.0), Actuation(10.0, 0.0), 1.0)[-1]
    slower = drive(vehicle, fast, Actuation(-9.0, 0.0), 0.01)[-1]
    assert (slower.speed_mps, slower.acceleration_mps2) == (pytest.approx(29.998), pytest.approx(-0.4))


def test_wheels_turn_at_their_rate_up_to_their_limit() -> None:
    vehicle = replace(CAR, max_steer_rate_dps=60.0)
    states = drive(vehicle, VehicleState(0.0, 0.0, 0.0, 3.0), Actuation(0.0, 2.0), 1.0)
    assert math.degrees(states[10].steer_rad) == pytest.approx(6.0)
    assert math.degrees(states[-1].steer_rad) == pytest.approx(40.0)


def test_substeps_converge() -> None:
    """While the wheels turn the path is no arc: four substeps of 10 ms are within a millimetre of four hundred."""
    vehicle, start = replace(CAR, max_steer_rate_dps=30.0), VehicleState(0.0, 0.0, 0.0, 10.0)
    wanted, coarse, fine = Actuation(-2.0, 0.5), start, start
    for _ in range(200):
        coarse = advance(vehicle, coarse, wanted, seconds=STEP_S)
        fine = advance(vehicle, fine, wanted, seconds=STEP_S, substeps=400)
    assert math.hypot(coarse.x_m - fine.x_m, coarse.y_m - fine.y_m) < 1e-3


def test_steering_for_a_curve() -> None:
    assert CAR.steer_for_curvature(0.1) == pytest.approx(math.atan(0.25))
    assert CAR.steer_for_curvature(-10.0) == pytest.approx(-math.radians(40.0))


def test_every_shipped_vehicle_loads() -> None:
    assert {"car", "neuroncap", "van"} <= set(shipped_vehicles())
    for name in shipped_vehicles():
        assert load_vehicle(name).name == name


def test_neuroncap_box() -> None:
    vehicle = load_vehicle("neuroncap")
    assert (vehicle.length_m, vehicle.width_m) == (pytest.approx(4.018), 1.85)
    assert vehicle.centre_m == pytest.approx(0.5)


def test_a_file_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "truck.yaml").write_text(
        "{wheelbase_m: 5, front_overhang_m: 1.4, rear_overhang_m: 2, width_m: 2.5, height_m: 3.5, max_steer_deg: 40,"
        " max_steer_rate_dps: 40, max_speed_mps: 25, max_acceleration_mps2: 1, max_braking_mps2: 6, max_jerk_mps3: 20}"
    )
    assert load_vehicle("truck.yaml", tmp_path).name == "truck"


def test_what_is_no_vehicle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ego.vehicle: expected a vehicle file or one of car, .*got 'cart': no such"):
        load_vehicle("cart", tmp_path)
    (tmp_path / "bad.yaml").write_text("{wheelbase_m: .nan, front_overhang_m: 1, width: 2}")
    with pytest.raises(InputErrors) as caught:
        load_vehicle("bad.yaml", tmp_path)
    assert "bad.yaml: wheelbase_m: expected a finite number, got nan" in str(caught.value)
    assert "width: expected one of the keys name, wheelbase_m" in str(caught.value)
    (tmp_path / "flat.yaml").write_text(
        "{wheelbase_m: 1, front_overhang_m: -1, rear_overhang_m: 0, width_m: 2.5, height_m: 3.5, max_steer_deg: 40,"
        " max_steer_rate_dps: 40, max_speed_mps: 25, max_acceleration_mps2: 1, max_braking_mps2: 6, max_jerk_mps3: 20}"
    )
    with pytest.raises(InputErrors, match="a positive length, got 0 m"):
        load_vehicle("flat.yaml", tmp_path)
