"""The lines that a scripted drive follows, and their file lanes.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from r3d2_ros.errors import InputError
from r3d2_ros.formats.sidecar import write_yaml
from r3d2_ros.geometry import Array
from r3d2_ros.lines import distinct
from r3d2_ros.schema import load_yaml

LANES = "lanes.yaml"


@dataclass(frozen=True, eq=False)
class Lanes:
    """Polylines in the map frame, metres, on the surface.

    ego        [M, 3] the drive: where base_link goes, every 0.5 m
    oncoming   [M, 3] the lane beside it, in its own direction of travel
    crossing   [2, 3] over the zebra crossing, from the footway on the ego's right to the one on its left
    pavements  two [M, 3] walking lines on the right and the left footway, in the ego's direction
    """

    ego: Array
    oncoming: Array
    crossing: Array
    pavements: tuple[Array, Array]


def write_lanes(folder: str | Path, lanes: Lanes) -> Path:
    """Write lanes.yaml, millimetres precise; returns its path. InputError when it cannot be written."""
    path = Path(folder) / LANES
    lines: dict[str, Any] = {
        "ego": lanes.ego,
        "oncoming": lanes.oncoming,
        "crossing": lanes.crossing,
        "pavement_right": lanes.pavements[0],
        "pavement_left": lanes.pavements[1],
    }
    write_yaml(path, {name: np.round(line, 3).tolist() for name, line in lines.items()})
    return path


def load_lanes(folder: str | Path) -> Lanes:
    """The lanes of a street folder. InputError when lanes.yaml is missing or not what `write_lanes` writes."""
    path = Path(folder) / LANES
    data = load_yaml(path)

    def line(name: str) -> Array:
        try:
            points = np.asarray(data[name], np.float64)
        except (TypeError, KeyError, ValueError):
            points = np.zeros(0)
        if points.ndim != 2 or points.shape[1] != 3 or len(points) < 2 or not np.all(np.isfinite(points)):
            raise InputError(f"{path}: {name}", "a list of at least two points [x, y, z]", "something else or nothing")
        try:
            distinct(points)
        except ValueError as error:
            raise InputError(f"{path}: {name}", str(error), "one place") from error
        return points

    return Lanes(line("ego"), line("oncoming"), line("crossing"), (line("pavement_right"), line("pavement_left")))
