"""`r3d2 bench harmonizer`: arguments, and which measurement they ask for."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3d2_ros.cli.ros import ros_needed
from r3d2_ros.demo.domain import demo_environment
from r3d2_ros.errors import InputError, InputErrors, MissingPackageError
from r3d2_ros.formats.files import atomic_output, make_folder
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RewritesConfig, RuntimeConfig

if TYPE_CHECKING:
    from r3d2_ros.config import SimConfig

STDOUT = "-"
VARIANTS = ("r3d2", "r3d2-big", "nano")
DTYPES = ("float32", "float16", "bfloat16", "float8")
RUNTIMES = ("eager", "torch-compile", "stable-fast")
ATTENTION = ("auto", "cudnn", "flash", "efficient", "math")
NANO_SIZE = (540, 960)
NO_ARGUMENTS = ("command", "what", "ros_args", "version", "quick")
DEFAULT_MODES = "roi,half,720p,fp8"

EXAMPLES = """examples:
  r3d2 bench harmonizer                                          nano on this machine, random weights
  r3d2 bench harmonizer --variant r3d2 --runtime torch-compile --protocol paper --compare --json out/r3d2.json
  r3d2 bench harmonizer --variant r3d2 --runtime torch-compile --no-rewrites --profile
  r3d2 bench harmonizer --variant r3d2 --rig 6 --rate 10 --seconds 60 --splats 3000000 --roi
  r3d2 bench harmonizer --checkpoint my_r3d2 --quality --frames 200

The network alone: protocol paper is batch 1 at 1080x1920, 1000 passes to warm up and 1000 timed; quick is at least 100
passes and 15 s to warm up and 200 timed (3, 2 s and 20 on a CPU), accepted when it had settled. With --rig the whole
tick is measured: render, harmonize, JPEG, publish. With --quality approximate modes are compared with the exact one.
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
    model.add_argument("--checkpoint", type=Path, metavar="DIR", help="these weights instead of random ones")
    model.add_argument("--seed", type=int, default=0, help="of random weights (%(default)s)")
    _add_path(parser.add_argument_group("how it is run"))
    network = parser.add_argument_group("the network alone")
    network.add_argument("--protocol", choices=("paper", "quick"), default="quick", help="%(default)s")
    network.add_argument("--size", type=_size, metavar="HxW", help="rows x columns (1080x1920; nano 540x960)")
    network.add_argument("--batch", type=_count(64), default=1, help="images in one pass (%(default)s)")
    network.add_argument("--runs", type=_count(100), help="complete runs (paper 3, quick 1)")
    network.add_argument("--compare", action="store_true", help="also the plain eager network in 16 bit")
    network.add_argument("--profile", action="store_true", help="the 20 longest kernels, in the JSON")
    _add_rig(parser.add_argument_group("the whole tick of a rig"))
    quality = parser.add_argument_group("quality of approximate modes; needs --checkpoint")
    quality.add_argument(
        "--quality", nargs="?", const=DEFAULT_MODES, metavar="MODES", help=f"by commas ({DEFAULT_MODES})"
    )
    quality.add_argument("--frames", type=_count(100_000), default=200, help="ticks of the drive (%(default)s)")
    parser.add_argument(
        "--json", nargs="?", const=STDOUT, metavar="FILE", help="write JSON to FILE, or print it instead of the table"
    )


def _add_path(group: Any) -> None:
    group.add_argument("--runtime", choices=RUNTIMES, default="eager", help="%(default)s")
    group.add_argument("--dtype", choices=DTYPES, help="float16 on a GPU, float32 on a CPU")
    group.add_argument("--device", help="cpu or cuda:N; cuda:0 where CUDA works")
    group.add_argument("--attention", choices=ATTENTION, default="auto", help="%(default)s")
    group.add_argument("--no-cuda-graph", action="store_true", help="launch every kernel from the host")
    group.add_argument("--no-channels-last", action="store_true", help="NCHW")
    rewrites = group.add_mutually_exclusive_group()
    rewrites.add_argument("--rewrites", metavar="A,B", help="only these exact rewrites; all of them without this")
    rewrites.add_argument("--no-rewrites", action="store_true", help="none of them")
    group.add_argument("--deterministic", action="store_true", help="also with pinned kernels (a rig: only so)")


def _add_rig(group: Any) -> None:
    group.add_argument("--rig", type=_count(16), metavar="N", help="cameras of --size, evenly turned")
    group.add_argument("--rate", type=_positive, default=10.0, help="ticks per second (%(default)g)")
    group.add_argument("--seconds", type=_positive, default=60.0, help="%(default)g")
    group.add_argument("--deadline-ms", type=_positive, help="of a tick (one period)")
    group.add_argument("--actors", type=_count(500), default=20, help="%(default)s")
    group.add_argument("--splats", type=_count(50_000_000), metavar="N", help="divide the street's into so many")
    group.add_argument("--renderer", choices=("auto", "cpu", "gsplat"), default="auto", help="%(default)s")
    group.add_argument("--composite", choices=("region", "full"), default="region", help="%(default)s")
    group.add_argument("--roi", action="store_true", help="crops around the actors")
    group.add_argument("--resolution", choices=("full", "half", "720p"), default="full", help="%(default)s")
    group.add_argument("--max-batch", type=_count(64), default=3, help="images in one call (%(default)s)")
    group.add_argument(
        "--to",
        choices=("auto", "subscriber", "encoded"),
        default="auto",
        help="where a tick ends: the last image at a ROS 2 subscriber (auto: where there is ROS 2), or encoded",
    )


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and 16 <= int(height) <= 16384 and 16 <= int(width) <= 16384):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size such as 1080x1920 (height x width)")
    return int(height), int(width)


def _count(most: int) -> Any:
    def count(text: str) -> int:
        if not text.strip().isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {most}, got '{text.strip()}'")
        return int(text)

    return count


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100_000:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and at most 100000, got '{text.strip()}'")
    return value


def run(args: argparse.Namespace) -> int:
    """Measure what is asked for. InputError(s) for what cannot be used."""
    for package in ("torch", "diffusers", "safetensors"):
        if find_spec(package) is None:
            raise MissingPackageError(package, "The harmonizer", "pip install 'r3d2_ros[harmonizer]'")
    _check(args)
    path = Path(args.json) if args.json not in (None, STDOUT) else None
    if path is not None:
        make_folder(path.parent)
    from r3d2_ros.bench.harmonizer.faults import MeasurementError
    from r3d2_ros.bench.machine import machine_facts

    device = args.device or default_device()
    facts: dict[str, Any] = {
        "measured": "quality" if args.quality else "rig" if args.rig else "network",
        "machine": machine_facts(str(_torch_device(device))),
        "arguments": {key: _plain(value) for key, value in vars(args).items() if key not in NO_ARGUMENTS},
    }
    measure = _measure_quality if args.quality else _measure_rig if args.rig else _measure_network
    try:
        text, status = measure(args, device, facts)
    except MeasurementError as error:
        facts["fault"] = str(error)
        text, status = f"FAILED: {error}", 1
    document = json.dumps(finite(facts), indent=2, allow_nan=False)
    print(document if args.json == STDOUT else text)
    if path is not None:
        with atomic_output(path) as file:
            file.write((document + "\n").encode())
    return status


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _check(args: argparse.Namespace) -> None:
    """InputError for arguments that do not go together."""
    if args.checkpoint is not None and args.variant is not None:
        raise InputError("--variant", "nothing with --checkpoint, which has its own sizes", args.variant)
    if args.quality and args.rig:
        raise InputError("--quality", "nothing with --rig", args.quality)
    if args.quality and args.checkpoint is None:
        hint = "Quality is unmeasured with random weights"
        raise InputError("--quality", "trained weights given by --checkpoint", "random weights", hint)
    if args.rig and args.protocol == "paper":
        raise InputError("--protocol paper", "no --rig: the paper timed the network alone", f"--rig {args.rig}")


def default_device() -> str:
    """cuda:0 where CUDA works, else cpu."""
    from r3d2_ros.rendering.cuda import driver_fault

    if driver_fault():
        return "cpu"
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def _torch_device(name: str) -> Any:
    from r3d2_ros.harmonizer.runtime import find_device

    return find_device(name)


def harmonizer_config(args: argparse.Namespace, device: str) -> HarmonizerConfig:
    """The path that the arguments describe, without a checkpoint."""
    on_gpu = device.startswith("cuda")
    rewrites = RewritesConfig()
    if args.no_rewrites or args.rewrites is not None:
        from r3d2_ros.bench.harmonizer.report import chosen_rewrites

        rewrites = chosen_rewrites("" if args.no_rewrites else args.rewrites)
    return HarmonizerConfig(
        device=device,
        dtype=args.dtype or ("float16" if on_gpu else "float32"),
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
    )


def image_size(args: argparse.Namespace, variant: str) -> tuple[int, int]:
    if args.size is not None:
        return args.size
    return NANO_SIZE if variant == "nano" and args.protocol != "paper" else (1080, 1920)


def _measure_network(args: argparse.Namespace, device: str, facts: dict[str, Any]) -> tuple[str, int]:
    from r3d2_ros.bench.harmonizer.faults import BrokenPathError
    from r3d2_ros.bench.harmonizer.network import Bench, Work
    from r3d2_ros.bench.harmonizer.protocol import protocol_of
    from r3d2_ros.bench.harmonizer.report import PAPER_ROWS, candidates, network_table
    from r3d2_ros.bench.harmonizer.weights import is_random, model_to_measure

    config, variant = harmonizer_config(args, device), args.variant or "nano"
    size = image_size(args, variant)
    protocol = protocol_of(args.protocol, cpu=device == "cpu", size=size, batch=args.batch)
    model = model_to_measure(args.checkpoint, variant, seed=args.seed)
    random_weights = is_random(model.config)
    runs = args.runs or (3 if args.protocol == "paper" else 1)
    work = Work(size=size, batch=args.batch, protocol=protocol, runs=runs, profile=args.profile)
    bench = Bench(model, work, _torch_device(device), say=say)
    rows: list[dict[str, Any]] = []
    for candidate in candidates(config, compare=args.compare, deterministic=args.deterministic):
        try:
            rows.append(bench.measure(candidate))
        except (BrokenPathError, InputError, InputErrors, MissingPackageError) as error:
            say(f"{candidate.name}: {error}")
            rows.append({"name": candidate.name, "dtype": candidate.config.dtype, "fault": str(error)})
    facts |= {
        "variant": model.config.variant,
        "weights": _weights(args, random_weights),
        "quality": "unmeasured" if random_weights else "see --quality",
        "rows": rows,
        "paper": list(PAPER_ROWS),
    }
    text = network_table(rows, variant=model.config.variant, random_weights=random_weights)
    return text, 1 if any("fault" in row for row in rows) else 0


def _measure_rig(args: argparse.Namespace, device: str, facts: dict[str, Any]) -> tuple[str, int]:
    from r3d2_ros.bench.harmonizer.open_loop import format_verdict
    from r3d2_ros.bench.harmonizer.report import QUALITY_UNMEASURED
    from r3d2_ros.bench.harmonizer.setting import street_drive

    deadline_ms = args.deadline_ms or 1e3 / args.rate
    ticks = max(1, round(args.rate * args.seconds))
    with tempfile.TemporaryDirectory(prefix="r3d2-bench-") as name:
        folder = Path(name)
        config, variant, random_weights = _sim_config(args, device, folder, cameras=args.rig)
        drive = street_drive(ticks=ticks, rate_hz=args.rate, actors=args.actors, say=say)
        facts |= {
            "variant": variant,
            "weights": _weights(args, random_weights),
            "quality": "unmeasured" if random_weights else "see --quality",
            "harmonizer": _described(config),
        }
        if _over_dds(args):
            from r3d2_ros.bench.harmonizer.rig_dds import measure_rig_dds

            os.environ.update(demo_environment())
            result = measure_rig_dds(config, drive, folder, rate_hz=args.rate, deadline_ms=deadline_ms, say=say)
        else:
            from r3d2_ros.bench.harmonizer.rig import measure_rig

            result = measure_rig(config, drive, rate_hz=args.rate, deadline_ms=deadline_ms, say=say)
    facts["rig"] = result
    text = format_verdict(f"{variant}, {args.rig} cameras", result)
    return (f"{text}\n{QUALITY_UNMEASURED}" if random_weights else text), 0


def _measure_quality(args: argparse.Namespace, device: str, facts: dict[str, Any]) -> tuple[str, int]:
    from r3d2_ros.bench.harmonizer.quality import chosen_modes, measure_quality, quality_table
    from r3d2_ros.bench.harmonizer.setting import street_drive
    from r3d2_ros.bench.harmonizer.weights import check_trained
    from r3d2_ros.harmonizer.checkpoints import load_config

    modes = chosen_modes(args.quality)
    check_trained(load_config(args.checkpoint), f"--checkpoint {args.checkpoint}")
    with tempfile.TemporaryDirectory(prefix="r3d2-bench-") as name:
        config, variant, _ = _sim_config(args, device, Path(name), cameras=1)
        drive = street_drive(ticks=args.frames, rate_hz=10.0, actors=args.actors, say=say)
        rows = measure_quality(config, drive, modes, say=say)
    facts |= {"variant": variant, "weights": _weights(args, False), "frames": args.frames, "rows": rows}
    facts["harmonizer"] = _described(config)
    return quality_table(rows), 0


def _sim_config(
    args: argparse.Namespace, device: str, folder: Path, *, cameras: int
) -> tuple[SimConfig, str, bool]:
    """Configuration in `folder`, variant, and whether its weights are random."""
    from r3d2_ros.bench.harmonizer.setting import RigSize, rig_config
    from r3d2_ros.bench.harmonizer.weights import checkpoint_to_measure, is_random

    harmonizer = harmonizer_config(args, device)
    checkpoint, model = checkpoint_to_measure(
        args.checkpoint,
        args.variant or "nano",
        folder / "checkpoint",
        seed=args.seed,
        dtype="float16" if harmonizer.dtype == "float8" else harmonizer.dtype,
    )
    config = rig_config(
        folder,
        RigSize(cameras=cameras, size=image_size(args, model.variant)),
        harmonizer=replace(harmonizer, backend="r3d2", checkpoint=str(checkpoint)),
        splats=args.splats,
        backend=args.renderer,
        device=device if device.startswith("cuda") else "cuda:0",
        say=say,
    )
    return config, model.variant, is_random(model)


def _over_dds(args: argparse.Namespace) -> bool:
    if args.to == "encoded":
        return False
    try:
        with ros_needed("a subscriber"):
            import r3d2_ros.nodes.rig_client  # noqa: TID251
            import r3d2_ros.nodes.sim_node  # noqa: F401, TID251
    except MissingPackageError as error:
        if args.to == "subscriber":
            raise
        say(f"measured to the encoded picture: {error}")
        return False
    return True


def _described(config: SimConfig) -> dict[str, Any]:
    return asdict(config.harmonizer) | {"checkpoint": None}


def _weights(args: argparse.Namespace, random_weights: bool) -> str:
    return f"random, seed {args.seed}" if args.checkpoint is None else ("random" if random_weights else "trained")


def finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: both become None."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
