"""The line that a street is built along: the path of a bag, or a CSV file of points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from r3d2_ros.errors import InputError
from r3d2_ros.formats.number_rows import read_number_rows
from r3d2_ros.geometry import Array
from r3d2_ros.input_checks import MAX_COORDINATE_M
from r3d2_ros.replay.ego_path import read_ego_path
from r3d2_ros.resources import user_path

COLUMNS = ("x", "y", "z", "yaw_deg")


def read_polyline(path: str | Path, *, topic: str | None = None, spacing_m: float = 1.0) -> Array:
    """Positions [K, 3] in the map, K >= 2, consecutive ones at least `spacing_m` apart, of a bag or a .csv
    file.

    A CSV file has the columns x, y and optionally z (0 when left out) and yaw_deg (not used here), in metres
    and degrees; a header line is optional and may reorder them. InputError with file and line for what is
    wrong, and for a path shorter than `spacing_m`.
    """
    path = user_path(path, "path of a drive")
    points = read_points_csv(path) if path.suffix.lower() == ".csv" else read_ego_path(path, topic).positions
    line = thinned(points, spacing_m)
    if len(line) < 2:
        raise InputError(
            str(path),
            f"a path that leads at least {spacing_m:g} m away",
            f"{len(points)} points in one place",
        )
    return line


def thinned(points: Array, spacing_m: float) -> Array:
    """The points [N, 3] at least `spacing_m` from the one kept before, starting with the first: a subset."""
    keep = [0] if len(points) else []
    for i in range(1, len(points)):
        if np.linalg.norm(points[i] - points[keep[-1]]) >= spacing_m:
            keep.append(i)
    return points[keep]


def read_points_csv(path: Path) -> Array:
    """Positions [N, 3] of a CSV file as `read_polyline` describes it."""
    table = read_number_rows(
        path,
        expected="a CSV file",
        columns="the columns x, y and optionally z, yaw_deg",
        usable=lambda names: len(set(names)) == len(names) and {"x", "y"} <= set(names) <= set(COLUMNS),
    )
    points = [_point(row, table.names or COLUMNS, f"{path}: line {number}") for number, row in table.rows.items()]
    return np.array(points, np.float64).reshape(-1, 3)


def _point(row: list[float], order: Sequence[str], where: str) -> tuple[float, float, float]:
    if not 2 <= len(row) <= len(order):
        raise InputError(where, f"the numbers {', '.join(order)}", f"{len(row)} numbers")
    values = dict(zip(order, row, strict=False))
    if not {"x", "y"} <= values.keys() or not all(abs(v) <= MAX_COORDINATE_M for v in values.values()):
        raise InputError(where, "finite coordinates x and y", str(row))
    return values["x"], values["y"], values.get("z", 0.0)
