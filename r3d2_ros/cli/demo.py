"""`r3d2 demo`: see it run, over ROS 2, on this machine."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from r3d2_ros.cli.ros import ros_needed
from r3d2_ros.demo import files
from r3d2_ros.demo.children import DemoError
from r3d2_ros.demo.plan import SECONDS, plan_bag, plan_street
from r3d2_ros.demo.run import DemoOptions, run_demo
from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import make_folder
from r3d2_ros.harmonizer.diffusers_layout import is_pipeline_folder
from r3d2_ros.harmonizer.model.shipped import DEFAULT, model_folder
from r3d2_ros.harmonizer.packages import INSTALL, need_packages
from r3d2_ros.rigs import load_rig

BAG_WIDTH_PX = 640

EXAMPLES = f"""examples:
  r3d2 demo                              through the embedded street, into out/demo/
  r3d2 demo --rig surround6 --width 800 --out out/surround
  r3d2 demo --bag drive.db3              the drive of a rosbag2, through a street built along it, at 10 Hz
  r3d2 demo --bag drive.db3 --full       every recorded pose
  r3d2 demo --seconds 3 --json           the first three seconds; the summary as JSON
  r3d2 demo --harmonizer none            the renders as they are

Written to the folder of --out: CAMERA.mp4, contact_sheet.png, before_after.png, summary.json, and what was used:
sim.yaml, drive.json, sim_node.log, driver.log. The harmonizer nano gives the inserted actors the street's light and
shadows; --harmonizer none leaves them as they are rendered, which is faster. A bag is driven with pictures
{BAG_WIDTH_PX} px wide unless --width says otherwise.

The simulator, the driver and the subscriber are processes that talk over DDS, in the domain that ROS_DOMAIN_ID says;
without it they take a free one and keep to this machine.
Exit status: 0 every frame set arrived, 1 one was lost or something failed, 2 wrong arguments, 130 interrupted."""


def add_parser(subparsers: Any) -> None:
    """Add `demo` to the result of `ArgumentParser.add_subparsers`."""
    parser = subparsers.add_parser(
        "demo",
        help="drive through a street over ROS 2; videos, contact sheet, summary",
        description="Start the simulator and a scripted drive over ROS 2, and keep the pictures that come back.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), metavar="DIR", help="folder (%(default)s)")
    parser.add_argument("--bag", type=Path, metavar="FILE", help="drive this rosbag2: a folder, .db3 or .mcap file")
    parser.add_argument("--topic", help="topic of the bag with the poses; without it, the only one")
    parser.add_argument("--full", action="store_true", help="every pose of the bag instead of 10 per second")
    parser.add_argument(
        "--seconds", type=float, metavar="S", help=f"length of the drive ({SECONDS:g}; of a bag: all of it)"
    )
    parser.add_argument("--rig", default="demo3", help="demo3, surround6 or a rig file (%(default)s)")
    parser.add_argument("--fov", type=float, default=0.0, metavar="DEG", help="for a rig file without intrinsics")
    parser.add_argument("--width", type=int, metavar="PX", help="make wider cameras this wide")
    parser.add_argument("--backend", choices=["auto", "cpu", "gsplat"], default="auto", help="renderer (%(default)s)")
    parser.add_argument(
        "--harmonizer",
        default=DEFAULT,
        metavar="NAME",
        help="nano, the folder of a checkpoint or pipeline, or none (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 when every frame set arrived."""
    with ros_needed("r3d2 demo"):
        import r3d2_ros.nodes.demo_client  # noqa: TID251
        import r3d2_ros.nodes.demo_driver  # noqa: F401, TID251
    rig = load_rig(args.rig, fov_deg=args.fov or None)
    options = _options(args)
    signal.signal(signal.SIGTERM, _terminated)
    make_folder(args.out)
    files.clear(args.out, [camera.name for camera in rig.cameras])
    if args.bag is None:
        plan = plan_street(args.seconds, _say)
    else:
        plan = plan_bag(args.bag, topic=args.topic, full=args.full, seconds=args.seconds, say=_say)
    try:
        summary = run_demo(plan, options, _say)
    except DemoError as error:
        _say(f"r3d2 demo: {error}")
        return 1
    print(json.dumps(summary, indent=2) if args.json else _as_text(args.out, summary))
    return 0 if summary["lost"] == 0 and summary["frame_sets"] == summary["ticks"] else 1


def _options(args: argparse.Namespace) -> DemoOptions:
    if args.bag is None and (args.full or args.topic):
        raise InputError("--full and --topic", "a bag (--bag FILE)", "none")
    if args.width is not None and not 16 <= args.width <= 8192:
        raise InputError("--width", "16 to 8192 pixels", str(args.width))
    width = args.width
    if width is None and args.bag is not None:
        width = BAG_WIDTH_PX
        _say(f"pictures at most {width} px wide, as a bag has many (--width changes it)")
    return DemoOptions(
        args.out,
        rig=args.rig,
        fov_deg=args.fov,
        width_px=width,
        backend=args.backend,
        harmonizer=_harmonizer(args.harmonizer),
    )


def _harmonizer(source: str) -> files.HarmonizerChoice | None:
    """InputError for what is no folder and no shipped checkpoint, MissingPackageError where it could not run."""
    if source == "none":
        return None
    folder = model_folder(source, "--harmonizer")
    need_packages(f"--harmonizer {source}", f"{INSTALL}, or --harmonizer none")
    backend = "pipeline" if is_pipeline_folder(folder) else "r3d2"
    return files.HarmonizerChoice(source, backend, folder)


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM leaves like Ctrl-C, so that the children are ended."""
    raise KeyboardInterrupt


def _as_text(out: Path, summary: dict[str, Any]) -> str:
    latency = summary["latency_ms"]
    lines = [
        f"{summary['frame_sets']} of {summary['ticks']} frame sets, {summary['lost']} lost, "
        f"{summary['fps']:.1f} per second, renderer {summary['renderer']}",
    ]
    if latency["p50"] is not None:
        lines.append(
            f"latency from pose to complete frame set: p50 {latency['p50']:.0f} ms, p95 {latency['p95']:.0f} ms"
        )
    lines += [str(out / camera["video"]) for camera in summary["cameras"].values()]
    sheets = [out / files.SHEET, *([out / files.BEFORE_AFTER] if summary["harmonizer"] else [])]
    lines += [*(str(sheet) for sheet in sheets if sheet.is_file()), str(out / files.SUMMARY)]
    lines += [f"not published: {failure}" for failure in summary["failures"]]
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
