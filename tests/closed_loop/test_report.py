"""The report shows a contact as the last of its pictures, and names what the user named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from r3d2_ros.closed_loop.film import FOLDER
from r3d2_ros.closed_loop.report import write_report
from r3d2_ros.closed_loop.results import score_folder
from r3d2_ros.closed_loop.run_log import read_log
from r3d2_ros.closed_loop.scores.collisions import first_contact
from r3d2_ros.closed_loop.scores.data import SceneFacts, run_data
from tests.closed_loop.logs import moving, straight_ego, write
from tests.closed_loop.small_world import parked

TARGET, BESIDE, FAR = "target", "beside", "far"
PLACES = {TARGET: (24.5, 0.0, 0.0), BESIDE: (24.5, 9.0, 0.0), FAR: (24.5, 300.0, 0.0)}
"""x, y, yaw of parked cars: one before the ego, one well beside its lane, one that no map of the run shows."""


def page_of(out: Path, *, actors: list[str], film: list[float], group: str = "") -> str:
    """The page of a run at 10 m/s, 4 s long, with pictures at these times."""
    folder = out / "runs" / "test-s0"
    (folder / FOLDER).mkdir(parents=True)
    for t in film:
        (folder / FOLDER / f"{round(1000 * t):06d}.jpg").write_bytes(b"\xff\xd8")
    standing = {name: moving(*PLACES[name], 0.0) for name in actors}
    scenario = {"actors": [parked(*PLACES[name][:2]) | {"id": name, "target": name == TARGET} for name in actors]}
    write(folder / "run.jsonl", ego=straight_ego(10.0), actors=standing, scenario=scenario)
    run = score_folder(folder, SceneFacts()) | ({"group": group} if group else {})
    results: dict[str, Any] = {"means": {"runs": "1 of 1", "types": {}}, "regressions": [], "runs": [run]}
    results["means"] |= dict.fromkeys(("neuroncap", "hd", "alpasim", "collision_rate"))
    write_report(out, {**results, "seconds": {}})
    return (out / "report.html").read_text()


def times(page: str) -> list[float]:
    return [float(t) for t in re.findall(r"<figcaption>([\d.]+) s</figcaption>", page)]


def keys(page: str) -> list[str]:
    """Names in the legend of the map."""
    (caption,) = re.findall(r"<figcaption>From above, a box every second (.*?)</figcaption>", page)
    return re.findall(r">([^<]+)</span>", caption)


@pytest.mark.parametrize("after", [[], [2.3, 2.4, 2.5, 3.0, 3.5, 4.0]])
def test_the_strip_of_a_collision_ends_at_the_contact(tmp_path: Path, after: list[float]) -> None:
    """The ego's front, about 3.8 m ahead of its origin, meets the car's rear, at about 22.5 m, after some 1.9 s."""
    page = page_of(tmp_path, actors=[TARGET], film=[k / 10 for k in range(22)] + after)
    data = run_data(read_log(tmp_path / "runs" / "test-s0" / "run.jsonl"))
    contact = first_contact(data)
    assert contact is not None and 1.5 < data.t_s[contact.tick] < 2.1
    shown = times(page)
    assert len(shown) == 8 and shown[0] == 0.0
    assert shown[-1] == pytest.approx(data.t_s[contact.tick], abs=0.051)


def test_the_strip_of_a_run_without_contact_shows_all_of_it_evenly(tmp_path: Path) -> None:
    """Also where the film is finer at its end."""
    film = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, *(k / 10 for k in range(31, 41))]
    assert times(page_of(tmp_path, actors=[BESIDE], film=film)) == [0.0, 0.5, 1.0, 1.5, 2.5, 3.0, 3.4, 4.0]


def test_the_legend_of_the_map_has_what_is_on_it(tmp_path: Path) -> None:
    assert keys(page_of(tmp_path / "a", actors=[TARGET], film=[])) == ["ego", "target", "reference path"]
    both = keys(page_of(tmp_path / "b", actors=[TARGET, BESIDE], film=[]))
    assert both == ["ego", "target", "others", "reference path"]
    assert keys(page_of(tmp_path / "c", actors=[TARGET, FAR], film=[])) == ["ego", "target", "reference path"]


def test_who_drove_is_named_as_in_the_campaign(tmp_path: Path) -> None:
    assert "of 1 runs, driven by test<" in page_of(tmp_path / "a", actors=[BESIDE], film=[])
    page = page_of(tmp_path / "b", actors=[BESIDE], film=[], group="my_stack.wet")
    assert "of 1 runs, driven by my_stack.wet<" in page


def test_every_chart_says_what_its_axis_measures(tmp_path: Path) -> None:
    page = page_of(tmp_path, actors=[TARGET], film=[])
    charts = re.findall(r'<figure class="chart"><figcaption>([^<]*?) <.*?rotate\(-90\)"[^>]*>([^<]*)<', page)
    assert dict(charts) | {"Command latency": "ms"} == {
        "Speed": "m/s", "Acceleration": "m/s²", "Command latency": "ms", "Distance to the capture path": "m"
    }  # fmt: skip
