"""`r3d2 campaign`: many replays, each in a process of its own, here or over Ray; what is finished is not run again."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from r3d2_ros.campaign.file import Campaign, load_campaign
from r3d2_ros.campaign.manifest import MANIFEST, Entry, Manifest
from r3d2_ros.campaign.runner import Engine, local_engine, run_campaign
from r3d2_ros.cli.stopping import stopping
from r3d2_ros.errors import InputError
from r3d2_ros.replay.locks import lock
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

docs/campaigns.md has every key. The same command again goes on with what is left.
Exit status: 0 every task is done, 1 an input cannot be used, 2 wrong arguments, 3 something failed or is missing and is
named, 130 interrupted."""


def add_parser(subparsers: Any) -> None:
    """Add `campaign` to the result of `ArgumentParser.add_subparsers`."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = subparsers.add_parser(
        "campaign", help="many replays", description=__doc__, epilog=EXAMPLES, formatter_class=raw
    )
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    run = commands.add_parser("run", help="run what is not finished")
    run.add_argument("file", type=Path, metavar="FILE", help="campaign (YAML)")
    where = run.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=_count, metavar="N", help="tasks at once on this machine; without it, as many as have their "
        "threads on its cores",
    )  # fmt: skip
    where.add_argument("--ray", metavar="ADDRESS", help="run on a Ray cluster: its address, or auto")
    status = commands.add_parser("status", help="how the tasks stand")
    status.add_argument("file", type=Path, metavar="FILE", help="campaign (YAML), or the folder of its results")
    for command in (run, status):
        command.add_argument("--json", action="store_true", help="print as one JSON object")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got '{text.strip()}'")
    return value


def run(args: argparse.Namespace) -> int:
    """Run the action and return the exit status. InputError(s) for what cannot be used."""
    return _run(args) if args.action == "run" else _status(args)


def _run(args: argparse.Namespace) -> int:
    campaign = load_campaign(args.file)
    with stopping("stopping when the tasks have finished what they have begun; again to stop at once") as stop:
        manifest, kept = run_campaign(campaign, lambda: _engine(args, campaign), say=_say, stop=stop)
    entries = {task.name: manifest.entries[task.name] for task in campaign.tasks}
    data = {"kept": kept, **_as_data(campaign.out, entries)}
    print(json.dumps(data, indent=2) if args.json else _counted(entries, kept, campaign.out))
    if stop.is_set() and any(entry.state == "waiting" for entry in entries.values()):
        return INTERRUPTED
    return 0 if all(entry.state == "done" for entry in entries.values()) else UNFINISHED


def _engine(args: argparse.Namespace, campaign: Campaign) -> Engine:
    if args.ray is None:
        return local_engine(campaign.tasks, args.workers)
    from r3d2_ros.campaign.ray_runner import RayEngine

    return RayEngine(args.ray, campaign.tasks, _say)


def _status(args: argparse.Namespace) -> int:
    path = user_path(args.file, "campaign")
    folder = path if path.is_dir() else load_campaign(path).out
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


def _counted(entries: dict[str, Entry], kept: int, folder: Path) -> str:
    """The counts, and by name what is not done."""
    lines = [f"{_counts(entries)}; {kept} from earlier runs; results in {folder}"]
    for name, entry in entries.items():
        if entry.state != "done":
            lines.append(f"{name}: {entry.state}" + (f": {entry.reason}" if entry.reason else ""))
    return "\n".join(lines)


def _counts(entries: dict[str, Entry]) -> str:
    counts = Counter(entry.state for entry in entries.values())
    return f"{len(entries)} tasks: " + ", ".join(f"{count} {state}" for state, count in counts.items())


def _told(entry: Entry) -> str:
    words = []
    if entry.state in ("done", "partly"):
        words.append(f"{entry.seconds:.1f} s on {entry.host}")
    if entry.result is not None and "frame_sets" in entry.result:
        counts = entry.result["frame_sets"]
        words.append(f"{counts['done']} of {counts['asked_for']} frame sets")
    if entry.tries > 1:
        words.append(f"{entry.tries} tries")
    return "; ".join([*words, entry.reason] if entry.reason else words)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
