"""`r3d2 replay`: a recorded drive as pictures, videos or a bag, without ROS."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from r3d2_ros.cli.numbers import number, whole_number
from r3d2_ros.cli.stopping import stopping
from r3d2_ros.config import Scalar, load_config
from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output
from r3d2_ros.replay.folder_store import SUMMARY
from r3d2_ros.replay.options import ALL, FOLDER_FORMATS, ReplayOptions
from r3d2_ros.replay.outcome import Outcome
from r3d2_ros.replay.output import ALSO
from r3d2_ros.replay.run import replay
from r3d2_ros.replay.ticks import Selection

PARTLY, INTERRUPTED = 3, 130
SECONDS = number("a number from 0 on", lambda value: value >= 0)
RATE = number("a number above 0 and at most 1000", lambda value: 0 < value <= 1000)

EXAMPLES = """examples:
  r3d2 replay drive.db3 --anchor start --out out/replay        a bag through the embedded street
  r3d2 replay bag_folder --config my_sim.yaml --out out/replay
  r3d2 replay drive.mcap --config my_sim.yaml --start 10 --duration 5 --rate 10 --cameras front --out out/part
  r3d2 replay drive.db3 --anchor start --format mp4 --workers 2 --out out/videos
  r3d2 replay drive.db3 --anchor start --source-topics all --out out/replay.mcap

A bag is a folder, .db3 or .mcap file, also compressed. Without --ego and --actors their topics are found; where several
would do, the command lists them and asks. docs/replay.md says which types are read and what is written.

The same command again goes on where an earlier one ended.
Exit status: 0 every frame set that the bag allows has its pictures, 1 an input cannot be used, 2 wrong arguments,
3 something is missing and is named, 130 interrupted."""


def add_parser(subparsers: Any) -> None:
    """Add `replay` to the result of `ArgumentParser.add_subparsers`."""
    parser = subparsers.add_parser(
        "replay",
        help="a recorded drive (rosbag2) as pictures, videos or a bag, without ROS",
        description="Render every moment of a recorded drive. No ROS is needed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bag", type=Path, metavar="BAG", help="folder, .db3 or .mcap file of a rosbag2")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration (YAML); without it, the defaults")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder to write, or a bag: NAME.mcap")
    parser.add_argument("--ego", metavar="TOPIC", help="topic with the pose of the vehicle, or /tf")
    parser.add_argument("--actors", metavar="TOPIC", help="topic with the actors, or none")
    parser.add_argument("--start", type=SECONDS, default=0.0, metavar="S", help="seconds after the first frame set")
    parser.add_argument("--duration", type=SECONDS, metavar="S", help="seconds of the drive; without it, to the end")
    parser.add_argument(
        "--rate", type=RATE, metavar="HZ", help="frame sets per second of the drive instead of one for each pose"
    )
    parser.add_argument("--every", type=whole_number(), default=1, metavar="N", help="every N-th frame set")
    parser.add_argument("--cameras", default="", metavar="A,B", help="these cameras of the rig")
    parser.add_argument("--anchor", choices=["start"], help="move the drive to where the capture of the scene begins")
    parser.add_argument(
        "--format", choices=[*FOLDER_FORMATS, "raw"], default="", help="of the pictures: jpg (default), png or mp4 in "
        "a folder, raw or jpg in a bag (default: as output.raw and output.compressed say)",
    )  # fmt: skip
    parser.add_argument(
        "--source-topics", default="", metavar="A,B", help=f"topics of BAG to pass through into OUT.mcap; {ALL}: all"
    )
    parser.add_argument(
        "--also", default="", metavar="A,B", help=f"further pictures: {', '.join(ALSO)} (as output.* of the "
        "configuration)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=whole_number(), default=1, metavar="N", help="processes, each with a part of the frame sets "
        "and a copy of the scene (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier replay in OUT")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Replay, report. InputError(s) for what cannot be used."""
    options = _options(args)
    with stopping("stopping after the frame sets that are under way; again to stop at once") as stop:
        outcome = replay(options, _say, stop=stop)
    summary = summarise(options, outcome)
    if not outcome.fault and not options.is_bag:
        with atomic_output(options.out / SUMMARY) as file:
            file.write(json.dumps(summary, indent=2).encode() + b"\n")
    print(json.dumps(summary, indent=2) if args.json else _as_text(options, outcome))
    if outcome.interrupted:
        return INTERRUPTED
    return 0 if outcome.is_complete else PARTLY


def _options(args: argparse.Namespace) -> ReplayOptions:
    overrides: dict[str, Scalar] = {}
    for kind in _words(args.also):
        if kind not in ALSO:
            raise InputError("--also", f"some of {', '.join(ALSO)}", f"'{kind}'")
        overrides[f"output.{ALSO[kind]}"] = True
    return ReplayOptions(
        bag=args.bag,
        out=args.out,
        config=load_config(args.config, overrides),
        ego=args.ego,
        actors=args.actors,
        selection=Selection(args.start, args.duration, args.every),
        rate_hz=args.rate,
        cameras=tuple(_words(args.cameras)),
        anchor_start=args.anchor == "start",
        image_format=args.format,
        source_topics=tuple(_words(args.source_topics)),
        workers=args.workers,
        overwrite=args.overwrite,
    )


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def summarise(options: ReplayOptions, outcome: Outcome) -> dict[str, Any]:
    """The outcome as plain values."""
    new = outcome.done - outcome.kept
    return {
        "bag": str(options.bag),
        "out": str(options.out),
        "complete": outcome.is_complete,
        "frame_sets": {
            "asked_for": outcome.total,
            "done": outcome.done,
            "from_earlier_runs": outcome.kept,
            "outside_of_the_recording": outcome.outside,
            "missing": dict(outcome.missing),
            "not_begun": outcome.left,
        },
        "renderer": outcome.renderer,
        "seconds": round(outcome.seconds, 3),
        "frame_sets_per_second": round(new / outcome.seconds, 3) if new and outcome.seconds > 0 else None,
        "unreadable": outcome.damage,
        "reports": outcome.reports,
        "notes": outcome.notes,
        "fault": outcome.fault,
        "interrupted": outcome.interrupted,
    }


def _as_text(options: ReplayOptions, outcome: Outcome) -> str:
    new = outcome.done - outcome.kept
    rate = f", {new / outcome.seconds:.1f} per second" if new and outcome.seconds > 0 else ""
    kept = f", {outcome.kept} of them from earlier runs" if outcome.kept else ""
    lines = [f"{outcome.done} of {outcome.total} frame sets in {options.out}{kept}{rate}"]
    if outcome.outside:
        lines.append(f"{outcome.outside} have no pictures: the recording has no actors for them")
    lines += [f"{count} have no pictures: {reason}" for reason, count in outcome.missing.items()]
    lines += [f"not read: {text}" for text in outcome.damage]
    lines += [f"input: {text}" for text in outcome.reports]
    if outcome.fault:
        lines.append(f"ended early: {outcome.fault}")
    if outcome.left:
        interrupted = "interrupted: " if outcome.interrupted else ""
        lines.append(f"{interrupted}{outcome.left} frame sets are not done; the same command goes on with them")
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
