"""Several processes: the parts, the same hashes, and ends of every kind."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from r3d2_ros.errors import InputError, InputErrors, MissingPackageError
from r3d2_ros.replay.ticks import Moment
from r3d2_ros.replay.workers import PartEnded, _heard, _let_begin, _ToParent, _Worker, split
from tests.replay.bags import drive, ns, oncoming
from tests.replay.test_folder import Place, started, wait_for_pictures
from tests.replay.test_mcap import hashes as bag_hashes
from tests.replay.test_video import shown

MOMENTS = [Moment(ns(i / 10), 0 if i < 10 else 1, None) for i in range(14)]


def sizes(indices: list[int], parts: int, *, whole_sequences: bool = False) -> list[int]:
    made = split(indices, parts, MOMENTS, whole_sequences=whole_sequences)
    assert [index for part in made for index in part] == indices and all(made)
    return [len(part) for part in made]


def test_parts_are_contiguous_and_of_nearly_equal_size() -> None:
    assert sizes(list(range(14)), 1) == [14]
    assert sizes(list(range(14)), 2) == [7, 7]
    assert sizes(list(range(14)), 4) in ([4, 3, 4, 3], [3, 4, 3, 4], [4, 4, 3, 3], [3, 3, 4, 4])
    assert sizes([3, 9], 4) == [1, 1]
    assert sizes([], 4) == []


def test_sequences_are_not_cut() -> None:
    """Ten moments before time goes back, four after it."""
    assert sizes(list(range(14)), 2, whole_sequences=True) == [10, 4]
    assert sizes(list(range(14)), 5, whole_sequences=True) == [10, 4]
    assert sizes(list(range(14)), 1, whole_sequences=True) == [14]
    assert sizes(list(range(5)), 3, whole_sequences=True) == [5]


@pytest.mark.parametrize(
    "error",
    [InputError("a", "b", "c", "d"), InputErrors([InputError("a", "b", "c")]), MissingPackageError("p", "q", "r")],
)
def test_errors_reach_another_process_whole(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error)


@pytest.mark.parametrize("sent", [b"", b"\0\0\1\0the first words"], ids=["between messages", "within one"])
def test_a_process_that_is_killed_has_ended(sent: bytes) -> None:
    """A message is its length in four bytes, here 256, and as many more."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process: Any = SimpleNamespace(join=lambda: None, exitcode=-9)
    worker = _Worker(process, ours, 3)
    events: Any = None
    with ours:
        os.write(theirs.fileno(), sent)
        theirs.close()
        error = _heard(worker, events, [])
    assert isinstance(error, PartEnded) and worker.finished
    assert str(error) == "the process of part 3 ended with exit code -9"


@pytest.mark.parametrize(
    ("asked", "exit_code", "is_a_fault"), [(True, -15, False), (True, -9, True), (False, -15, True)]
)
def test_a_process_that_was_asked_before_it_could_hear_ended_well(
    asked: bool, exit_code: int, is_a_fault: bool
) -> None:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    theirs.close()
    process: Any = SimpleNamespace(join=lambda: None, exitcode=exit_code)
    worker = _Worker(process, ours, 1, asked=asked)
    events: Any = None
    with ours:
        assert (_heard(worker, events, []) is not None) is is_a_fault and worker.finished


def test_a_part_begins_when_it_may() -> None:
    """Not when its process is asked to end first, nor when the one that started it has gone."""
    ours, theirs = multiprocessing.Pipe()
    stop = threading.Event()
    parent = _ToParent(theirs, stop)
    process: Any = SimpleNamespace()
    worker = _Worker(process, ours, 0)
    _let_begin([worker])
    assert parent.ready("cpu", ["a note"])
    assert _heard(worker, process, []) is None and worker.ready == ("cpu", ["a note"])
    stop.set()
    assert not parent.ready("cpu", [])
    stop.clear()
    ours.close()
    assert not parent.ready("cpu", []) and stop.is_set()
    theirs.close()


@pytest.mark.slow
def test_no_process_begins_when_one_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert place.run("--workers", "2") == 0
    held = {path: path.read_bytes() for path in place.out.rglob("*.*")}
    scene = place.config.parent / "scene.yaml"
    scene.write_text(scene.read_text().replace("trajectory_file: capture.csv\n", ""))
    assert place.run("--workers", "2", "--anchor", "start", "--overwrite") == 1
    assert {path: path.read_bytes() for path in place.out.rglob("*.*")} == held


@pytest.mark.slow
@pytest.mark.parametrize("extra", [(), ("--anchor", "start", "--start", "0.5", "--every", "3")], ids=["all", "a part"])
def test_several_processes_give_the_same_hashes(tmp_path: Path, extra: tuple[str, ...]) -> None:
    place = Place(tmp_path, [*drive([i / 10 for i in range(20)], speed=1.0), *oncoming([i / 10 for i in range(20)])])
    assert place.run(*extra) == 0
    whole, entries = place.hashes(), [entry["index"] for entry in place.entries()]
    place.out = tmp_path / "three"
    assert place.run(*extra, "--workers", "3") == 0
    assert place.hashes() == whole and [entry["index"] for entry in place.entries()] == entries
    assert sorted(path.name for path in place.out.glob("*.jsonl")) == ["frames.jsonl"]
    place.out = tmp_path / "three.mcap"
    assert place.run(*extra, "--workers", "3") == 0
    assert bag_hashes(place.out) == whole and list(bag_hashes(place.out)) == entries
    place.out = tmp_path / "videos"
    assert place.run(*extra, "--workers", "2", "--format", "mp4") == 0
    assert place.hashes() == whole and len(shown(place.out / "eye.mp4")) == len(whole)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
def test_all_processes_end_with_the_run(tmp_path: Path, kill: signal.Signals) -> None:
    place = Place(tmp_path, drive([i / 1000 for i in range(3000)], speed=1.0))
    process = started(place, "--workers", "2")
    wait_for_pictures(place, process, 60)
    children = children_of(process.pid)
    assert len(children) >= 2
    process.send_signal(kill)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    all_end(children)
    done = len(place.entries())
    assert 20 <= done < 3000 and f"{done} of 3000 frame sets" in out
    assert all((place.out / c["file"]).exists() for e in place.entries() for c in e["cameras"].values())


@pytest.mark.slow
def test_a_process_that_dies_is_named_and_its_part_done_later(tmp_path: Path) -> None:
    place = Place(tmp_path, drive([i / 1000 for i in range(2000)], speed=1.0))
    process = started(place, "--workers", "2")
    wait_for_pictures(place, process, 60)
    os.kill(working(children_of(process.pid))[-1], signal.SIGKILL)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 3
    assert "ended with exit code -9" in out and "the same command goes on" in out
    assert place.run() == 0
    assert sorted(place.hashes()) == list(range(2000))


@pytest.mark.slow
def test_when_the_run_is_killed_its_processes_end(tmp_path: Path) -> None:
    place = Place(tmp_path, drive([i / 1000 for i in range(3000)], speed=1.0))
    process = started(place, "--workers", "2")
    wait_for_pictures(place, process, 40)
    children = children_of(process.pid)
    process.kill()
    process.communicate(timeout=300)
    all_end(children)


@pytest.mark.slow
def test_what_keeps_them_from_beginning_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = Place(tmp_path)
    scene = place.config.parent / "scene.yaml"
    scene.write_text(scene.read_text().replace("trajectory_file: capture.csv\n", ""))
    assert place.run("--workers", "2", "--anchor", "start") == 1
    error = capfd.readouterr().err
    assert "--anchor start: expected a scene with the trajectory of its capture" in error and "Traceback" not in error


def children_of(pid: int) -> list[int]:
    """Processes that a process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(folder.name))
    return sorted(found)


def working(pids: list[int]) -> list[int]:
    """Without multiprocessing's own helper."""
    return [pid for pid in pids if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()]


def all_end(pids: list[int]) -> None:
    end = time.monotonic() + 30
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < end, "a process goes on although the run has ended"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
