"""Runs of a campaign: how tasks end, what a later run does, and that nothing is done twice."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from r3d2_ros.campaign import runner
from r3d2_ros.campaign.file import load_campaign
from r3d2_ros.campaign.runner import LocalEngine, local_engine, run_campaign
from r3d2_ros.campaign.task import Ended, Task
from r3d2_ros.campaign.work import locked_log, run_task
from r3d2_ros.cli.main import main
from r3d2_ros.errors import InputError
from r3d2_ros.locks import lock
from tests.campaign.conftest import Place
from tests.campaign.watching import until

WAIT_S = 60.0


def test_a_finished_task_is_not_run_again(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write(a="done", b="done", c="partly")
    assert place.run("--json") == 3
    data = json.loads(capsys.readouterr().out)
    assert data["counts"] == {"done": 2, "partly": 1} and data["kept"] == 0
    assert data["tasks"]["c.plain"]["reason"] == "1 without pictures: ego.gap"
    assert place.begun() == ["a.plain", "b.plain", "c.plain", "c.plain"]  # what is missing is tried twice
    assert place.run() == 3 and place.begun() == []
    assert "3 tasks: 2 done, 1 partly; 3 from earlier runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ("segfault", "ended by SIGSEGV"),
        ("kill", "ended by SIGKILL (where nobody sent it, the memory was used up)"),
        ("raise", "exit status 1: ZeroDivisionError: a fault of the program"),
        ("refuse", "exit status 1: r3d2 replay: /tf: expected poses, got none"),
    ],
)
def test_a_failure_is_named_and_hurts_no_other_task(
    place: Place, capsys: pytest.CaptureFixture[str], wish: str, reason: str
) -> None:
    place.write("tries: 3", bad=wish, good="done")
    assert place.run() == 3
    assert place.begun() == ["bad.plain"] * 3 + ["good.plain"]
    assert place.states() == {"bad.plain": "failed", "good.plain": "done"}
    task = place.tasks()["bad.plain"]
    assert (task["reason"], task["tries"]) == (reason, 3)
    assert f"bad.plain: failed: {reason}" in capsys.readouterr().out.splitlines()
    place.write("tries: 3", bad="done", good="done")
    assert place.run() == 0 and place.begun() == ["bad.plain"]


def test_a_task_that_failed_once_is_tried_again(place: Place) -> None:
    place.write(a="fail at first")
    assert place.run() == 0
    assert place.tasks()["a.plain"]["tries"] == 2
    log = (place.out / "logs" / "a.plain.log").read_text()
    assert log.count("a.plain\n") == 2


def test_a_try_that_takes_too_long_is_ended(place: Place) -> None:
    place.write("timeout_s: 1\ntries: 1", a="hang", b="done")
    assert place.run() == 3
    assert place.tasks()["a.plain"]["reason"] == "not finished after 1 s (timeout_s)"
    assert place.states()["b.plain"] == "done"


def changed(place: Place, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], str]:
    """What a run starts, and what it says of tasks that run again."""
    assert place.run() == 0
    said = [line for line in capsys.readouterr().err.splitlines() if " runs again: " in line]
    return place.begun(), "\n".join(said)


def test_what_has_changed_runs_again_and_says_why(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write(a="done", b="done")
    assert changed(place, capsys) == (["a.plain", "b.plain"], "")
    stale = place.out / "tasks" / "a.plain" / "stale.jpg"
    stale.touch()
    os.utime(place.folder / "a", (1, 1))  # the same bytes
    assert changed(place, capsys) == ([], "") and stale.exists()
    (place.folder / "a").write_text("done\nlonger\n")
    assert changed(place, capsys) == (["a.plain"], f"a.plain runs again: {place.folder / 'a'} has changed")
    assert not stale.exists()
    place.write("replay: {every: 2}", a="done\nlonger", b="done")
    begun, said = changed(place, capsys)
    assert begun == ["a.plain", "b.plain"] and "a.plain runs again: every was not given and is 2" in said
    place.write(
        "replay: {every: 2}\nthreads: 2", "{plain: {file: sim/sim.yaml, threads: 1, set: {output.jpeg_quality: 80}}}",
        a="done\nlonger", b="done",
    )  # fmt: skip
    begun, said = changed(place, capsys)
    assert len(begun) == 2 and "output.jpeg_quality was not given and is 80" in said
    (place.folder / "sim" / "car.ply").write_bytes((place.folder / "sim" / "wall.ply").read_bytes())
    begun, said = changed(place, capsys)
    assert len(begun) == 2 and "car.ply has changed" in said
    (place.out / "tasks" / "b.plain").rmdir()
    begun, said = changed(place, capsys)
    assert begun == ["b.plain"] and "b.plain is gone" in said
    assert changed(place, capsys) == ([], "")


@pytest.mark.parametrize("then", ["goes back", "goes on"])
def test_results_that_were_half_removed_are_not_taken_for_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """The run ends while it removes what another configuration has made; then the file is as before, or stays."""
    before, after = (f"{{plain: {{file: sim/sim.yaml, set: {{output.jpeg_quality: {q}}}}}}}" for q in (90, 95))
    place.write(configurations=before, a="done")
    assert place.run() == 0 and place.begun() == ["a.plain"]
    kept, gone = place.out / "tasks" / "a.plain" / "000000.jpg", place.out / "tasks" / "a.plain" / "000001.jpg"
    kept.touch()
    gone.touch()

    def interrupted(path: Path) -> None:
        gone.unlink()
        raise KeyboardInterrupt

    place.write(configurations=after, a="done")
    with monkeypatch.context() as patch:
        patch.setattr("r3d2_ros.campaign.runner.shutil.rmtree", interrupted)
        assert place.run() == 130
    assert place.states() == {"a.plain": "waiting"} and kept.exists() and place.begun() == []
    place.write(configurations=before if then == "goes back" else after, a="done")
    assert place.run() == 0 and place.begun() == ["a.plain"] and not kept.exists()
    assert place.run() == 0 and place.begun() == []


def test_what_cannot_change_a_result_runs_nothing_again(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write(a="done")
    changed(place, capsys)
    place.write("tries: 5\ntimeout_s: 100", "{plain: {file: sim/sim.yaml, set: {rendering.threads: 2}}}", a="done")
    assert changed(place, capsys) == ([], "")


def test_a_task_that_left_the_file_and_came_back_is_not_run_again(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write(a="done", b="done")
    changed(place, capsys)
    place.write(a="done")
    assert changed(place, capsys) == ([], "") and (place.out / "tasks" / "b.plain").is_dir()
    place.write(a="done", b="done", c="done")
    assert changed(place, capsys) == (["c.plain"], "")


def test_threads_and_gpus_reach_the_task(place: Place) -> None:
    place.write("threads: 3", a="done")
    assert place.run() == 0
    task = place.tasks()["a.plain"]
    assert task["result"]["seen"] == {
        "OMP_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": ""
    }  # fmt: skip
    assert task["versions"]["numba"] == task["made_of"]["version of numba"]
    assert task["threads"] == task["made_of"]["threads"] == 3
    place.write("threads: 1", a="done")
    assert place.run() == 0 and place.begun() == ["a.plain"] * 2


def test_the_gpu_of_a_task_is_the_one_it_sees(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-5")
    place.write("gpus: 0.5", a="done")
    assert place.run() == 0
    assert place.tasks()["a.plain"]["result"]["seen"]["CUDA_VISIBLE_DEVICES"] == "GPU-5"


def all_ended(engine: LocalEngine) -> int:
    """How many tries were running."""
    count = 0
    while found := engine.ended(WAIT_S):
        count += len(found)
    return count


def test_tasks_share_gpus_as_they_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs: of tasks that ask for 0.4 two fit on each; then a whole one fits nowhere, and one without always."""
    go, seen = threading.Event(), []

    def waiting(task: Task, *, stop: object, device: str | None) -> Ended:
        seen.append(device)
        assert go.wait(WAIT_S)
        return Ended("done")

    monkeypatch.setattr(runner, "run_task", waiting)
    engine = LocalEngine(8, ["0", "1"])

    def task(gpus: float) -> Task:
        return Task("a", "replay", (), {}, (), Path("a"), Path("b"), 1, gpus, "0")

    try:
        assert [engine.start(task(0.4)) for _ in range(5)] == [True] * 4 + [False]
        assert not engine.start(task(1.0)) and engine.start(task(0.2)) and engine.start(task(0.0))
        go.set()
        assert all_ended(engine) == 6
        assert [engine.start(task(1.0)) for _ in range(3)] == [True, True, False]
        assert all_ended(engine) == 2
    finally:
        go.set()
        engine.close()
    assert sorted(seen, key=str) == ["0"] * 4 + ["1"] * 3 + [None]


def test_gpus_that_are_not_there_are_refused_before_anything_is_removed(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write(a="done")
    assert place.run() == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    place.write("gpus: 0.5", a="done")
    assert place.run() == 1
    assert "task a.plain: expected 0.5 of a GPU, got a machine without one" in capsys.readouterr().err
    assert (place.out / "tasks" / "a.plain").is_dir() and place.states() == {"a.plain": "done"}


def test_two_campaigns_in_one_folder_are_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write(a="done")
    place.out.mkdir()
    held = lock(place.out)
    try:
        assert place.run() == 1 and place.begun() == []
        assert "expected a folder that no other run is writing, got one that a campaign is writing now" in (
            capsys.readouterr().err
        )
    finally:
        os.close(held)
    assert place.run() == 0


def test_a_run_that_is_stopped_ends_its_tasks_and_the_next_goes_on(place: Place) -> None:
    place.write(a="hang at first", b="done")
    campaign, stop = load_campaign(place.file), threading.Event()

    def say(text: str) -> None:
        if text.startswith("b.plain: done"):
            until((place.out / "tasks" / "a.plain").exists)  # else the next run's try would be the first, and hang
            stop.set()

    run_campaign(campaign, lambda: local_engine(campaign.tasks, 2), say=say, stop=stop)
    assert place.states() == {"a.plain": "waiting", "b.plain": "done"}
    assert place.tasks()["a.plain"]["reason"] == "interrupted"
    place.begun()
    assert place.run() == 0 and place.begun() == ["a.plain"]


def test_a_task_whose_campaign_was_killed_is_waiting(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write(a="done", b="done")
    assert place.run() == 0
    path = place.out / "campaign.json"
    path.write_text(path.read_text().replace('"state": "done"', '"state": "running"', 1))
    place.begun()
    capsys.readouterr()
    assert main(["campaign", "status", str(place.file)]) == 0
    shown = capsys.readouterr().out
    assert "a.plain  waiting" in shown and "its run was ended from outside" in shown and "b.plain  done" in shown
    assert main(["campaign", "status", str(place.out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"waiting": 1, "done": 1}
    assert place.run() == 0 and place.begun() == ["a.plain"]


def test_a_try_waits_for_the_process_of_the_one_before(place: Place) -> None:
    """The log of a task is locked by whoever writes it, as a process whose worker was killed still does."""
    place.write(a="done", b="done")
    (place.out / "logs").mkdir(parents=True)
    order: list[dict[str, str]] = []
    task = load_campaign(place.file).tasks[0]
    with locked_log(task):
        thread = threading.Thread(target=lambda: order.append(run_in_thread(place)))
        thread.start()
        until = time.monotonic() + WAIT_S
        while place.states_or_none().get("b.plain") != "done" and time.monotonic() < until:
            time.sleep(0.05)
        assert place.begun() == ["b.plain"]
    thread.join(WAIT_S)
    assert order == [{"a.plain": "done", "b.plain": "done"}] and place.begun() == ["a.plain"]


def run_in_thread(place: Place) -> dict[str, str]:
    campaign = load_campaign(place.file)
    run_campaign(campaign, lambda: local_engine(campaign.tasks, 2), say=lambda text: None, stop=threading.Event())
    return place.states()


def test_a_log_that_cannot_be_written_fails_that_task_alone(place: Place) -> None:
    place.write(a="done", b="done")
    (place.out / "logs" / "a.plain.log").mkdir(parents=True)
    assert place.run() == 3
    assert place.states() == {"a.plain": "failed", "b.plain": "done"}
    assert "Is a directory" in place.tasks()["a.plain"]["reason"]


def test_a_machine_with_another_version_is_refused(place: Place) -> None:
    place.write(a="done")
    ended = run_task(replace(load_campaign(place.file).tasks[0], version="7.0.0"))
    assert ended.state == "failed" and "expected version 7.0.0, got " in ended.reason and place.begun() == []


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"replay": 1}', '{"campaign": 1, "tasks": {"a": {"state": "odd"}}}'])
def test_a_manifest_that_is_none_is_not_overwritten(
    place: Place, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    place.write(a="done")
    place.out.mkdir()
    (place.out / "campaign.json").write_text(text)
    assert place.run() == 1 and place.begun() == []
    assert f"{place.out / 'campaign.json'}" in capsys.readouterr().err
    assert (place.out / "campaign.json").read_text() == text


def test_a_campaign_whose_manifest_is_damaged_begins_anew_as_it_says(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """The results are of other settings than the file has now, which a replay would not go on with."""
    place.write(a="done")
    assert place.run() == 0 and place.begun() == ["a.plain"]
    (place.out / "campaign.json").write_text("{")
    place.write("replay: {every: 2}", a="done")
    assert place.run() == 1
    assert f"Move the folder {place.out} away to begin anew" in capsys.readouterr().err
    place.out.rename(place.folder / "damaged")
    assert place.run() == 0 and place.begun() == ["a.plain"]


def test_status_of_a_campaign_that_was_never_run(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write(a="done")
    assert main(["campaign", "status", str(place.file)]) == 1
    assert "expected a folder with campaign.json, got none. Run the campaign first" in capsys.readouterr().err


def test_without_ray_the_package_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    place.write(a="done")
    assert place.run("--ray", "auto") == 1 and place.begun() == []
    said = capsys.readouterr().err
    assert "--ray needs the package 'ray', which is not installed: pip install 'r3d2_ros[ray]'" in said


def test_failing_input_of_a_task_is_named_before_anything_runs(place: Place) -> None:
    place.write(a="done")
    campaign = load_campaign(place.file)
    (place.folder / "a").unlink()
    with pytest.raises(InputError, match="a: expected a file that a task reads, got no such file"):
        run_campaign(campaign, lambda: local_engine(campaign.tasks, 1), say=lambda text: None, stop=threading.Event())
