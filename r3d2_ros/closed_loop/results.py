"""Many runs together: means over runs, sequences and types, what got worse, and the report for a build server."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from xml.etree import ElementTree

from pydantic import Field

from r3d2_ros.closed_loop.run_log import read_log
from r3d2_ros.closed_loop.scores.data import SceneFacts
from r3d2_ros.closed_loop.scores.summary import summarise
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.formats.files import atomic_output
from r3d2_ros.schema import validate

LOG, SUMMARY, RESULTS, JUNIT, REPORT = "run.jsonl", "summary.json", "results.json", "junit.xml", "report.html"
RUNS = "runs"
SCORES = ("neuroncap", "hd", "alpasim")
DIGITS = 3
"""NeuroNCAP rounds at each level of its means; so do these."""

WORSE = 0.005
"""A score that is lower by no more than this is no regression."""

RANK = {"passed": 0, "failed": 1, "invalid": 2, "error": 3}
NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def means(summaries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Scores and collision rate: over runs, per sequence (scenario) and type, and the mean of the types.

    Runs that are invalid or broke off do not count; `runs` says how many do, of how many.
    """
    summaries = list(summaries)
    counted = [s for s in summaries if s["verdict"] in ("passed", "failed")]
    types: dict[str, Any] = {}
    for kind in sorted({s["type"] for s in counted}):
        sequences = {
            name: _mean_of_runs([s for s in counted if s["type"] == kind and s["scenario"] == name])
            for name in sorted({s["scenario"] for s in counted if s["type"] == kind})
        }
        types[kind] = {"sequences": sequences, **_mean_of(list(sequences.values()))}
    return {
        "runs": f"{len(counted)} of {len(summaries)}",
        "types": types,
        **_mean_of(list(types.values())),
    }


def _mean_of_runs(summaries: list[Mapping[str, Any]]) -> dict[str, float | None]:
    figures: dict[str, float | None] = {
        name: _mean([s["scores"][name]["value"] for s in summaries]) for name in SCORES
    }
    return figures | {"collision_rate": _mean([float(s["collision"]) for s in summaries])}


def _mean_of(groups: list[Mapping[str, Any]]) -> dict[str, float | None]:
    return {name: _mean([group[name] for group in groups]) for name in (*SCORES, "collision_rate")}


def _mean(values: list[float | None]) -> float | None:
    """Of those that there are; None when there is none."""
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), DIGITS) if known else None


def means_of_groups(summaries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The means of each group by itself; empty where there are not several."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for summary in summaries:
        groups.setdefault(summary.get("group", ""), []).append(summary)
    return {name: means(runs) for name, runs in groups.items()} if len(groups) > 1 else {}


def regressions(summaries: Iterable[Mapping[str, Any]], baseline: Mapping[str, Any]) -> list[str]:
    """What is worse than in the results of an earlier time: verdicts and scores of runs with the same id."""
    before = {run["run_id"]: run for run in baseline["runs"]}
    found = []
    for now in summaries:
        old = before.get(now["run_id"])
        if old is None:
            continue
        if RANK[now["verdict"]] > RANK[old["verdict"]]:
            found.append(f"{now['run_id']}: {now['verdict']}, was {old['verdict']}")
        for name in SCORES:
            value, was = now["scores"][name]["value"], old["scores"][name]["value"]
            if was is not None and (value is None or value < was - WORSE):
                got = "missing" if value is None else f"{value:.3f}"
                found.append(f"{now['run_id']}: {name} {got}, was {was:.3f}")
    seen = {now["run_id"] for now in summaries}
    return found + [f"{run_id}: not run, was {run['verdict']}" for run_id, run in before.items() if run_id not in seen]


def exit_code(summaries: Iterable[Mapping[str, Any]]) -> int:
    """0: everything passed. 1: a criterion failed or a run is invalid. 2: a run broke off."""
    verdicts = Counter(summary["verdict"] for summary in summaries)
    if verdicts["error"]:
        return 2
    return 1 if verdicts["failed"] or verdicts["invalid"] else 0


def junit(summaries: Iterable[Mapping[str, Any]], seconds: Mapping[str, float]) -> bytes:
    """JUnit XML: a suite per scenario and group, a case per run. seconds: wall time by run id."""
    root = ElementTree.Element("testsuites", name="r3d2 scenario")
    suites: dict[str, list[Mapping[str, Any]]] = {}
    for summary in summaries:
        suites.setdefault(_suite(summary), []).append(summary)
    for name, runs in suites.items():
        verdicts = Counter(s["verdict"] for s in runs)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=name,
            tests=str(len(runs)),
            failures=str(verdicts["failed"] + verdicts["invalid"]),
            errors=str(verdicts["error"]),
            skipped="0",
            time=f"{sum(seconds.get(s['run_id'], 0.0) for s in runs):.3f}",
        )
        for run in runs:
            _case(suite, run, seconds.get(run["run_id"], 0.0))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _suite(summary: Mapping[str, Any]) -> str:
    group = summary.get("group", "")
    return f"{summary['scenario']} ({group})" if group else str(summary["scenario"])


def _case(suite: ElementTree.Element, run: Mapping[str, Any], seconds: float) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=f"{run['type']}.{run['scenario']}", name=run["run_id"], time=f"{seconds:.3f}"
    )
    reasons = _clean("\n".join(run["reasons"]) or run["outcome"]["detail"])
    if run["verdict"] == "error":
        first = reasons.splitlines()[0] if reasons else ""
        ElementTree.SubElement(case, "error", message=first, type=run["outcome"]["reason"]).text = reasons
    elif run["verdict"] != "passed":
        kind = "invalid" if run["verdict"] == "invalid" else "criterion"
        ElementTree.SubElement(case, "failure", message=reasons.splitlines()[0], type=kind).text = reasons
    outcome = run["outcome"]
    ElementTree.SubElement(case, "system-out").text = _clean(
        "\n".join(
            [
                f"outcome: {outcome['reason']} {outcome['detail']}".rstrip(),
                *(f"{name}: {score['value']}" for name, score in run["scores"].items()),
            ]
        )
    )


def _clean(text: str) -> str:
    """Without characters that XML does not allow."""
    return NO_XML.sub("?", text)


def write_json(path: Path, data: Any) -> None:
    """Write JSON that any program reads. InputError when that is not possible."""
    text = json.dumps(data, indent=2, allow_nan=False)
    with atomic_output(path) as file:
        file.write(text.encode() + b"\n")


@dataclass(frozen=True)
class _Value:
    value: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None


@dataclass(frozen=True)
class _Scores:
    neuroncap: _Value
    hd: _Value
    alpasim: _Value


@dataclass(frozen=True)
class _Run:
    run_id: str
    verdict: Literal["passed", "failed", "invalid", "error"]
    scores: _Scores


@dataclass(frozen=True)
class _Results:
    """What is read of results.json; whatever else is in it is let be."""

    runs: tuple[_Run, ...]
    seconds: dict[str, float] = field(default_factory=dict)


def read_results(folder: Path) -> dict[str, Any]:
    """results.json of a folder. InputError when it is not there, something else, or without what is read of a run."""
    path = folder / RESULTS
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or not isinstance(data.get("runs"), list):
            raise ValueError("no list of runs")
    except OSError as error:
        raise InputError(str(path), "the results of `r3d2 scenario run`", error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), "the results of `r3d2 scenario run`", str(error)) from error
    try:
        validate(_Results, data, str(path))
    except InputErrors as error:
        first = error.faults[0]
        hint = f"`r3d2 scenario report {folder}` writes it anew from the logs of its runs"
        raise InputError(first.where, first.expected, first.got, hint) from error
    return data


def seconds_of(folder: Path) -> dict[str, float]:
    """How long each run took, by the results that `folder` has; nothing where it has none."""
    try:
        return dict(read_results(folder).get("seconds", {}))
    except InputError:
        return {}


def read_never_began(folder: Path) -> dict[str, Any] | None:
    """The summary of a run that failed before it had a log, which nothing can be scored from; None for any other."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    outcome = summary.get("outcome") if isinstance(summary, dict) else None
    return summary if isinstance(outcome, dict) and outcome.get("reason") == "never_began" else None


def one_line(summary: Mapping[str, Any]) -> str:
    """A run in a line for people."""
    return f"{summary['run_id']}: {what_happened(summary)}"


def what_happened(summary: Mapping[str, Any]) -> str:
    """Verdict, reasons, how it ended and scores."""
    outcome = summary["outcome"]
    scores = ", ".join(
        f"{name} {score['value']:.3f}" for name, score in summary["scores"].items() if score["value"] is not None
    )
    reasons = f": {'; '.join(summary['reasons'])}" if summary["reasons"] else ""
    text = f"{summary['verdict'].upper()}{reasons}"
    if summary["verdict"] != "error":  # of which the end is the reason
        text += f"; {outcome['reason']} {outcome['detail']}".rstrip()
    text += "".join(f"; {note}" for note in summary.get("notes", ()))
    return text + (f" ({scores})" if scores else "")


def score_folder(folder: Path, scene: SceneFacts) -> dict[str, Any]:
    """Summary of the run in a folder, written beside its log."""
    summary = summarise(read_log(folder / LOG), scene)
    write_json(folder / SUMMARY, summary)
    return summary
