"""Campaigns of real replays, with processes that are killed: on this machine and on a Ray cluster of two workers."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from r3d2_ros.cli.main import main
from tests.campaign.watching import WAIT_S, parent_of, processes, until
from tests.replay.bags import drive, write_bag
from tests.replay.small import write_small

pytestmark = pytest.mark.slow
LONG = 1500
"""Frame sets of a drive that takes long enough to be killed in."""


class Drives:
    """Bags 'long' and 'short', one configuration, and `r3d2 campaign` as a process."""

    def __init__(self, folder: Path) -> None:
        self.out, self.file = folder / "out", folder / "campaign.yaml"
        self.config = write_small(folder / "sim")
        self.long = write_bag(folder / "long", drive([i / 1000 for i in range(LONG)], speed=1.0))
        self.short = write_bag(folder / "short", drive([i / 10 for i in range(8)], speed=1.0))
        self.file.write_text(
            "out: out\nbags: {long: long, short: short}\nconfigurations: {plain: {file: sim/sim.yaml}}\n"
            "replay: {cameras: [eye]}\n"
        )

    def started(self, *extra: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "r3d2_ros.cli", "campaign", "run", str(self.file), *extra])

    def pictures(self) -> int:
        return len(list((self.out / "tasks" / "long.plain" / "eye").glob("*.jpg")))

    def wait_for_pictures(self, run: subprocess.Popen[bytes]) -> None:
        until(lambda: self.pictures() >= 20 or run.poll() is not None)
        assert run.poll() is None and 20 <= self.pictures() < LONG - 200, self.pictures()

    def tasks(self) -> dict[str, Any]:
        return json.loads((self.out / "campaign.json").read_text())["tasks"]

    def assert_complete(self) -> None:
        """Every frame set once, with the hashes of a replay that nothing disturbed."""
        assert {name: task["state"] for name, task in self.tasks().items()} == {
            "long.plain": "done", "short.plain": "done"
        }  # fmt: skip
        assert [entry["index"] for entry in entries(self.out / "tasks" / "long.plain")] == list(range(LONG))
        alone = self.out.parent / "alone"
        words = ["replay", str(self.short), "--config", str(self.config), "--cameras", "eye", "--out", str(alone)]
        assert main(words) == 0
        assert hashes(self.out / "tasks" / "short.plain") == hashes(alone)


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "frames.jsonl").read_text().splitlines()]


def hashes(folder: Path) -> list[str]:
    return [entry["cameras"]["eye"]["content_hash"] for entry in entries(folder)]


@pytest.fixture
def drives(tmp_path: Path) -> Drives:
    return Drives(tmp_path)


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_campaign_that_was_ended_goes_on(drives: Drives, kill: signal.Signals) -> None:
    run = drives.started("--workers", "2")
    drives.wait_for_pictures(run)
    os.kill(run.pid, kill)
    assert run.wait(WAIT_S) == (-9 if kill == signal.SIGKILL else 130)
    until(lambda: not processes("r3d2_ros.campaign.child", str(drives.out)))
    assert drives.tasks()["long.plain"]["state"] == ("running" if kill == signal.SIGKILL else "waiting")
    kept = drives.pictures()
    assert kept < LONG
    assert main(["campaign", "run", str(drives.file)]) == 0
    drives.assert_complete()
    assert drives.tasks()["long.plain"]["result"]["frame_sets"]["from_earlier_runs"] >= kept - 5


def test_a_task_that_was_killed_goes_on_in_its_next_try(drives: Drives) -> None:
    run = drives.started("--workers", "1")
    drives.wait_for_pictures(run)
    (child,) = processes("r3d2_ros.campaign.child", "long.plain", str(drives.out))
    os.kill(child, signal.SIGKILL)
    assert run.wait(WAIT_S) == 0
    drives.assert_complete()
    task = drives.tasks()["long.plain"]
    assert task["tries"] == 2 and task["result"]["frame_sets"]["from_earlier_runs"] >= 10


@pytest.mark.timeout(300)
def test_a_ray_worker_that_is_killed_costs_one_try(drives: Drives, cluster: str) -> None:
    run = drives.started("--ray", cluster)
    drives.wait_for_pictures(run)
    (child,) = processes("r3d2_ros.campaign.child", "long.plain", str(drives.out))
    os.kill(parent_of(child), signal.SIGKILL)
    assert run.wait(WAIT_S) == 0
    drives.assert_complete()
    manifest = json.loads((drives.out / "campaign.json").read_text())
    assert manifest["engine"] == "ray, 2 nodes"
    tasks = manifest["tasks"]
    assert (tasks["long.plain"]["tries"], tasks["short.plain"]["tries"]) == (2, 1)
    assert tasks["long.plain"]["result"]["frame_sets"]["from_earlier_runs"] >= 10
    begun = {name: (drives.out / "logs" / f"{name}.log").read_text().count("--- ") for name in tasks}
    assert begun == {"long.plain": 2, "short.plain": 1}
    assert main(["campaign", "run", str(drives.file)]) == 0  # nothing is left to do
    assert {name: (drives.out / "logs" / f"{name}.log").read_text().count("--- ") for name in tasks} == begun


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM])
def test_what_runs_on_ray_ends_and_the_next_run_goes_on(drives: Drives, cluster: str, kill: signal.Signals) -> None:
    run = drives.started("--ray", cluster)
    drives.wait_for_pictures(run)
    os.kill(run.pid, kill)
    assert run.wait(WAIT_S) == 130
    until(lambda: not processes("r3d2_ros.campaign.child", str(drives.out)))
    assert drives.tasks()["long.plain"]["state"] == "waiting"
    assert main(["campaign", "run", str(drives.file)]) == 0
    drives.assert_complete()


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:1", "127.0.0.1:port"])
def test_a_cluster_that_is_not_there_is_said(drives: Drives, address: str) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install 'r3d2_ros[ray]'")
    run = subprocess.run(
        [sys.executable, "-m", "r3d2_ros.cli", "campaign", "run", str(drives.file), "--ray", address],
        capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    assert run.returncode == 1
    assert "--ray: expected the address of a Ray cluster that is running" in run.stderr
    assert "Start one: ray start --head" in run.stderr
