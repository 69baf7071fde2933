"""The log: what was written can be read back, also when the run was killed in the middle of a line."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from r3d2_ros.closed_loop.run_log import LogWriter, read_log
from r3d2_ros.errors import InputError

HEADER = {"format": 1, "run_id": "a"}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "a.jsonl"
    with LogWriter(path) as log:
        log.write("header", **HEADER)
        log.write("tick", stamp_ns=7, ego=[0.1 + 0.2, math.nan, math.inf], actors={"b": [1.0]})
        log.write("end", reason="goal")
    read = read_log(path)
    assert read.header["run_id"] == "a"
    assert read.of("tick") == [
        {"record": "tick", "stamp_ns": 7, "ego": [0.1 + 0.2, None, None], "actors": {"b": [1.0]}}
    ]
    assert read.end == {"record": "end", "reason": "goal"} and read.cut == 0
    assert read.counts["tick"] == 1


def test_every_line_is_json_that_any_program_reads(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "a") as log:
        log.write("header", **HEADER, nothing=math.nan)
    (line,) = (tmp_path / "a").read_text().splitlines()
    assert json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["nothing"] is None


def test_a_log_that_was_cut_off_counts_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with LogWriter(path) as log:
        log.write("header", **HEADER)
        for k in range(5):
            log.write("tick", stamp_ns=k)
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    read = read_log(path)
    assert (len(read.of("tick")), read.end) == (4, None)
    assert read.cut == len(whole.splitlines(keepends=True)[-1]) - 7


def test_a_killed_writer_loses_nothing_that_it_wrote(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from r3d2_ros.closed_loop.run_log import LogWriter\n"
        "log = LogWriter(Path(sys.argv[1])); log.write('header', format=1)\n"
        "for k in range(1000): log.write('tick', stamp_ns=k)\n"
        "print('written', flush=True); time.sleep(60)"
    )
    path = tmp_path / "a"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"written\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    assert len(read_log(path).of("tick")) == 1000


def test_an_earlier_log_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("precious")
    with pytest.raises(InputError, match="expected a new file that can be written, got File exists"):
        LogWriter(tmp_path / "a")


def test_a_full_disk_is_named_and_leaves_whole_lines(tmp_path: Path) -> None:
    """/dev/full takes nothing; after the fault nothing is added any more."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    log = LogWriter(tmp_path / "a")
    log.write("header", **HEADER)
    log._file.close()
    with Path("/dev/full").open("wb", buffering=0) as full:
        log._file = full
        for _ in range(2):
            with pytest.raises(InputError, match="No space left on device"):
                log.write("tick", stamp_ns=1)
    assert len((tmp_path / "a").read_bytes().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "begins with its header"),
        ('{"record": "tick"}\n', "begins with its header"),
        ("[1, 2]\n", "line 1: expected the log of a run"),
        ('{"record": "header", "format": 1}\n{"recor\n', "line 2: expected the log of a run"),
        ('{"record": "header", "format": 99}\n', "format: expected 1, got 99"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(InputError, match=expected):
        read_log(tmp_path / "a")


def test_the_digest_ignores_the_wall_clock_and_the_length_of_the_start_up(tmp_path: Path) -> None:
    digests = []
    for k, epoch in enumerate((1000, 5000, 5000)):
        with LogWriter(tmp_path / str(k)) as log:
            log.write("frame", stamp_ns=0, t_s=0.0)  # before t = 0
            log.begin(epoch)
            command = {"stamp_ns": epoch, "demand": {"kind": "trajectory", "stamps_ns": [epoch, epoch + 5]}}
            log.write("command", stamp_ns=epoch + 10, command=command, latency_ms=time.monotonic())
            log.write("tick", stamp_ns=epoch + 20, ego=[1.0 if k < 2 else 1.0000001])
            log.write("plan", stamp_ns=epoch + 20, wall_s=time.monotonic())
            digests.append(log.digest)
    assert digests[0] == digests[1] != digests[2]
