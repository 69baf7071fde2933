"""Capture trajectories: rows of numbers to poses of base_link, and CSV files of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output
from r3d2_ros.formats.number_rows import read_number_rows
from r3d2_ros.geometry import Array, Rigid, matrix_to_quat
from r3d2_ros.input_checks import MAX_COORDINATE_M

COLUMNS = ("x", "y", "z", "qw", "qx", "qy", "qz")


def poses_from_rows(rows: Mapping[int, Sequence[float]], R_map_scene: Array, where: str) -> tuple[Rigid, ...]:
    """Poses of base_link in the scene frame from numbered rows [x, y, z] or [x, y, z, qw, qx, qy, qz].

    Without quaternions, x follows the tangent of the path and z is as close to the map's up as that allows.
    `where` ends with what the numbers count: 'scene.yaml: trajectory: row', 'path.csv: line'.
    InputError naming the row for rows of other or differing lengths, non-finite or absurd numbers and zero quaternions.
    """
    columns = len(next(iter(rows.values()), ()))
    for number, row in rows.items():
        if len(row) != columns or len(row) not in (3, 7):
            expected = "[x, y, z] or [x, y, z, qw, qx, qy, qz] in every row"
            raise InputError(f"{where} {number}", expected, f"{len(row)} numbers")
        if not (np.all(np.isfinite(row)) and np.all(np.abs(row[:3]) <= MAX_COORDINATE_M)):
            expected = f"finite numbers, coordinates within {MAX_COORDINATE_M:g}"
            raise InputError(f"{where} {number}", expected, str(list(row)))
        if len(row) == 7 and np.linalg.norm(row[3:]) < 1e-9:
            raise InputError(f"{where} {number}", "a quaternion of non-zero length", str(list(row[3:])))
    if not rows:
        return ()
    table = np.asarray(list(rows.values()), np.float64)
    if table.shape[1] == 7:
        return tuple(Rigid.from_quat(row[3:], row[:3]) for row in table)
    rotations = _tangent_rotations(table, R_map_scene)
    return tuple(Rigid(rotation, point) for rotation, point in zip(rotations, table, strict=True))


def _tangent_rotations(points: Array, R_map_scene: Array) -> Array:
    """Rotations [M, 3, 3] with x along the path [M, 3]; where it stands still, the last heading holds."""
    map_x, _, map_up = R_map_scene  # rows: the axes of the map in scene coordinates
    padded = np.concatenate([points[:1], points, points[-1:]])
    tangent = padded[2:] - padded[:-2]
    forward = map_x
    moving = np.linalg.norm(np.cross(tangent, map_up), axis=1) > 1e-9
    if moving.any():
        forward = tangent[int(np.argmax(moving))]
    rotations = np.empty((len(points), 3, 3))
    for i, moves in enumerate(moving):
        forward = tangent[i] if moves else forward
        x = forward / np.linalg.norm(forward)
        y = np.cross(map_up, x)
        y /= np.linalg.norm(y)
        rotations[i] = np.stack([x, y, np.cross(x, y)], axis=1)
    return rotations


def read_trajectory_csv(path: Path) -> dict[int, list[float]]:
    """Rows of a CSV file with the columns x, y, z and optionally qw, qx, qy, qz, by line; a header line is optional.

    With a header the columns may come in any order. InputError naming file and line.
    """
    table = read_number_rows(
        path,
        expected="a CSV file with a trajectory",
        columns=f"the columns {', '.join(COLUMNS[:3])} and optionally {', '.join(COLUMNS[3:])}",
        usable=lambda names: sorted(names) in (sorted(COLUMNS), sorted(COLUMNS[:3])),
    )
    if not table.rows:
        got = "none" if table.names is None else "a header only"
        raise InputError(str(path), "at least one row of x, y, z", got, "Or leave trajectory_file out of scene.yaml")
    return {number: _in_order(row, table.names, f"{path}: line {number}") for number, row in table.rows.items()}


def _in_order(row: list[float], names: tuple[str, ...] | None, where: str) -> list[float]:
    """The numbers of a row in the order of COLUMNS."""
    if names is None:
        if len(row) not in (3, 7):
            raise InputError(where, "3 or 7 numbers", f"{len(row)} numbers")
        return row
    if len(row) != len(names):
        raise InputError(where, f"{len(names)} numbers, as the header says", f"{len(row)} numbers")
    return [row[names.index(name)] for name in COLUMNS[: len(names)]]


def write_trajectory_csv(path: Path, poses: Sequence[Rigid]) -> None:
    """Write poses with a header line, every float exactly."""
    rows = [[*pose.translation, *matrix_to_quat(pose.rotation)] for pose in poses]
    text = "\n".join([",".join(COLUMNS), *(",".join(repr(float(v)) for v in row) for row in rows), ""])
    with atomic_output(path) as file:
        file.write(text.encode("ascii"))
