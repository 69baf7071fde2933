"""A scene, a rig and an asset so small that their pictures can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from r3d2_ros.formats.ply import write_inria_ply
from r3d2_ros.gaussians import Gaussians, rgb_to_sh

WIDTH, HEIGHT = 65, 49
CENTRE = (HEIGHT // 2, WIDTH // 2)
"""Row and column of the pixel that looks straight ahead."""

RIG = f"""
name: one
cameras:
  eye:
    width_px: {WIDTH}
    height_px: {HEIGHT}
    fov_x_deg: 60
    pose: {{xyz_m: [0, 0, 1], rpy_deg: [0, 0, 0]}}
"""


def blobs(
    means: list[tuple[float, float, float]], colours: list[tuple[float, float, float]], scale: float
) -> Gaussians:
    """Opaque round Gaussians."""
    count = len(means)
    return Gaussians(
        means=np.array(means, np.float32),
        quats=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        scales=np.full((count, 3), scale, np.float32),
        opacities=np.full(count, 0.99, np.float32),
        sh=rgb_to_sh(np.array(colours)),
    )


def write_inputs(folder: Path) -> None:
    """wall.ply: a grey wall at x = 30 m; car.ply: 2 m long, its front red and its back blue; rig.yaml."""
    wall = [(30.0, y, z) for y in np.arange(-30.0, 31.0, 2.0) for z in np.arange(-20.0, 21.0, 2.0)]
    write_inria_ply(folder / "wall.ply", blobs(wall, [(0.5, 0.5, 0.5)] * len(wall), 1.2))
    car = [(x, y, z) for x in (-1.0, 1.0) for y in (-0.5, 0.0, 0.5) for z in (0.5, 1.0, 1.5)]
    write_inria_ply(folder / "car.ply", blobs(car, [(1.0, 0, 0) if x > 0 else (0, 0, 1.0) for x, _, _ in car], 0.3))
    (folder / "rig.yaml").write_text(RIG)
