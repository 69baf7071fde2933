"""The ego from transforms, worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from r3d2_ros.errors import InputError
from r3d2_ros.replay.tf_ego import Chain, TransformRecord, ego_messages, find_chain, static_frames

MS = 1_000_000


def record(ms: int, parent: str, child: str, x: float, *, yaw: float = 0.0, static: bool = False) -> TransformRecord:
    quat = (float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2)))
    return TransformRecord(ms * MS + 7, parent, child, ms * MS, (x, 0.0, 0.0), quat, static)


def chain(records: list[TransformRecord], **frames: Any) -> Chain:
    return find_chain(records, map_frame="map", base_link="base_link", where="bag: tf", **frames)


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
