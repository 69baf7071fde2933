"""Margins, comfort, progress, validity, verdicts, means, regressions, JUnit: with numbers worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from r3d2_ros.closed_loop.header import header
from r3d2_ros.closed_loop.report import REPORT, write_report
from r3d2_ros.closed_loop.results import (
    exit_code,
    junit,
    means,
    one_line,
    read_results,
    regressions,
    score_folder,
    write_json,
)
from r3d2_ros.closed_loop.run_log import RunLog, read_log
from r3d2_ros.closed_loop.scores.collisions import Contact, margins, unseen
from r3d2_ros.closed_loop.scores.data import SceneFacts, run_data
from r3d2_ros.closed_loop.scores.driving import comfort, off_path, progress
from r3d2_ros.closed_loop.scores.summary import summarise
from r3d2_ros.closed_loop.scores.track import ActorTrack
from r3d2_ros.closed_loop.session import results_of, write_results
from r3d2_ros.errors import InputError
from tests.closed_loop.drivers import Run, answering
from tests.closed_loop.logs import moving, straight_ego, write
from tests.closed_loop.small_world import LANE_MAP, parked, plan

FACTS = SceneFacts(lane_map=LANE_MAP)


def log(path: Path, *, ego: Any = None, where: Any = None, scenario: Any = None, **keys: Any) -> RunLog:
    """An ego with 10 m/s, and a target where it is said."""
    actors = {} if where is None else {"target": where}
    keys_of_scenario = {"actors": [] if where is None else [parked(500.0)], **(scenario or {})}
    return write(path / "log", ego=ego or straight_ego(10.0), actors=actors, scenario=keys_of_scenario, **keys)


# Margins


def test_smallest_distance_and_time_to_collision(tmp_path: Path) -> None:
    """The front is at 3.5 + 10 t, the rear of the car at 58. After 4 s: 14.5 m and 1.45 s."""
    made = margins(run_data(log(tmp_path, where=moving(60.0, 0.0, 0.0, 0.0))))
    assert made.distance_m == pytest.approx(14.5)
    assert made.ttc_s == pytest.approx(1.45)


def test_a_car_beside_is_near_but_not_on_a_collision_course(tmp_path: Path) -> None:
    made = margins(run_data(log(tmp_path, where=moving(20.0, 3.5, 0.0, 0.0))))
    assert made.distance_m == pytest.approx(1.5)  # 3.5 - 1 - 1
    assert made.ttc_s == math.inf


def test_an_oncoming_car(tmp_path: Path) -> None:
    """10 + 5 m/s. After 2 s the fronts are at 23.5 and 100 - 10 - 2 = 88 m: 64.5 / 15 s."""
    made = margins(run_data(log(tmp_path, where=moving(100.0, 0.0, math.pi, 5.0), seconds=2.0)))
    assert made.ttc_s == pytest.approx(64.5 / 15)
    assert made.distance_m == pytest.approx(64.5)


def test_alone_on_the_road(tmp_path: Path) -> None:
    made = margins(run_data(log(tmp_path)))
    assert (made.distance_m, made.ttc_s) == (math.inf, math.inf)


# A collision with who only stands where its path begins or ends


def timed(*times_s: float, **start: Any) -> dict[str, Any]:
    motion = {"kind": "path", "points": [[30.0, 0.0], [40.0, 0.0]], "times_s": list(times_s), **start}
    return {"actors": [{"id": "target", "asset": "car", "target": True, "motion": motion}]}


@pytest.mark.parametrize(
    ("scenario", "times_s"),
    [
        (timed(0.0, 1.0), [0.0, 1.0]),
        (timed(0.5, 1.0, start={"time_s": 1.5}), [2.0, 2.5]),
        (timed(0.0, 1.0, start={"distance_m": 5.0}), None),
        ({"actors": [parked(40.0)]}, None),
    ],
)
def test_times_of_a_path_are_in_the_header(scenario: dict[str, Any], times_s: list[float] | None) -> None:
    made = header(plan(**scenario), controller="test", renderer="none")
    assert made["actors"]["target"]["times_s"] == times_s


@pytest.mark.parametrize(
    ("t_s", "text"),
    [
        (1.5, "car was hit at t = 1.50 s, 0.50 s before the first time of its path, at whose beginning it stands"),
        (2.0, ""),
        (4.0, ""),
        (4.25, "car was hit at t = 4.25 s, 0.25 s after the last time of its path, at whose end it stands"),
    ],
)
def test_hit_while_nobody_saw_it(t_s: float, text: str) -> None:
    track = ActorTrack("car", "vehicle", (4.0, 2.0, 1.5), False, np.zeros((1, 5)), None, times_s=(2.0, 4.0))
    assert unseen(Contact(0, track), t_s).startswith(text) and bool(unseen(Contact(0, track), t_s)) == bool(text)
    assert not unseen(Contact(0, replace(track, times_s=None)), t_s)


def test_a_collision_with_who_was_not_seen_there_is_noted(tmp_path: Path) -> None:
    """The ego's front is at 3.5 + 10 t, the rear of the car at 23.05 m: the boxes overlap in the tick after 1.955 s."""
    motion = {"kind": "path", "points": [[20.0, 0.0], [25.05, 0.0]], "times_s": [0.0, 1.0]}
    folder = tmp_path / "runs" / "test-s0"
    actors = [{"id": "lead", "asset": "car", "motion": motion}]
    Run(folder / "run.jsonl", on_frame=answering(), actors=actors).go()
    summary = score_folder(folder, FACTS)
    (note,) = summary["notes"]
    assert note.startswith("lead was hit at t = 1.96 s, 0.96 s after the last time of its path")
    assert note in one_line(summary)
    write_results(tmp_path, results_of([summary], seconds={}, baseline=None))
    assert note in (tmp_path / REPORT).read_text()


# Driving


def braking(t: float) -> list[float]:
    """Drives with 8 m/s for 1 s, brakes with 4 m/s2, stands from 3 s on."""
    if t < 1.0:
        return [8.0 * t, 0.0, 0.0, 0.0, 8.0, 0.0, 0.0]
    s = min(t - 1.0, 2.0)
    return [8.0 + 8.0 * s - 2.0 * s * s, 0.0, 0.0, 0.0, 8.0 - 4.0 * s, -4.0 if t < 3.0 else 0.0, 0.0]


def test_comfort_of_a_stop(tmp_path: Path) -> None:
    """The brakes bite within a tick (4 m/s2 / 0.01 s); the jolt of the stop itself is not counted."""
    made = comfort(run_data(log(tmp_path, ego=braking)))
    assert made.deceleration_mps2 == 4.0 and made.acceleration_mps2 == 0.0
    assert made.jerk_mps3 == pytest.approx(400.0)
    only_stop = comfort(run_data(log(tmp_path / "b", ego=lambda t: braking(t + 2.0))))
    assert only_stop.jerk_mps3 == 0.0


def test_comfort_in_a_curve(tmp_path: Path) -> None:
    """5 m/s on a circle of 10 m: 0.5 rad/s and 2.5 m/s2, also where the heading passes from pi to -pi."""

    def circle(t: float) -> list[float]:
        yaw = math.remainder(3.0 + 0.5 * t, math.tau)
        return [0.0, 0.0, 0.0, yaw, 5.0, 0.0, 0.2]

    made = comfort(run_data(log(tmp_path, ego=circle)))
    assert made.yaw_rate_radps == pytest.approx(0.5)
    assert made.lateral_mps2 == pytest.approx(2.5)


def test_the_warm_up_is_not_the_stacks_driving(tmp_path: Path) -> None:
    assert comfort(run_data(log(tmp_path, ego=braking, warmup_s=3.5))).deceleration_mps2 == 0.0


def test_progress(tmp_path: Path) -> None:
    assert progress(run_data(log(tmp_path))) == pytest.approx(40.0 / 200.0)
    assert progress(run_data(log(tmp_path / "b", ego=straight_ego(10.0, x_m=190.0)))) == 1.0


def test_share_of_frames_off_the_capture_path(tmp_path: Path) -> None:
    """40 frame sets; those after 3.05 s are 3.5 m away: 9 of 40."""
    made = run_data(log(tmp_path, off_path_m=lambda t: 3.5 if t > 3.05 else 1.0))
    share = off_path(made, {"off_path_m": 3.0, "off_path_deg": 30.0})
    assert (share.share, share.max_m) == (9 / 40, 3.5)
    unknown = run_data(log(tmp_path / "b", off_path_m=lambda t: math.nan))
    assert off_path(unknown, {"off_path_m": 3.0, "off_path_deg": 30.0}).share is None


# Summaries and verdicts


def summary(path: Path, **keys: Any) -> dict[str, Any]:
    return summarise(log(path, **keys), FACTS)


def test_a_run_that_passes(tmp_path: Path) -> None:
    criteria = {"no_collision": True, "neuroncap_min": 5, "progress_min": 0.19, "ttc_min_s": 1.4, "misses_max": 0}
    made = summary(tmp_path, where=moving(60.0, 0.0, 0.0, 0.0), scenario={"pass": criteria})
    assert (made["verdict"], made["reasons"]) == ("passed", [])
    assert made["collision"] is False and made["ttc_min_s"] == pytest.approx(1.45)
    assert made["scores"]["neuroncap"]["value"] == 5.0
    assert made["scores"]["hd"]["value"] is None and "labels" in made["scores"]["hd"]["missing"][0]
    json.dumps(made, allow_nan=False)


def test_every_criterion_that_fails_is_a_reason(tmp_path: Path) -> None:
    criteria = {
        "no_collision": True,
        "neuroncap_min": 4,
        "hd_score_min": 0.1,
        "alpasim_min": 0.5,
        "ttc_min_s": 1,
        "distance_min_m": 0.5,
        "progress_min": 0.9,
        "deceleration_max_mps2": 1,
        "jerk_max_mps3": 10,
    }
    made = summary(tmp_path, ego=braking, where=moving(18.0, 0.0, 0.0, 0.0), scenario={"pass": criteria})
    assert made["verdict"] == "failed"
    assert made["reasons"][0] == "collision with target"
    assert [reason.split(":")[0] for reason in made["reasons"][1:]] == list(criteria)[1:]
    assert "this is missing for it: labels" in made["reasons"][2]
    assert "deceleration_max_mps2: expected at most 1, got 4.000" in made["reasons"]


def test_leaving_the_road_is_a_criterion(tmp_path: Path) -> None:
    """1 m/s to the right, off the road at 0.8 s; without a map what ended the run, or that the map is missing."""
    scenario = {"pass": {"no_collision": True, "on_road": True}}

    def right(t: float) -> list[float]:
        return [10.0 * t, -t, 0.0, 0.0, 10.0, 0.0, 0.0]

    made = summary(tmp_path / "right", ego=right, scenario=scenario)
    assert (made["verdict"], made["reasons"]) == ("failed", ["on_road: off the road at t = 0.80 s"])
    assert summary(tmp_path / "on", scenario=scenario)["verdict"] == "passed"
    assert summary(tmp_path / "unasked", ego=right, scenario={"pass": {"no_collision": True}})["verdict"] == "passed"
    beside = {"reason": "off_reference", "detail": "10.0 m beside the reference path at t = 2.82 s"}
    no_map = summarise(log(tmp_path / "beside", scenario=scenario, last=beside), SceneFacts())
    assert no_map["reasons"] == [f"on_road: {beside['detail']}"]
    (reason,) = summarise(log(tmp_path / "none", scenario=scenario), SceneFacts())["reasons"]
    assert reason.startswith("on_road: this is missing for it: a lane map")


def test_too_far_from_the_capture_is_invalid_whatever_else(tmp_path: Path) -> None:
    made = summary(tmp_path, off_path_m=lambda t: 5.0 if t > 2.0 else 0.0, scenario={"pass": {"no_collision": True}})
    assert made["verdict"] == "invalid"
    assert made["reasons"][0].startswith("48% of the frame sets lie beyond the limits of the capture path, 10% may")


@pytest.mark.parametrize("how", ["control_lost", "cut"])
def test_a_run_that_broke_off_has_no_scores(tmp_path: Path, how: str) -> None:
    made = log(tmp_path, last={"reason": "control_lost", "detail": "no command", "infrastructure": True})
    if how == "cut":
        made.path.write_bytes(made.path.read_bytes()[:-40])
        made = read_log(made.path)
    found = summarise(made, FACTS)
    assert found["verdict"] == "error" and found["outcome"]["infrastructure"]
    assert all(score["value"] is None for score in found["scores"].values())
    assert found["outcome"]["reason"] == ("control_lost" if how == "control_lost" else "cut_off")
    if how == "cut":
        assert "in the middle of a line" in found["reasons"][0]


def test_a_log_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text('{"record":"header","format":1}\n{"record":"tick"}\n{"record":"end"}\n')
    with pytest.raises(InputError, match="records as a run writes them"):
        summarise(read_log(path), FACTS)


# Many runs


def run(run_id: str, scenario: str, kind: str, ncap: float | None, **keys: Any) -> dict[str, Any]:
    values = {"neuroncap": ncap, "hd": keys.get("hd"), "alpasim": None}
    return {
        "run_id": run_id,
        "scenario": scenario,
        "type": kind,
        "verdict": keys.get("verdict", "passed"),
        "reasons": keys.get("reasons", []),
        "collision": ncap is not None and ncap < 5,
        "outcome": {"reason": "collision", "detail": "with \x07 bell"},
        "scores": {name: {"value": value} for name, value in values.items()},
    }


RUNS = [
    run("a0", "a", "stationary", 5.0),
    run("a1", "a", "stationary", 2.0),
    run("b0", "b", "stationary", 1.0),
    run("c0", "c", "frontal", 4.0, hd=0.5),
    run("c1", "c", "frontal", 0.0, verdict="invalid"),
    run("d0", "d", "side", 3.333, verdict="failed", reasons=["neuroncap_min: expected at least 4, got 3.333"]),
    run("e0", "e", "side", None, verdict="error", reasons=["no_command: the stack never came"]),
]


def test_means_go_from_runs_to_sequences_to_types() -> None:
    """a 3.5, b 1: stationary 2.25. frontal 4, side 3.333. Of the three: 3.194. Invalid and broken ones are left out."""
    made = means(RUNS)
    assert made["runs"] == "5 of 7"
    assert made["types"]["stationary"]["sequences"]["a"]["neuroncap"] == 3.5
    assert made["types"]["stationary"]["neuroncap"] == 2.25
    assert made["neuroncap"] == 3.194
    assert made["types"]["stationary"]["collision_rate"] == 0.75
    assert made["hd"] == 0.5  # of the one type that has it
    assert made["alpasim"] is None


def test_types_beyond_neuroncaps_count_in_the_mean() -> None:
    """A clean run of a side scenario, two collisions in a drive from a log: (5 + 1) / 2 and (0 + 1) / 2."""
    runs = [run("a0", "a", "side", 5.0), run("l0", "l", "log", 0.5), run("l1", "l", "log", 1.5)]
    made = means(runs)
    assert made["runs"] == "3 of 3"
    assert (made["neuroncap"], made["collision_rate"]) == (3.0, 0.5)


def test_exit_codes() -> None:
    assert exit_code([RUNS[0]]) == 0
    assert exit_code(RUNS[:5]) == exit_code([RUNS[5]]) == 1
    assert exit_code(RUNS) == 2
    assert exit_code([]) == 0


def test_regressions(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", {"runs": RUNS})
    baseline = read_results(tmp_path)
    assert regressions(RUNS, baseline) == []
    now = [
        run("a0", "a", "stationary", 4.0),
        run("a1", "a", "stationary", 1.998),
        run("b0", "b", "stationary", 5.0, verdict="failed"),
        run("c0", "c", "frontal", 4.0),
        run("new", "n", "frontal", 0.0),
    ]
    assert regressions(now, baseline) == [
        "a0: neuroncap 4.000, was 5.000",
        "b0: failed, was passed",
        "c0: hd missing, was 0.500",
        "c1: not run, was invalid",
        "d0: not run, was failed",
        "e0: not run, was error",
    ]


def test_junit_is_what_build_servers_read() -> None:
    root = ElementTree.fromstring(junit(RUNS, {"a0": 1.5, "a1": 2.25}))
    suites = {suite.get("name"): suite for suite in root}
    assert list(suites) == ["a", "b", "c", "d", "e"]
    a, c = suites["a"], suites["c"]
    assert (a.get("tests"), a.get("failures"), a.get("errors"), a.get("time")) == ("2", "0", "0", "3.750")
    assert c.get("failures") == "1" and c.find("testcase[2]/failure").get("type") == "invalid"
    failure = suites["d"].find("testcase/failure")
    assert failure is not None and failure.get("message") == "neuroncap_min: expected at least 4, got 3.333"
    error = suites["e"].find("testcase/error")
    assert error is not None and error.text == "no_command: the stack never came"
    assert "with ? bell" in root.find("testsuite/testcase/system-out").text


@pytest.mark.parametrize("text", [None, "[]", "{", '{"runs": 3}'])
def test_a_baseline_that_is_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match="the results of `r3d2 scenario run`"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("scores", {}, r"runs\.1\.scores\.neuroncap: expected a value"),
        ("scores", {"neuroncap": {"value": "5"}, "hd": {}, "alpasim": {}}, r"runs\.1\.scores\.neuroncap\.value: exp"),
        ("verdict", "fine", r"runs\.1\.verdict: expected 'passed', 'failed', 'invalid' or 'error', got 'fine'"),
        ("run_id", None, r"runs\.1\.run_id: expected"),
    ],
)
def test_a_baseline_with_a_run_that_cannot_be_compared(tmp_path: Path, key: str, value: object, told: str) -> None:
    write_json(tmp_path / "results.json", {"runs": [RUNS[0], RUNS[1] | {key: value}]})
    with pytest.raises(InputError, match=rf"results\.json: {told}.*r3d2 scenario report"):
        read_results(tmp_path)


def whole_run(run_id: str, verdict: str) -> dict[str, Any]:
    commands = {"consumed": 0, "misses": 0, "refused": {}, "latency_ms": None}
    scores = {name: {"value": None, "missing": ["a log"], "parts": {}} for name in ("neuroncap", "hd", "alpasim")}
    whole = {"scores": scores, "commands": commands, "controller": "test", "seed": 0, "variation": {}}
    return run(run_id, "a", "side", None, verdict=verdict) | whole | {"deterministic": True, "digest": None}


def test_the_report_says_which_runs_are_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that did not pass come first; of five that failed and three that passed, two failed ones are left over."""
    monkeypatch.setattr("r3d2_ros.closed_loop.report.MAX_DETAILED", 3)
    summaries = [whole_run(f"p{k}", "passed") for k in range(3)] + [whole_run(f"f{k}", "failed") for k in range(5)]
    page = write_report(tmp_path, results_of(summaries, seconds={}, baseline=None)).read_text()
    assert "In the table only: 3 passed, 2 failed; 3 of 8 runs are drawn." in page
    assert page.count("<section") == 3


def test_wide_tables_of_the_report_scroll_by_themselves(tmp_path: Path) -> None:
    summaries = [whole_run("a", "passed"), whole_run("b", "passed") | {"group": "another"}]
    page = write_report(tmp_path, results_of(summaries, seconds={}, baseline=None)).read_text()
    before_runs = page.partition("<section")[0]
    assert before_runs.count("<table>") == before_runs.count('<div class="scroll"><table>') == 3


def test_latencies_and_refusals_are_counted(tmp_path: Path) -> None:
    """Every frame set is answered twice, 20 ms later: 40 of the run's and one of the start-up's are refused."""

    def stack(snapshot: Any, made: Run) -> None:
        made.wall_s += 0.02
        made.send(snapshot)
        made.send(snapshot)

    made = Run(tmp_path / "a", on_frame=stack, end={"duration_s": 4.0})
    made.go()
    found = summarise(made.read(), FACTS)["commands"]
    assert found["consumed"] == 40 and found["misses"] == 0
    assert found["latency_ms"]["p50"] == pytest.approx(20.0)
    assert found["age_ms"]["max"] == 0.0
    assert found["refused"] == {"duplicate": 41}
    assert made.read().counts["refused"] == 20  # one by one up to this many; the count goes on
