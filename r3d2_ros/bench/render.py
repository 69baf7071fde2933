"""How fast the CPU renderer is, through the `render` call that everyone makes, beside the readable reference.

    python -m r3d2_ros.bench.render [--json FILE] [--repeats N] [--no-reference]

The scenes are synthetic, so that anyone can make them again from what stands here: Gaussians log-uniform in distance
between 2 and 80 m, all over the image, of a size that grows with the distance, with all opacities.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from r3d2_ros.bench.rows_file import check_rows_file, write_rows
from r3d2_ros.cameras import Camera, pixel_centre_K
from r3d2_ros.gaussians import Gaussians, rgb_to_sh
from r3d2_ros.geometry import Affine, Array, Rigid, quat_normalize
from r3d2_ros.lenses import PINHOLE, LensModel
from r3d2_ros.rendering.base import PlacedGaussians, PlacedScene, Renderer, RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer, ViewStats
from r3d2_ros.rendering.kernels_layout import BLOCK
from r3d2_ros.rendering.lens import Lens
from r3d2_ros.rendering.reference import ReferenceRenderer
from r3d2_ros.rendering.rgb8 import to_rgb8
from r3d2_ros.sky import Sky

Row = dict[str, Any]
SLOPE_X, SLOPE_Y = 0.9, 0.495
"""Half width and height of the field of view as tangents, of which the images show 0.906 and 0.509."""
AVX512 = BLOCK == 16
BARREL = LensModel("plumb_bob", (-0.3, 0.09, 0.0, 0.0, -0.01))
"""Bends the corners of these cameras, 47 degrees from the axis for a pinhole, by a quarter: they see 57."""

FISHEYE = LensModel("equidistant")


@dataclass(frozen=True)
class Case:
    """One line of the table: a scene, seen by cameras of equal size. The goal is for two cores; None: no goal.

    focal_px is that at 960 px width.

    Through a lens that bends, a frame is what `Simulator` makes of it: renders of its faces, as bytes, and the picture.
    """

    name: str
    scene: Callable[[], PlacedScene]
    width: int
    height: int
    goal_ms: float | None
    cameras: int = 1
    lens: LensModel = PINHOLE
    focal_px: float = 530.0

    def lenses(self) -> list[Lens]:
        """Of cameras at the origin, turned about the vertical in equal steps."""
        focal = self.focal_px * self.width / 960
        K = pixel_centre_K(np.array([[focal, 0, self.width / 2], [0, focal, self.height / 2], [0, 0, 1]]))
        turns = [Rigid.from_rpy((0.0, -2 * np.pi * i / self.cameras, 0.0)) for i in range(self.cameras)]
        name, D = self.lens.name, self.lens.D
        return [
            Lens(Camera(f"camera_{i}", self.width, self.height, K, turn, D=D, distortion_model=name))
            for i, turn in enumerate(turns)
        ]


def frustum_scene(count: int) -> PlacedScene:
    """`count` Gaussians in the field of view of one camera at the origin (x right, y down, z forward)."""
    rng = np.random.default_rng(0)
    depth = _distances(rng, count)
    x = rng.uniform(-SLOPE_X, SLOPE_X, count) * depth
    y = rng.uniform(-SLOPE_Y, SLOPE_Y, count) * depth
    return _scene(rng, np.stack([x, y, depth], axis=1), depth)


def ring_scene(count: int) -> PlacedScene:
    """`count` Gaussians all around the camera, as in a street; a camera of 84 degrees sees about a quarter."""
    rng = np.random.default_rng(0)
    distance = _distances(rng, count)
    azimuth = rng.uniform(-np.pi, np.pi, count)
    y = rng.uniform(-SLOPE_Y, SLOPE_Y, count) * distance
    return _scene(rng, np.stack([np.sin(azimuth) * distance, y, np.cos(azimuth) * distance], axis=1), distance)


CASES = (
    Case("200k visible", lambda: frustum_scene(200_000), 960, 540, goal_ms=80 if AVX512 else 100),
    Case("200k visible", lambda: frustum_scene(200_000), 1920, 1080, goal_ms=190 if AVX512 else 260),
    Case("1M around", lambda: ring_scene(1_000_000), 1920, 1080, goal_ms=260),
    Case("1M around, rig of 6", lambda: ring_scene(1_000_000), 1600, 900, goal_ms=None, cameras=6),
    Case("1M around, barrel", lambda: ring_scene(1_000_000), 1920, 1080, goal_ms=None, lens=BARREL),
    Case("1M around, fisheye", lambda: ring_scene(1_000_000), 1920, 1080, None, lens=FISHEYE, focal_px=290.0),
)


def bench_render(
    *, repeats: int = 20, reference: bool = True, say: Callable[[str], None] = lambda text: None
) -> list[Row]:
    """Measure every case, and the first one with the reference renderer too (once, it takes tens of seconds).

    A row has: name, renderer, width, height, cameras, gaussians, visible (of all cameras), repeats, median_ms,
    p95_ms, cpu_ms (processor time of a frame, all threads: what it costs when others use the cores too), goal_ms,
    within_goal, threads, block_px and, for the CPU renderer, the median of each stage in ms; the row of the reference
    has `times_slower`, its median as a multiple of the CPU renderer's.
    """
    rows = []
    for case in CASES:
        say(f"{case.name}, {case.width}x{case.height}")
        scene, renderer = case.scene(), CpuRenderer(RenderSettings())
        times_ms, cpu_ms, stats = _measure(renderer, scene, case.lenses(), repeats)
        stages = {f.name: round(float(np.median([_total(s, f.name) for s in stats])), 2) for f in fields(ViewStats)[2:]}
        row = _row(case, "cpu", scene, times_ms, cpu_ms)
        rows.append(row | {"visible": _total(stats[0], "visible"), "threads": renderer.threads, **stages})
    if reference:
        case, fast = CASES[0], rows[0]
        say(f"{case.name}, {case.width}x{case.height}, readable reference")
        scene = case.scene()
        times_ms, cpu_ms, _ = _measure(ReferenceRenderer(RenderSettings()), scene, case.lenses(), 1)
        row = _row(case, "reference", scene, times_ms, cpu_ms) | {"goal_ms": None, "within_goal": None, "threads": 1}
        rows.append(row | {"visible": fast["visible"], "times_slower": round(row["median_ms"] / fast["median_ms"], 1)})
    return rows


def _measure(
    renderer: Renderer, scene: PlacedScene, lenses: Sequence[Lens], repeats: int
) -> tuple[list[float], list[float], list[tuple[ViewStats, ...]]]:
    """Wall and processor ms of each frame after the warm-up, and the CPU renderer's statistics of each."""
    views = [face.view(Rigid.identity()) for lens in lenses for face in lens.faces]

    def frame() -> None:
        images = iter(renderer.render(scene, views))
        for lens in lenses:
            renders = [next(images).rgb for _ in lens.faces]
            if not lens.is_identity:
                lens.picture([to_rgb8(render) for render in renders])

    if isinstance(renderer, CpuRenderer):
        frame()
    times_ms, cpu_ms, stats = [], [], []
    for _ in range(repeats):
        start, cpu_start = time.perf_counter(), time.process_time()
        frame()
        times_ms.append((time.perf_counter() - start) * 1e3)
        cpu_ms.append((time.process_time() - cpu_start) * 1e3)
        if isinstance(renderer, CpuRenderer):
            stats.append(renderer.stats)
    return times_ms, cpu_ms, stats


def _row(case: Case, renderer: str, scene: PlacedScene, times_ms: list[float], cpu_ms: list[float]) -> Row:
    median_ms = float(np.median(times_ms))
    return {
        "name": case.name,
        "renderer": renderer,
        "width": case.width,
        "height": case.height,
        "cameras": case.cameras,
        "gaussians": len(scene.background.gaussians),
        "repeats": len(times_ms),
        "median_ms": round(median_ms, 2),
        "p95_ms": round(float(np.percentile(times_ms, 95)), 2),
        "cpu_ms": round(float(np.median(cpu_ms)), 2),
        "goal_ms": case.goal_ms,
        "within_goal": None if case.goal_ms is None else median_ms <= case.goal_ms,
        "block_px": BLOCK,
    }


def _total(stats: Sequence[ViewStats], name: str) -> float:
    return sum(getattr(view, name) for view in stats)


def _distances(rng: np.random.Generator, count: int) -> Array:
    return np.exp(rng.uniform(np.log(2.0), np.log(80.0), count))


def _scene(rng: np.random.Generator, means: Array, distance: Array) -> PlacedScene:
    count = len(means)
    scales = 0.012 * distance[:, None] ** 0.8 * np.exp(rng.normal(0.0, 0.6, (count, 3)))
    gaussians = Gaussians(
        means=means.astype(np.float32),
        quats=quat_normalize(rng.normal(size=(count, 4))).astype(np.float32),
        scales=scales.astype(np.float32),
        opacities=(1.0 / (1.0 + np.exp(-rng.normal(0.0, 2.0, count)))).astype(np.float32),
        sh=rgb_to_sh(rng.random((count, 3))),
    )
    sky = Sky(colour=np.array([0.5, 0.7, 0.9], np.float32))
    return PlacedScene(PlacedGaussians(gaussians, Affine(np.eye(3), np.zeros(3)), np.eye(3)), (), sky)


def format_table(rows: Sequence[Row]) -> str:
    """The rows as a table for people; times in ms."""
    lines = [f"{'scene':<20} {'renderer':<9} {'image':>12} {'visible':>8} {'median':>9} {'p95':>9} {'cpu':>9}  goal"]
    for row in rows:
        image = f"{row['width']}x{row['height']}"
        image = f"{row['cameras']}x {image}" if row["cameras"] > 1 else image
        goal = "" if row["goal_ms"] is None else f"{row['goal_ms']} {'met' if row['within_goal'] else 'MISSED'}"
        goal = f"({row['times_slower']} times slower)" if "times_slower" in row else goal
        times = f"{row['median_ms']:>9.1f} {row['p95_ms']:>9.1f} {row['cpu_ms']:>9.1f}"
        lines.append(f"{row['name']:<20} {row['renderer']:<9} {image:>12} {row['visible']:>8} {times}  {goal}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 0, also when a goal is missed (another program may have used the cores)."""
    parser = argparse.ArgumentParser(description="Speed of the CPU renderer on synthetic scenes.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows as JSON")
    parser.add_argument("--repeats", type=int, default=20, help="frames per case after the warm-up (default: 20)")
    parser.add_argument("--no-reference", action="store_true", help="leave out the slow readable renderer")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error(f"--repeats: expected at least 1, got {options.repeats}")
    check_rows_file(options.json, parser)
    rows = bench_render(
        repeats=options.repeats, reference=not options.no_reference, say=lambda text: print(text, file=sys.stderr)
    )
    load = f"{os.getloadavg()[0]:.1f}"
    print(
        f"\n{rows[0]['threads']} threads, blocks of {BLOCK} px ({'AVX-512' if AVX512 else 'no AVX-512'}), load {load}"
    )
    print(format_table(rows))
    write_rows(options.json, rows, parser)
    return 0


if __name__ == "__main__":
    sys.exit(main())
