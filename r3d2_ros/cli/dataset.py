"""`r3d2 dataset build|assets|check`: training pairs for the harmonizer."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from r3d2_ros.cli import dataset_assets
from r3d2_ros.cli.sizes import size_px
from r3d2_ros.errors import InputError

HELD_OUT = 0.04
"""Share of the samples for val, and as many for test, where the command does not say."""

PARTLY = 3
"""Exit status, as of `r3d2 replay`, when something of a bag could not be read."""

OPTIONAL = ("size", "frame", "per_street", "suns", "detail", "covering")
"""Options of procedural pairs that have a default."""

EXAMPLES = """examples:
  r3d2 dataset build --procedural --seed 1 --count 2700 --val 100 --test 100 --out pairs
                                     256x256 parts of the demo's camera images; some 0.5 s a sample and core
  r3d2 dataset build --procedural --seed 2 --count 40 --size 540x960 --out frames      whole images
  r3d2 dataset build --recorded drives.yaml --out real       from recorded drives
  r3d2 dataset check pairs           every fault of a dataset, with the sample it is in

A run that was interrupted is continued by the same command. docs/dataset.md describes folder and files.
Exit status: 0 done, 1 an input cannot be used or the dataset has faults, 2 wrong arguments,
3 something of a recorded drive could not be read and was named."""


def add_parser(subparsers: Any) -> None:
    """Add `dataset` to the result of `ArgumentParser.add_subparsers`."""
    raw = argparse.RawDescriptionHelpFormatter
    dataset = subparsers.add_parser(
        "dataset", help="make and check training pairs", description=__doc__, epilog=EXAMPLES, formatter_class=raw
    )
    commands = dataset.add_subparsers(dest="dataset_command", required=True, metavar="{build,assets,check}")
    build = commands.add_parser("build", help="make pairs", epilog=EXAMPLES, formatter_class=raw)
    build.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the dataset")
    kind = build.add_mutually_exclusive_group(required=True)
    kind.add_argument("--procedural", action="store_true", help="assets in procedural streets under a known sun")
    kind.add_argument("--recorded", type=Path, metavar="FILE", help="recorded drives; docs/dataset.md describes FILE")
    build.add_argument("--seed", type=int, metavar="S", help="from which everything is drawn")
    build.add_argument("--count", type=int, metavar="N", help="samples in all")
    build.add_argument("--val", type=int, metavar="N", help=f"of these for val ({HELD_OUT:.0%}%)")
    build.add_argument("--test", type=int, metavar="N", help=f"of these for test ({HELD_OUT:.0%}%)")
    build.add_argument("--size", type=size_px, metavar="HxW", help="of a sample (256x256)")
    build.add_argument("--frame", type=size_px, metavar="HxW",
                       help="of the camera's image, of which a sample is a part (540x960)")  # fmt: skip
    build.add_argument("--per-street", type=int, metavar="N", help="samples of a street (40)")
    build.add_argument("--suns", type=int, metavar="N", help="suns of a street, every second one mirrored (1)")
    build.add_argument("--detail", type=float, help="of the streets, as in the demo: 1; 0.3 to 2")
    build.add_argument("--covering", type=float, metavar="P",
                       help="share of samples in which one of two assets stands before the other (0)")  # fmt: skip
    build.add_argument("--workers", type=int, metavar="N", help="processes, one core each (1)")
    dataset_assets.add_parser(commands)
    check = commands.add_parser("check", help="name bad samples", epilog=EXAMPLES, formatter_class=raw)
    check.add_argument("dir", type=Path, metavar="DIR", help="folder of a dataset")
    check.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the parsed command and return the exit status. InputError(s) for what cannot be used."""
    if args.dataset_command == "check":
        return _check(args)
    if args.dataset_command == "assets":
        return dataset_assets.run(args)
    return _procedural(args) if args.procedural else _recorded(args)


def _recorded(args: argparse.Namespace) -> int:
    from r3d2_ros.dataset.recorded import make_recorded
    from r3d2_ros.dataset.recorded_settings import load_settings

    for option in ("seed", "count", "val", "test", *OPTIONAL, "workers"):
        if getattr(args, option) is not None:
            where = "--" + option.replace("_", "-")
            raise InputError(where, "only with --procedural", "it with --recorded", "The file says what is made")
    settings = load_settings(args.recorded)
    outcome = make_recorded(
        args.out,
        settings,
        base=args.recorded.parent,
        command=_command(args),
        say=lambda line: print(line, file=sys.stderr),
    )
    tally = outcome.tally
    print(f"{args.out}: {tally.pop('used', 0)} samples")
    for reason, count in sorted(tally.items()):
        print(f"  not used: {count} ({reason})")
    for text in outcome.damage:
        print(f"  not read: {text}")
    for text in outcome.reports:
        print(f"  input: {text}")
    return PARTLY if outcome.damage else 0


def _command(args: argparse.Namespace) -> str:
    return "r3d2 " + shlex.join(args.words)


def _procedural(args: argparse.Namespace) -> int:
    from r3d2_ros.dataset.make import make_dataset
    from r3d2_ros.dataset.procedural import ProceduralOptions
    from r3d2_ros.progress import Progress

    for option in ("seed", "count"):
        if getattr(args, option) is None:
            raise InputError(f"--{option}", "a number, with --procedural", "none")
    workers = 1 if args.workers is None else args.workers
    if not 1 <= workers <= 256:
        raise InputError("--workers", "1 to 256", str(workers))
    held_out = round(HELD_OUT * args.count)
    val, test = (held_out if number is None else number for number in (args.val, args.test))
    options = ProceduralOptions(
        seed=args.seed,
        counts=(args.count - val - test, val, test),
        **{name: getattr(args, name) for name in OPTIONAL if getattr(args, name) is not None},
    )
    start = time.monotonic()
    with Progress(args.count, unit="samples") as progress:
        made = make_dataset(args.out, options, command=_command(args), workers=workers, tell=progress.at)
    seconds = time.monotonic() - start
    print(f"{args.out}: {args.count} samples, {made} of them made now in {seconds:.0f} s")
    return 0


def _check(args: argparse.Namespace) -> int:
    from r3d2_ros.dataset.check import check_dataset

    count, faults = check_dataset(args.dir)
    if args.json:
        print(json.dumps({"samples": count, "faults": [str(fault) for fault in faults]}, indent=2))
    else:
        for fault in faults:
            print(fault, file=sys.stderr)
        found = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}" if faults else "no fault"
        print(f"{args.dir}: {count} sample{'' if count == 1 else 's'}, {found}")
    return 1 if faults else 0
