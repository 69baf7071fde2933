"""A straight road of 300 m along +x, one asset, one small camera: runs whose numbers can be worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera, Rig
from r3d2_ros.closed_loop.plan import RunPlan, plan_run
from r3d2_ros.closed_loop.runs import RunSpec
from r3d2_ros.closed_loop.scenario import Scenario
from r3d2_ros.closed_loop.vehicle import Vehicle
from r3d2_ros.config import SimConfig
from r3d2_ros.gaussians import Gaussians, rgb_to_sh
from r3d2_ros.geometry import Array, Rigid, Similarity
from r3d2_ros.lane_map import LaneMap, MapLane
from r3d2_ros.rendering.base import RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from r3d2_ros.scene import Asset, AssetLibrary, Scene
from r3d2_ros.schema import validate
from r3d2_ros.simulator import Simulator

LENGTH_M = 300.0

VEHICLE = Vehicle(
    name="test",
    wheelbase_m=2.5,
    front_overhang_m=1.0,
    rear_overhang_m=0.5,
    width_m=2.0,
    height_m=1.5,
    max_steer_deg=40.0,
    max_steer_rate_dps=1e12,
    max_speed_mps=40.0,
    max_acceleration_mps2=4.0,
    max_braking_mps2=8.0,
    max_jerk_mps3=1e12,
)
"""4 m long; the front bumper is 3.5 m, the centre 1.5 m ahead of base_link. Brakes bite at once."""


def along_x(y_m: float) -> Array:
    return np.array([[x, y_m, 0.0] for x in np.arange(0.0, LENGTH_M + 1.0, 10.0)])


LANE_MAP = LaneMap(
    lanes=(
        MapLane("ego", along_x(0.0), along_x(1.75), along_x(-1.75)),
        MapLane("oncoming", along_x(3.5)[::-1], along_x(1.75)[::-1], along_x(5.25)[::-1]),
    ),
    road_edges=(along_x(-1.75), along_x(5.25)),
    lines={"footway": along_x(-3.0)},
)


def blobs(means: list[tuple[float, float, float]], rgb: tuple[float, float, float], scale: float) -> Gaussians:
    n = len(means)
    return Gaussians(
        means=np.array(means, np.float32),
        quats=np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1)),
        scales=np.full((n, 3), scale, np.float32),
        opacities=np.full(n, 0.99, np.float32),
        sh=rgb_to_sh(np.tile(np.array(rgb), (n, 1))),
    )


def car_asset() -> Asset:
    """4 m x 2 m x 1.5 m, filled with blobs."""
    places = [
        (float(x), float(y), float(z))
        for x in np.arange(-1.8, 1.9, 0.4)
        for y in np.arange(-0.8, 0.9, 0.4)
        for z in (0.3, 0.75, 1.2)
    ]
    return Asset("car", blobs(places, (0.8, 0.1, 0.1), 0.2), (4.0, 2.0, 1.5), category="car")


LIBRARY = AssetLibrary({"car": car_asset(), "truck": car_asset()})


def camera(width_px: int = 64, height_px: int = 48) -> Camera:
    K = np.array([[40.0, 0, (width_px - 1) / 2], [0, 40.0, (height_px - 1) / 2], [0, 0, 1]])
    return Camera("front", width_px, height_px, K, Rigid(R_BODY_OPTICAL, np.array([1.5, 0.0, 1.4])))


def simulator() -> Simulator:
    """A wall at the end of the road; the capture drove along the ego lane."""
    wall = [(LENGTH_M + 50.0, float(y), float(z)) for y in range(-40, 41, 8) for z in range(-16, 33, 8)]
    trajectory = tuple(Rigid.from_xyz_yaw(float(x), 0.0, 0.0, 0.0) for x in range(0, 301, 10))
    scene = Scene(
        "road",
        blobs(wall, (0.5, 0.5, 0.5), 5.0),
        T_map_scene=Similarity.identity(),
        trajectory=trajectory,
    )
    return Simulator(
        scene=scene, library=LIBRARY, rig=Rig("one", (camera(),)), renderer=CpuRenderer(RenderSettings(), 1)
    )


def spec(*, seed: int = 0, **keys: Any) -> RunSpec:
    """A run of a scenario: 10 m/s along the ego lane from x = 0, with `keys` on top."""
    data = {
        "name": "test",
        "ego": {"reference": {"lane": "ego", "to_m": 200.0}, "speed_mps": 10.0},
        "end": {"duration_s": 6.0},
        "phases": {"warmup_s": 0.5},
        **keys,
    }
    scenario = validate(Scenario, data, "test.yaml")
    return RunSpec("test-s0", scenario, seed, SimConfig(), VEHICLE, Path(), "test.yaml")


def plan(*, seed: int = 0, **keys: Any) -> RunPlan:
    return plan_run(spec(seed=seed, **keys), lane_map=LANE_MAP, library=LIBRARY)


def parked(x_m: float, y_m: float = 0.0, **keys: Any) -> dict[str, Any]:
    """An actor that stands in the ego lane."""
    return {"id": "target", "asset": "car", "target": True, "place": {"x": x_m, "y": y_m}, **keys}
