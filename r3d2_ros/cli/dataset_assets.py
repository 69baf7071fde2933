"""`r3d2 dataset assets`: lists of assets to generate, and running them where the generators are installed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

EXAMPLES = """examples:
  r3d2 dataset assets --text 100 --seed 1 --out generated        the list of 100 assets from texts
  r3d2 dataset assets --text 100 --seed 1 --out generated --run  and the assets, where TRELLIS is installed
  r3d2 dataset assets --objects crops --out generated --pix2gestalt pix2gestalt/pix2gestalt --run

docs/dataset.md describes folders and files."""


def add_parser(commands: Any) -> None:
    """Add `assets` to the commands of `r3d2 dataset`."""
    raw = argparse.RawDescriptionHelpFormatter
    assets = commands.add_parser("assets", help="list and generate assets", epilog=EXAMPLES, formatter_class=raw)
    kind = assets.add_mutually_exclusive_group(required=True)
    kind.add_argument("--text", type=int, metavar="N", help="from texts, by TRELLIS")
    kind.add_argument("--objects", type=Path, metavar="DIR", help="from pictures of them, by pix2gestalt and Amodal3R")
    assets.add_argument("--seed", type=int, default=0, metavar="S", help="chooses prompts and noise (%(default)s)")
    assets.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of jobs.jsonl and of the assets")
    assets.add_argument("--run", action="store_true", help="run what is listed; without it only the list is written")
    assets.add_argument("--pix2gestalt", type=Path, metavar="DIR", help="folder of pix2gestalt with its checkpoint")


def run(args: argparse.Namespace) -> int:
    """Write the list, and run it where that is asked for. InputError(s) for what cannot be used."""
    from r3d2_ros.dataset.asset_jobs import image_jobs, text_jobs, write_jobs
    from r3d2_ros.dataset.asset_runners import missing_for, run_jobs

    listed = text_jobs(args.text, args.seed) if args.text is not None else image_jobs(args.objects, args.seed)
    path = write_jobs(args.out, listed.jobs)
    print(f"{path}: {len(listed.jobs)} jobs")
    for note in listed.notes:
        print(note)
    if not args.run:
        for line in missing_for(listed.jobs, pix2gestalt=args.pix2gestalt):
            print(f"not installed: {line}")
        return 0
    base = args.objects if args.objects is not None else args.out
    count = run_jobs(
        listed.jobs,
        base=base,
        out=args.out,
        pix2gestalt=args.pix2gestalt,
        say=lambda line: print(line, file=sys.stderr),
    )
    print(f"{count} jobs run")
    return 0
