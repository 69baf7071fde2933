"""Campaigns of closed-loop runs: verdicts, exit statuses, results of all of them, and tasks that are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from r3d2_ros.campaign import work
from r3d2_ros.campaign.file import load_campaign
from r3d2_ros.campaign.runner import local_engine, run_campaign
from r3d2_ros.cli.main import main
from r3d2_ros.closed_loop.run_log import read_log
from tests.campaign.watching import WAIT_S, parent_of, processes, until
from tests.closed_loop.worlds import write_world

FAKE = (sys.executable, str(Path(__file__).with_name("fake_scenario.py")))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    return folder


class Place:
    """A campaign of scenarios whose descriptions say how their runs end."""

    def __init__(self, world: Path, folder: Path) -> None:
        self.world, self.folder, self.file, self.out = world, folder, folder / "campaign.yaml", folder / "out"

    def write(self, keys: str = "", **scenarios: str) -> None:
        """The campaign file, and scenarios NAME with these descriptions; one stack, the brake."""
        text = (self.world / "parked.yaml").read_text()
        for name, wish in scenarios.items():
            said = text.replace("A car stands in the lane <b>&amp;", wish).replace("road,", f"{self.world}/road,")
            self.add(name, said.replace("source: road", f"source: {self.world}/road").replace(
                "source: rig.yaml", f"source: {self.world}/rig.yaml"))  # fmt: skip
        names = ", ".join(f"{name}.yaml" for name in scenarios)
        self.file.write_text(f"out: out\nscenarios: [{names}]\nstacks: {{aeb: {{controller: depth_aeb}}}}\n{keys}\n")

    def add(self, name: str, text: str) -> None:
        (self.folder / f"{name}.yaml").write_text(text)

    def run(self, *extra: str) -> int:
        return main(["campaign", "run", str(self.file), *extra])

    def begun(self) -> list[str]:
        path = self.folder / "begun.txt"
        lines = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return sorted(lines)

    def results(self) -> dict[str, Any]:
        return json.loads((self.out / "results.json").read_text())

    def verdicts(self) -> dict[str, str]:
        return {run["run_id"]: run["verdict"] for run in self.results()["runs"]}

    def tasks(self) -> dict[str, Any]:
        return json.loads((self.out / "campaign.json").read_text())["tasks"]


@pytest.fixture
def place(world: Path, tmp_path: Path) -> Place:
    return Place(world, tmp_path)


@pytest.fixture
def faked(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(work, "COMMAND", FAKE)
    return place


def test_a_failed_criterion_is_a_result_and_no_reason_to_try_again(
    faked: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    faked.write(a="passed", b="failed")
    assert faked.run() == 1 and faked.begun() == ["a-s0.aeb", "b-s0.aeb"]
    assert faked.verdicts() == {"a-s0.aeb": "passed", "b-s0.aeb": "failed"}
    assert {name: task["state"] for name, task in faked.tasks().items()} == {"a-s0.aeb": "done", "b-s0.aeb": "done"}
    assert "2 runs: 1 passed, 1 failed" in capsys.readouterr().out
    assert faked.run() == 1 and faked.begun() == []  # finished, and the verdict is still what it was
    assert main(["campaign", "status", str(faked.file)]) == 0
    assert "FAILED: it is failed; goal (neuroncap 4.000" in capsys.readouterr().out


@pytest.mark.parametrize(("wish", "status"), [("passed", 0), ("failed", 1), ("invalid", 1), ("error", 2), ("kill", 2)])
def test_the_exit_status_is_that_of_one_scenario_run(faked: Place, wish: str, status: int) -> None:
    faked.write("tries: 1", a="passed", b=wish)
    assert faked.run() == status


def test_a_run_that_broke_off_is_tried_again_then_named(faked: Place, capsys: pytest.CaptureFixture[str]) -> None:
    faked.write(a="error at first", b="kill", c="refuse")
    assert faked.run() == 2
    assert faked.begun() == ["a-s0.aeb", "a-s0.aeb", "b-s0.aeb", "b-s0.aeb", "c-s0.aeb", "c-s0.aeb"]
    assert faked.verdicts() == {"a-s0.aeb": "passed", "b-s0.aeb": "error", "c-s0.aeb": "error"}
    said = capsys.readouterr().out
    assert "b-s0.aeb: ERROR: ended by SIGKILL" in said
    assert "c-s0.aeb: ERROR: exit status 1: r3d2 scenario: a fault of the input" in said
    (a, b, c) = ElementTree.parse(faked.out / "junit.xml").getroot()
    assert [(suite.get("name"), suite.get("errors")) for suite in (a, b, c)] == [
        ("a (aeb)", "0"), ("b (aeb)", "1"), ("c (aeb)", "1")
    ]  # fmt: skip
    assert "ended by SIGKILL" in (b.find("testcase/error").get("message") or "")
    page = (faked.out / "report.html").read_text()
    assert "ended by SIGKILL" in page and "1 passed, 2 error" in page


def test_what_has_changed_runs_again_and_nothing_else(faked: Place, capsys: pytest.CaptureFixture[str]) -> None:
    faked.write(a="passed", b="passed")
    assert faked.run() == 0 and len(faked.begun()) == 2
    a = faked.folder / "a.yaml"
    a.write_text(f"# the same\n{a.read_text()}vary: {{seed: [0, 1]}}\n")
    assert faked.run() == 0 and faked.begun() == ["a-s1.aeb"]
    a.write_text(a.read_text().replace("s_m: 35.0", "s_m: 36.0"))
    capsys.readouterr()
    assert faked.run() == 0 and faked.begun() == ["a-s0.aeb", "a-s1.aeb"]
    assert "a-s0.aeb runs again: actors.0.place.s_m was 35.0 and is 36.0" in capsys.readouterr().err
    b = faked.folder / "b.yaml"
    b.write_text(b.read_text().replace("description: passed", "description: failed"))
    faked.file.write_text(faked.file.read_text().replace("depth_aeb", "path_follower"))
    assert faked.run() == 1 and len(faked.begun()) == 3
    assert "b-s0.aeb runs again: driver was \"depth_aeb\" and is \"path_follower\"" in capsys.readouterr().err


def test_results_are_those_of_the_file_when_nothing_is_left_to_run(faked: Place) -> None:
    """A scenario leaves the file, and comes back to it."""
    faked.write(a="passed", b="failed")
    assert faked.run() == 1 and len(faked.begun()) == 2
    faked.write(a="passed")
    assert faked.run() == 0 and faked.verdicts() == {"a-s0.aeb": "passed"}
    faked.write(a="passed", b="failed")
    assert faked.run() == 1 and faked.verdicts() == {"a-s0.aeb": "passed", "b-s0.aeb": "failed"}
    assert faked.begun() == []


def test_a_baseline_shows_what_is_worse(faked: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faked.write(a="passed")
    assert faked.run() == 0
    shutil.copytree(faked.out, tmp_path / "before")
    faked.write("tries: 1", a="failed")
    faked.file.write_text(faked.file.read_text().replace("depth_aeb", "path_follower"))
    assert faked.run("--baseline", str(tmp_path / "before")) == 1
    assert "worse: a-s0.aeb: failed, was passed" in capsys.readouterr().out
    assert faked.results()["regressions"] == ["a-s0.aeb: failed, was passed"]
    faked.begun()
    assert faked.run("--baseline", str(tmp_path)) == 1 and faked.begun() == []  # refused before anything runs
    assert "expected the results of `r3d2 scenario run`" in capsys.readouterr().err


def test_results_are_those_of_scenario_run_for_each_stack(world: Path, tmp_path: Path) -> None:
    """A seed that the scenario varies, with two controllers: verdicts, digest, means, and the report made anew."""
    place = Place(world, tmp_path)
    place.write(parked="real")
    scenario = tmp_path / "parked.yaml"
    scenario.write_text(scenario.read_text() + "vary: {seed: [3]}\n")
    place.file.write_text(
        "out: out\nscenarios: [parked.yaml]\n"
        "stacks: {aeb: {controller: depth_aeb}, blind: {controller: constant_velocity}}\n"
    )
    assert place.run("--workers", "2") == 1
    results = place.results()
    assert place.verdicts() == {"parked-s3.aeb": "passed", "parked-s3.blind": "failed"}
    assert {name: means["collision_rate"] for name, means in results["groups"].items()} == {"aeb": 0.0, "blind": 1.0}
    alone = tmp_path / "alone"
    assert main(["scenario", "run", str(scenario), "--controller", "depth_aeb", "--out", str(alone)]) == 0
    digests = {run["run_id"]: run["digest"] for run in results["runs"]}
    (run,) = json.loads((alone / "results.json").read_text())["runs"]
    assert run["run_id"] == "parked-s3" and digests["parked-s3.aeb"] == run["digest"] != digests["parked-s3.blind"]
    page = (place.out / "report.html").read_text()
    assert "<h2>Means: aeb</h2>" in page and "<h2>Means: blind</h2>" in page and page.count("<svg") == 2 * 5
    (place.out / "results.json").unlink()
    (place.out / "runs" / "parked-s3.aeb" / "summary.json").unlink()
    assert main(["scenario", "report", str(place.out)]) == 1
    assert place.results() == results
    begun = {path.name: path.read_text().count("--- ") for path in (place.out / "logs").iterdir()}
    assert place.run() == 1 and begun == {path.name: path.read_text().count("--- ") for path in
                                          (place.out / "logs").iterdir()} == dict.fromkeys(begun, 1)  # fmt: skip


@pytest.mark.slow
def test_a_run_that_is_killed_in_the_middle_costs_one_try(world: Path, tmp_path: Path) -> None:
    """The second try drives the whole scenario; the log of the first one is kept beside it."""
    place = slow_and_quick(world, tmp_path)
    campaign = load_campaign(place.file)
    run = threading.Thread(target=lambda: run_campaign(
        campaign, lambda: local_engine(campaign.tasks, 2), say=lambda text: None, stop=threading.Event()
    ))  # fmt: skip
    run.start()
    os.kill(in_the_middle(place), signal.SIGKILL)
    run.join(WAIT_S)
    assert not run.is_alive()
    assert_one_was_repeated(place)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_ray_worker_that_is_killed_costs_one_try(world: Path, tmp_path: Path, cluster: str) -> None:
    place = slow_and_quick(world, tmp_path)
    words = [sys.executable, "-m", "r3d2_ros.cli", "campaign", "run", str(place.file), "--ray", cluster]
    run = subprocess.Popen(words)
    child = in_the_middle(place)
    os.kill(parent_of(child), signal.SIGKILL)
    os.kill(child, signal.SIGCONT)
    assert run.wait(WAIT_S) == 0
    assert_one_was_repeated(place)
    begun = {name: (place.out / "logs" / f"{name}.log").read_text().count("--- ") for name in place.tasks()}
    assert begun == {"slow-s0.aeb": 2, "quick-s0.aeb": 1}
    assert place.run() == 0  # nothing is left to do
    assert begun == {name: (place.out / "logs" / f"{name}.log").read_text().count("--- ") for name in begun}


def slow_and_quick(world: Path, folder: Path) -> Place:
    """Two scenarios, one of which takes long enough to be killed in."""
    place = Place(world, folder)
    place.write(slow="real", quick="real")
    path = folder / "slow.yaml"
    text = path.read_text().replace("to_m: 60.0", "to_m: 290.0").replace("s_m: 35.0", "s_m: 250.0")
    path.write_text(text.replace("duration_s: 4.5", "duration_s: 20") + "clock: {frame_rate_hz: 50}\n")
    return place


def in_the_middle(place: Place) -> int:
    """The process of the slow run, halted when it has begun to drive: it could be done before it is killed."""
    log = place.out / "runs" / "slow-s0.aeb" / "run.jsonl"
    until(lambda: log.exists() and b'"record":"frame"' in log.read_bytes())
    (child,) = processes("r3d2_ros.campaign.child", str(place.out), "slow-s0.aeb")
    os.kill(child, signal.SIGSTOP)
    return child


def assert_one_was_repeated(place: Place) -> None:
    """The slow run took two tries, and its result is that of a run that nothing disturbed."""
    tasks = place.tasks()
    assert {name: (task["state"], task["tries"]) for name, task in tasks.items()} == {
        "slow-s0.aeb": ("done", 2), "quick-s0.aeb": ("done", 1)
    }  # fmt: skip
    log = place.out / "runs" / "slow-s0.aeb" / "run.jsonl"
    first = read_log(log.with_name("run.jsonl.1"))  # whose worker was killed, it ended itself
    assert first.end is None or first.end["reason"] == "interrupted"
    assert 0 < first.counts["frame"] < read_log(log).counts["frame"]
    alone = place.folder / "alone"
    main(["scenario", "run", str(place.folder / "slow.yaml"), "--controller", "depth_aeb", "--out", str(alone)])
    whole = read_log(alone / "runs" / "slow-s0" / "run.jsonl")
    assert whole.end is not None and tasks["slow-s0.aeb"]["result"]["digest"] == whole.end["digest"]


def test_what_is_no_campaign_of_scenarios_has_no_baseline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_text("")
    file = tmp_path / "campaign.yaml"
    file.write_text("out: out\nbags: {a: a}\nconfigurations: {plain: {}}\n")
    assert main(["campaign", "run", str(file), "--baseline", str(tmp_path)]) == 1
    assert "--baseline: expected a campaign of scenarios" in capsys.readouterr().err
