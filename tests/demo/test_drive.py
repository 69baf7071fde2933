"""Drives as files, and the moments of a contact sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.demo.drive import Drive, DriveActor, DriveTick, Moment, read_drive, shown_moments, write_drive
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Rigid


def drive(ticks: int, moments: tuple[Moment, ...] = ()) -> Drive:
    actor = DriveActor("bus", "bus", Rigid.from_xyz_yaw(4e5, 4.6e6, 12.0, -2.5), 3.25)
    made = [
        DriveTick(k * 100_000_000, Rigid.from_xyz_yaw(4e5 + k, 4.6e6, 11.0, 0.5), 1.5, (actor,) if k else ())
        for k in range(ticks)
    ]
    return Drive("a drive", tuple(made), moments)


def test_a_written_drive_comes_back_exactly(tmp_path: Path) -> None:
    written = drive(3, (Moment(1, "bus"),))
    write_drive(tmp_path / "drive.json", written)
    read = read_drive(tmp_path / "drive.json")
    assert (read.name, read.moments, read.actor_ids) == ("a drive", written.moments, ("bus",))
    for a, b in zip(read.ticks, written.ticks, strict=True):
        assert (a.stamp_ns, a.speed_mps, len(a.actors)) == (b.stamp_ns, b.speed_mps, len(b.actors))
        np.testing.assert_array_equal(a.T_world_ego.translation, b.T_world_ego.translation)
        np.testing.assert_allclose(a.T_world_ego.rotation, b.T_world_ego.rotation, atol=1e-12)
    np.testing.assert_allclose(
        read.ticks[1].actors[0].T_world_actor.matrix(), written.ticks[1].actors[0].T_world_actor.matrix(), atol=1e-9
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "x", "ticks": [{}], "moments": []}'])
def test_what_is_no_drive_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "drive.json").write_text(text)
    with pytest.raises(InputError, match="expected a drive"):
        read_drive(tmp_path / "drive.json")


def test_a_missing_drive_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent.json"):
        read_drive(tmp_path / "absent.json")


def test_time_and_rate() -> None:
    assert drive(11).duration_s == pytest.approx(1.0)
    assert drive(11).rate_hz == pytest.approx(10.0)
    assert drive(1).rate_hz == 10.0


def test_enough_moments_are_shown_as_they_are() -> None:
    moments = tuple(Moment(k, "m") for k in (1, 5, 7, 9))
    assert shown_moments(drive(10, moments)) == moments


def test_short_drives_are_filled_up() -> None:
    assert [m.tick for m in shown_moments(drive(13))] == [2, 6, 10]
    assert shown_moments(drive(13, (Moment(3, "bus"),)))[1] == Moment(3, "bus")
    assert [m.tick for m in shown_moments(drive(1))] == [0]
