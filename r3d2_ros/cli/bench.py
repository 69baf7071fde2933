"""`r3d2 bench`: how fast renderer and harmonizer are on this machine, and how the pictures arrive over ROS 2."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from r3d2_ros.bench import render, transport
from r3d2_ros.bench.harmonizer.faults import MeasurementError
from r3d2_ros.cli import bench_harmonizer
from r3d2_ros.cli.ros import ros_needed
from r3d2_ros.demo.domain import demo_environment
from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.formats.files import atomic_output, check_output_file
from r3d2_ros.versions import versions

STDOUT = "-"
HARMONIZER = "harmonizer"
REPEATS, QUICK_REPEATS = 20, 5

EXAMPLES = """examples:
  r3d2 bench                          tables: CPU renderer, nano harmonizer, transport over DDS, start of the node
  r3d2 bench --quick                  fewer frames, without the slow reference renderer
  r3d2 bench --json out/bench.json    the same, and a file
  r3d2 bench --json                   one JSON object instead of the tables
  r3d2 bench harmonizer --help        the harmonizer: the network alone, a rig's whole tick, approximate modes

A few minutes. Nothing else should run meanwhile. Without ROS 2 the renderer alone is measured, and the result says so.
Exit status: 0 measured, 1 something failed, 2 wrong arguments. A goal that is missed is no failure."""


def add_parser(subparsers: Any) -> None:
    """Add `bench` to the result of `ArgumentParser.add_subparsers`."""
    parser = subparsers.add_parser(
        "bench",
        help="measure the renderer, the transport and the harmonizer",
        description=f"Measure the renderer (median of {REPEATS} frames after a warm-up), the smallest harmonizer, the "
        "transport over DDS, and how soon a second start of the node shows its first image.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--json", nargs="?", const=STDOUT, metavar="FILE", help="write JSON to FILE, or print it instead of the tables"
    )
    parser.add_argument("--quick", action="store_true", help="less precise, in about a minute")
    parser.set_defaults(what=None)
    bench_harmonizer.add_parser(parser.add_subparsers(dest="what", metavar="{harmonizer}"))


def run(args: argparse.Namespace) -> int:
    """Measure everything that can be measured here; 1 when a measurement failed."""
    if args.what == HARMONIZER:
        if args.quick:
            raise InputError("--quick", "nothing with harmonizer, which has --protocol", "--quick")
        return bench_harmonizer.run(args)
    if args.json == HARMONIZER:
        hint = f"`r3d2 bench {HARMONIZER} --json` measures it; a file of this name is --json ./{HARMONIZER}"
        raise InputError("--json", "a file, or nothing behind it", f"'{HARMONIZER}'", hint)
    path = Path(args.json) if args.json not in (None, STDOUT) else None
    if path is not None:
        check_output_file(path)
    machine = {"cpus": os.cpu_count(), "processor": _processor(), "load_before": round(os.getloadavg()[0], 2)}
    rows = render.bench_render(repeats=QUICK_REPEATS if args.quick else REPEATS, reference=not args.quick, say=_say)
    if args.json != STDOUT:
        print(render.format_table(rows), flush=True)
    facts: dict[str, Any] = {
        "machine": machine,
        "versions": versions("numba", "numpy", "torch", "rclpy"),
        "render": rows,
        "harmonizer": _measure_harmonizer(quick=args.quick),
    }
    if facts["harmonizer"] and args.json != STDOUT:
        print("\n" + _harmonizer_table(facts["harmonizer"]), flush=True)
    status = _measure_ros(facts, quick=args.quick)
    if args.json == STDOUT:
        print(json.dumps(facts, indent=2))
    elif facts["ros"]:
        print("\n" + transport.format_rows(facts["ros"]))
    if path is not None:
        with atomic_output(path) as file:
            file.write((json.dumps(facts, indent=2) + "\n").encode())
    return status


def _measure_harmonizer(*, quick: bool) -> list[dict[str, Any]]:
    """Rows of the small network; none without PyTorch."""
    try:
        from r3d2_ros.bench.harmonizer.nano import measure_nano
    except ModuleNotFoundError as error:
        _say(f"not measured: the harmonizer needs {error.name}: pip install 'r3d2_ros[harmonizer]'")
        return []
    return measure_nano(quick=quick, say=_say)


def _harmonizer_table(rows: list[dict[str, Any]]) -> str:
    from r3d2_ros.bench.harmonizer.nano import format_nano

    return format_nano(rows)


def _measure_ros(facts: dict[str, Any], *, quick: bool) -> int:
    """Fill in `ros` (rows) and, when there are none, `ros_not_measured` with the reason."""
    facts["ros"] = []
    try:
        with ros_needed("the measurement of the transport"):
            import r3d2_ros.nodes.bench_client  # noqa: TID251
            import r3d2_ros.nodes.bench_node  # noqa: F401, TID251
    except MissingPackageError as error:
        facts["ros_not_measured"] = str(error)
        _say(f"not measured: {error}")
        return 0
    os.environ.update(demo_environment())
    try:
        facts["ros"] = transport.run(quick=quick, say=_say)
    except MeasurementError as error:
        facts["ros_not_measured"] = str(error)
        _say(f"r3d2 bench: {error}")
        return 1
    return 0


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
