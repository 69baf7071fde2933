"""`r3d2 replay --format mp4`: a video per camera in message time, in pieces while it is made."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from r3d2_ros.assembly import assemble
from r3d2_ros.cameras import Camera
from r3d2_ros.config import OutputConfig, load_config
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Rigid
from r3d2_ros.rendering.frames import HostImage
from r3d2_ros.replay import folder_output, video_store
from r3d2_ros.replay.frames import RENDERING_FAILED
from r3d2_ros.replay.output import Output
from r3d2_ros.replay.ticks import PlannedTick
from r3d2_ros.replay.video_store import Steps, VideoStore, show_times, steps_of
from r3d2_ros.simulator import CameraFrame, FrameSet, History, Simulator
from r3d2_ros.sync import Tick
from tests.replay.bags import NS, Entry, drive, ns
from tests.replay.test_folder import SECONDS, Place, full_after, state, unlucky


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Pieces of three frame sets."""
    monkeypatch.setattr(video_store, "PIECE_FRAMES", 3)
    return Place(tmp_path)


def shown(path: Path) -> list[tuple[float, np.ndarray]]:
    """Time and pixels of each picture of a video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        return [(round(frame.time, 3), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def test_each_camera_is_a_video_in_message_time(tmp_path: Path, place: Place) -> None:
    assert place.run("--format", "mp4") == 0
    assert sorted(path.name for path in place.out.iterdir()) == [
        "eye.mp4", "frames.jsonl", "replay.json", "side.mp4", "summary.json",
    ]  # fmt: skip
    simulator = assemble(load_config(place.config)).simulator
    for name in ("eye", "side"):
        pictures = shown(place.out / f"{name}.mp4")
        assert [time for time, _ in pictures] == SECONDS
        for second, (_, pixels) in zip(SECONDS, pictures, strict=True):
            frames = simulator.step(state(second), History())[0].frames
            rgb = next(frame.rgb for frame in frames if frame.camera.name == name)
            assert pixels.shape == (50, 66, 3), "an odd size is padded by one row and column"
            assert np.abs(pixels[:49, :65].astype(int) - rgb).mean() < 8
    entries = place.entries()
    assert [(e["cameras"]["eye"]["file"], e["cameras"]["eye"]["frame"]) for e in entries] == [
        ("eye.mp4", i) for i in range(8)
    ]
    place.out = tmp_path / "pictures"
    hashes = [[c["content_hash"] for c in e["cameras"].values()] for e in entries]
    assert place.run() == 0 and list(place.hashes().values()) == hashes


def test_a_second_run_has_nothing_to_do_and_a_damaged_video_is_made_again(place: Place) -> None:
    assert place.run("--format", "mp4") == 0
    video = place.out / "eye.mp4"
    before, whole = video.stat().st_mtime_ns, len(shown(video))
    assert place.run("--format", "mp4") == 0 and video.stat().st_mtime_ns == before
    video.write_bytes(video.read_bytes()[:500])
    assert place.run("--format", "mp4") == 0
    assert len(shown(video)) == whole == 8


def test_finished_pieces_of_a_killed_run_are_kept(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """What is on the disk after a kill in the middle of the third piece: two pieces, and one under its own name."""
    original = video_store.join_videos

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    video_store.join_videos = killed
    try:
        assert place.run("--format", "mp4") == 130
    finally:
        video_store.join_videos = original
    pieces = sorted(path.name for path in (place.out / "eye.pieces").glob("*.mp4"))
    assert pieces == ["000000.mp4", "000003.mp4", "000006.mp4"]
    log = place.out / "frames.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:6]))
    for camera in ("eye", "side"):
        piece = place.out / f"{camera}.pieces" / "000006.mp4"
        piece.rename(piece.with_name(".000006.mp4.tmp"))
    capsys.readouterr()
    assert place.run("--format", "mp4") == 0
    assert "6 of 8 frame sets are there from an earlier run" in capsys.readouterr().err
    assert [time for time, _ in shown(place.out / "side.mp4")] == SECONDS
    assert not list(place.out.rglob("*.tmp")) and not (place.out / "eye.pieces").exists()


def test_what_failed_gets_its_place_later(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Simulator, "render", unlucky("render"))
        assert place.run("--format", "mp4") == 3
    assert [time for time, _ in shown(place.out / "eye.mp4")] == [s for s in SECONDS if s != 0.3]
    assert place.run("--format", "mp4") == 0
    assert [time for time, _ in shown(place.out / "eye.mp4")] == SECONDS
    assert not (place.out / "eye.pieces").exists()


class Grey:
    """A folder of videos of one small camera; frame set i is of grey 20 * i. PIECE_FRAMES is the usual one."""

    def __init__(self, folder: Path) -> None:
        K = np.array([[8.0, 0, 8], [0, 8, 8], [0, 0, 1]])
        self.folder, self._cameras = folder, (Camera("eye", 16, 16, K, Rigid.identity()),)

    def run(self, *parts: Iterable[int], failing: Collection[int] = (), complete: bool = True) -> list[int]:
        """Write what is left of each part; returns the frame sets that were there."""
        store = VideoStore(self.folder, self._cameras, OutputConfig(), fps=10)
        try:
            kept = store.begin({}, overwrite=False)
            store.take()
            for number, part in enumerate(parts):
                output = store.output(number)
                for index in part:
                    if index not in kept:
                        self._write(output, index, fails=index in failing)
                output.close()
            store.finish(None, complete=complete)
        finally:
            store.release()
        return sorted(kept)

    def _write(self, output: Output, index: int, *, fails: bool) -> None:
        stamp_ns, cameras = index * NS // 10, self._cameras
        planned = PlannedTick(index, stamp_ns, Tick(stamp_ns, cameras, None, "", 0))
        if fails:
            output.write_missing(planned, "no memory", RENDERING_FAILED)
            return
        rgb = np.full((16, 16, 3), 20 * index, np.uint8)
        depth = HostImage(np.ones((16, 16), np.float32))
        frame = CameraFrame(cameras[0], rgb, rgb, None, depth, None, f"hash {index}", 1.0, 0.0)
        output.write(planned, FrameSet(stamp_ns, (frame,), (), 0.0, 0.0, 0.0), [])

    def shown(self) -> list[tuple[float, int]]:
        """Time and number of each picture."""
        return [(time, round(pixels.mean() / 20)) for time, pixels in shown(self.folder / "eye.mp4")]


IN_ORDER = [(i / 10, i) for i in range(10)]


def test_a_run_goes_on_with_what_two_processes_have_begun(tmp_path: Path) -> None:
    grey = Grey(tmp_path)
    grey.run(range(2), range(5, 8), complete=False)
    assert grey.run(range(10)) == [0, 1, 5, 6, 7]
    assert grey.shown() == IN_ORDER


def test_frame_sets_that_failed_get_their_places_in_one_run(tmp_path: Path) -> None:
    grey = Grey(tmp_path)
    grey.run(range(10), failing=[3, 6])
    assert grey.run(range(10)) == [0, 1, 2, 4, 5, 7, 8, 9]
    assert grey.shown() == IN_ORDER and not (tmp_path / "eye.pieces").exists()


def test_a_piece_that_cannot_be_joined_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece of 2, 3, 4, 8 and 9 around others, as folders of earlier versions have them."""
    grey = Grey(tmp_path)
    grey.run(range(2), range(5, 8), complete=False)
    with monkeypatch.context() as patch:
        patch.setattr(video_store, "bisect", lambda kept, index: 0)
        with pytest.raises(InputError, match=r"eye\.mp4: expected a video that can be written"):
            grey.run(range(10))
    assert grey.run(range(10)) == [0, 1, 5, 6, 7]
    assert grey.shown() == IN_ORDER


def test_a_piece_without_all_its_lines_is_made_again(tmp_path: Path) -> None:
    """Killed, or without room, while the lines of the second piece were written."""
    grey = Grey(tmp_path)
    grey.run(range(4), range(4, 9), complete=False)
    log = tmp_path / "frames.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:6]))
    assert grey.run(range(10)) == [0, 1, 2, 3]
    assert grey.shown() == IN_ORDER


def test_a_video_that_is_gone_is_made_again_beside_one_of_another_rate(tmp_path: Path) -> None:
    """Every other picture of the second camera is of a frame set without the first, and of the same video."""
    place = Place(tmp_path, drive([i / 20 for i in range(9)]))
    rig = place.config.parent / "two.yaml"
    rig.write_text(rig.read_text().replace("side: {", "side: {rate_hz: 20, "))
    place.config.write_text(place.config.read_text() + "sync: {tick: rate}\n")
    assert place.run("--format", "mp4") == 0
    (place.out / "eye.mp4").unlink()
    assert place.run("--format", "mp4") == 0
    assert [time for time, _ in shown(place.out / "eye.mp4")] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert [time for time, _ in shown(place.out / "side.mp4")] == [i / 20 for i in range(9)]


@pytest.mark.parametrize("room", [10, 11], ids=["between frame sets", "within one"])
def test_a_full_disk_ends_the_run(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], room: int
) -> None:
    write = video_store.VideoWriter.write
    count = [0]

    def full(self: Any, *args: Any, **more: Any) -> None:
        count[0] += 1
        if count[0] > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(video_store.VideoWriter, "write", full)
        assert place.run("--format", "mp4") == 3
    text = capsys.readouterr().out
    assert "no space left on the disk" in text and not (place.out / "eye.mp4").exists()
    assert int(text.split()[0]) == 3, "the first piece"
    assert place.run("--format", "mp4") == 0
    assert [time for time, _ in shown(place.out / "eye.mp4")] == SECONDS


def test_further_pictures_lie_beside_the_videos(place: Place) -> None:
    assert place.run("--format", "mp4", "--also", "instance") == 0
    assert len(list((place.out / "eye.instance").glob("*.png"))) == 8
    assert not list(place.out.glob("eye/*")) and (place.out / "eye.mp4").exists()


def test_a_disk_that_is_full_at_a_further_picture_ends_the_run(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Full at the second camera of the fifth frame set, when the first camera's piece has its picture already."""
    words = ("--format", "mp4", "--also", "instance")
    with monkeypatch.context() as patch:
        patch.setattr(folder_output, "atomic_output", full_after(9))
        assert place.run(*words) == 3
    text = capsys.readouterr().out
    assert place.run(*words) == 0
    assert [time for time, _ in shown(place.out / "eye.mp4")] == SECONDS
    assert "3 of 8 frame sets" in text and "no space left on the disk" in text


def test_cameras_of_different_rates_are_in_step(tmp_path: Path) -> None:
    place = Place(tmp_path, drive([i / 20 for i in range(9)]))
    rig = place.config.parent / "two.yaml"
    rig.write_text(rig.read_text().replace("side: {", "side: {rate_hz: 5, phase_s: 0.1, "))
    place.config.write_text(place.config.read_text() + "sync: {tick: rate}\n")
    assert place.run("--format", "mp4") == 0
    assert [time for time, _ in shown(place.out / "eye.mp4")] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert [time for time, _ in shown(place.out / "side.mp4")] == [0.1, 0.3]


def test_where_time_goes_back_the_video_goes_on(tmp_path: Path) -> None:
    first = drive([0.0, 0.5, 1.0, 1.5])
    again = [Entry(e.topic, e.log_ns + 3 * NS, e.message) for e in first]
    place = Place(tmp_path, [*first, *again])
    assert place.run("--format", "mp4") == 0
    assert [time for time, _ in shown(place.out / "eye.mp4")] == [i / 2 for i in range(8)]


def test_times_follow_the_message_time() -> None:
    stamps = [(0, 0), (100, 0), (300, 0), (50, 1), (150, 1)]
    entries = {i: {"stamp_ns": ns(0) + ms * 1_000_000, "timeline": t} for i, (ms, t) in enumerate(stamps)}
    times = [round(value, 6) for value in show_times(entries, Steps()).values()]
    assert times == [0.0, 0.1, 0.3, 0.4, 0.5], "the usual step is 0.1 s"


def test_pauses_are_told_from_usual_steps() -> None:
    def found(*seconds: float) -> tuple[Steps, int]:
        return steps_of([(0, ns(s)) for s in seconds], leap_ns=10 * NS)

    assert found(0, 0.1, 0.2, 11, 11.1) == (Steps(NS // 10, 10 * NS), 1)
    assert found(0, 30, 60, 92) == (Steps(30 * NS, 60 * NS), 0), "every 300th frame set"
    assert found(0, 8 * 3600) == (Steps(NS // 10, 10 * NS), 1)
    assert found(0) == (Steps(NS // 10, 10 * NS), 0)
    assert steps_of([(0, ns(50)), (1, ns(0)), (1, ns(1))], leap_ns=10 * NS) == (Steps(NS, 10 * NS), 0)


def test_a_pause_of_hours_is_one_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An MP4 that holds a step of 7 h shows all pictures at once."""
    place = Place(tmp_path, drive([0.0, 0.1, 0.2, 7 * 3600, 7 * 3600 + 0.1]))
    assert place.run("--format", "mp4") == 0
    assert [time for time, _ in shown(place.out / "eye.mp4")] == [0.0, 0.1, 0.2, 0.3, 0.4]
    told = "note: videos: a pause of more than 10 s is shown as 0.1 s (1 times)"
    assert told in capsys.readouterr().err


def test_pictures_far_apart_are_shown_so(tmp_path: Path) -> None:
    place = Place(tmp_path, drive([0, 1800, 3600]))
    assert place.run("--format", "mp4") == 0
    assert [time for time, _ in shown(place.out / "eye.mp4")] == [0, 1800, 3600]


def test_an_earlier_video_is_replaced_when_asked(place: Place) -> None:
    assert place.run("--format", "mp4") == 0
    shutil.copy(place.out / "eye.mp4", place.out / "mine.mp4")
    assert place.run("--format", "mp4", "--every", "2", "--overwrite") == 0
    assert len(shown(place.out / "eye.mp4")) == 4 and len(shown(place.out / "mine.mp4")) == 8
