"""`r3d2 replay` into a folder: what is written, what a later run keeps, and how a run ends that cannot go on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import xxhash

from r3d2_ros.assembly import assemble
from r3d2_ros.cli.main import main
from r3d2_ros.config import load_config
from r3d2_ros.geometry import Rigid
from r3d2_ros.replay import folder_output
from r3d2_ros.replay.options import ReplayOptions
from r3d2_ros.replay.run import replay
from r3d2_ros.simulator import CameraFailure, History, Simulator
from r3d2_ros.world import ActorState, EgoState, WorldState
from tests.data import shared_data
from tests.replay import bags
from tests.replay.bags import drive, ns, oncoming, recorded, write_bag
from tests.replay.small import write_small

SECONDS = [i / 10 for i in range(8)]


class Place:
    """A configuration, a bag and an output folder."""

    def __init__(self, folder: Path, entries: list[bags.Entry] | None = None) -> None:
        self.config = write_small(folder / "sim")
        self.bag = write_bag(folder / "bag", entries or [*drive(SECONDS), *oncoming(SECONDS)])
        self.out = folder / "out"

    def words(self, *extra: str) -> list[str]:
        return ["replay", str(self.bag), "--config", str(self.config), "--out", str(self.out), *extra]

    def run(self, *extra: str) -> int:
        return main(self.words(*extra))

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / "frames.jsonl").read_text().splitlines()]

    def hashes(self) -> dict[int, list[str]]:
        """Content hashes of each frame set by its index."""
        return {e["index"]: [c["content_hash"] for c in e["cameras"].values()] for e in self.entries()}

    def summary(self) -> dict[str, Any]:
        return json.loads((self.out / "summary.json").read_text())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    return assemble(load_config(write_small(tmp_path_factory.mktemp("sim")))).simulator


def state(second: float) -> WorldState:
    """The world that the bag of `Place` holds, written down by hand."""
    car = ActorState("other", "car", Rigid.from_quat((np.cos(np.pi / 2), 0, 0, np.sin(np.pi / 2)),
                                                     (20 - 5 * second, 2.0, 0.0)), None, 1)  # fmt: skip
    ego = EgoState(ns(second), Rigid.from_xyz_yaw(10 * second, 0, 0, 0))
    return WorldState(ns(second), ego, (car,), ("other",))


def test_every_frame_set_has_its_pictures_and_a_line(place: Place, simulator: Simulator) -> None:
    assert place.run() == 0
    entries = place.entries()
    assert [(e["index"], e["stamp_ns"], e["timeline"], e["actors"]) for e in entries] == [
        (i, ns(s), 0, 1) for i, s in enumerate(SECONDS)
    ]
    for entry, second in zip(entries, SECONDS, strict=True):
        frame_set, _ = simulator.step(state(second), History())
        for frame in frame_set.frames:
            camera = entry["cameras"][frame.camera.name]
            assert camera["content_hash"] == frame.content_hash
            assert camera["file"] == f"{frame.camera.name}/{entry['index']:06d}.jpg"
            data = (place.out / camera["file"]).read_bytes()
            assert camera["file_hash"] == xxhash.xxh3_128_hexdigest(data)
            shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
            assert np.abs(shown.astype(int) - frame.rgb).mean() < 6
        assert entry["off_path_m"] == pytest.approx(0.0, abs=1e-6) and entry["out_of_bounds_m"] == 0.0
    assert place.summary()["frame_sets"]["done"] == 8


def test_png_keeps_every_bit(place: Place, simulator: Simulator) -> None:
    assert place.run("--format", "png", "--also", "depth,instance,rendered,mask", "--duration", "0.15") == 0
    frame = simulator.step(state(0.1), History())[0].frames[0]
    read = cv2.imread(str(place.out / "eye" / "000001.png"))[:, :, ::-1]
    np.testing.assert_array_equal(read, frame.rgb)
    np.testing.assert_array_equal(
        cv2.imread(str(place.out / "eye.rendered" / "000001.png"))[:, :, ::-1], frame.rendered
    )
    np.testing.assert_array_equal(np.load(place.out / "eye.depth" / "000001.npy"), frame.depth)
    instance = cv2.imread(str(place.out / "eye.instance" / "000001.png"), cv2.IMREAD_UNCHANGED)
    assert instance.dtype == np.uint16 and set(np.unique(instance)) == {0, 1}
    assert not cv2.imread(str(place.out / "eye.mask" / "000001.png"), cv2.IMREAD_UNCHANGED).any()
    also = place.entries()[1]["cameras"]["eye"]["also"]
    assert {kind: entry["file"] for kind, entry in also.items()} == {
        "depth": "eye.depth/000001.npy",
        "instance": "eye.instance/000001.png",
        "rendered": "eye.rendered/000001.png",
        "mask": "eye.mask/000001.png",
    }


def test_two_replays_and_a_part_of_one_have_the_same_hashes(place: Place, tmp_path: Path) -> None:
    assert place.run() == 0
    whole = place.hashes()
    assert len({tuple(hashes) for hashes in whole.values()}) == 8
    place.out = tmp_path / "again"
    assert place.run() == 0 and place.hashes() == whole
    place.out = tmp_path / "part"
    assert place.run("--start", "0.2", "--duration", "0.5", "--every", "2", "--cameras", "side") == 0
    assert place.hashes() == {i: whole[i][1:] for i in (2, 4, 6)}


def test_at_a_rate_poses_are_interpolated(place: Place, simulator: Simulator) -> None:
    assert place.run("--rate", "20", "--duration", "0.2") == 0
    stamps = [round((e["stamp_ns"] - ns(0)) * 1e-9, 3) for e in place.entries()]
    assert stamps == [0.0, 0.05, 0.1, 0.15]
    assert len(set(map(tuple, place.hashes().values()))) == 4


def test_a_second_run_has_nothing_to_do(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.run() == 0
    before = {path: path.stat().st_mtime_ns for path in place.out.rglob("*.jpg")}
    capsys.readouterr()
    assert place.run() == 0
    assert "8 of 8 frame sets are there from an earlier run" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in place.out.rglob("*.jpg")} == before


def test_only_what_is_not_whole_is_made_again(place: Place) -> None:
    assert place.run() == 0
    hashes, names = place.hashes(), sorted(path.name for path in place.out.rglob("*"))
    log = place.out / "frames.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:6]) + lines[6][:30])
    (place.out / "eye" / "000001.jpg").unlink()
    (place.out / "side" / "000003.jpg").write_bytes(b"\xff\xd8 half a picture")
    (place.out / "eye" / ".000006.jpg.99.tmp").write_bytes(b"half")
    before = {path.name: path.stat().st_mtime_ns for path in (place.out / "eye").iterdir()}
    assert place.run() == 0
    after = {path.name: path.stat().st_mtime_ns for path in (place.out / "eye").iterdir()}
    redone = {name for name in after if after[name] != before.get(name)}
    assert redone == {f"00000{i}.jpg" for i in (1, 3, 6, 7)}
    assert place.hashes() == hashes
    assert sorted(path.name for path in place.out.rglob("*")) == names


def test_a_folder_of_something_else_is_left_alone(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.out.mkdir()
    (place.out / "holiday.jpg").write_bytes(b"x")
    for extra in ((), ("--overwrite",)):
        assert place.run(*extra) == 1
        assert "got a folder with holiday.jpg" in capsys.readouterr().err
    assert [path.name for path in place.out.iterdir()] == ["holiday.jpg"]


def test_another_replay_is_not_mixed_in(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.run() == 0
    for extra, name in (
        (("--every", "2"), "every 1 instead of 2"),
        (("--also", "depth"), "config.output.depth false instead of true"),
        (("--anchor", "start"), "anchor_start"),
    ):
        assert place.run(*extra) == 1
        assert f"earlier run of this very replay, got one with {name}" in capsys.readouterr().err
    shutil.copy(place.config.parent / "car.ply", place.config.parent / "wall.ply")
    assert place.run() == 1
    assert "wall.ply" in capsys.readouterr().err
    (place.out / "notes.txt").write_text("mine")
    assert place.run("--every", "4", "--overwrite") == 0
    assert sorted(path.name for path in (place.out / "eye").iterdir()) == ["000000.jpg", "000004.jpg"]
    assert (place.out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["two.yaml", "classes.yaml"])
def test_files_that_are_named_from_the_home_folder_are_compared_too(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    home = place.config.parent
    monkeypatch.setenv("HOME", str(home))
    (home / "classes.yaml").write_text("classes: {car: [car]}\n")
    text = place.config.read_text().replace("source: two.yaml", "source: ~/two.yaml")
    place.config.write_text(text.replace("assets.yaml}", "assets.yaml, classes: ~/classes.yaml}"))
    assert place.run() == 0
    with (home / name).open("a") as file:
        file.write("# changed\n")
    assert place.run() == 1
    assert f"{home / name}" in capsys.readouterr().err


def test_both_files_of_an_autoware_rig_are_compared(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    mount = "{x: 1.0, y: 0.0, z: 1.0, roll: 0.0, pitch: 0.0, yaw: 0.0}"
    home = place.config.parent
    (home / "sensor_kit_calibration.yaml").write_text(f"sensor_kit_base_link: {{camera0/camera_link: {mount}}}\n")
    base = home / "sensors_calibration.yaml"
    base.write_text(f"base_link: {{sensor_kit_base_link: {mount}}}\n")
    rig = "{source: sensor_kit_calibration.yaml, fov_deg: 60}"
    place.config.write_text(place.config.read_text().replace("{source: two.yaml}", rig))
    assert place.run("--every", "7") == 0
    base.write_text(base.read_text().replace("x: 1.0", "x: 2.0"))
    capsys.readouterr()
    assert place.run("--every", "7") == 1
    assert f"one with files.{base}" in capsys.readouterr().err


@pytest.mark.parametrize("before", [(), ("--overwrite",)], ids=["new", "overwrite"])
def test_what_is_refused_leaves_the_folder_as_it_was(
    place: Place, capsys: pytest.CaptureFixture[str], before: tuple[str, ...]
) -> None:
    """A scene without the trajectory of its capture has no start."""
    scene = place.config.parent / "scene.yaml"
    scene.write_text(scene.read_text().replace("trajectory_file: capture.csv\n", ""))
    if before:
        assert place.run() == 0
    held = {path: path.read_bytes() for path in place.out.rglob("*.*")}
    assert place.run("--anchor", "start", *before) == 1
    assert "--anchor start: expected a scene with the trajectory" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in place.out.rglob("*.*")} == held
    assert place.run() == 0
    assert (f"{8 if before else 0} of 8 frame sets are there" in capsys.readouterr().err) == bool(before)


def test_a_run_that_is_ended_while_it_loads_leaves_the_folder_as_it_was(place: Place) -> None:
    assert place.run() == 0
    held = {path: path.read_bytes() for path in place.out.rglob("*.*")}
    options = ReplayOptions(place.bag, place.out, load_config(place.config), overwrite=True)
    stop = threading.Event()

    def slow(*args: Any, **more: Any) -> Any:
        stop.set()
        return assemble(*args, **more)

    outcome = replay(options, lambda text: None, stop=stop, assemble=slow)
    assert outcome.interrupted and (outcome.done, outcome.left) == (0, 8)
    assert {path: path.read_bytes() for path in place.out.rglob("*.*")} == held


def test_a_run_that_was_ended_before_its_first_frame_set_is_no_earlier_run(place: Place) -> None:
    place.out.mkdir()
    (place.out / "summary.json").write_text("{}")
    assert place.run("--every", "4") == 0
    (place.out / "frames.jsonl").write_text("")
    assert place.run("--every", "7") == 0 and sorted(place.hashes()) == [0, 7]


def test_a_replay_without_a_picture_is_not_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = bags.detection("1", "car", bags.pose(10), (2.0, 1.0, 1.5))
    entries = [recorded("/detections", s, bags.detections(s, [seen], frame="lidar")) for s in SECONDS]
    place = Place(tmp_path, [*drive(SECONDS), *entries])
    reason = "objects: expected the frame 'map', 'base_link' or a frame that /tf_static places, got 'lidar'"
    for _ in range(2):
        assert place.run() == 3
        assert f"8 have no pictures: {reason}" in capsys.readouterr().out
    assert place.summary()["complete"] is False
    early = Place(tmp_path / "early", [*drive([0.0, 0.1]), *oncoming([0.2, 0.3])])
    assert early.run() == 3 and early.summary()["frame_sets"]["outside_of_the_recording"] == 2


def test_threads_and_the_log_do_not_make_another_replay(place: Place) -> None:
    assert place.run() == 0
    text = place.config.read_text().replace("backend: cpu", "backend: cpu, threads: 1")
    place.config.write_text(text + "sync: {stall_report_s: 9.0}\n")
    assert place.run() == 0


def test_two_runs_do_not_write_one_folder(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    from r3d2_ros.replay.folder_store import lock

    place.out.mkdir()
    descriptor = lock(place.out)
    try:
        assert place.run() == 1
        assert "a replay is writing now" in capsys.readouterr().err
    finally:
        os.close(descriptor)
    assert place.run() == 0


def full_after(writes: int) -> Callable[..., Any]:
    """`atomic_output` on a disk that is full after so many files."""
    from r3d2_ros.formats.files import atomic_output

    left = [writes]

    class Full:
        def write(self, data: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextmanager
    def limited(path: Path) -> Iterator[Any]:
        with atomic_output(path) as file:
            left[0] -= 1
            yield Full() if left[0] < 0 else file

    return limited


def test_a_full_disk_ends_the_run_with_what_was_done(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(folder_output, "atomic_output", full_after(7))
        assert place.run() == 3
    text = capsys.readouterr().out
    assert "3 of 8 frame sets" in text and "no space left on the disk" in text
    assert "5 frame sets are not done; the same command goes on with them" in text
    assert not list(place.out.rglob("*.tmp"))
    assert place.run() == 0
    assert sorted(place.hashes()) == list(range(8))
    assert place.summary()["frame_sets"]["from_earlier_runs"] == 3


def unlucky(step: str, only: str = "") -> Callable[..., Any]:
    """`Simulator.render` or `harmonize` that fails at 0.3 s, as a whole or for one camera."""
    original = getattr(Simulator, step)

    def failing(self: Simulator, given: Any, *args: Any, **more: Any) -> Any:
        made = original(self, given, *args, **more)
        if getattr(given, "stamp_ns", 0) != ns(0.3) and getattr(given, "state", state(0)).stamp_ns != ns(0.3):
            return made
        if not only:
            raise RuntimeError("out of luck")
        frame_set, history = made
        failures = tuple(CameraFailure(f.camera, "out of luck") for f in frame_set.frames if f.camera.name == only)
        frames = tuple(f for f in frame_set.frames if f.camera.name != only)
        return replace(frame_set, frames=frames, failures=failures), history

    return failing


@pytest.mark.parametrize(
    ("step", "only", "cause"),
    [
        ("render", "", "rendering_failed"),
        ("harmonize", "", "harmonizing_failed"),
        ("harmonize", "eye", "harmonizing_failed"),
    ],
)
def test_what_fails_is_a_line_with_its_reason_and_tried_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], step: str, only: str, cause: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Simulator, step, unlucky(step, only))
        assert place.run() == 3
    entry = place.entries()[3]
    reason = "out of luck" if only else "RuntimeError: out of luck"
    assert entry["cause"] == cause
    assert entry["cameras"]["eye"] == {"file": None, "reason": reason}
    assert (entry["cameras"]["side"]["file"] is None) == (not only)
    captured = capsys.readouterr()
    assert "7 of 8 frame sets" in captured.out and f"1 have no pictures: {reason}" in captured.out
    assert place.run() == 0
    assert "cause" not in place.entries()[3]
    assert place.summary()["frame_sets"]["from_earlier_runs"] == 7


def test_gaps_and_the_ends_of_the_actors_are_lines_with_reasons(tmp_path: Path) -> None:
    place = Place(tmp_path, [*drive([0.0, 0.1, 0.2, 0.3]), *oncoming([0.1, 0.2])])
    assert place.run() == 0, "nothing is wrong with a recording whose actors begin later and end earlier"
    assert [e.get("cause") for e in place.entries()] == ["actors.before_history", None, None, "end_of_inputs"]
    assert place.summary()["frame_sets"]["outside_of_the_recording"] == 2
    place = Place(tmp_path / "gap", drive([0.0, 0.1, 1.5, 1.6]))
    assert place.run("--rate", "10") == 3
    causes = [e.get("cause") for e in place.entries()]
    assert causes == [None, None, *["ego.gap"] * 13, None, None]
    assert len(place.summary()["frame_sets"]["missing"]) == 1


def far_north(seconds: list[float]) -> list[bags.Entry]:
    """A drive along +y from (1000, 500, 7)."""
    return [recorded("/odom", s, bags.odometry(s, bags.pose(1000, 500 + 10 * s, 7, np.pi / 2))) for s in seconds]


def test_a_drive_elsewhere_is_told_and_moved_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A drive along +y from (1000, 500, 7), seen from where the capture began."""
    place = Place(tmp_path, far_north(SECONDS))
    assert place.run("--every", "7") == 0
    captured = capsys.readouterr().err
    assert "the drive lies outside the scene's bounds, by 1080.1 m or more" in captured
    assert "--anchor start moves it to where the capture begins" in captured
    assert place.entries()[0]["out_of_bounds_m"] == pytest.approx(np.sqrt(960**2 + 495**2 + 2**2))
    elsewhere = place.hashes()
    place.out = tmp_path / "moved"
    assert place.run("--every", "7", "--anchor", "start") == 0
    assert place.hashes() != elsewhere
    first, last = place.entries()
    assert first["out_of_bounds_m"] == last["out_of_bounds_m"] == 0.0
    assert first["off_path_m"] == pytest.approx(0.0, abs=1e-6)
    here = Place(tmp_path / "here", drive(SECONDS))
    assert here.run("--every", "7") == 0
    assert here.hashes()[0] == place.hashes()[0]


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (("--start", "0.4"), {4: 4.0, 5: 5.0, 6: 6.0, 7: 7.0}),
        (("--start", "0.2", "--duration", "0.45", "--every", "3"), {2: 2.0, 5: 5.0}),
    ],
    ids=["the end", "a part of a part"],
)
def test_a_part_of_a_drive_that_is_moved_shows_what_the_whole_shows(
    tmp_path: Path, extra: tuple[str, ...], expected: dict[int, float]
) -> None:
    """Frame set n is n metres after the beginning of the capture, also where the part begins later."""
    place = Place(tmp_path, far_north(SECONDS))
    assert place.run("--anchor", "start") == 0
    whole = place.hashes()
    place.out = tmp_path / "part"
    assert place.run("--anchor", "start", *extra) == 0
    assert place.hashes() == {index: whole[index] for index in expected}
    here = Place(tmp_path / "here", drive([metres / 10 for metres in expected.values()]))
    assert here.run() == 0
    assert list(here.hashes().values()) == list(place.hashes().values())


def test_one_camera_of_a_drive_that_is_moved_shows_what_it_shows_among_others(tmp_path: Path) -> None:
    """The camera `side` begins 0.1 s after the drive does: 1 m further on."""
    place = Place(tmp_path, far_north(SECONDS))
    rig = place.config.parent / "two.yaml"
    rig.write_text(rig.read_text().replace("side: {", "side: {rate_hz: 5, phase_s: 0.1, "))
    place.config.write_text(place.config.read_text() + "sync: {tick: rate}\n")

    def seen(*extra: str) -> dict[int, str]:
        place.out = tmp_path / f"out{len(extra)}"
        assert place.run("--anchor", "start", *extra) == 0
        return {e["stamp_ns"]: e["cameras"]["side"]["content_hash"] for e in place.entries() if "side" in e["cameras"]}

    whole = seen()
    assert list(whole) == [ns(s) for s in (0.1, 0.3, 0.5, 0.7)]
    assert seen("--cameras", "side") == whole


def test_broken_poses_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = [recorded("/odom", s, bags.odometry(s, bags.pose(float("nan")))) for s in (0.05, 0.15)]
    place = Place(tmp_path, [*drive([0.0, 0.1, 0.2]), *broken])
    assert place.run() == 0
    assert len(place.entries()) == 3
    assert "input: ego: expected a position of three finite metres" in capsys.readouterr().out
    only = Place(tmp_path / "only", broken)
    assert only.run() == 1
    assert "poses that can be used, got ego: expected a position" in capsys.readouterr().err
    assert not only.out.exists()


@pytest.mark.parametrize(
    ("sec", "what"),
    [(0, "0: the header was never filled"), (1700000000, "1700000000.000000000 s: they are one moment")],
)
def test_stamps_that_are_all_the_same_are_named(
    tmp_path: Path, sec: int, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = drive(SECONDS)
    for entry in entries:
        entry.message.header.stamp.sec, entry.message.header.stamp.nanosec = sec, 0
    place = Place(tmp_path, entries)
    assert place.run() == 3
    assert len(place.entries()) == 1
    assert f"not read: {entries[0].topic}: all stamps are {what}\n" in capsys.readouterr().out


def test_an_unreadable_part_is_named_and_the_rest_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place(tmp_path)
    (place.bag / "metadata.yaml").unlink()
    (place.bag / "later.db3").write_bytes(b"SQLite format 3\x00" + bytes(3000))
    assert place.run() == 3
    assert len(place.entries()) == 8
    assert "not read: later.db3: cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "status", "text"),
    [
        (["--start", "99"], 1, "a part of the drive, which takes 0.700 s"),
        (["--cameras", "rear"], 1, "names of cameras of the rig 'two': eye, side"),
        (["--also", "sound"], 1, "rendered, mask, depth, instance"),
        (["--start", "-1"], 2, "expected a number from 0 on"),
        (["--duration", "inf"], 2, "expected a number from 0 on"),
        (["--rate", "0"], 2, "expected a number above 0"),
        (["--every", "0"], 2, "expected a whole number from 1 on"),
        (["--format", "gif"], 2, "invalid choice"),
    ],
)
def test_arguments_that_cannot_be_used(
    place: Place, capsys: pytest.CaptureFixture[str], extra: list[str], status: int, text: str
) -> None:
    try:
        found = place.run(*extra)
    except SystemExit as error:
        found = int(str(error.code))
    assert (found, text in capsys.readouterr().err) == (status, True)
    assert not place.out.exists()


def started(place: Place, *extra: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "r3d2_ros.cli", *place.words(*extra)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_pictures(place: Place, process: subprocess.Popen[str], count: int) -> None:
    end = time.monotonic() + 300
    while len(list(place.out.rglob("*.jpg"))) < count:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["ctrl-c", "term", "kill"])
def test_a_run_that_is_ended_goes_on_later(tmp_path: Path, kill: signal.Signals) -> None:
    """Whatever ends it, every line that is there names whole pictures, and the later run completes it."""
    place = Place(tmp_path, drive([i / 1000 for i in range(1500)], speed=1.0))
    process = started(place)
    wait_for_pictures(place, process, 60)
    process.send_signal(kill)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == (-signal.SIGKILL if kill == signal.SIGKILL else 130)
    done = len(place.entries()) if kill != signal.SIGKILL else 0
    assert done < 1500
    if kill != signal.SIGKILL:
        assert f"{done} of 1500 frame sets" in out and f"{1500 - done} frame sets are not done" in out
    assert place.run() == 0
    assert place.summary()["frame_sets"]["from_earlier_runs"] >= max(done, 10)
    hashes = place.hashes()
    place.out = tmp_path / "at once"
    assert place.run() == 0 and place.hashes() == hashes


@pytest.mark.slow
def test_the_real_bag_through_the_embedded_street(tmp_path: Path) -> None:
    """Ten moments of a recorded drive; the picture changes from one to the next, and all of it lies on the street."""
    out = tmp_path / "out"
    words = [
        "replay",
        str(shared_data("autoware-bag-ego")),
        "--out",
        str(out),
        "--anchor",
        "start",
        "--cameras",
        "front",
    ]
    assert main([*words, "--duration", "2.4", "--every", "10"]) == 0
    entries = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert [entry["index"] for entry in entries] == list(range(0, 100, 10))
    assert len({entry["cameras"]["front"]["content_hash"] for entry in entries}) == 10
    assert all(entry["out_of_bounds_m"] == 0.0 for entry in entries)
