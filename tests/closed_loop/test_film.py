"""The pictures of a run: one every half second, all of the last second, and those of another run are set aside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from r3d2_ros.closed_loop.actions import Phase, Snapshot
from r3d2_ros.closed_loop.film import Film, pictures
from r3d2_ros.closed_loop.inbox import Inbox
from r3d2_ros.closed_loop.loop import Loop
from r3d2_ros.closed_loop.run_log import LogWriter
from r3d2_ros.simulator import FrameSet, History
from tests.closed_loop.small_world import plan, simulator


def moments(folder: Path) -> tuple[FrameSet, Snapshot]:
    """A frame set and the moment that it shows."""
    with LogWriter(folder / "run.jsonl") as log:
        snapshot = Loop(plan(), Inbox(0), log).snapshot
    return simulator().step(snapshot.world_state(), History())[0], snapshot


def brightened(frame_set: FrameSet, grey: int) -> FrameSet:
    frames = [replace(frame, rgb=np.full_like(frame.rgb, grey)) for frame in frame_set.frames]
    return replace(frame_set, frames=tuple(frames))


def shown(film: Film, folder: Path, *, grey: int, until_s: float) -> list[float]:
    """Show a start-up of three frame sets and then `until_s` at 10 Hz, all of one grey; returns the pictures' times."""
    frame_set, snapshot = moments(folder)
    frame_set = brightened(frame_set, grey)
    times: list[tuple[Phase, float]] = [("startup", 0.0)] * 3
    times += [("drive", k / 10) for k in range(round(until_s * 10) + 1)]
    for phase, t_s in times:
        film.add(frame_set, replace(snapshot, phase=phase, t_s=t_s))
    (folder / "run.jsonl").unlink()
    return [seconds for seconds, _ in pictures(folder)]


def greys(folder: Path) -> list[int]:
    return [int(cv2.imread(str(path)).mean()) for path in sorted(folder.glob("*.jpg"))]


def tenths(first: int, last: int) -> list[float]:
    return [k / 10 for k in range(first, last + 1)]


def test_a_picture_every_half_second_and_all_of_the_last(tmp_path: Path) -> None:
    """What is decided afterwards, such as the picture of a contact, is still there."""
    assert shown(Film(tmp_path, simulator().rig), tmp_path, grey=40, until_s=0.7) == tenths(0, 7)
    later = shown(Film(tmp_path, simulator().rig), tmp_path, grey=40, until_s=3.2)
    assert later == [0.0, 0.5, 1.0, 1.5, 2.0, *tenths(22, 32)]


def test_a_run_that_is_reset_has_its_own_pictures(tmp_path: Path) -> None:
    """Reset at 2 s, and the new run ends at 1 s: none of its moments is missing, and none is the old run's."""
    film = Film(tmp_path, simulator().rig)
    assert shown(film, tmp_path, grey=40, until_s=2.0) == [0.0, 0.5, *tenths(10, 20)]
    assert shown(film, tmp_path, grey=200, until_s=1.0) == tenths(0, 10)
    assert greys(tmp_path / "film") == [200] * 11
    assert greys(tmp_path / "film.1") == [40] * 13


def test_the_pictures_of_an_earlier_run_in_the_folder_are_set_aside(tmp_path: Path) -> None:
    assert len(shown(Film(tmp_path, simulator().rig), tmp_path, grey=40, until_s=2.0)) == 13
    assert shown(Film(tmp_path, simulator().rig), tmp_path, grey=200, until_s=0.3) == tenths(0, 3)
    assert greys(tmp_path / "film.1") == [40] * 13
