"""The drive with actors all around, and the street divided into more Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from r3d2_ros.bench.harmonizer.drive import AHEAD_M, BEHIND_M, rig_drive, world_states
from r3d2_ros.bench.harmonizer.setting import RigSize, divided, rig_text
from r3d2_ros.rigs import load_rig
from r3d2_ros.street.lanes import Lanes
from tests.gpu.scenes import box

X = np.linspace(0.0, 240.0, 481)
LANES = Lanes(
    ego=np.stack([X, 0 * X, 0 * X], 1),
    oncoming=np.stack([X[::-1], 0 * X + 3.5, 0 * X], 1),
    crossing=np.array([[120.0, -5.0, 0.0], [120.0, 9.0, 0.0]]),
    pavements=(np.stack([X, 0 * X - 5, 0 * X], 1), np.stack([X, 0 * X + 9, 0 * X], 1)),
)


def test_twenty_actors_are_near_the_ego_at_every_tick() -> None:
    drive = rig_drive(LANES, ticks=60, rate_hz=1.0, actors=20)
    assert len(drive.ticks) == 60 and len(drive.actor_ids) == 20
    assert drive.duration_s == pytest.approx(59.0)
    for tick in drive.ticks:
        assert len(tick.actors) == 20
        ahead = [a.T_world_actor.translation[0] - tick.T_world_ego.translation[0] for a in tick.actors]
        assert min(ahead) >= -BEHIND_M and max(ahead) <= AHEAD_M


def test_the_ego_goes_from_15_m_to_15_m_before_the_end_in_a_minute() -> None:
    drive = rig_drive(LANES, ticks=61, rate_hz=1.0, actors=1)
    first, last = drive.ticks[0].T_world_ego.translation, drive.ticks[-1].T_world_ego.translation
    assert first[0] == pytest.approx(15.0) and last[0] == pytest.approx(225.0, abs=0.4)
    assert drive.ticks[0].speed_mps == pytest.approx(3.5, abs=0.01)
    short = rig_drive(LANES, ticks=20, rate_hz=10.0, actors=1)
    assert short.ticks[0].speed_mps == 8.0


def test_traffic_keeps_to_its_side_and_its_direction() -> None:
    drive = rig_drive(LANES, ticks=2, rate_hz=10.0, actors=20)
    before, after = drive.ticks
    for a, b in zip(before.actors, after.actors, strict=True):
        place = a.id.rsplit("_", 1)[0]
        y = {"oncoming": 3.5, "ahead": 0.0, "behind": 0.0, "right": -5.0, "left": 9.0}[place]
        assert a.T_world_actor.translation[1] == pytest.approx(y)
        step = b.T_world_actor.translation[0] - a.T_world_actor.translation[0]
        speed = {"oncoming": -8.0, "ahead": 8.0, "behind": 8.0, "right": -1.4, "left": 1.4}[place]
        assert step == pytest.approx(0.1 * speed, abs=1e-6) or abs(step) > 100  # or it came round again


def test_no_two_actors_stand_in_one_place() -> None:
    drive = rig_drive(LANES, ticks=60, rate_hz=1.0, actors=20)
    for tick in drive.ticks[::5]:
        places = np.array([a.T_world_actor.translation for a in tick.actors])
        distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(20)
        assert distances.min() > 3.0


def test_states_number_the_actors_from_1_and_carry_the_stamps() -> None:
    drive = rig_drive(LANES, ticks=3, rate_hz=10.0, actors=5)
    states = world_states(drive)
    assert [state.stamp_ns for state in states] == [tick.stamp_ns for tick in drive.ticks]
    assert [actor.instance for actor in states[0].actors] == [1, 2, 3, 4, 5]
    assert states[0].instance_ids == drive.actor_ids
    assert np.diff([state.stamp_ns for state in states]).tolist() == [100_000_000] * 2


@pytest.mark.parametrize("cameras", [1, 6])
def test_the_rig_is_one_that_anyone_could_write(cameras: int, tmp_path) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text(rig_text(RigSize(cameras, (1080, 1920))))
    rig = load_rig(str(path))
    assert [(c.width_px, c.height_px) for c in rig.cameras] == [(1920, 1080)] * cameras
    forward = np.array([c.T_ego_camera.rotation[:, 2] for c in rig.cameras])
    yaw_deg = np.degrees(np.arctan2(forward[:, 1], forward[:, 0])) % 360
    np.testing.assert_allclose(yaw_deg, [360 * k / cameras for k in range(cameras)], atol=1e-6)
    assert yaml.safe_load(path.read_text())["name"] == f"{cameras} x 1920x1080"


@pytest.mark.parametrize("count", [30, 100, 250])
def test_a_divided_scene_keeps_its_place_and_colours(count: int) -> None:
    whole = box(100, seed=0)
    parts = divided(whole, count)
    assert len(parts) == count
    known = {colour.tobytes() for colour in whole.sh}
    assert all(colour.tobytes() in known for colour in parts.sh)
    np.testing.assert_allclose(parts.means.mean(axis=0), whole.means.mean(axis=0), atol=0.5)
    np.testing.assert_array_equal(divided(whole, count).means, parts.means)
    if count == 30:
        assert {mean.tobytes() for mean in parts.means} <= {mean.tobytes() for mean in whole.means}
    if count == 250:
        # Two or three parts of each, at most half a standard deviation of it away along each axis, and smaller.
        distance = np.linalg.norm(parts.means[:, None] - whole.means[None], axis=2).min(axis=1)
        assert 0 < distance.max() <= 0.5 * np.sqrt(3) * whole.scales.max()
        assert parts.scales.max() == pytest.approx(0.75 * whole.scales.max())
