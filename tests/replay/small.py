"""A scene, a rig, a library and a configuration so small that a frame set takes a millisecond."""

from __future__ import annotations

from pathlib import Path

from tests.cli.small import write_inputs

SCENE = """
gaussians: wall.ply
trajectory_file: capture.csv
bounds: {min: [-5, -5, -5], max: [40, 5, 5]}
"""
LIBRARY = "assets: {car: {file: car.ply, size_m: [2.0, 1.0, 1.5], category: car}}\n"
RIG = """
name: two
defaults: {width_px: 65, height_px: 49, fov_x_deg: 60, rate_hz: 10}
cameras:
  eye: {pose: {xyz_m: [0, 0, 1], rpy_deg: [0, 0, 0]}}
  side: {pose: {xyz_m: [0, 0, 1], rpy_deg: [0, 0, 20]}}
"""
CONFIG = """
scene: {source: .}
rig: {source: two.yaml}
assets: {library: assets.yaml}
rendering: {backend: cpu}
"""


def write_small(folder: Path) -> Path:
    """Writes everything into the folder; returns the configuration. The capture went from x = 0 to 30 m, the wall is
    at 30 m, and the scene is usable from -5 to 40 m."""
    folder.mkdir(parents=True, exist_ok=True)
    write_inputs(folder)
    (folder / "scene.yaml").write_text(SCENE)
    rows = "\n".join(f"{x},0,0,1,0,0,0" for x in range(31))
    (folder / "capture.csv").write_text(f"x,y,z,qw,qx,qy,qz\n{rows}\n")
    (folder / "assets.yaml").write_text(LIBRARY)
    (folder / "two.yaml").write_text(RIG)
    path = folder / "sim.yaml"
    path.write_text(CONFIG)
    return path
