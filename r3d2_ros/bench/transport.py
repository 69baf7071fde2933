"""How the images arrive, and how soon a node that is started shows its first one. Needs ROS 2.

    python -m r3d2_ros.bench.transport [--json FILE] [--quick]

transport  the node with prepared pictures for six 1600x900 cameras, driven at 10 Hz by a reliable subscriber in another
           process: a frame set is lost when it never began, or its list or one of its images does not arrive
start      from starting the real node (embedded street, demo3, CPU renderer, kernels and street cached by a start
           before) to the first image at a subscriber
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from r3d2_ros.bench.harmonizer.faults import MeasurementError
from r3d2_ros.bench.rows_file import check_rows_file, write_rows

Row = dict[str, Any]
CLIENT = ("-m", "r3d2_ros.nodes.bench_client")
RATE_HZ = 10.0
SECONDS, QUICK_SECONDS = 60.0, 6.0
START_GOAL_S = 5.0
POLL_S, STOP_S = 0.1, 10.0


def bench_transport(*, seconds: float = SECONDS) -> Row:
    """Six 1600x900 cameras at 10 Hz through DDS for `seconds`. MeasurementError where no image arrives."""
    ticks = round(seconds * RATE_HZ)
    parameters = ["-p", "rig.source:=surround6", "-p", "output.min_subscribers:=1"]
    result = run_together(
        ["-m", "r3d2_ros.nodes.bench_node", "--ros-args", *parameters],
        [*CLIENT, "--rig", "surround6", "--ticks", str(ticks), "--rate", str(RATE_HZ)],
    )
    p50, p95 = np.percentile(result["latencies_ms"], [50, 95])
    return {
        "name": "transport, 6 x 1600x900 at 10 Hz",
        "seconds": seconds,
        "frame_sets": result["frame_sets"],
        "lost": result["lost"],
        "latency_ms_p50": p50,
        "latency_ms_p95": p95,
    }


def bench_start() -> Row:
    """Seconds from starting the node to its first image, for the second start. MeasurementError where none arrives."""
    for _ in range(2):
        start_s = time.perf_counter()
        result = run_together(
            ["-m", "r3d2_ros.cli", "sim", "--ros-args", "-p", "rendering.backend:=cpu"],
            [*CLIENT, "--rig", "demo3", "--ticks", "1", "--rate", str(RATE_HZ)],
        )
    # perf_counter is the system's monotonic clock, the same in every process.
    seconds = result["first_image_s"] - start_s
    return {"name": "second start to first image", "seconds": seconds, "goal_seconds": START_GOAL_S}


def run_together(node: Sequence[str], client: Sequence[str]) -> dict[str, Any]:
    """What the client, started beside the node, prints last; both are arguments of Python.

    MeasurementError when the node ends before the client does, the client fails, or it has received no image.
    """
    with _process(node, stdout=subprocess.DEVNULL) as sim, _process(client, stdout=subprocess.PIPE) as subscriber:
        while True:
            try:
                text, _ = subscriber.communicate(timeout=POLL_S)
                break
            except subprocess.TimeoutExpired:
                if sim.poll() is not None:
                    ended = f"the node ended with exit code {sim.returncode} before the client did"
                    raise MeasurementError(ended) from None
    if subscriber.returncode != 0:
        raise MeasurementError(f"the client ended with exit code {subscriber.returncode}")
    result = json.loads(text.splitlines()[-1])
    if result["first_image_s"] is None:
        raise MeasurementError("the client received no image from the node")
    return result


@contextmanager
def _process(arguments: Sequence[str], *, stdout: int) -> Iterator[subprocess.Popen[str]]:
    """A child that is ended with the block. Its domain is the caller's: set ROS_DOMAIN_ID to be alone."""
    with subprocess.Popen([sys.executable, *arguments], stdout=stdout, text=True) as child:
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()


def format_rows(rows: Sequence[Row]) -> str:
    """One line per row, values with their names."""
    lines = []
    for row in rows:
        values = [f"{k} {v:.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items() if k != "name"]
        lines.append(f"{row['name']}: {', '.join(values)}")
    return "\n".join(lines)


def run(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """All rows; `quick` shortens the transport run."""
    rows = []
    for bench in (lambda: bench_transport(seconds=QUICK_SECONDS if quick else SECONDS), bench_start):
        rows.append(bench())
        say(format_rows(rows[-1:]))
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SECONDS:g} s instead of {SECONDS:g} s")
    args = parser.parse_args(argv)
    check_rows_file(args.json, parser)
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rows = run(quick=args.quick, say=print)
    write_rows(args.json, rows, parser)
    return 0


if __name__ == "__main__":
    sys.exit(main())
