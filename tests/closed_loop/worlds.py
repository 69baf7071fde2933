"""A scene folder, a rig file and scenarios on disk, small enough that a run takes a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from r3d2_ros.formats.libraries import write_library
from r3d2_ros.formats.scenes import write_scene
from r3d2_ros.lane_map import BUILDING, LABELS, LANE_MAP, ROAD, write_lane_map
from r3d2_ros.scene import Scene
from tests.closed_loop import small_world

RIG = """
name: one
cameras:
  front: {width_px: 96, height_px: 64, fov_x_deg: 70, pose: {xyz_m: [1.5, 0, 1.4], rpy_deg: [0, 0, 0]}}
"""

SCENARIO = """
type: stationary
description: A car stands in the lane <b>&amp;
sim: {scene: {source: road}, rig: {source: rig.yaml}, rendering: {backend: cpu, threads: 1}}
ego: {reference: {lane: ego, to_m: 60.0}, speed_mps: 10.0}
actors:
  - {id: target, asset: car, target: true, place: {lane: reference, s_m: 35.0}, jitter: {longitudinal_m: 1.0}}
phases: {warmup_s: 0.3}
end: {duration_s: 4.5, standstill_s: 0.5}
pass: {no_collision: true}
"""


def write_world(folder: Path) -> Path:
    """`road/`, `rig.yaml` and `parked.yaml` in the folder; returns the scenario."""
    made = small_world.simulator().scene
    x, y = np.meshgrid(np.arange(-5.0, 120.0, 0.5), np.arange(-1.6, 5.2, 0.5))
    places = [(float(a), float(b), -0.05) for a, b in zip(x.ravel(), y.ravel(), strict=True)]
    road = small_world.blobs(places, (0.2, 0.2, 0.2), 0.3)
    background = type(road)(
        **{name: np.concatenate([getattr(road, name), getattr(made.background, name)])
           for name in ("means", "quats", "scales", "opacities", "sh")}
    )  # fmt: skip
    labels = np.concatenate([np.full(len(road), ROAD), np.full(len(made.background), BUILDING)]).astype(np.uint8)
    scene = Scene("road", background, trajectory=made.trajectory)
    out = folder / "road"
    write_library(out, small_world.LIBRARY)
    write_lane_map(out / LANE_MAP, small_world.LANE_MAP)
    np.save(out / LABELS, labels)
    write_scene(out, scene, assets="assets.yaml", lane_map=LANE_MAP, labels=LABELS)
    (folder / "rig.yaml").write_text(RIG)
    path = folder / "parked.yaml"
    path.write_text(SCENARIO)
    return path
