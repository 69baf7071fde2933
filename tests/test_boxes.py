"""Rectangles on the ground, with distances and times worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r3d2_ros.boxes import box, gap_m, rectangle, time_to_touch, touch
from r3d2_ros.geometry import Array, Rigid


def car(x_m: float, y_m: float, yaw_deg: float = 0.0) -> Array:
    """4 m long, 2 m wide, centred on (x, y)."""
    return rectangle(x_m, y_m, math.radians(yaw_deg), length_m=4.0, width_m=2.0)


def test_corners_begin_at_the_front_left() -> None:
    corners = rectangle(10.0, 5.0, math.pi / 2, length_m=4.0, width_m=2.0, centre_m=1.0)
    np.testing.assert_allclose(corners, [[9, 8], [11, 8], [11, 4], [9, 4]], atol=1e-12)
    T = Rigid.from_xyz_yaw(10.0, 5.0, 0.0, math.pi / 2)
    np.testing.assert_allclose(box(T, (4.0, 2.0, 1.5), 1.0), corners, atol=1e-12)


@pytest.mark.parametrize(
    ("other", "gap"),
    [
        (car(3.0, 0.0), 0.0),
        (car(4.0, 0.0), 0.0),
        (car(4.5, 0.0), 0.5),
        (car(0.0, 2.6), 0.6),
        (car(7.0, 6.0), 5.0),  # corner (2, 1) to corner (5, 5)
        (car(5.0, 0.0, 90.0), 2.0),  # turned, it is 2 m long along x: from 4 m on
        (car(2.0 + math.sqrt(5.0) + 1.0, 0.0, math.degrees(math.atan(0.5))), 1.0),  # a corner points at the edge
    ],
)
def test_gaps(other: Array, gap: float) -> None:
    assert gap_m(car(0.0, 0.0), other) == pytest.approx(gap, abs=1e-9)
    assert gap_m(other, car(0.0, 0.0)) == pytest.approx(gap, abs=1e-9)
    assert touch(car(0.0, 0.0), other) == (gap == 0.0)


@pytest.mark.parametrize(
    ("other", "velocity", "seconds"),
    [
        (car(14.0, 0.0), (-5.0, 0.0), 2.0),  # 10 m of free road at 5 m/s
        (car(14.0, 1.9), (-5.0, 0.0), 2.0),  # overlaps by 0.1 m
        (car(14.0, 2.1), (-5.0, 0.0), math.inf),  # passes beside
        (car(14.0, 0.0), (5.0, 0.0), math.inf),  # drives away
        (car(14.0, 0.0), (0.0, 0.0), math.inf),
        (car(1.0, 0.0), (5.0, 0.0), 0.0),  # touches already
        (car(0.0, 12.0, 90.0), (0.0, -3.0), 3.0),  # from the side: 12 - 1 - 2 = 9 m at 3 m/s
        (car(30.0, 12.0, 90.0), (-1.0, -3.0), math.inf),  # has crossed before it gets here
    ],
)
def test_times_to_touch(other: Array, velocity: tuple[float, float], seconds: float) -> None:
    assert time_to_touch(car(0.0, 0.0), other, velocity) == pytest.approx(seconds)


numbers = st.floats(-12.0, 12.0)


@given(x=numbers, y=numbers, yaw=st.floats(-3.2, 3.2), vx=numbers, vy=numbers)
def test_against_small_steps(x: float, y: float, yaw: float, vx: float, vy: float) -> None:
    """The exact time lies within one step of the first step that touches; nothing touches before it."""
    still = car(0.0, 0.0)
    seconds = time_to_touch(still, rectangle(x, y, yaw, length_m=4.0, width_m=2.0), (vx, vy))
    steps = np.arange(0.0, 3.0, 0.02)
    hits = [t for t in steps if touch(still, rectangle(x + vx * t, y + vy * t, yaw, length_m=4.0, width_m=2.0))]
    if hits:
        assert max(0.0, hits[0] - 0.02 - 1e-6) <= seconds <= hits[0] + 1e-6
    else:
        # A graze between two steps is shorter than one step.
        assert seconds > 2.96 or not touch(
            still, rectangle(x + vx * (seconds + 0.021), y + vy * (seconds + 0.021), yaw, length_m=4.0, width_m=2.0)
        )


@given(x=numbers, y=numbers, yaw=st.floats(-3.2, 3.2))
def test_gap_against_points_along_the_edges(x: float, y: float, yaw: float) -> None:
    a, b = car(0.0, 0.0), rectangle(x, y, yaw, length_m=4.0, width_m=2.0)
    share = np.linspace(0.0, 1.0, 81)[:, None]

    def outline(corners: Array) -> Array:
        return np.concatenate([p + share * (q - p) for p, q in zip(corners, np.roll(corners, -1, axis=0), strict=True)])

    sampled = np.linalg.norm(outline(a)[:, None] - outline(b)[None], axis=2).min()
    exact = gap_m(a, b)
    assert exact <= sampled + 1e-9
    if exact > 0.0:
        assert sampled - exact < 0.05
