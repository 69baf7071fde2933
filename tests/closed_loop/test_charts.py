"""Charts of the report: round ticks, every value inside the picture, names that cannot break out of the page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from r3d2_ros.closed_loop.charts import HEIGHT, MAX_POINTS, WIDTH, Band, Series, Shape, chart, map_view, thinned, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 10.0, [0, 2, 4, 6, 8, 10]),
        (-8.4, 8.4, [-5, 0, 5]),
        (0.0, 0.07, [0, 0.02, 0.04, 0.06]),
        (0.0, 2600.0, [0, 1000, 2000]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high, 5) == expected


def test_values_are_inside_the_picture() -> None:
    points = np.stack([np.linspace(3.0, 9.0, 50), np.sin(np.linspace(0, 9, 50)) * 40 - 7], axis=1)
    text = chart("a", [Series("b", "ego", points)], x_label="s", y_label="m", bands=[Band("drive", 4.0, 8.0)])
    path = re.search(r'polyline class="ego" points="([^"]+)"', text)
    assert path is not None
    places = np.array([[float(v) for v in pair.split(",")] for pair in path[1].split()])
    assert places[:, 0].min() >= 46 and places[:, 0].max() <= WIDTH - 12
    assert places[:, 1].min() >= 20 and places[:, 1].max() <= HEIGHT - 30
    assert np.all(np.diff(places[:, 0]) > 0)
    assert "drive" in text


def test_equal_values_and_no_values() -> None:
    level = chart("a", [Series("b", "ego", np.array([[0.0, 5.0], [1.0, 5.0]]))], x_label="s", y_label="m")
    assert "nan" not in level and "inf" not in level
    assert "nothing to show" in chart("a", [Series("b", "ego", np.zeros((0, 2)))], x_label="s", y_label="m")


def test_names_are_text() -> None:
    hostile = '<script>alert("x")</script>'
    line = np.array([[0.0, 0.0], [10.0, 3.0]])
    drawn = chart(hostile, [Series(hostile, "ego", line)], x_label=hostile, y_label=hostile)
    along = np.zeros(2), np.array([1.0, 0.0])
    drawn += map_view(hostile, [Shape("ego", line, label=hostile)], along=along, legend=[(hostile, "ego")])
    assert "<script" not in drawn
    ElementTree.fromstring(f"<div>{drawn}</div>")


def test_the_map_is_turned_along_the_drive_and_left_is_up() -> None:
    """Driving along +y of the map, what is 2 m to the left (-x) is drawn above the path."""
    path = np.array([[0.0, 0.0], [0.0, 50.0]])
    left = np.array([[-2.0, 0.0], [-2.0, 50.0]])
    along = np.zeros(2), np.array([0.0, 1.0])
    text = map_view("a", [Shape("ego", path), Shape("other", left)], along=along, legend=[])
    drawn = dict(re.findall(r'class="(ego|other)" points="([^"]+)"', text))
    assert drawn["ego"].split()[1] == "50.00,0.00"
    assert drawn["other"].split()[1] == "50.00,-2.00"  # y of pictures goes down


def test_long_series_are_thinned_and_keep_their_ends() -> None:
    points = np.stack([np.arange(5000.0), np.zeros(5000)], axis=1)
    kept = thinned(points)
    assert len(kept) == MAX_POINTS and kept[0, 0] == 0 and kept[-1, 0] == 4999
