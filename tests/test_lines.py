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
    assert lap.project([9.0, 0.08], near_m=185.0) == pytest.approx(208.9)
    assert lap.project([9.0, 0.08], near_m=500.0) == pytest.approx(208.9)  # as near the end of what goes on, 60 m


def test_projection_follows_who_is_fast_or_looks_seldom() -> None:
    """50 m between two looks, on a straight and around a circle of 100 m."""
    turns = np.linspace(0, 2 * np.pi, 361)
    circle = Line(np.stack([100 * np.cos(turns), 100 * np.sin(turns), 0 * turns], axis=1))
    for line in (Line([[0, 0, 0], [1000, 0, 0]]), circle):
        near_m = 0.0
        for s_m in np.arange(0.0, 600.0, 50.0):
            near_m = line.project(line.at(s_m), near_m=near_m)
            assert near_m == pytest.approx(s_m, abs=0.02)


def test_who_turns_early_is_on_the_way_back() -> None:
    """Out and back, 6 m apart; the turn at 100 m is taken at 30 m."""
    there_and_back = Line([[0, 0, 0], [100, 0, 0], [100, 6, 0], [0, 6, 0]])
    near_m = there_and_back.project([30, 0], near_m=29.0)
    assert near_m == pytest.approx(30.0)
    for x in (30.0, 25.0, 1.0):
        near_m = there_and_back.project([x, 6], near_m=near_m)
    assert near_m == pytest.approx(205.0)


def test_of_places_alike_the_first_is_meant() -> None:
    """A lap that begins in the middle of a straight: what goes on beyond its end is where it began."""
    lap = Line([[0, 0, 0], [50, 0, 0], [50, 50, 0], [-50, 50, 0], [-50, 0, 0], [-1e-9, 0, 0]])
    for x in (0.1, 0.7, 2.0):
        assert lap.project([x, 0.0]) == pytest.approx(x, abs=1e-5)


def test_shifted_to_the_left() -> None:
    line = Line([[0, 0, 0], [10, 0, 0], [20, 0, 0]]).shifted_left(1.5)
    np.testing.assert_allclose(line.at(10.0), [10, 1.5, 0])


@pytest.mark.parametrize("points", [[[0, 0, 0]], [[1, 1, 0], [1, 1, 5]]])
def test_one_place_is_no_line(points: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="two different points"):
        Line(points)
