"""The drive script: nobody touches anybody, one crosses, one comes towards the ego, on any street."""

from __future__ import annotations

import numpy as np
import pytest

from r3d2_ros.boxes import box, touch
from r3d2_ros.demo.drive import Drive
from r3d2_ros.demo.ego import RATE_HZ, START_NS, recorded_motion, scripted_motion
from r3d2_ros.demo.script import make_drive
from r3d2_ros.geometry import Rigid
from r3d2_ros.lines import Line
from r3d2_ros.replay.ego_path import EgoPath
from r3d2_ros.street.lanes import Lanes
from tests.demo.streets import SIZES, curved_street, overlaps, straight_street


def scripted(lanes: Lanes, *, ticks: int = 120) -> Drive:
    lane = Line(lanes.ego)
    crossing_m = lane.project(lanes.crossing.mean(axis=0))
    motion = scripted_motion(lane, start_m=crossing_m - 50.0, crossing_m=crossing_m, ticks=ticks)
    return make_drive("scripted", motion, lanes, SIZES)


def recorded(lanes: Lanes, speeds_mps: list[float]) -> Drive:
    """A drive along the ego lane with one speed per tenth of a second."""
    lane = Line(lanes.ego)
    s = np.concatenate([[0.0], np.cumsum(speeds_mps) / RATE_HZ])
    stamps = 1_600_000_000_000_000_000 + (np.arange(len(s)) * 100_000_000)
    path = EgoPath(stamps, tuple(lane.pose(float(at)) for at in s), "/pose", "map")
    return make_drive("recorded", recorded_motion(path, lane), lanes, SIZES)


DRIVES = {
    "straight": lambda: scripted(straight_street()),
    "curved": lambda: scripted(curved_street()),
    "recorded": lambda: recorded(straight_street(length_m=160.0, zebra_m=80.0), [4.0] * 400),
    "recorded with a stop": lambda: recorded(
        straight_street(length_m=120.0, zebra_m=70.0), [5.0] * 60 + [0.0] * 100 + [5.0] * 180
    ),
    "recorded, before the crossing": lambda: recorded(straight_street(length_m=60.0, zebra_m=59.0), [3.0] * 150),
    "recorded, hardly moving": lambda: recorded(straight_street(length_m=5.0, zebra_m=2.5), [0.5] * 100),
}


@pytest.fixture(params=DRIVES, scope="module")
def drive(request: pytest.FixtureRequest) -> Drive:
    return DRIVES[request.param]()


def test_nobody_touches_anybody(drive: Drive) -> None:
    for number, tick in enumerate(drive.ticks):
        assert not overlaps(tick), (number, overlaps(tick))


def test_at_least_five_actors_at_every_tick(drive: Drive) -> None:
    assert min(len(tick.actors) for tick in drive.ticks) >= 5
    assert all(len({actor.id for actor in tick.actors}) == len(tick.actors) for tick in drive.ticks)


def test_one_crosses_the_lane_ahead_of_the_ego() -> None:
    for drive in (scripted(straight_street()), recorded(straight_street(length_m=160.0, zebra_m=80.0), [4.0] * 400)):
        seen = [tick.T_world_ego.inverse().apply(position(tick, "pedestrian_crossing")) for tick in drive.ticks]
        in_lane = [x for x, y, _ in seen if abs(y) < 0.5]
        assert in_lane
        assert min(in_lane) > 4.0
        assert any(y < -2 for _, y, _ in seen)
        assert any(y > 2 for _, y, _ in seen)


def test_one_comes_towards_the_ego_in_the_other_lane() -> None:
    drive = scripted(straight_street())
    ahead = [tick.T_world_ego.inverse().apply(position(tick, "oncoming_car")) for tick in drive.ticks]
    assert ahead[0][0] > 20
    assert ahead[-1][0] < -20
    assert all(y == pytest.approx(3.5, abs=0.01) for _, y, _ in ahead)
    (car,) = [actor for actor in drive.ticks[0].actors if actor.id == "oncoming_car"]
    assert abs(car.T_world_actor.yaw_rad) == pytest.approx(np.pi)
    assert car.speed_mps == pytest.approx(8.0)


def test_the_bus_stands_while_somebody_crosses() -> None:
    drive = scripted(straight_street())
    speeds = {k: speed(tick, "waiting_bus") for k, tick in enumerate(drive.ticks)}
    crossing = [k for k, tick in enumerate(drive.ticks) if 0.0 <= position(tick, "pedestrian_crossing")[1] <= 4.0]
    assert crossing
    assert all(speeds[k] == pytest.approx(0.0, abs=1e-9) for k in crossing)
    assert speeds[len(drive.ticks) - 1] > 3.0


def test_the_scripted_ego_slows_down_for_the_crossing() -> None:
    drive = scripted(straight_street())
    speeds = [tick.speed_mps for tick in drive.ticks]
    assert speeds[0] == pytest.approx(8.0, abs=0.1)
    assert min(speeds) == pytest.approx(4.0, abs=0.1)
    assert speeds[-1] == pytest.approx(8.0, abs=0.1)
    steps = np.diff([tick.stamp_ns for tick in drive.ticks])
    assert drive.ticks[0].stamp_ns == START_NS
    assert set(steps) == {100_000_000}


def test_recorded_poses_are_driven_as_they_are() -> None:
    lanes = straight_street(length_m=160.0, zebra_m=80.0)
    drive = recorded(lanes, [4.0] * 400)
    assert len(drive.ticks) == 401
    np.testing.assert_allclose(drive.ticks[100].T_world_ego.translation, [40.0, 0, 0], atol=1e-9)
    assert drive.ticks[100].stamp_ns == 1_600_000_010_000_000_000
    assert drive.ticks[100].speed_mps == pytest.approx(4.0, abs=1e-6)


def test_moments_are_in_order_and_inside_the_drive(drive: Drive) -> None:
    ticks = [moment.tick for moment in drive.moments]
    assert ticks == sorted(set(ticks))
    assert all(0 <= tick < len(drive.ticks) for tick in ticks)


def test_the_scripted_drive_shows_four_moments() -> None:
    labels = [moment.label for moment in scripted(straight_street()).moments]
    assert labels == ["oncoming car", "cyclist", "pedestrian crosses", "bus that gave way"]


def position(tick: object, name: str) -> np.ndarray:
    return _actor(tick, name).T_world_actor.translation


def speed(tick: object, name: str) -> float:
    return _actor(tick, name).speed_mps


def _actor(tick: object, name: str) -> object:
    return next(actor for actor in tick.actors if actor.id == name)


def test_a_turned_pose_keeps_its_own_heading() -> None:
    """The recorded orientation is published, not the lane's."""
    lanes = straight_street(length_m=160.0)
    poses = tuple(Rigid.from_xyz_yaw(2.0 * k, 0.0, 0.0, 0.1) for k in range(50))
    path = EgoPath(np.arange(50) * 100_000_000, poses, "/pose", "map")
    drive = make_drive("turned", recorded_motion(path, Line(lanes.ego)), lanes, SIZES)
    assert all(tick.T_world_ego.yaw_rad == pytest.approx(0.1) for tick in drive.ticks)


def test_a_path_that_crosses_itself_has_no_collisions_either() -> None:
    """A figure of eight, twice through the same crossing."""
    t = np.linspace(0.0, 2 * np.pi, 500)
    ego = np.stack([60.0 * np.sin(t), 30.0 * np.sin(2 * t), np.zeros_like(t)], axis=1)
    line = Line(ego)
    lanes = Lanes(
        ego,
        line.shifted_left(3.5).points[::-1].copy(),
        np.stack([line.shifted_left(-4.0).points[120], line.shifted_left(7.5).points[120]]),
        (line.shifted_left(-3.65).points, line.shifted_left(7.15).points),
    )
    drive = recorded(lanes, [6.0] * int(line.length_m / 0.6 - 1))
    assert all(not overlaps(tick) for tick in drive.ticks)
    assert len(drive.actor_ids) >= 3


@pytest.mark.parametrize(
    ("moved", "turned_deg", "expected"),
    [
        ((4.9, 0.0), 0, False),
        ((4.6, 0.0), 0, True),
        ((0.0, 2.0), 0, False),
        ((3.0, 0.0), 90, True),
        ((3.5, 0.0), 90, False),
    ],
)
def test_rectangles_touch(moved: tuple[float, float], turned_deg: int, expected: bool) -> None:
    """4.7 x 1.9 m each: centres 4.7 m apart in line, 1.9 m side by side, 3.3 m when one stands across."""
    size = (4.7, 1.9, 1.5)
    other = Rigid.from_xyz_yaw(*moved, 0.0, np.radians(turned_deg))
    assert touch(box(Rigid.identity(), size), box(other, size)) is expected
