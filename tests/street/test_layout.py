"""Route and lots: the road follows any path, houses never stand on it."""

from __future__ import annotations

import numpy as np
import pytest

from r3d2_ros.errors import InputError
from r3d2_ros.street.layout import HALF_ROAD_M, PAVEMENT_EDGE_M, WALK_M, inside_any
from r3d2_ros.street.lots import place_lots
from r3d2_ros.street.route import LANE_OFFSET_M, RUN_OUT_M, make_route


def line(*points: tuple[float, float]) -> np.ndarray:
    return np.array([(x, y, 0.0) for x, y in points])


turn = np.linspace(0.0, 2.0 * np.pi, 200)
PATHS = {
    "right angle": line((0, 0), (60, 0), (60, 60)),
    "there and back 9 m beside": line((0, 0), (60, 0), (60, 9), (0, 9)),
    "hairpin": line((0, 0), (50, 0), (0, 1)),
    "circle": np.stack([20 * np.cos(turn), 20 * np.sin(turn), 0 * turn], axis=1),
    "figure of eight": np.stack([40 * np.sin(turn), 25 * np.sin(2 * turn), 0 * turn], axis=1),
    "two metres": line((0, 0), (2, 0)),
    "with stops": np.concatenate([np.zeros((50, 3)), line((0, 0), (30, 5)), np.tile([[30.0, 5.0, 0.0]], (50, 1))]),
}


@pytest.mark.parametrize("name", PATHS)
def test_no_house_stands_on_any_part_of_the_road(name: str) -> None:
    route = make_route(PATHS[name])
    lots = place_lots(route, np.random.default_rng(1))
    assert len(lots) >= 8
    a, b = (grid.ravel() for grid in np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 40)))
    for lot in lots:
        inside = lot.origin[:2] + np.stack([a * lot.width_m, b * lot.depth_m], axis=1) @ lot.rotation[:2, :2].T
        assert np.linalg.norm(route.drive[:, None, :2] - inside[None], axis=2).min() > HALF_ROAD_M
        assert np.abs(route.locate(inside)[1]).min() > PAVEMENT_EDGE_M - 0.1


@pytest.mark.parametrize("name", PATHS)
def test_ego_drives_on_the_road(name: str) -> None:
    route = make_route(PATHS[name])
    assert np.abs(route.locate(route.drive[:, :2])[1]).max() < HALF_ROAD_M - 0.9  # half a car stays inside


@pytest.mark.parametrize("name", PATHS)
def test_road_goes_on_beyond_both_ends(name: str) -> None:
    route = make_route(PATHS[name])
    assert route.start_m == pytest.approx(-RUN_OUT_M, abs=2.0)
    assert route.end_m - route.drive_length_m == pytest.approx(RUN_OUT_M, abs=2.0)
    assert RUN_OUT_M >= 30.0


def circle(radius_m: float, turns: float) -> np.ndarray:
    """Counter-clockwise, or clockwise for a negative number of turns."""
    angle = 2 * np.pi * turns * np.linspace(0.0, 1.0, 400)
    return np.stack([radius_m * np.cos(angle), radius_m * np.sin(angle), 0 * angle], axis=1)


WITHOUT_ROOM = {
    "once around": (circle(3.0, 1), r"one of 18.5\d m that turns by 34\d degrees"),
    "twice around": (circle(3.0, 2), r"one of 37.1\d m that turns by 70\d degrees"),
    "turned on the spot": (circle(2.0, 0.5), r"one of 6.0\d m"),
    "there and back": (line((0, 0), (3, 0), (0, 0)), "that turns by 180 degrees"),
    "jitter": (line(*[(0.06 * (k % 2), 0) for k in range(60)]), "one of 0.06 m that turns by 0 degrees"),
}
NARROW = {
    "once around": circle(4.0, 1),
    "three times around": circle(4.0, 3),
    "clockwise": circle(2.0, -1),
    "a metre": line((0, 0), (1, 0)),
}


@pytest.mark.parametrize("name", WITHOUT_ROOM)
def test_a_drive_without_room_for_a_street_is_refused(name: str) -> None:
    path, got = WITHOUT_ROOM[name]
    with pytest.raises(InputError, match=f"street: path: expected a drive of at least 1 m with room .*, got .*{got}"):
        make_route(path)


@pytest.mark.parametrize("name", NARROW)
def test_lines_beside_a_narrow_drive_lead_somewhere(name: str) -> None:
    route = make_route(NARROW[name])
    for t_m in (LANE_OFFSET_M, -WALK_M, WALK_M):
        assert np.ptp(np.round(route.beside_drive(t_m)[:, :2], 3), axis=0).max() >= 0.099


def test_houses_do_not_overlap() -> None:
    route = make_route(PATHS["right angle"])
    lots = place_lots(route, np.random.default_rng(3))
    for k, lot in enumerate(lots):
        others = np.array([other.corners for j, other in enumerate(lots) if j != k])
        grid = np.array([(x, y) for x in np.linspace(0, 1, 15) for y in np.linspace(0, 1, 15)])
        inside = lot.origin[:2] + grid * [lot.width_m, lot.depth_m] @ lot.rotation[:2, :2].T
        assert not np.any(inside_any(inside, others, margin_m=0.05))


def test_places_and_their_inverse() -> None:
    """On a straight street along x with the ego at y = 0 the centre line is y = 1.75."""
    route = make_route(line((0, 0), (100, 0)))
    np.testing.assert_allclose(route.at(np.array([20.0]), np.array([3.0]))[0], [20.0, 4.75, 0.0], atol=1e-6)
    s, t, z = route.locate(np.array([[20.0, 4.75], [50.0, -1.0]]))
    np.testing.assert_allclose([*s, *t, *z], [20.0, 50.0, 3.0, -2.75, 0.0, 0.0], atol=1e-6)


def test_folds_of_a_tight_bend_belong_to_one_place() -> None:
    """Offset 6 m inside a bend of 4 m radius the profile folds over: those cells are not owned."""
    angle = np.linspace(0, np.pi / 2, 60)
    bend = np.stack([4 * np.sin(angle), 4 - 4 * np.cos(angle), 0 * angle], axis=1)
    route = make_route(np.concatenate([line((-40, 0), (-1, 0)), bend, line((4, 5), (4, 44))]))
    s = np.linspace(40.0, 46.0, 30)
    t = np.full(30, 6.0)
    assert not np.any(route.owns(s, t, route.at(s, t)[:, :2]))
    assert np.all(route.owns(s, np.zeros(30), route.at(s, np.zeros(30))[:, :2]))
