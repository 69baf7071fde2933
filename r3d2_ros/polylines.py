"""The line that a street is built along: the path of a bag, or a CSV file of points."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Array
from r3d2_ros.input_checks import MAX_COORDINATE_M
from r3d2_ros.input_files import read_input
from r3d2_ros.replay.ego_path import read_ego_path
from r3d2_ros.resources import user_path

COLUMNS = ("x", "y", "z", "yaw_deg")
MAX_CSV_BYTES = 64 * 2**20


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
    data = read_input(path, expected="a CSV file", most_bytes=MAX_CSV_BYTES)
    try:
        rows = list(csv.reader(data.decode("utf-8-sig").splitlines(), skipinitialspace=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(str(path), "a CSV file in UTF-8", str(error)) from error
    numbered = [(i, row) for i, row in enumerate(rows, start=1) if any(cell.strip() for cell in row)]
    order = list(COLUMNS)
    if numbered and not _is_number(numbered[0][1][0]):
        order = _header(numbered.pop(0)[1], path)
    points = [_point(row, order, f"{path}: line {i}") for i, row in numbered]
    return np.array(points, np.float64).reshape(-1, 3)


def _header(row: list[str], path: Path) -> list[str]:
    names = [cell.strip() for cell in row]
    if len(set(names)) < len(names) or not {"x", "y"} <= set(names) <= set(COLUMNS):
        raise InputError(
            f"{path}: header", "the columns x, y and optionally z, yaw_deg", ", ".join(names)[:80]
        )
    return names


def _point(row: list[str], order: list[str], where: str) -> tuple[float, float, float]:
    if not 2 <= len(row) <= len(order):
        raise InputError(where, f"the numbers {', '.join(order)}", ",".join(row)[:80])
    try:
        values = dict(zip(order, map(float, row), strict=False))
    except ValueError:
        raise InputError(where, "numbers", ",".join(row)[:80]) from None
    if not {"x", "y"} <= values.keys() or not all(abs(v) <= MAX_COORDINATE_M for v in values.values()):
        raise InputError(where, "finite coordinates x and y", ",".join(row)[:80])
    return values["x"], values["y"], values.get("z", 0.0)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
