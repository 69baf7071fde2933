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


def drawn_bands(*bands: Band) -> list[tuple[str, float]]:
    """Class and left edge of each band of a chart from 0 to 10."""
    line = Series("b", "ego", np.array([[0.0, 1.0], [10.0, 2.0]]))
    text = chart("a", [line], x_label="s", y_label="m", bands=bands)
    return [(kind, float(x)) for kind, x in re.findall(r'<rect class="(band\d)" x="([\d.]+)"', text)]


def test_bands_that_follow_each_other_look_different_also_around_one_without_length() -> None:
    bands = drawn_bands(Band("warmup", 0.0, 3.0), Band("engage", 3.0, 3.0), Band("drive", 3.0, 10.0))
    assert [kind for kind, _ in bands] == ["band0", "band1"]


def test_names_of_short_bands_do_not_lie_on_each_other() -> None:
    line = Series("b", "ego", np.array([[0.0, 1.0], [100.0, 2.0]]))
    bands = [Band("warmup", 0.0, 1.0), Band("engage", 1.0, 2.0), Band("drive", 2.0, 100.0)]
    text = chart("a", [line], x_label="s", y_label="m", bands=bands)
    places = [float(x) for x in re.findall(r'<text class="note" x="([\d.]+)"', text)]
    assert len(places) == 3 and min(np.diff(places)) > 6 * 6  # six letters of about 6 units


def square(x: float, y: float) -> np.ndarray:
    return np.array([[x, y], [x + 4, y], [x + 4, y + 2], [x, y + 2]])


def test_names_on_the_map_stand_beside_their_boxes_and_clear_of_each_other() -> None:
    """Two boxes that overlap, and one far away; up in the picture is down in numbers."""
    shapes = [Shape("actor", square(0, 0), closed=True, label="target"),
              Shape("ego", square(1.5, 0), closed=True, label="ego"),
              Shape("other", square(60, 0), closed=True, label="bus")]  # fmt: skip
    text = map_view("a", shapes, along=(np.zeros(2), np.array([1.0, 0.0])), legend=[])
    found = re.findall(r'<text class="note name" x="([-\d.]+)" y="([-\d.]+)" font-size="([\d.]+)"[^>]*>(\w+)<', text)
    size = float(found[0][2])
    at = {name: (float(x), float(y)) for x, y, _, name in found}
    assert at["target"][1] < -2 < at["target"][1] + 2 * size  # the box ends at -2, just below
    assert at["ego"][1] - size > 0, "below its box, for above it the other name stands"
    assert at["bus"] == (62, at["target"][1])
    assert text.rindex("<polygon") < text.index("<text"), "names are drawn last"
