"""The ego from transforms, worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from r3d2_ros.errors import InputError
from r3d2_ros.replay.tf_ego import Chain, TransformRecord, ego_messages, find_chain, static_frames
from r3d2_ros.state_buffer import BufferConfig, track_limits

MS = 1_000_000
LIMITS = track_limits(BufferConfig())


def record(
    ms: int, parent: str, child: str, x: float, *, yaw: float = 0.0, static: bool = False, log_ms: int | None = None
) -> TransformRecord:
    quat = (float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2)))
    log_ns = (ms if log_ms is None else log_ms) * MS + 7
    return TransformRecord(log_ns, parent, child, ms * MS, (x, 0.0, 0.0), quat, static)


def chain(records: list[TransformRecord], **frames: Any) -> Chain:
    return find_chain(records, map_frame="map", base_link="base_link", limits=LIMITS, where="bag: tf", **frames)


def places(records: list[TransformRecord]) -> list[tuple[int, float, float]]:
    """Milliseconds, x and y of each pose."""
    messages, _ = ego_messages(chain(records))
    return [(m.stamp_ns // MS, *np.round(m.position_m[:2], 9).tolist()) for _, m in messages]


def test_one_link() -> None:
    assert places([record(0, "map", "base_link", 1.0), record(100, "map", "base_link", 2.0)]) == [
        (0, 1.0, 0.0),
        (100, 2.0, 0.0),
    ]


def test_two_links_the_slow_one_interpolated() -> None:
    """map -> odom goes from 0 to 10 m in 1 s, odom -> base_link stands at 1 m: at 0.3 s the vehicle is at 4 m."""
    records = [record(0, "map", "odom", 0.0), record(1000, "map", "odom", 10.0)]
    records += [record(ms, "odom", "base_link", 1.0) for ms in (300, 500, 1200)]
    assert places(records) == [(300, 4.0, 0.0), (500, 6.0, 0.0), (1200, 11.0, 0.0)]


def test_turned_links_and_a_static_end() -> None:
    """The vehicle looks along y in the map, and base_link is 2 m ahead of the tracked point."""
    records = [record(0, "map", "imu", 5.0, yaw=np.pi / 2), record(9, "imu", "base_link", 2.0, static=True)]
    assert places(records) == [(0, 5.0, 2.0)]


def test_poses_before_the_first_transform_of_another_link_are_counted() -> None:
    records = [record(500, "map", "odom", 3.0)]
    records += [record(ms, "odom", "base_link", 1.0) for ms in (100, 500, 600)]
    messages, unknown = ego_messages(chain(records))
    assert (len(messages), unknown) == (2, 1)


PASSES = [(0, 0.0), (10_000, 500.0), (20_000, 900.0)]
"""Milliseconds at which a pass of 4 s is recorded, and where the map has odom in it."""
STAMPS_MS = range(0, 4001, 500)


def driven() -> list[TransformRecord]:
    """odom -> base_link: 1 m/s from 0 m on, in every pass."""
    return [
        record(ms, "odom", "base_link", ms / 1000, log_ms=begin_ms + ms) for begin_ms, _ in PASSES for ms in STAMPS_MS
    ]


def at(*x: float) -> list[tuple[int, float, float]]:
    """The poses of passes in which odom is at x."""
    return [(ms, begin + ms / 1000, 0.0) for begin in x for ms in STAMPS_MS]


@pytest.mark.parametrize("late_ms", [0, 700, -700], ids=["together", "odom later", "odom earlier"])
def test_each_pass_of_a_recorded_loop_has_its_own_transforms(late_ms: int) -> None:
    """In whichever order the links go back."""
    odom = [
        record(ms, "map", "odom", x, log_ms=begin_ms + ms + late_ms) for begin_ms, x in PASSES for ms in STAMPS_MS
    ]
    assert places(sorted([*odom, *driven()], key=lambda r: r.log_ns)) == at(0.0, 500.0, 900.0)


def test_between_the_transforms_of_a_pass_no_other_pass_is_seen() -> None:
    """odom is 10 m further at the end of a pass than at its beginning: 1.25 m more with each half second."""
    odom = [
        record(ms, "map", "odom", x + ms / 400, log_ms=begin_ms + ms) for begin_ms, x in PASSES for ms in (0, 4000)
    ]
    expected = [(ms, begin + ms / 1000 + ms / 400, 0.0) for _, begin in PASSES for ms in STAMPS_MS]
    assert places([*odom, *driven()]) == expected


def test_a_link_that_is_told_once_holds_in_every_pass() -> None:
    once = record(0, "map", "odom", 3.0)
    assert places([once, *driven()]) == at(3.0, 3.0, 3.0)
    again = [record(0, "map", "odom", 3.0, log_ms=begin_ms) for begin_ms, _ in PASSES]
    assert places([*again, *driven()]) == at(3.0, 3.0, 3.0)


def test_a_link_that_begins_in_a_later_pass_is_known_from_there_on() -> None:
    odom = [record(ms, "map", "odom", x, log_ms=begin_ms + ms) for begin_ms, x in PASSES[1:] for ms in STAMPS_MS]
    messages, unknown = ego_messages(chain([*driven(), *odom]))
    assert [m.position_m[0] for _, m in messages] == [x for _, x, _ in at(500.0, 900.0)]
    assert unknown == len(STAMPS_MS)


def test_a_link_that_begins_late_in_a_drive_is_known_from_there_on() -> None:
    odom = [record(ms, "map", "odom", 3.0) for ms in (3000, 3500, 4000)]
    moved = [record(ms, "odom", "base_link", 1.0) for ms in STAMPS_MS]
    assert places([*moved, *odom]) == [(ms, 4.0, 0.0) for ms in (3000, 3500, 4000)]


def test_a_stray_transform_begins_no_pass() -> None:
    """One of odom with the stamp 0 amid a drive from 10 s on."""
    odom = [record(ms, "map", "odom", 5.0, log_ms=ms) for ms in range(10_000, 14_001, 500)]
    moved = [record(ms, "odom", "base_link", 1.0, log_ms=ms) for ms in range(10_000, 14_001, 500)]
    stray = record(0, "map", "odom", 99.0, log_ms=12_100)
    assert places([*odom[:5], stray, *odom[5:], *moved]) == [(ms, 6.0, 0.0) for ms in range(10_000, 14_001, 500)]


def test_of_a_static_link_the_newest_holds_in_every_pass() -> None:
    """Told at 5, 9 and 7 s: that of 9 s."""
    mounted = [record(ms, "odom", "mast", x, static=True) for ms, x in ((5000, 4.0), (9000, 2.0), (7000, 8.0))]
    end = record(0, "mast", "base_link", 0.0, static=True)
    moved = [
        record(ms, "map", "odom", 1.0, log_ms=begin_ms + ms) for begin_ms, _ in PASSES for ms in STAMPS_MS
    ]
    assert places([*mounted, end, *moved]) == [(ms, 3.0, 0.0) for _ in PASSES for ms in STAMPS_MS]


def test_broken_numbers_reach_the_checks() -> None:
    records = [record(0, "map", "base_link", 1.0), record(100, "map", "base_link", float("nan"))]
    messages, _ = ego_messages(chain(records))
    assert np.isnan(messages[1][1].position_m[0])


@pytest.mark.parametrize(
    ("records", "got"),
    [
        ([], "the frames none"),
        ([record(0, "map", "gps", 0.0)], "the frames gps, map"),
        ([record(0, "odom", "base_link", 0.0)], "a chain that ends at 'odom'"),
        ([record(0, "a", "base_link", 0.0), record(0, "base_link", "a", 0.0)], "a chain that ends at 'base_link'"),
        ([record(0, "map", "base_link", 0.0, static=True)], "static ones only"),
    ],
)
def test_what_is_no_chain_is_said(records: list[TransformRecord], got: str) -> None:
    with pytest.raises(InputError, match=got):
        chain(records)


def test_frames_below_base_link() -> None:
    records = [
        record(0, "base_link", "mast", 1.0, yaw=np.pi / 2, static=True),
        record(0, "mast", "lidar", 2.0, static=True),
        record(0, "map", "sign", 9.0, static=True),
    ]
    frames = static_frames(records, "base_link")
    assert set(frames) == {"base_link", "mast", "lidar"}
    assert np.round(frames["lidar"].translation, 9).tolist() == [1.0, 2.0, 0.0]
