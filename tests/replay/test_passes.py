"""Passes of a recording's time. The ego drives along x with 10 m/s from the stamp 0 s on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from r3d2_ros.config import SimConfig
from r3d2_ros.replay.passes import Passes, read_passes
from r3d2_ros.replay.recording import open_recording
from r3d2_ros.state_buffer import BufferConfig
from tests.replay.bags import (
    Entry,
    actor_array,
    autoware_object,
    autoware_objects,
    detection,
    detections,
    drive,
    ns,
    odometry,
    oncoming,
    pose,
    recorded,
    write_bag,
)
from tests.replay.test_ticks import LIBRARY

TIMES = [round(0.1 * k, 1) for k in range(31)]
BOX = (4.0, 2.0, 1.5)


def passes(folder: Path, entries: list[Entry], config: SimConfig | None = None) -> Passes:
    config = config or SimConfig()
    with open_recording(write_bag(folder / "bag", entries), config=config, library=LIBRARY) as recording:
        return read_passes(recording, config=config, library=LIBRARY)


def later(entry: Entry, seconds: float) -> Entry:
    """The same message, recorded later."""
    return replace(entry, log_ns=entry.log_ns + round(seconds * 1e9))


def causes(found: Passes) -> dict[str, int]:
    return {report.cause: report.count for report in found.reports}


def test_one_pass_has_every_pose_and_every_array(tmp_path: Path) -> None:
    config = SimConfig(state=BufferConfig(max_messages=16))  # of 31: a bag has them all
    found = passes(tmp_path, [*drive(TIMES), *oncoming(TIMES)], config)
    (only,) = found.passes
    assert list(only.ego) == list(only.actors) == [ns(t) for t in TIMES]
    assert only.ego[ns(2.0)].translation[0] == 20.0
    (actor,) = only.actors[ns(2.0)]
    assert (actor.id, actor.T_world_actor.translation[0]) == ("other", 10.0)
    assert not found.reports


def test_passes_are_cut_where_time_goes_back_and_keep_their_actors(tmp_path: Path) -> None:
    """The second time, recorded 10 s later, the ego drives with 5 m/s and somebody else is there."""
    again = [later(entry, 10.0) for entry in drive(TIMES, speed=5.0)]
    others = [later(recorded("/actors", t, actor_array(t, b=(7.0, 0.0, 0.0, 0.0))), 10.0) for t in TIMES]
    found = passes(tmp_path, [*drive(TIMES), *oncoming(TIMES), *again, *others])
    first, second = found.passes
    assert [each.ego[ns(3.0)].translation[0] for each in (first, second)] == [30.0, 15.0]
    assert {actor.id for states in first.actors.values() for actor in states} == {"other"}
    assert {actor.id for states in second.actors.values() for actor in states} == {"b"}
    assert causes(found) == {"time_jump": 1}


def test_stray_stamps_are_taken_out(tmp_path: Path) -> None:
    """One pose and one array between 2.0 and 2.1 s say that it is 60 s."""
    poses = [*drive(TIMES), later(drive([60.0])[0], -57.97)]
    arrays = [*oncoming(TIMES), later(oncoming([60.0])[0], -57.97)]
    found = passes(tmp_path, [*poses, *arrays])
    (only,) = found.passes
    assert max(only.ego) == max(only.actors) == ns(3.0)
    assert causes(found) == {"ego.stray_stamp": 1, "actors.stray_stamp": 1}


def test_stray_first_stamps_are_no_pass(tmp_path: Path) -> None:
    """Two poses with the time of a wall come before the simulated time, which the actors have from the start."""
    wall = [later(entry, -1000.5) for entry in drive([1000.0, 1000.1])]
    found = passes(tmp_path, [*wall, *drive(TIMES), *oncoming(TIMES)])
    (only,) = found.passes
    assert (min(only.ego), max(only.ego)) == (ns(0.0), ns(3.0))
    assert causes(found)["ego.stray_stamp"] == 1


def test_other_frames_are_refused(tmp_path: Path) -> None:
    """Half of the poses are in 'odom', every second array is in 'base_link'."""
    shifted = [recorded("/odom", t, odometry(t, pose(500.0), frame="odom")) for t in TIMES[16:]]
    arrays = [
        recorded("/actors", t, actor_array(t, frame="base_link" if k % 2 else "map", a=(20.0, 0.0, 0.0, 0.0)))
        for k, t in enumerate(TIMES)
    ]
    found = passes(tmp_path, [*drive(TIMES[:16]), *shifted, *arrays])
    (only,) = found.passes
    assert max(T.translation[0] for T in only.ego.values()) == 15.0
    assert list(only.actors) == [ns(t) for t in TIMES[::2]]
    assert causes(found) == {"/odom.frame": 15, "/actors.frame": 15}


def test_actors_without_an_id_are_left_out_and_counted(tmp_path: Path) -> None:
    arrays = [
        recorded("/seen", t, detections(t, [detection(name, "car", pose(x), BOX) for name, x in (("a", 9), ("", 5))]))
        for t in TIMES
    ]
    found = passes(tmp_path, [*drive(TIMES), *arrays])
    (only,) = found.passes
    assert [[actor.id for actor in states] for states in only.actors.values()] == [["a"]] * 31
    assert causes(found) == {"actors.no_id": 31}


def test_objects_of_the_vehicles_frame_are_placed_by_the_ego(tmp_path: Path) -> None:
    """20 m ahead of the ego, in base_link: that is a frame objects may have, as in a replay."""
    ahead = [autoware_object(1, 1, pose(20.0, 0.0, 0.75), BOX)]
    arrays = [recorded("/objects", t, autoware_objects(t, ahead, frame="base_link")) for t in TIMES]
    (only,) = passes(tmp_path, [*drive(TIMES), *arrays]).passes
    x = [states[0].T_world_actor.translation[0] for states in only.actors.values()]
    np.testing.assert_allclose(x, [20.0 + 10.0 * t for t in TIMES])
