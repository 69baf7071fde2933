"""`r3d2 scenario`: what a person or a build server sees of it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from r3d2_ros.assembly import Assembled
from r3d2_ros.cli.main import main
from r3d2_ros.closed_loop import session
from r3d2_ros.closed_loop.actions import Outcome
from r3d2_ros.closed_loop.commands import InProcess, _new_folder
from r3d2_ros.closed_loop.controllers import ConstantVelocityController, Observation
from r3d2_ros.closed_loop.demands import Command
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.run_log import read_log
from r3d2_ros.closed_loop.session import Scenes
from r3d2_ros.config import SimConfig
from r3d2_ros.errors import InputError
from tests.closed_loop.worlds import write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a scenario and its scene."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    return folder


@pytest.fixture(scope="module")
def braked(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two seeds with the emergency brake."""
    out = tmp_path_factory.mktemp("braked") / "out"
    assert main(["scenario", "run", str(world / "parked.yaml"), "--controller", "depth_aeb", "--seeds", "2",
                 "--out", str(out)]) == 0  # fmt: skip
    return out


@pytest.fixture(scope="module")
def crashed(world: Path, braked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one seed without a brake, against those with one."""
    out = tmp_path_factory.mktemp("crashed") / "out"
    arguments = ["--controller", "constant_velocity", "--out", str(out), "--baseline", str(braked)]
    assert main(["scenario", "run", str(world / "parked.yaml"), *arguments]) == 1
    return out


def test_a_run_that_passes(braked: Path) -> None:
    results = json.loads((braked / "results.json").read_text())
    first, second = results["runs"]
    assert [run["run_id"] for run in results["runs"]] == ["parked-s0", "parked-s1"]
    assert {run["verdict"] for run in results["runs"]} == {"passed"}
    assert first["digest"] != second["digest"]  # the seeds place the car differently
    assert results["means"]["neuroncap"] == 5.0 and results["means"]["runs"] == "2 of 2"
    assert first["scores"]["hd"]["value"] is not None
    for run in ("parked-s0", "parked-s1"):
        assert read_log(braked / "runs" / run / "run.jsonl").end is not None
        assert json.loads((braked / "runs" / run / "summary.json").read_text())["verdict"] == "passed"


@pytest.mark.parametrize("seeds", [[], ["--seeds", "2"]])
def test_scenarios_of_the_same_name_are_refused(
    world: Path, tmp_path: Path, seeds: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (world / "other.yaml").write_text((world / "parked.yaml").read_text() + "name: parked\n")
    files = [str(world / "parked.yaml"), str(world / "other.yaml")]
    assert main(["scenario", "run", *files, "--controller", "depth_aeb", *seeds, "--out", str(tmp_path / "out")]) == 1
    assert "expected run ids that differ, got parked-s0" in capsys.readouterr().err


def test_junit_of_a_failure(crashed: Path) -> None:
    (suite,) = ElementTree.parse(crashed / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "1", "0")
    assert suite.find("testcase/failure").get("message") == "collision with target"


def test_regressions_against_the_baseline(crashed: Path) -> None:
    found = json.loads((crashed / "results.json").read_text())["regressions"]
    assert "parked-s0: failed, was passed" in found
    assert any(re.match(r"parked-s0: neuroncap 0\.\d+, was 5.000", line) for line in found)
    assert "parked-s1: not run, was passed" in found


class Page(HTMLParser):
    """Tags, links and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_report_is_one_page_with_everything_in_it(crashed: Path) -> None:
    page = Page((crashed / "report.html").read_text(encoding="utf-8"))
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe")]
    sources = [attrs["src"] for tag, attrs in page.tags if "src" in attrs]
    assert len(sources) >= 5 and all(source and source.startswith("data:image/jpeg;base64,") for source in sources)
    assert base64.b64decode(sources[0].partition(",")[2])[:2] == b"\xff\xd8"
    assert sum(tag == "svg" for tag, _ in page.tags) == 5
    assert "collision with target" in page.words and "Worse than the baseline" in page.words
    links = {attrs["href"].removeprefix("#") for tag, attrs in page.tags if tag == "a" and attrs.get("href")}
    assert links <= {attrs.get("id") for _, attrs in page.tags}


def test_a_folder_with_runs_is_not_written_into(world: Path, crashed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (crashed / "runs" / "parked-s0" / "run.jsonl").read_bytes()
    arguments = ["--controller", "constant_velocity", "--out", str(crashed)]
    assert main(["scenario", "run", str(world / "parked.yaml"), *arguments]) == 1
    assert "a folder without earlier runs" in capsys.readouterr().err
    assert (crashed / "runs" / "parked-s0" / "run.jsonl").read_bytes() == before


def test_a_folder_with_other_runs_keeps_its_results(
    world: Path, crashed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --resume they are not replaced; with it, it is said that they are no part of the new ones."""
    out = tmp_path / "out"
    shutil.copytree(crashed, out)
    before = (out / "results.json").read_bytes()
    short = (world / "parked.yaml").read_text().replace("duration_s: 4.5", "duration_s: 0.5")
    (world / "short.yaml").write_text(short)
    arguments = [str(world / "short.yaml"), "--controller", "constant_velocity", "--out", str(out)]
    assert main(["scenario", "run", *arguments]) == 1
    error = capsys.readouterr().err
    assert f"{out}: expected a folder without earlier runs, got {out}/runs/parked-s0/run.jsonl" in error
    assert "or with --no-report and then r3d2 scenario report" in error
    assert (out / "results.json").read_bytes() == before and not (out / "runs" / "short-s0").exists()
    assert main(["scenario", "run", *arguments, "--no-report"]) == 0
    assert main(["scenario", "run", *arguments, "--resume"]) == 0
    assert f"not in these results: 1; r3d2 scenario report {out} writes those of all" in capsys.readouterr().err
    assert main(["scenario", "report", str(out)]) == 1
    runs = json.loads((out / "results.json").read_text())["runs"]
    assert [(run["run_id"], run["verdict"]) for run in runs] == [("parked-s0", "failed"), ("short-s0", "passed")]


def test_sessions_that_start_at_once_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them has written anything yet when the next one looks; one that fails leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    with _new_folder() as first, _new_folder() as second:
        assert (str(first), str(second)) == ("out/scenario", "out/scenario-2")
        (second / "results.json").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scenario-2"]


def test_a_run_that_fails_does_not_stop_the_others(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The renderer gives up in the first of two runs."""
    drive, calls = InProcess.drive, []

    def broken(self: InProcess, plan: RunPlan, folder: Path, **keys: Any) -> Outcome:
        calls.append(folder)
        if len(calls) == 1:
            simulator = self._scenes.simulator(plan.spec.sim).simulator
            with monkeypatch.context() as patch:
                patch.setattr(simulator.renderer, "render", lambda *_, **__: 1 / 0)
                return drive(self, plan, folder, **keys)
        return drive(self, plan, folder, **keys)

    monkeypatch.setattr(InProcess, "drive", broken)
    arguments = ["--controller", "depth_aeb", "--seeds", "2", "--out", str(tmp_path / "out")]
    assert main(["scenario", "run", str(world / "parked.yaml"), *arguments]) == 2
    first, second = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert (first["verdict"], second["verdict"]) == ("error", "passed")
    assert first["reasons"] == ["error: ZeroDivisionError: division by zero"]


def test_a_run_that_fails_before_its_log_does_not_stop_the_others(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scene of the first of two runs cannot be loaded for want of GPU memory."""
    load, calls = Scenes.simulator, []

    def short_of_memory(self: Scenes, sim: SimConfig) -> Assembled:
        calls.append(sim)
        if len(calls) == 1:
            raise RuntimeError("CUDA out of memory")
        return load(self, sim)

    monkeypatch.setattr(Scenes, "simulator", short_of_memory)
    out = tmp_path / "out"
    arguments = ["--controller", "depth_aeb", "--seeds", "2", "--out", str(out)]
    assert main(["scenario", "run", str(world / "parked.yaml"), *arguments]) == 2
    first, second = json.loads((out / "results.json").read_text())["runs"]
    assert (first["verdict"], second["verdict"]) == ("error", "passed")
    assert first["reasons"] == ["RuntimeError: CUDA out of memory"] and first["controller"] == "depth_aeb"
    assert json.loads((out / "runs" / "parked-s0" / "summary.json").read_text()) == first
    case = ElementTree.parse(out / "junit.xml").getroot().find(".//testcase[@name='parked-s0']/error")
    assert case is not None and case.get("type") == "never_began"
    assert main(["scenario", "report", str(out)]) == 2
    assert json.loads((out / "results.json").read_text())["runs"] == [first, second]
    assert main(["scenario", "run", str(world / "parked.yaml"), *arguments, "--resume"]) == 0


def test_resuming_keeps_what_is_finished(
    world: Path, braked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two runs the second was cut off: it alone is repeated, and its old log is set aside."""
    out = tmp_path / "out"
    shutil.copytree(braked, out)
    cut = out / "runs" / "parked-s1" / "run.jsonl"
    cut.write_bytes(cut.read_bytes()[:5000])
    (out / "runs" / "parked-s1" / "summary.json").unlink()
    done: list[str] = []
    drive = InProcess.drive

    def counted(self: InProcess, plan: RunPlan, folder: Path, **keys: Any) -> Outcome:
        done.append(folder.name)
        return drive(self, plan, folder, **keys)

    monkeypatch.setattr(InProcess, "drive", counted)
    arguments = ["--controller", "depth_aeb", "--seeds", "2", "--out", str(out), "--resume"]
    assert main(["scenario", "run", str(world / "parked.yaml"), *arguments]) == 0
    assert done == ["parked-s1"]
    assert (out / "runs" / "parked-s1" / "run.jsonl.1").stat().st_size == 5000
    before, after = (json.loads((folder / "results.json").read_text()) for folder in (braked, out))
    assert [run["digest"] for run in before["runs"]] == [run["digest"] for run in after["runs"]]
    assert after["seconds"].keys() == before["seconds"].keys() == {"parked-s0", "parked-s1"}
    assert after["seconds"]["parked-s0"] == before["seconds"]["parked-s0"], "what was kept took as long as it took"
    for damaged in ("[]", '{"outcome": null}'):
        (out / "runs" / "parked-s1" / "summary.json").write_text(damaged)
        assert main(["scenario", "run", str(world / "parked.yaml"), *arguments]) == 0
    assert done == ["parked-s1"] * 3


@pytest.mark.parametrize(
    ("scenario", "controller", "verdict", "said"),
    [
        ("parked", "constant_velocity", "failed", "it was driven by depth_aeb and now is by constant_velocity"),
        ("tightened", "depth_aeb", "failed", "its scenario or configuration was another one"),
    ],
)
def test_resuming_repeats_what_was_another_run(
    world: Path, braked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    scenario: str, controller: str, verdict: str, said: str,
) -> None:  # fmt: skip
    tightened = (world / "parked.yaml").read_text().replace("pass: {", "name: parked\npass: {distance_min_m: 100, ")
    (world / "tightened.yaml").write_text(tightened)
    out = tmp_path / "out"
    shutil.copytree(braked, out)
    log = (out / "runs" / "parked-s0" / "run.jsonl").read_bytes()
    arguments = ["--controller", controller, "--out", str(out), "--resume"]
    assert main(["scenario", "run", str(world / f"{scenario}.yaml"), *arguments]) == 1
    (run,) = json.loads((out / "results.json").read_text())["runs"]
    assert (run["verdict"], run["controller"]) == (verdict, controller)
    assert (out / "runs" / "parked-s0" / "run.jsonl.1").read_bytes() == log
    assert f"parked-s0: run again, {said}" in capsys.readouterr().err


def test_replay_is_identical(crashed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "replay", str(crashed / "runs" / "parked-s0"), "--out", str(tmp_path / "again")]) == 0
    assert "identical" in capsys.readouterr().out
    first, again = (read_log(folder / "run.jsonl") for folder in (crashed / "runs" / "parked-s0", tmp_path / "again"))
    assert first.end is not None and again.end is not None and first.end["digest"] == again.end["digest"]


def test_replay_of_other_commands_says_where_it_differs(
    crashed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log claims that the stack braked at 1 s."""
    lines = (crashed / "runs" / "parked-s0" / "run.jsonl").read_text().splitlines()
    for k, line in enumerate(lines):
        record = json.loads(line)
        if record["record"] == "command" and record["t_s"] == 1.0:
            record["command"]["demand"]["acceleration_mps2"] = -5.0
            lines[k] = json.dumps(record)
    (tmp_path / "run.jsonl").write_text("\n".join([*lines, ""]))
    assert main(["scenario", "replay", str(tmp_path), "--out", str(tmp_path / "again")]) == 1
    assert "different from t = 1.01 s on: ego of the tick" in capsys.readouterr().out


def test_report_scores_the_logs_anew(crashed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    shutil.copytree(crashed, out)
    for name in ("results.json", "junit.xml", "report.html", "runs/parked-s0/summary.json"):
        (out / name).unlink()
    assert main(["scenario", "report", str(out)]) == 1
    assert (out / "report.html").is_file() and (out / "junit.xml").is_file()
    assert json.loads((out / "results.json").read_text())["runs"] == json.loads(
        (crashed / "results.json").read_text()
    )["runs"]  # fmt: skip
    assert main(["scenario", "report", str(tmp_path)]) == 1
    assert "expected a folder with runs" in capsys.readouterr().err


def test_a_run_that_breaks_off_is_an_error_of_its_own(world: Path, braked: Path, tmp_path: Path) -> None:
    """Exit status 2, and an <error> in JUnit: a log whose end is missing."""
    out = tmp_path / "out"
    shutil.copytree(braked, out)
    log = out / "runs" / "parked-s1" / "run.jsonl"
    log.write_bytes(log.read_bytes()[:20_000])
    assert main(["scenario", "report", str(out)]) == 2
    case = ElementTree.parse(out / "junit.xml").getroot().find(".//testcase[@name='parked-s1']/error")
    assert case is not None and case.get("type") == "cut_off"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert len(re.findall("<li>[^<]* without a last record", page)) == 1


class Interrupted(ConstantVelocityController):
    """Somebody presses Ctrl-C at 0.5 s."""

    def step(self, observation: Observation) -> Command | None:
        if observation.snapshot.t_s > 0.5:
            raise KeyboardInterrupt
        return super().step(observation)


def test_ctrl_c_leaves_what_is_done(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second of two runs: exit 130, results of the first, and a log of the second that says so."""
    drive, calls = InProcess.drive, []

    def interrupted(self: InProcess, plan: RunPlan, folder: Path, **keys: Any) -> Outcome:
        calls.append(folder)
        if len(calls) == 2:
            keys["controller"] = Interrupted(plan)
        return drive(self, plan, folder, **keys)

    monkeypatch.setattr(InProcess, "drive", interrupted)
    arguments = ["--controller", "constant_velocity", "--seeds", "2", "--out", str(tmp_path / "out")]
    assert main(["scenario", "run", str(world / "parked.yaml"), *arguments]) == 130
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [run["run_id"] for run in results["runs"]] == ["parked-s0"]
    end = read_log(tmp_path / "out" / "runs" / "parked-s1" / "run.jsonl").end
    assert end is not None and (end["reason"], end["phase"]) == ("interrupted", "drive")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "nowhere", "--controller", "depth_aeb"], "expected a scenario file or one of frontal_drifting"),
        (["run", "{world}/parked.yaml", "--controller", "luck"], "--controller: expected one of constant_velocity"),
        (["run", "{world}/parked.yaml", "--controller", "depth_aeb", "--set", "rig"], "--set: expected KEY=VALUE"),
        (
            ["run", "{world}/parked.yaml", "--controller", "depth_aeb", "--set", "rig.sauce=demo3"],
            "rig.sauce: expected one of the keys source",
        ),
        (["run", "{world}/parked.yaml", "--controller", "depth_aeb", "--seeds", "0"], "--seeds: expected 1 to"),
        (["run", "{world}/parked.yaml", "--controller", "depth_aeb", "--baseline", "{world}"], "the results of"),
        (["replay", "{world}", "--out", "{world}/x"], "run.jsonl: expected the log of a run"),
    ],
)
def test_what_cannot_be_used(
    world: Path, tmp_path: Path, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["scenario", *(word.format(world=world) for word in arguments)]) == 1
    assert expected in capsys.readouterr().err
    assert not list(tmp_path.rglob("run.jsonl"))


def test_faults_of_all_files_come_before_the_first_run(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = world / "bad.yaml"
    bad.write_text((world / "parked.yaml").read_text().replace("asset: car", "asset: tank"))
    arguments = [str(world / "parked.yaml"), str(bad), "--controller", "depth_aeb", "--out", str(tmp_path / "out")]
    assert main(["scenario", "run", *arguments]) == 1
    assert "bad.yaml: actors.0.asset: expected one of car, truck, got 'tank'" in capsys.readouterr().err
    assert not (tmp_path / "out" / "runs").exists()


RIG = ("source: rig.yaml", "source: rigg.yaml")
HARMONIZER = ("rendering: {", "harmonizer: {backend: r3d2, checkpoint: /nowhere}, rendering: {")


CHECKPOINT = InputError("harmonizer.checkpoint", "the folder of a checkpoint", "'/nowhere'")


@pytest.fixture
def no_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harmonizer's check, which finds that, without PyTorch."""
    checking = ModuleType("checking")
    vars(checking)["harmonizer_faults"] = lambda config: [CHECKPOINT]
    monkeypatch.setitem(sys.modules, "r3d2_ros.harmonizer.checking", checking)
    monkeypatch.setattr(session, "need_packages", lambda needed_for: None)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (RIG, "bad.yaml: rig: expected a rig file or one of demo3, surround6, got"),
        (HARMONIZER, f"bad.yaml: {CHECKPOINT}"),
        (("source: road", "source: raod"), "bad.yaml: scene.source: expected 'street', a Gaussian file"),
    ],
)
@pytest.mark.usefixtures("no_checkpoint")
def test_rig_and_harmonizer_are_looked_at_before_the_first_run(
    world: Path, tmp_path: Path, change: tuple[str, str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, out = world / "bad.yaml", tmp_path / "out"
    bad.write_text((world / "parked.yaml").read_text().replace(*change))
    assert main(["scenario", "check", str(bad)]) == 1
    assert expected in capsys.readouterr().out
    arguments = ["--controller", "depth_aeb", "--out", str(out)]
    assert main(["scenario", "run", str(world / "parked.yaml"), str(bad), *arguments]) == 1
    assert expected in capsys.readouterr().err
    assert not list(out.rglob("run.jsonl"))


def test_what_the_start_of_the_first_run_finds_names_the_scenario(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(self: Scenes, sim: SimConfig) -> Assembled:
        raise CHECKPOINT

    monkeypatch.setattr(Scenes, "simulator", refused)
    arguments = ["--controller", "depth_aeb", "--out", str(tmp_path / "out")]
    assert main(["scenario", "run", str(world / "parked.yaml"), *arguments]) == 1
    assert f"parked.yaml: {CHECKPOINT}" in capsys.readouterr().err


@pytest.mark.usefixtures("no_checkpoint")
def test_check_finds_all_faults_of_all_files(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = world / "bad.yaml"
    bad.write_text((world / "parked.yaml").read_text().replace(*RIG).replace(*HARMONIZER).replace("car,", "tank,"))
    assert main(["scenario", "check", str(bad), str(world / "parked.yaml")]) == 1
    keys = [line.split(": expected")[0] for line in capsys.readouterr().out.splitlines()]
    assert keys == [
        *(f"{bad}: {key}" for key in ("actors.0.asset", "rig", "harmonizer.checkpoint")),
        f"{world}/parked.yaml: no faults, 1 runs",
    ]


def test_check_says_where_the_harmonizer_cannot_be_looked_at(
    world: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (world / "bad.yaml").write_text((world / "parked.yaml").read_text().replace(*HARMONIZER))
    monkeypatch.setattr("r3d2_ros.harmonizer.packages.find_spec", lambda name: None)
    assert main(["scenario", "check", str(world / "bad.yaml")]) == 0
    assert "bad.yaml: the harmonizer is not checked: " in capsys.readouterr().out


def test_check(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "check", str(world / "parked.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scenarios"][0]["runs"] == ["parked-s0"]


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9 and lines[0].startswith("frontal_drifting")
