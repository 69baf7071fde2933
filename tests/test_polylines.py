"""Lines to build a street along, from bags and CSV files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.errors import InputError
from r3d2_ros.polylines import read_polyline, thinned
from tests.data import shared_data


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "path.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_autoware_bag_becomes_a_line_along_its_drive():
    line = read_polyline(shared_data("autoware-bag-ego"))
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    assert steps.min() >= 1.0 and steps.max() < 1.2
    assert steps.sum() == pytest.approx(166.9, abs=1.2)  # the last piece may be shorter than a metre
    assert np.all(line[:, 2] == 100.0)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("0,0\n3,4\n", [[0, 0, 0], [3, 4, 0]]),
        ("0,0,1\n3,4,2\n", [[0, 0, 1], [3, 4, 2]]),
        ("0,0,1,90\n3,4,2,45\n", [[0, 0, 1], [3, 4, 2]]),
        ("x,y\n0,0\n3,4\n", [[0, 0, 0], [3, 4, 0]]),
        ("yaw_deg, y, x\n10, 0, 0\n\n10, 4, 3\n", [[0, 0, 0], [3, 4, 0]]),
        ("\ufeffx,y,z\r\n0,0,1\r\n3,4,2\r\n", [[0, 0, 1], [3, 4, 2]]),
        (
            "500000.25,4600000.5\n500010.25,4600000.5\n",
            [[500000.25, 4600000.5, 0], [500010.25, 4600000.5, 0]],
        ),
    ],
)
def test_csv(tmp_path: Path, text: str, expected: list[list[float]]):
    np.testing.assert_array_equal(read_polyline(csv(tmp_path, text)), expected)


def test_thinning_keeps_points_at_least_the_spacing_apart():
    """Every 0.3 m along x, standing still in between: of 0, 0.3, 0.6, ... 2.4 the first at or beyond 1 m are
    kept."""
    x = np.array([0.0, 0.3, 0.6, 0.6, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1, 2.4])
    points = np.stack([x, np.zeros_like(x), np.zeros_like(x)], axis=1)
    np.testing.assert_array_equal(thinned(points, 1.0)[:, 0], [0.0, 1.2, 2.4])


@pytest.mark.parametrize(
    "text, where, expected",
    [
        ("", "", "a path that leads at least 1 m away"),
        ("0,0\n0.5,0\n", "", "a path that leads at least 1 m away"),
        ("x,z\n0,0\n", ": header", "the columns x, y and optionally z, yaw_deg"),
        ("x,y,speed\n0,0,3\n", ": header", "the columns x, y"),
        ("x,y,x\n0,0,3\n", ": header", "the columns x, y"),
        ("0,0\n\n1,one\n", ": line 3", "numbers"),
        ('"0","0\n"\n1,one\n', ": line 3", "numbers"),
        ("0,0\n5\n", ": line 2", "the numbers x, y, z, yaw_deg"),
        ("0,0\n1,2,3,4,5\n", ": line 2", "the numbers x, y, z, yaw_deg"),
        ("0,0\nnan,1\n", ": line 2", "finite coordinates"),
        ("0,0\n1e300,1\n", ": line 2", "finite coordinates"),
    ],
)
def test_wrong_csv_names_file_and_line(tmp_path: Path, text: str, where: str, expected: str):
    path = csv(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_polyline(path)
    assert caught.value.where == f"{path}{where}" and expected in caught.value.expected


def test_binary_and_missing_csv(tmp_path: Path):
    path = tmp_path / "path.csv"
    with pytest.raises(InputError, match="no such file"):
        read_polyline(path)
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="UTF-8"):
        read_polyline(path)


def test_pipes_and_unknown_home_folders(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="pipe.csv: expected a CSV file, got a named pipe, not a regular file"):
        read_polyline(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="path of a drive: expected a path, got '~nobody-has-this/a.csv'"):
        read_polyline("~nobody-has-this/a.csv")
