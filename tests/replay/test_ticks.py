"""The ticks of a recording, with numbers that can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera, Rig
from r3d2_ros.config import SimConfig, load_config
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Rigid
from r3d2_ros.replay.recording import open_recording
from r3d2_ros.replay.ticks import Moment, PlannedTick, Selection, Ticks, replay_config, replay_rig
from r3d2_ros.scene import AssetLibrary
from tests.replay import bags
from tests.replay.bags import LOG_OFFSET_NS, Entry, drive, ns, oncoming, recorded, write_bag
from tests.replay.test_objects import asset

LIBRARY = AssetLibrary({"car": asset("car", (4.0, 2.0, 1.5), "car")})
RIG = Rig(
    "two",
    tuple(
        Camera(name, 8, 8, np.eye(3), Rigid(R_BODY_OPTICAL, np.zeros(3)), rate_hz=rate)
        for name, rate in (("fast", 10.0), ("slow", 5.0))
    ),
)


def ticks(
    bag: Path, config: SimConfig | None = None, *, rate_hz: float | None = None, T: Rigid | None = None
) -> tuple[list[PlannedTick], list[Moment], list[str]]:
    """The ticks, the moments, and what was reported."""
    config = replay_config(config or SimConfig(), rate_hz)
    with open_recording(bag, config=config, library=LIBRARY) as recording:
        rig = replay_rig(RIG, rate_hz=rate_hz)
        made = Ticks(recording, config=config, rig=rig, library=LIBRARY, T_map_recorded=T)
        found = list(made)
        reports = [report.cause for report in made.reports]
        return found, made.moments(), reports


def x_of(planned: PlannedTick) -> float | None:
    state = planned.tick.state
    return None if state is None else round(float(state.ego.T_world_ego.translation[0]), 9)


def actor_x(planned: PlannedTick) -> float | None:
    state = planned.tick.state
    return round(float(state.actors[0].T_world_actor.translation[0]), 9) if state and state.actors else None


def test_every_pose_is_a_tick_with_its_number_and_time_of_recording(tmp_path: Path) -> None:
    found, moments, reports = ticks(write_bag(tmp_path / "bag", drive([0.0, 0.1, 0.25])))
    assert [(p.index, p.tick.stamp_ns, p.log_ns, x_of(p)) for p in found] == [
        (i, ns(s), ns(s) + LOG_OFFSET_NS, 10 * s) for i, s in enumerate([0.0, 0.1, 0.25])
    ]
    assert [(m.stamp_ns, m.place[0] if m.place else None) for m in moments] == [(ns(s), 10 * s) for s in (0, 0.1, 0.25)]
    assert reports == []


def test_actors_are_interpolated_and_ticks_outside_of_theirs_say_so(tmp_path: Path) -> None:
    """Actors at 0.1 s (x = 19.5) and 0.2 s (x = 19): at 0.15 s the car is at 19.25 m."""
    bag = write_bag(tmp_path / "bag", [*drive([0.0, 0.1, 0.15, 0.2, 0.3]), *oncoming([0.1, 0.2])])
    found, moments, _ = ticks(bag)
    assert [actor_x(p) for p in found] == [None, 19.5, 19.25, 19.0, None]
    assert [p.tick.cause for p in found] == ["actors.before_history", "", "", "", "end_of_inputs"]
    assert found[4].tick.reason == f"'actors' ended before {ns(0.3) // 10**9}.300000000 s"
    assert [m.stamp_ns for m in moments] == [p.tick.stamp_ns for p in found]


def detections(seconds: list[float], frame: str) -> list[Entry]:
    seen = bags.detection("1", "car", bags.pose(10, 0, 0.75), (4.0, 2.0, 1.5))
    return [recorded("/detections", s, bags.detections(s, [seen], frame=frame)) for s in seconds]


def test_ticks_lack_actors_whose_messages_were_all_left_out(tmp_path: Path) -> None:
    seconds = [i / 10 for i in range(5)]
    found, _, reports = ticks(write_bag(tmp_path / "bag", [*drive(seconds), *detections(seconds, "lidar")]))
    assert {p.tick.cause for p in found} == {"actors.refused"} and "actors.frame.lidar" in reports
    assert found[0].tick.reason.endswith("a frame that /tf_static places, got 'lidar'")
    odom = [recorded("/actors", s, bags.actor_array(s, "odom", other=(20.0, 2.0))) for s in seconds]
    found, _, _ = ticks(write_bag(tmp_path / "array", [*drive(seconds), *odom]))
    assert {p.tick.reason for p in found} == {"/actors: expected frame_id 'map', got 'odom'; set frames.map"}


def test_ticks_lack_actors_whose_messages_were_left_out_before_and_after_others(tmp_path: Path) -> None:
    """Objects that can be placed from 0.2 to 0.3 s, in a frame that nothing places from 0.1 and up to 0.4 s."""
    seconds = [i / 10 for i in range(7)]
    objects = [*detections([0.1, 0.4], "lidar"), *detections([0.2, 0.3], "base_link")]
    found, _, _ = ticks(write_bag(tmp_path / "bag", [*drive(seconds), *objects]))
    outside, lacking = ("actors.before_history", "end_of_inputs"), "actors.refused"
    assert [p.tick.cause for p in found] == [outside[0], lacking, "", "", lacking, outside[1], outside[1]]


def test_objects_from_before_and_after_the_drive_are_not_missed(tmp_path: Path) -> None:
    found, _, reports = ticks(
        write_bag(tmp_path / "bag", [*drive([0.0, 0.1, 0.2]), *detections([-0.05, 0.05, 0.15, 0.25], "base_link")])
    )
    assert [p.tick.cause for p in found] == ["actors.before_history", "", "end_of_inputs"]
    assert "actors.outside_of_drive" in reports


def test_without_actors_nothing_is_waited_for(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [*drive([0.0, 0.1]), *oncoming([0.0])])
    static, _, _ = ticks(bag, load_config(None, {"sync.actors": "static"}))
    assert [actor_x(p) for p in static] == [20.0, 20.0]


def test_at_a_rate_each_camera_has_its_own_moments(tmp_path: Path) -> None:
    """Poses at 0.05 and 0.35 s; fast exposes at 0.1, 0.2, 0.3 s, slow at 0.2 s."""
    bag = write_bag(tmp_path / "bag", drive([0.05, 0.35]))
    found, _, _ = ticks(bag, load_config(None, {"sync.tick": "rate"}))
    assert [(p.tick.stamp_ns, x_of(p), [c.name for c in p.tick.due]) for p in found] == [
        (ns(0.1), 1.0, ["fast"]),
        (ns(0.2), 2.0, ["fast", "slow"]),
        (ns(0.3), 3.0, ["fast"]),
    ]
    assert [p.log_ns for p in found] == [ns(s) + LOG_OFFSET_NS for s in (0.1, 0.2, 0.3)]
    same_rate, _, _ = ticks(bag, rate_hz=20.0)
    assert [round((p.tick.stamp_ns - ns(0)) * 1e-9, 3) for p in same_rate] == [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35]
    assert all(len(p.tick.due) == 2 for p in same_rate)


def test_a_gap_fails_and_says_why(tmp_path: Path) -> None:
    found, moments, _ = ticks(write_bag(tmp_path / "bag", drive([0.0, 1.0])), rate_hz=2.0)
    assert [(p.tick.stamp_ns, p.tick.cause) for p in found] == [(ns(0.0), ""), (ns(0.5), "ego.gap"), (ns(1.0), "")]
    assert [m.place is None for m in moments] == [False, True, False]


def test_markers_that_only_clear_without_a_stamp_do_not_end_the_actors(tmp_path: Path) -> None:
    """Cars until 1 s and from 2.5 s on, in between arrays of one DELETEALL with stamp 0."""
    seconds = [i / 10 for i in range(31)]
    cleared = bags.marker_array(-bags.START_NS / bags.NS, [("", 0.0)], action=3)
    markers = [
        recorded("/markers", s, cleared if 1.0 < s < 2.5 else bags.marker_array(s, [("car", 20.0)])) for s in seconds
    ]
    found, _, reports = ticks(write_bag(tmp_path / "bag", [*drive(seconds), *markers]))
    without = [s for s, p in zip(seconds, found, strict=True) if actor_x(p) is None]
    assert without == [s for s in seconds if 1.0 < s < 2.5]
    assert {p.tick.cause for p in found} == {"", "actors.gap"}
    assert set(reports) == {"actors.no_stamp", "tick_failed.actors.gap"}


def test_a_recorded_loop_gives_two_timelines(tmp_path: Path) -> None:
    first = drive([0.0, 1.0, 2.0])
    again = [Entry(e.topic, e.log_ns + 3 * bags.NS, e.message) for e in first]
    found, moments, reports = ticks(write_bag(tmp_path / "bag", [*first, *again]))
    assert [(p.index, p.tick.timeline, x_of(p)) for p in found] == [
        (0, 0, 0.0), (1, 0, 10.0), (2, 0, 20.0), (3, 1, 0.0), (4, 1, 10.0), (5, 1, 20.0)
    ]  # fmt: skip
    assert reports == ["time_jump"]
    assert Selection(1.0, 1.5).indices(moments) == [1, 2, 4, 5]


def test_objects_are_placed_by_the_pass_of_time_that_they_belong_to(tmp_path: Path) -> None:
    """The second pass drives 20 m further on and begins 0.2 s after the first; objects are recorded 0.4 s late."""
    seconds = [i / 10 for i in range(21)]
    entries = []
    for number in (0, 1):
        later_ns = number * int(2.2 * bags.NS)
        entries += [
            Entry("/odom", ns(s) + later_ns, bags.odometry(s, bags.pose(20 * number + s))) for s in seconds
        ]
        for entry in detections(seconds, "base_link"):
            entries.append(Entry(entry.topic, entry.log_ns + later_ns + 400_000_000, entry.message))
    found, _, _ = ticks(write_bag(tmp_path / "bag", entries))
    assert [(p.tick.timeline, actor_x(p)) for p in found] == [
        (number, pytest.approx(20 * number + s + 10)) for number in (0, 1) for s in seconds
    ]


def test_transforms_place_the_ego_by_the_pass_of_time_that_they_belong_to(tmp_path: Path) -> None:
    """In the second pass the map has odom 20 m further on, which is recorded 0.4 s late in both."""
    seconds = [i / 10 for i in range(21)]
    entries = []
    for number in (0, 1):
        later_ns = number * int(2.2 * bags.NS)
        for s in seconds:
            odom = bags.tf(bags.transform(s, "map", "odom", bags.pose(20 * number)))
            base = bags.tf(bags.transform(s, "odom", "base_link", bags.pose(s)))
            entries += [Entry("/tf", ns(s) + later_ns, base), Entry("/tf", ns(s) + later_ns + 400_000_000, odom)]
    found, _, _ = ticks(write_bag(tmp_path / "bag", entries))
    assert [(p.tick.timeline, x_of(p)) for p in found] == [
        (number, pytest.approx(20 * number + s)) for number in (0, 1) for s in seconds
    ]


def test_times_of_recording_are_those_of_the_pass_that_waited(tmp_path: Path) -> None:
    """Actors come 1.5 s after the poses, when the second pass has begun."""
    seconds = [i / 10 for i in range(21)]
    entries = [
        Entry(e.topic, e.log_ns + number * 3 * bags.NS + late_ns, e.message)
        for number in (0, 1)
        for late_ns, messages in ((0, drive(seconds)), (1_500_000_000, oncoming(seconds)))
        for e in messages
    ]
    found, _, _ = ticks(write_bag(tmp_path / "bag", entries))
    assert [p.log_ns for p in found] == [
        ns(s) + LOG_OFFSET_NS + number * 3 * bags.NS for number in (0, 1) for s in seconds
    ]


def unfilled(log_second: float) -> Entry:
    return Entry("/odom", ns(log_second), bags.odometry(-bags.START_NS / bags.NS, bags.pose(0)))


@pytest.mark.parametrize("log_seconds", [[-0.1], [-0.2, -0.1], [0.05], [0.9]])
def test_poses_whose_stamp_was_never_filled_are_left_out(tmp_path: Path, log_seconds: list[float]) -> None:
    bag = write_bag(tmp_path / "bag", [*map(unfilled, log_seconds), *drive([0.0, 0.1, 0.2])])
    found, moments, reports = ticks(bag)
    assert [(p.tick.stamp_ns, p.tick.timeline) for p in found] == [(ns(s), 0) for s in (0.0, 0.1, 0.2)]
    assert Selection(0.0, 0.15).indices(moments) == [0, 1] and reports == ["ego.no_stamp"]


def test_a_drive_whose_time_begins_at_0_has_its_first_pose(tmp_path: Path) -> None:
    entries = [Entry("/odom", ns(s), bags.odometry(s - bags.START_NS / bags.NS, bags.pose(s))) for s in (0, 1, 2)]
    found, _, reports = ticks(write_bag(tmp_path / "bag", entries))
    assert [p.tick.stamp_ns for p in found] == [0, bags.NS, 2 * bags.NS] and reports == []


def test_actors_that_were_recorded_far_behind_or_ahead_of_the_poses_are_waited_for(tmp_path: Path) -> None:
    """40 messages, 16 of them kept live; the actors' are recorded 10 s after the poses, then 10 s before."""
    seconds = [i / 10 for i in range(40)]
    config = load_config(None, {"state.max_messages": 16})
    for shift_ns in (10 * bags.NS, -10 * bags.NS):
        moved = [Entry(e.topic, e.log_ns + shift_ns, e.message) for e in oncoming(seconds)]
        found, _, _ = ticks(write_bag(tmp_path / f"{shift_ns}", [*drive(seconds), *moved]), config)
        assert [actor_x(p) for p in found] == [round(20 - 5 * s, 9) for s in seconds]


def test_the_selection_is_a_window_and_every_nth_of_it() -> None:
    moments = [Moment(ns(i / 10), 0, None) for i in range(10)]
    assert Selection(0.2).indices(moments) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert Selection(0.2, 0.4).indices(moments) == [2, 3, 4, 5]
    assert Selection(0.2, 0.4, 3).indices(moments) == [2, 5]
    assert Selection(5.0).indices(moments) == []


def test_broken_poses_are_no_ticks(tmp_path: Path) -> None:
    broken = [recorded("/odom", s, bags.odometry(s, bags.pose(float("nan")))) for s in (0.05, 0.15)]
    found, _, reports = ticks(write_bag(tmp_path / "bag", [*drive([0.0, 0.1, 0.2]), *broken]))
    assert [x_of(p) for p in found] == [0.0, 1.0, 2.0]
    assert reports == ["ego.position"]


def test_a_drive_that_is_moved_takes_its_actors_along(tmp_path: Path) -> None:
    """The recording's map, turned by 90 degrees to the left and put at x = 100 m."""
    bag = write_bag(tmp_path / "bag", [*drive([0.0, 0.1]), *oncoming([0.0, 0.1])])
    found, _, _ = ticks(bag, T=Rigid.from_xyz_yaw(100.0, 0.0, 0.0, np.pi / 2))
    state = found[1].tick.state
    assert state is not None
    assert np.round(state.ego.T_world_ego.translation, 9).tolist() == [100.0, 1.0, 0.0]
    assert np.round(state.actors[0].T_world_actor.translation, 9).tolist() == [98.0, 19.5, 0.0]


def test_what_a_replay_cannot_follow_is_said() -> None:
    with pytest.raises(InputError, match="ego or rate, as a bag has no triggers"):
        replay_config(load_config(None, {"sync.tick": "trigger"}), None)
    assert replay_config(load_config(None, {"sync.mode": "latest"}), None).sync.mode == "lockstep"
    with pytest.raises(InputError, match="fast, slow, got 'rear'"):
        replay_rig(RIG, cameras=["rear"])
    assert [camera.name for camera in replay_rig(RIG, cameras=["slow"]).cameras] == ["slow"]
