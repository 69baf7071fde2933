"""Polylines by distance, with numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from r3d2_ros.lines import Line

CORNER = [[0, 0, 1], [10, 0, 1], [10, 20, 3]]
"""10 m along x, then 20 m along y, rising by 2 m."""


def test_points_by_distance() -> None:
    line = Line(CORNER)
    assert line.length_m == 30.0
    np.testing.assert_allclose(line.at(4.0), [4, 0, 1])
    np.testing.assert_allclose(line.at(20.0), [10, 10, 2])


def test_it_goes_on_straight_and_level() -> None:
    np.testing.assert_allclose(Line(CORNER).at(-5.0), [-5, 0, 1])
    np.testing.assert_allclose(Line(CORNER).at(35.0), [10, 25, 3])


def test_heading_and_pose() -> None:
    line = Line(CORNER)
    assert line.heading_rad(5.0) == pytest.approx(0.0)
    assert line.heading_rad(10.0) == pytest.approx(np.pi / 4)
    assert line.heading_rad(25.0) == pytest.approx(np.pi / 2)
    np.testing.assert_allclose(line.pose(25.0).apply([1.0, 0, 0]), [10, 16, 2.5], atol=1e-12)


def test_projection() -> None:
    line = Line(CORNER)
    assert line.project([3.0, 2.0, 0.0]) == pytest.approx(3.0)
    assert line.project([12.0, 7.0]) == pytest.approx(17.0)
    assert line.project([-9.0, 1.0]) == pytest.approx(-9.0)
    assert line.project([10.0, 21.0]) == pytest.approx(31.0)


def test_projection_near_a_place_of_a_lap() -> None:
    """Its 190 m end 10 m before its start and 0.1 m beside it: 9 m after the start are 9 m, or 19 m beyond the end."""
    lap = Line([[0, 0, 0], [40, 0, 0], [40, 40, 0], [-20, 40, 0], [-20, 0.1, 0], [-10, 0.1, 0]])
    assert lap.length_m == pytest.approx(189.9)
    assert lap.project([9.0, 0.08]) == pytest.approx(208.9)
    assert lap.project([9.0, 0.08], near_m=5.0) == pytest.approx(9.0)
    assert lap.project([9.0, 0.08], near_m=185.0) == pytest.approx(205.0)  # no further than 20 m
    assert lap.project([9.0, 0.08], near_m=500.0) == pytest.approx(229.9)  # as near the end of what goes on, 60 m


def test_shifted_to_the_left() -> None:
    line = Line([[0, 0, 0], [10, 0, 0], [20, 0, 0]]).shifted_left(1.5)
    np.testing.assert_allclose(line.at(10.0), [10, 1.5, 0])


@pytest.mark.parametrize("points", [[[0, 0, 0]], [[1, 1, 0], [1, 1, 5]]])
def test_one_place_is_no_line(points: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="two different points"):
        Line(points)
