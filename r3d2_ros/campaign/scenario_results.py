"""What the runs of a campaign say together: verdicts and scores over all of them, as of one `r3d2 scenario run`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from r3d2_ros.campaign.manifest import MANIFEST, Entry, Manifest
from r3d2_ros.campaign.scenarios import DRIVER, run_file
from r3d2_ros.closed_loop.results import LOG, SUMMARY, score_folder
from r3d2_ros.closed_loop.run_log import read_log
from r3d2_ros.closed_loop.runs import load_runs
from r3d2_ros.closed_loop.scores.data import SceneFacts
from r3d2_ros.closed_loop.scores.summary import never_began, summarise
from r3d2_ros.closed_loop.session import Scenes, results_of, write_results
from r3d2_ros.errors import InputError

Say = Callable[[str], None]


def is_scenario_campaign(folder: Path) -> bool:
    """Whether the folder is one of a campaign of scenarios. InputError(s) for a manifest that is none."""
    if not (folder / MANIFEST).is_file():
        return False
    return any(entry.made_of.get("kind") == "scenario" for entry in Manifest(folder).entries.values())


def write_campaign_results(
    folder: Path, *, baseline: dict[str, Any] | None, anew: bool = False, say: Say = lambda text: None
) -> dict[str, Any]:
    """Write results.json, junit.xml and report.html of the tasks that are finished or failed; returns the results.

    anew  score every run anew from its log
    A task that failed is a run that broke off, also when nothing of it is there.
    """
    scenes, summaries, seconds = Scenes(say), [], {}
    for name, entry in Manifest(folder).entries.items():
        if entry.state == "failed":
            summaries.append(_broken_off(folder, name, entry))
        elif entry.state == "done":
            summaries.append(_summary(folder, name, Path(entry.out), scenes=scenes, anew=anew))
        else:
            continue
        seconds[name] = entry.seconds
    results = results_of(summaries, seconds=seconds, baseline=baseline)
    write_results(folder, results)
    return results


def _summary(folder: Path, name: str, out: Path, *, scenes: Scenes, anew: bool) -> dict[str, Any]:
    path = out / SUMMARY
    if not anew and path.is_file():
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            hint = "Remove it to score the run anew"
            raise InputError(str(path), "the summary of a run", str(error), hint) from error
        if isinstance(data, dict):
            return data
    (spec,) = load_runs(run_file(folder, name))
    return score_folder(out, scenes.facts(spec.sim))


def _broken_off(folder: Path, name: str, entry: Entry) -> dict[str, Any]:
    """The summary of a task that failed: by its log as far as it goes, with the reason of the campaign in front."""
    (spec,) = load_runs(run_file(folder, name))
    try:
        summary = summarise(read_log(Path(entry.out) / LOG), SceneFacts(None))
    except InputError:
        return never_began(spec, controller=str(entry.made_of.get(DRIVER, "")), reason=entry.reason)
    reasons = [entry.reason, *(summary["reasons"] if summary["verdict"] == "error" else [])]
    return summary | {"verdict": "error", "reasons": list(dict.fromkeys(reason for reason in reasons if reason))}
