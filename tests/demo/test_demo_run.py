"""The whole demo, as a person starts it: processes, DDS, pictures."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.data import shared_data

pytest.importorskip("r3d2_ros.nodes.demo_client", reason="needs ROS 2 and the built messages")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

CAMERAS = ("front_left", "front", "front_right")


def started(out: Path, *extra: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "r3d2_ros.cli", "demo", "--out", str(out), "--width", "320", *extra]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def demo(out: Path, *extra: str) -> dict:
    process = started(out, "--json", *extra)
    printed, said = process.communicate(timeout=350)
    assert process.returncode == 0, said
    summary = json.loads(printed)
    assert summary == json.loads((out / "summary.json").read_text())
    return summary


def children_of(out: Path) -> list[str]:
    """Command lines of running processes that name the folder."""
    found = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in found if str(out) in line and not line.startswith("ps ")]


def test_every_frame_set_arrives_and_is_kept(tmp_path: Path) -> None:
    summary = demo(tmp_path, "--seconds", "1.5")
    assert (summary["frame_sets"], summary["lost"], summary["ticks"]) == (15, 0, 15)
    assert summary["fps"] > 0
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"]
    assert list(summary["cameras"]) == list(CAMERAS)
    assert len(summary["drive"]["actors"]) >= 5
    for camera in CAMERAS:
        with av.open(str(tmp_path / f"{camera}.mp4")) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) == 15
        assert frames[0].shape == (180, 320, 3)
        assert frames[0].std() > 20  # a street, not a plain colour
        assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 3  # and it moves
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.width > 3 * 500
    assert summary["harmonizer"] == "nano"
    with Image.open(tmp_path / "before_after.png") as sheet:
        assert sheet.width >= 2 * 320
    assert "procedural streets only" not in (tmp_path / "sim_node.log").read_text()  # this street is one
    assert children_of(tmp_path) == []


def test_without_a_harmonizer_nothing_is_before_or_after(tmp_path: Path) -> None:
    (tmp_path / "before_after.png").touch()  # of an earlier demo
    summary = demo(tmp_path, "--seconds", "1", "--harmonizer", "none")
    assert (summary["harmonizer"], summary["frame_sets"]) == (None, 10)
    assert not (tmp_path / "before_after.png").exists()


def test_a_bag_is_driven(tmp_path: Path) -> None:
    bag = shared_data("autoware-bag-ego/bag_ego_trajectory.db3")
    summary = demo(tmp_path, "--bag", str(bag), "--seconds", "1.5")
    # Recorded stamps are not exactly a tenth of a second apart.
    assert summary["ticks"] in (15, 16)
    assert (summary["frame_sets"], summary["lost"]) == (summary["ticks"], 0)
    assert summary["drive"]["rate_hz"] == pytest.approx(10.0, abs=0.1)
    drive = json.loads((tmp_path / "drive.json").read_text())
    assert drive["ticks"][0]["ego"][:2] == pytest.approx([966.5026, 1036.0884], abs=1e-4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_its_children(tmp_path: Path, number: signal.Signals) -> None:
    process = started(tmp_path)
    try:
        _wait_for(tmp_path / "poses.csv", process)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "r3d2 demo: interrupted"
    assert "Traceback" not in said
    assert children_of(tmp_path) == []


def test_a_simulator_that_dies_is_reported_with_its_log(tmp_path: Path) -> None:
    process = started(tmp_path)
    try:
        _wait_for(tmp_path / "poses.csv", process)
        listing = subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
        (pid,) = re.findall(rf"^\s*(\d+) .*r3d2_ros.cli sim .*{re.escape(str(tmp_path))}", listing, re.MULTILINE)
        os.kill(int(pid), signal.SIGKILL)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "r3d2 demo: sim_node ended with exit code -9" in said
    assert "renderer 'cpu' ready" in said
    assert children_of(tmp_path) == []


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 200
    while not path.exists() or not path.read_text():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)
