"""`r3d2 street`: make the procedural street, straight or along a recorded drive."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from r3d2_ros.errors import InputError
from r3d2_ros.street import StreetOptions, cached_street, check_street_folder, write_street
from r3d2_ros.street.options import path_of

MAX_SEED = 2**32 - 1

EXAMPLES = """examples:
  r3d2 street                              make the default street in the cache and print its folder
  r3d2 street --seed 3 --length 400 --out streets/long
  r3d2 street --along drive.db3 --out streets/drive    around the path of a bag
  r3d2 street --along path.csv --json                  columns x, y and optionally z, in metres

The folder is a scene: `r3d2 render --scene DIR`, or `scene.source: DIR` in the configuration.
Exit status: 0 done, 1 an input cannot be used, 2 wrong arguments."""


def add_parser(subparsers: Any) -> None:
    """Add `street` to the result of `ArgumentParser.add_subparsers`."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = subparsers.add_parser(
        "street", help="make the procedural street", description=__doc__, epilog=EXAMPLES, formatter_class=raw
    )
    defaults = StreetOptions()
    parser.add_argument("--seed", type=int, default=defaults.seed, help="houses, trees, colours (%(default)s)")
    parser.add_argument("--length", type=float, metavar="M", help=f"length in metres ({defaults.length_m:g})")
    parser.add_argument("--along", type=Path, metavar="BAG_OR_CSV", help="build around a recorded path")
    parser.add_argument("--topic", metavar="TOPIC", help="that of --along's bag with the path, where it has several")
    parser.add_argument("--sun-azimuth", type=float, default=defaults.sun_azimuth_deg, metavar="DEG",
                        help="towards the sun, counter-clockwise from +x of map (%(default)s)")  # fmt: skip
    parser.add_argument("--sun-elevation", type=float, default=defaults.sun_elevation_deg, metavar="DEG",
                        help="15 to 80 (%(default)s)")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write; without it, the cache")
    parser.add_argument("--force", action="store_true", help="replace a scene in DIR that is none of `r3d2 street`")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Make the street and return the exit status. InputError(s) for arguments that cannot be used."""
    with path_of(args.along):
        folder = _made(_options(args), args)
    facts = {
        "folder": str(folder),
        "scene": str(folder / "scene.yaml"),
        "assets": str(folder / "assets.yaml"),
    }
    facts["lanes"] = str(folder / "lanes.yaml")
    print(json.dumps(facts, indent=2) if args.json else folder)
    return 0


def _made(options: StreetOptions, args: argparse.Namespace) -> Path:
    """The folder of the street."""
    if args.out is None:
        return cached_street(options, say=lambda line: print(line, file=sys.stderr))
    if not args.force:
        check_street_folder(args.out)  # before the work
    from r3d2_ros.street.build import build_street

    write_street(args.out, build_street(options, _progress), force=args.force)
    print(file=sys.stderr)
    return Path(args.out)


def _options(args: argparse.Namespace) -> StreetOptions:
    if not 0 <= args.seed <= MAX_SEED:
        raise InputError("--seed", f"0 to {MAX_SEED}", str(args.seed))
    common: dict[str, Any] = {
        "seed": args.seed, "sun_azimuth_deg": args.sun_azimuth, "sun_elevation_deg": args.sun_elevation
    }  # fmt: skip
    if args.topic is not None and (args.along is None or args.along.suffix.lower() == ".csv"):
        raise InputError("--topic", "--along with a bag", "no bag")
    if args.along is None:
        return StreetOptions(**common) if args.length is None else StreetOptions(length_m=args.length, **common)
    if args.length is not None:
        raise InputError("--length", "a street without --along", "both", "The path of --along gives the length")
    from r3d2_ros.polylines import read_polyline

    line = read_polyline(args.along, topic=args.topic)
    return StreetOptions(path=tuple((float(x), float(y), float(z)) for x, y, z in line), **common)


def _progress(stage: str, done: float) -> None:
    print(f"\r{int(100 * done):3d} % {stage:10s}", end="", file=sys.stderr, flush=True)
