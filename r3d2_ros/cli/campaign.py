"""`r3d2 campaign`: many replays or closed-loop runs, each a process; what is finished is not run again."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from r3d2_ros.campaign.file import load_campaign, results_folder
from r3d2_ros.campaign.keys import Campaign
from r3d2_ros.campaign.manifest import MANIFEST, Entry, Manifest
from r3d2_ros.campaign.runner import Engine, local_engine, run_campaign
from r3d2_ros.cli.numbers import whole_number
from r3d2_ros.cli.stopping import stopping
from r3d2_ros.errors import InputError
from r3d2_ros.locks import lock
from r3d2_ros.resources import user_path

UNFINISHED, INTERRUPTED = 3, 130

EXAMPLES = """examples:
  r3d2 campaign run night.yaml                     in processes on this machine
  r3d2 campaign run night.yaml --workers 4
  r3d2 campaign run night.yaml --ray auto          on the Ray cluster that this machine belongs to
  r3d2 campaign status night.yaml                  how its tasks stand

A campaign file:
  out: out/night
  bags: {monday: bags/monday, tuesday: bags/tuesday.mcap}
  configurations: {plain: {}, surround: {file: surround.yaml, set: {output.jpeg_quality: 95}}}
  replay: {anchor: start, rate: 10}

or, of closed-loop runs:
  out: out/scores
  scenarios: [stationary_parked_car, my_scenarios]
  stacks: {aeb: {controller: depth_aeb}, mine: {command: ros2 launch my_stack drive.launch.py, max_age: 0.1}}
  seeds: 10

docs/campaigns.md has every key. The same command again goes on with what is left.
Exit status of replays: 0 every task is done, 1 an input cannot be used, 2 wrong arguments, 3 something failed or is
missing and is named, 130 interrupted. Of closed-loop runs, as of r3d2 scenario run: 0 every run passed, 1 a criterion
failed, a run is invalid or an input cannot be used, 2 a run broke off or wrong arguments, 130 interrupted."""


def add_parser(subparsers: Any) -> None:
    """Add `campaign` to the result of `ArgumentParser.add_subparsers`."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = subparsers.add_parser(
        "campaign", help="many replays or closed-loop runs", description=__doc__, epilog=EXAMPLES, formatter_class=raw
    )
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    run = commands.add_parser("run", help="run what is not finished")
    run.add_argument("file", type=Path, metavar="FILE", help="campaign (YAML)")
    where = run.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=whole_number(), metavar="N", help="tasks at once on this machine; without it, as many as "
        "have their threads on its cores",
    )  # fmt: skip
    where.add_argument("--ray", metavar="ADDRESS", help="run on a Ray cluster: its address, or auto")
    run.add_argument("--baseline", type=Path, metavar="DIR",
                     help="of closed-loop runs: results of an earlier time; list what is worse")  # fmt: skip
    status = commands.add_parser("status", help="how the tasks stand")
    status.add_argument("file", type=Path, metavar="FILE", help="campaign (YAML), or the folder of its results")
    for command in (run, status):
        command.add_argument("--json", action="store_true", help="print as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the action and return the exit status. InputError(s) for what cannot be used."""
    return _run(args) if args.action == "run" else _status(args)


def _run(args: argparse.Namespace) -> int:
    campaign = load_campaign(args.file)
    baseline = _baseline(args, campaign)
    with stopping("stopping when the tasks have finished what they have begun; again to stop at once") as stop:
        manifest, kept = run_campaign(campaign, lambda: _engine(args, campaign), say=_say, stop=stop)
    entries = {task.name: manifest.entries[task.name] for task in campaign.tasks}
    data = {"kept": kept, **_as_data(campaign.out, entries)}
    text, status = f"{_counts(entries)}; {kept} from earlier runs; results in {campaign.out}", 0
    if campaign.kind == "scenario":
        status, data["results"], more = _scenario_results(campaign.out, baseline)
        text += f"\n{more}"
    elif any(entry.state != "done" for entry in entries.values()):
        status = UNFINISHED
        text += _not_done(entries)
    print(json.dumps(data, indent=2) if args.json else text)
    interrupted = stop.is_set() and any(entry.state == "waiting" for entry in entries.values())
    return INTERRUPTED if interrupted else status


def _baseline(args: argparse.Namespace, campaign: Campaign) -> dict[str, Any] | None:
    """InputError before anything runs."""
    if args.baseline is None:
        return None
    if campaign.kind != "scenario":
        raise InputError("--baseline", "a campaign of scenarios, whose scores are compared", "one of replays")
    from r3d2_ros.closed_loop.results import read_results

    return read_results(args.baseline)


def _scenario_results(folder: Path, baseline: dict[str, Any] | None) -> tuple[int, dict[str, Any], str]:
    """Exit status, results and their text; everything is written."""
    from r3d2_ros.campaign.scenario_results import write_campaign_results
    from r3d2_ros.closed_loop.commands import results_text
    from r3d2_ros.closed_loop.results import exit_code, what_happened

    results = write_campaign_results(folder, baseline=baseline)
    runs = results["runs"]
    verdicts = Counter(run["verdict"] for run in runs)
    lines = [f"{run['run_id']}: {what_happened(run)}" for run in runs if run["verdict"] != "passed"]
    lines.append(f"{len(runs)} runs: " + (", ".join(f"{n} {name}" for name, n in verdicts.items()) or "none finished"))
    return exit_code(runs), results, "\n".join([*lines, results_text(folder, results)])


def _engine(args: argparse.Namespace, campaign: Campaign) -> Engine:
    if args.ray is None:
        return local_engine(campaign.tasks, args.workers)
    from r3d2_ros.campaign.ray_runner import RayEngine

    return RayEngine(args.ray, campaign.tasks, _say)


def _status(args: argparse.Namespace) -> int:
    path = user_path(args.file, "campaign")
    folder = path if path.is_dir() else results_folder(path)
    if not (folder / MANIFEST).is_file():
        raise InputError(str(folder), f"a folder with {MANIFEST}", "none", "Run the campaign first")
    entries = Manifest(folder).entries
    if not _is_running(folder):
        for entry in entries.values():
            if entry.state == "running":
                entry.state, entry.reason = "waiting", "its run was ended from outside"
    if args.json:
        print(json.dumps(_as_data(folder, entries), indent=2))
    else:
        width = max((len(name) for name in entries), default=0)
        lines = [f"{name:{width}}  {entry.state:7}  {_told(entry)}".rstrip() for name, entry in entries.items()]
        print("\n".join([*lines, _counts(entries)]))
    return 0


def _is_running(folder: Path) -> bool:
    try:
        os.close(lock(folder, by="a campaign"))
    except InputError:
        return True
    return False


def _as_data(folder: Path, entries: dict[str, Entry]) -> dict[str, Any]:
    return {
        "out": str(folder),
        "counts": dict(Counter(entry.state for entry in entries.values())),
        "tasks": {name: dataclasses.asdict(entry) for name, entry in entries.items()},
    }


def _not_done(entries: dict[str, Entry]) -> str:
    """Lines that name what is not done."""
    return "".join(
        f"\n{name}: {entry.state}" + (f": {entry.reason}" if entry.reason else "")
        for name, entry in entries.items()
        if entry.state != "done"
    )


def _counts(entries: dict[str, Entry]) -> str:
    counts = Counter(entry.state for entry in entries.values())
    return f"{len(entries)} tasks: " + ", ".join(f"{count} {state}" for state, count in counts.items())


def _told(entry: Entry) -> str:
    words = []
    if entry.state in ("done", "partly"):
        words.append(f"{entry.seconds:.1f} s on {entry.host}")
    if entry.told:
        words.append(entry.told)
    if entry.tries > 1:
        words.append(f"{entry.tries} tries")
    return "; ".join([*words, entry.reason] if entry.reason else words)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
