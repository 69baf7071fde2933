"""Processes of the GPU script that are prepared side by side and timed alone, with small ones in their place."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.gpu.wave import ROOT, Child, Row, run_wave

BEGIN = """
import json, os, subprocess, sys, time
from pathlib import Path
from tests.gpu.wave import leave_row, wait_to_be_timed
folder = Path(sys.argv[1])
"""
PROMPT = """
wait_to_be_timed(folder)
begin = time.monotonic()
time.sleep(0.6)
leave_row(folder, {"begin": begin, "end": time.monotonic()})
time.sleep(60)
"""
LATE = """
ticks = []
for _ in range(100):
    ticks.append(time.monotonic())
    time.sleep(0.01)
wait_to_be_timed(folder)
leave_row(folder, {"ticks": ticks})
"""
DYING = "print('out of', flush=True)\nos.write(2, b'memory')\nsys.exit(3)"
HANGING = """
other = subprocess.Popen(["sleep", "60"])
(folder / "pids").write_text(f"{os.getpid()} {other.pid}")
time.sleep(60)
"""
HELPING = "time.sleep(60)"


def child(body: str, folder: Path) -> Child:
    return Child(folder.name, [sys.executable, "-c", BEGIN + body], folder, {"PYTHONPATH": str(ROOT)})


def run(
    bodies: dict[str, str], folder: Path, *, limit_s: float, helping: str = HELPING, patience_s: float = 0.6,
    timing_s: float = 0.1,
) -> dict[str, Row]:  # fmt: skip
    rows: dict[str, Row] = {}
    helper = child(helping, folder / "helper")
    try:
        run_wave(
            [child(body, folder / name) for name, body in bodies.items()], rows.__setitem__, helper=helper,
            patience_s=patience_s, timing_s=timing_s, deadline_s=time.monotonic() + limit_s,
        )  # fmt: skip
    finally:
        helper.kill()
    return rows


def state(pid: int) -> str:
    """R, S, T for stopped and so on; '' for one that is gone or only waits to be asked for its exit code."""
    try:
        found = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""
    return found.replace("Z", "").replace("X", "")


def states(pids: Path) -> list[str]:
    """Of the processes that one has written down."""
    return [state(int(pid)) for pid in pids.read_text().split()]


def wait_until(condition: Any, *, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def test_one_is_timed_while_others_are_stopped_and_one_that_hangs_is_killed(tmp_path: Path) -> None:
    bodies = {"hanging": HANGING, "late": LATE, "prompt": PROMPT, "dying": DYING}
    start = time.monotonic()
    rows = run(bodies, tmp_path, limit_s=6.0)
    assert 5.9 < time.monotonic() - start < 30.0, "it hangs for a minute"
    assert list(rows) == ["dying", "prompt", "late"]
    assert rows["dying"] == {"name": "dying", "fault": "exit code 3: out of\nmemory"}
    begin, end = rows["prompt"]["begin"], rows["prompt"]["end"]
    ticks = rows["late"]["ticks"]
    assert [tick for tick in ticks if begin <= tick <= end] == []
    assert ticks[0] < begin and ticks[-1] > end, "it was stopped in its midst and went on"
    wait_until(lambda: states(tmp_path / "hanging" / "pids") == ["", ""])


def test_all_are_waited_for_as_long_as_patience_lasts(tmp_path: Path) -> None:
    rows = run({"prompt": PROMPT, "late": LATE}, tmp_path, limit_s=30.0, patience_s=25.0)
    assert list(rows) == ["prompt", "late"] and rows["late"]["ticks"][-1] < rows["prompt"]["begin"]


def test_none_is_timed_that_the_time_does_not_suffice_for(tmp_path: Path) -> None:
    assert run({"prompt": PROMPT}, tmp_path, limit_s=3.0, timing_s=5.0) == {}


def test_what_members_need_does_not_come(tmp_path: Path) -> None:
    pids = tmp_path / "hanging" / "pids"
    later = f"while not Path({str(pids)!r}).exists():\n    time.sleep(0.01)\n"
    with pytest.raises(RuntimeError, match="helper: exit code 3: out of\nmemory"):
        run({"hanging": HANGING}, tmp_path, limit_s=20.0, helping=later + DYING)
    wait_until(lambda: states(pids) == ["", ""])


def test_one_that_hangs_while_it_is_timed_does_not_outlast_the_deadline(tmp_path: Path) -> None:
    start = time.monotonic()
    assert run({"hanging": "wait_to_be_timed(folder)\n" + HANGING}, tmp_path, limit_s=5.0) == {}
    assert time.monotonic() - start < 30.0, "it hangs for a minute"
    wait_until(lambda: states(tmp_path / "hanging" / "pids") == ["", ""])


def test_nobody_outlives_a_killed_parent(tmp_path: Path) -> None:
    """The one that is stopped, the one that is timed, and the one that the others need."""
    say = "(folder / 'pids').write_text(f'{os.getpid()}')\n"
    others = [str(tmp_path / name / "pids") for name in ("stopped", "helper")]
    timed = say + f"while not all(map(os.path.exists, {others!r})):\n    time.sleep(0.01)\n"
    timed += "wait_to_be_timed(folder)\n(folder / 'timed').touch()\ntime.sleep(60)"
    bodies = {"timed": timed, "stopped": HANGING}
    parent = f"""
        from pathlib import Path
        from tests.bench.test_gpu_wave import run
        run({bodies!r}, Path({str(tmp_path)!r}), limit_s=60.0,
            helping={say + HELPING!r}, patience_s=0.0)
    """
    ignoring = ["nohup", sys.executable, "-c", textwrap.dedent(parent)]
    with subprocess.Popen(ignoring, cwd=ROOT, process_group=0, stderr=subprocess.DEVNULL) as process:
        try:
            names = ("timed", "stopped", "helper")
            wait_until((tmp_path / "timed" / "timed").exists)
            files = [tmp_path / name / "pids" for name in names]
            wait_until(lambda: [one for pids in files for one in states(pids)].count("T") == 3)
        finally:
            process.kill()
    wait_until(lambda: [one for pids in files for one in states(pids)] == [""] * 4)
