"""Lane maps and labels on disk: what is written comes back, and faults name file and key."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.lane_map import LaneMap, MapLane, load_labels, load_lane_map, write_lane_map


def line(y_m: float) -> np.ndarray:
    return np.array([[0.0, y_m, 0.0], [50.0, y_m, 0.5], [100.0, y_m, 1.0]])


LANE = MapLane("right", line(0.0), line(1.75), line(-2.0))


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "lane_map.yaml"
    write_lane_map(path, LaneMap((LANE,), (line(-2.0), line(5.0)), {"footway": line(-4.0)}))
    again = load_lane_map(path)
    np.testing.assert_array_equal(again.lanes[0].right, LANE.right)
    np.testing.assert_array_equal(again.road_edges[1], line(5.0))
    np.testing.assert_array_equal(again.line("footway", ""), line(-4.0))
    np.testing.assert_array_equal(again.line("right", ""), LANE.centre)
    np.testing.assert_array_equal(LANE.outline, [[0, 1.75], [50, 1.75], [100, 1.75], [100, -2], [50, -2], [0, -2]])


def test_a_line_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="a.yaml: actors.0.place.lane: expected one of right, got 'left'"):
        LaneMap((LANE,)).line("left", "a.yaml: actors.0.place.lane")


def test_faults_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("lanes: [{id: a, centre: [[0, 0, 0]], left: [[0, 0, 0], [1, .nan, 0]], rigth: []}]\n")
    with pytest.raises(InputErrors) as caught:
        load_lane_map(path)
    text = str(caught.value)
    assert "m.yaml: lanes.0.centre" in text and "at least 2 items" in text
    assert "m.yaml: lanes.0.left.1.1: expected a finite number, got nan" in text
    assert "lanes.0.right" in text and "rigth" in text
    two = "{id: a, centre: [[0, 0, 0], [1, 0, 0]], left: [[0, 1, 0], [1, 1, 0]], right: [[0, -1, 0], [1, -1, 0]]}"
    path.write_text(f"lanes: [{two}, {two}]\n")
    with pytest.raises(InputError, match="names of lanes and lines once each, got a again"):
        load_lane_map(path)
    path.write_text(f"lanes: [{two}]\nlines: {{b: [[0, 0, 0], [1, 0, 0]], a: [[0, 0, 0], [1, 0, 0]]}}\n")
    with pytest.raises(InputError, match="names of lanes and lines once each, got a again"):
        load_lane_map(path)


@pytest.mark.parametrize("line", ["[[0, 0, 0], [0, 0, 0]]", "[[3, 1, 0], [3, 1, 5]]"])
def test_lines_that_lead_nowhere_are_refused(tmp_path: Path, line: str) -> None:
    path, good = tmp_path / "m.yaml", "[[0, 1, 0], [1, 1, 0]]"
    lane = f"{{id: a, centre: {line}, left: {good}, right: {line}}}"
    path.write_text(f"lanes: [{lane}]\nroad_edges: [{good}, {line}]\nlines: {{footway: {line}}}\n")
    with pytest.raises(InputErrors) as caught:
        load_lane_map(path)
    keys = ("lanes.0.centre", "lanes.0.right", "road_edges.1", "lines.footway")
    assert str(caught.value).splitlines() == [
        f"{path}: {key}: expected at least two different points, seen from above, got {line}" for key in keys
    ]


def test_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.npy"
    np.save(path, np.array([0, 2, 8], np.uint8))
    assert load_labels(path, 3).tolist() == [0, 2, 8]
    with pytest.raises(InputError, match="4 uint8 values, one for each Gaussian of the scene, got uint8 \\(3,\\)"):
        load_labels(path, 4)
    path.write_bytes(b"no numbers")
    with pytest.raises(InputError, match="labels.npy: expected a .npy file"):
        load_labels(path, 3)
    np.save(path, np.array([{"code": "run"}]), allow_pickle=True)
    with pytest.raises(InputError, match="labels.npy: expected a .npy file"):
        load_labels(path, 1)


def test_labels_are_train_ids(tmp_path: Path) -> None:
    path = tmp_path / "labels.npy"
    np.save(path, np.array([0, 18, 255], np.uint8))
    assert load_labels(path, 3).tolist() == [0, 18, 255]
    np.save(path, np.array([0, 19, 200], np.uint8))
    with pytest.raises(InputError) as caught:
        load_labels(path, 3)
    expected = "Cityscapes train ids: 0 to 18, or 255 for no class"
    assert str(caught.value) == f"{path}: expected {expected}, got 19 for row 1, counted from 0"


def npy(header: str, values: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + values


HEADER = "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }\n"


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, labels=np.zeros(5, np.uint8))
    return file.getvalue()


DAMAGED = {
    "nothing": (b"", "no .npy header"),
    "an archive": (npz(), "no .npy header (the magic string is not correct"),
    "an archive cut short": (npz()[:60], "no .npy header (the magic string is not correct"),
    "a pickle": (b"\x80\x04cos\nsystem\n.", "no .npy header (the magic string is not correct"),
    "version 3": (b"\x93NUMPY\x03\x00" + npy(HEADER % "(5,)", bytes(5))[8:], "a .npy file of version 3.0"),
    "a bracket too many": (npy(HEADER % "((5,)", bytes(5)), "no .npy header"),
    "a deep header": (npy("-" * 9000 + "1"), "no .npy header"),
    "a header of brackets": (npy("(" * 9000 + "1"), "no .npy header"),
    "a list as a key": (npy("{[]: 1}"), "no .npy header"),
    "objects": (npy(HEADER.replace("u1", "O") % "(5,)"), "object (5,)"),
    "more than fits": (npy(HEADER % "(10000000000000,)"), "uint8 (10000000000000,)"),
    "fewer than none": (npy(HEADER % "(-5,)", bytes(5)), "uint8 (-5,)"),
    "values cut short": (npy(HEADER % "(5,)", bytes(3)), "3 of them, then the end of the file"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_labels_are_told(tmp_path: Path, case: str) -> None:
    data, got = DAMAGED[case]
    path = tmp_path / "labels.npy"
    path.write_bytes(data)
    expected = "a .npy file of 5 uint8 values, one for each Gaussian of the scene"
    with pytest.raises(InputError) as caught:
        load_labels(path, 5)
    assert str(caught.value).startswith(f"{path}: expected {expected}, got {got}")
