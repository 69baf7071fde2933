"""The measurement of what a replay adds: that it measures, and how its table is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from r3d2_ros.bench.replay import OUTPUTS, RENDERER, Cost, format_table, write_drive
from r3d2_ros.config import SimConfig
from r3d2_ros.geometry import Rigid
from r3d2_ros.message_inputs import EgoMessage
from r3d2_ros.replay.recording import open_recording
from r3d2_ros.scene import AssetLibrary


def test_the_drive_is_a_bag_with_a_pose_for_each_frame_set(tmp_path: Path) -> None:
    poses = [Rigid.from_xyz_yaw(float(x), 1.0, 0.5, 0.1 * x) for x in range(4)]
    write_drive(tmp_path / "drive", poses)
    with open_recording(tmp_path / "drive", config=SimConfig(), library=AssetLibrary()) as recording:
        found = [m for _, m in recording.ego.messages if isinstance(m, EgoMessage)]
    assert [message.position_m for message in found] == [(float(x), 1.0, 0.5) for x in range(4)]
    assert np.diff([message.stamp_ns for message in found]).tolist() == [100_000_000] * 3


def test_shares_are_those_of_the_renderer() -> None:
    costs = {RENDERER: Cost(90.0, 180.0), **{kind: Cost(100.0, 200.0) for kind in OUTPUTS}}
    lines = format_table(costs).splitlines()
    assert lines[1].split() == ["the", "renderer", "alone", "90.0", "100%", "180.0", "100%", "0.0"]
    assert lines[2].split() == ["folder,", "jpg", "100.0", "90%", "200.0", "90%", "20.0"]
