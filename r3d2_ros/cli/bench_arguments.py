"""The arguments of `r3d2 bench harmonizer`, and the configuration that they describe."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from r3d2_ros.cli.numbers import number, whole_number
from r3d2_ros.harmonizer.settings import (
    RESOLUTIONS,
    Float8Config,
    HarmonizerConfig,
    RewritesConfig,
    RuntimeConfig,
    is_resolution,
)

STDOUT = "-"
VARIANTS = ("r3d2", "r3d2-big", "nano")
DTYPES = ("float32", "float16", "bfloat16", "float8")
RUNTIMES = ("eager", "torch-compile", "stable-fast")
ATTENTION = ("auto", "cudnn", "flash", "efficient", "math", "flash3", "flash4")
NANO_SIZE = (540, 960)
DEFAULT_MODES = "roi,half,720p,fp8"
POSITIVE = number("a number above 0 and at most 100000", lambda value: 0 < value <= 100_000)

DEFAULTS: dict[str, Any] = {
    "seed": 0, "runtime": "eager", "device": "auto", "attention": "auto", "protocol": "quick", "batch": 1, "rate": 10.0,
    "seconds": 60.0, "actors": 20, "renderer": "auto", "composite": "region", "resolution": "full", "max_batch": 3,
    "to": "auto", "frames": 200,
}  # fmt: skip
"""The parser leaves None for what is not given, so that `bench_checks` tells it from what is."""

EXAMPLES = """examples:
  r3d2 bench harmonizer                                          nano on this machine, random weights
  r3d2 bench harmonizer --variant r3d2 --runtime torch-compile --protocol paper --compare --json out/r3d2.json
  r3d2 bench harmonizer --variant r3d2 --runtime torch-compile --no-rewrites --profile
  r3d2 bench harmonizer --variant r3d2 --rig 6 --rate 10 --seconds 60 --splats 3000000 --roi
  r3d2 bench harmonizer --checkpoint my_r3d2 --quality --frames 200

The network alone: protocol paper is batch 1 at 1080x1920, 1000 passes to warm up and 1000 timed; quick is at least 100
passes and 15 s to warm up and 200 timed (3, 2 s and 20 on a CPU), accepted when it had settled. With --rig the whole
tick is measured: render, harmonize, JPEG, publish. With --quality approximate modes are compared with the exact one,
which the other arguments must leave exact. An argument without effect on what is measured is refused.
Exit status: 0 measured, 1 a path failed or an input cannot be used, 2 wrong arguments."""


def add_parser(subparsers: Any) -> None:
    """Add `harmonizer` to what `r3d2 bench` can measure."""
    parser = subparsers.add_parser(
        "harmonizer",
        help="the network alone, the whole tick of a rig, or the quality of approximate modes",
        description="Measure the harmonizer.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    model = parser.add_argument_group("which network")
    model.add_argument("--variant", choices=VARIANTS, help="random weights in these sizes (nano)")
    model.add_argument("--checkpoint", metavar="DIR", help="these weights, or those of nano or nano_1080")
    model.add_argument("--seed", type=int, help=f"of random weights ({DEFAULTS['seed']})")
    _add_path(parser.add_argument_group("how it is run"))
    network = parser.add_argument_group("the network alone")
    network.add_argument("--protocol", choices=("paper", "quick"), help=DEFAULTS["protocol"])
    network.add_argument("--size", type=_size, metavar="HxW", help="rows x columns (1080x1920; nano 540x960)")
    network.add_argument("--batch", type=whole_number(64), help=f"images in one pass ({DEFAULTS['batch']})")
    network.add_argument("--runs", type=whole_number(100), help="complete runs (paper 3, quick 1)")
    network.add_argument("--compare", action="store_true", help="also the plain eager network in 16 bit")
    network.add_argument("--profile", action="store_true", help="the 20 longest kernels, in the JSON")
    _add_rig(parser.add_argument_group("the whole tick of a rig"))
    quality = parser.add_argument_group("quality of approximate modes; needs --checkpoint")
    quality.add_argument(
        "--quality", nargs="?", const=DEFAULT_MODES, metavar="MODES",
        help=f"by commas ({DEFAULT_MODES}; also other rows, such as 648p); joined by +, such as 720p+roi, they are one",
    )
    quality.add_argument("--frames", type=whole_number(100_000), help=f"ticks of the drive ({DEFAULTS['frames']})")
    parser.add_argument(
        "--json",
        nargs="?",
        const=STDOUT,
        default=argparse.SUPPRESS,  # what stands before `harmonizer` stays
        metavar="FILE",
        help="write JSON to FILE, or print it instead of the table",
    )


def _add_path(group: Any) -> None:
    group.add_argument("--runtime", choices=RUNTIMES, help=DEFAULTS["runtime"])
    group.add_argument("--dtype", choices=DTYPES, help="float16 on a GPU, float32 on a CPU")
    group.add_argument(
        "--float8", metavar="A,B", help="what --dtype float8 is for: products, convolutions, attention (the first two)"
    )
    group.add_argument("--device", help="auto (cuda:0 where CUDA works, else cpu), cpu or cuda:N")
    group.add_argument("--attention", choices=ATTENTION, help=DEFAULTS["attention"])
    group.add_argument("--no-cuda-graph", action="store_true", help="launch every kernel from the host")
    group.add_argument("--no-channels-last", action="store_true", help="NCHW")
    rewrites = group.add_mutually_exclusive_group()
    rewrites.add_argument("--rewrites", metavar="A,B", help="only these exact rewrites; all of them without this")
    rewrites.add_argument("--no-rewrites", action="store_true", help="none of them")
    group.add_argument("--deterministic", action="store_true", help="also with pinned kernels (a rig: only so)")


def _add_rig(group: Any) -> None:
    group.add_argument("--rig", type=whole_number(16), metavar="N", help="cameras of --size, evenly turned")
    group.add_argument("--rate", type=POSITIVE, help=f"ticks per second ({DEFAULTS['rate']:g})")
    group.add_argument("--seconds", type=POSITIVE, help=f"{DEFAULTS['seconds']:g}")
    group.add_argument("--deadline-ms", type=POSITIVE, help="of a tick (one period)")
    group.add_argument("--actors", type=whole_number(500), help=f"{DEFAULTS['actors']}; also of --quality")
    group.add_argument("--splats", type=whole_number(50_000_000), metavar="N", help="so many in all; also of --quality")
    group.add_argument("--renderer", choices=("auto", "cpu", "gsplat"), help="auto; also of --quality")
    group.add_argument("--composite", choices=("region", "full"), help=DEFAULTS["composite"])
    group.add_argument("--roi", action="store_true", help="crops around the actors")
    group.add_argument("--temporal", action="store_true", help="blend with what was changed in the last frame")
    group.add_argument("--resolution", type=_resolution, metavar="R", help=f"{RESOLUTIONS} ({DEFAULTS['resolution']})")
    group.add_argument("--max-batch", type=whole_number(64), help=f"images in one call ({DEFAULTS['max_batch']})")
    group.add_argument(
        "--to",
        choices=("auto", "subscriber", "encoded"),
        help="where a tick ends: the last image at a ROS 2 subscriber (auto: where there is ROS 2), or encoded",
    )


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and 16 <= int(height) <= 16384 and 16 <= int(width) <= 16384):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size such as 1080x1920 (height x width)")
    return int(height), int(width)


def _resolution(text: str) -> str:
    if not is_resolution(text):
        raise argparse.ArgumentTypeError(f"expected {RESOLUTIONS}, got '{text}'")
    return text


def harmonizer_config(args: argparse.Namespace, device: str) -> HarmonizerConfig:
    """The path that the arguments describe, without a checkpoint."""
    from r3d2_ros.bench.harmonizer.report import chosen_switches

    on_gpu = device.startswith("cuda")
    rewrites = RewritesConfig()
    if args.no_rewrites or args.rewrites is not None:
        rewrites = chosen_switches(RewritesConfig, "" if args.no_rewrites else args.rewrites, "--rewrites")
    return HarmonizerConfig(
        device=device,
        dtype=args.dtype or ("float16" if on_gpu else "float32"),
        float8=chosen_switches(Float8Config, args.float8, "--float8"),
        composite=args.composite,
        resolution=args.resolution,
        runtime=RuntimeConfig(
            kind=args.runtime,
            cuda_graph=not args.no_cuda_graph,
            channels_last=not args.no_channels_last,
            attention=args.attention,
            max_batch=args.max_batch if args.rig else max(args.batch, 1),
            deterministic=bool(args.rig and args.deterministic),
        ),
        rewrites=rewrites,
        roi=replace(HarmonizerConfig().roi, enabled=args.roi),
        temporal=replace(HarmonizerConfig().temporal, enabled=args.temporal),
    )


def image_size(args: argparse.Namespace, variant: str) -> tuple[int, int]:
    if args.size is not None:
        return args.size
    return NANO_SIZE if variant == "nano" and args.protocol != "paper" else (1080, 1920)
