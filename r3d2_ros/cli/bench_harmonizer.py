"""`r3d2 bench harmonizer`: which measurement the arguments ask for, its table and its JSON."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3d2_ros.cli.bench_arguments import STDOUT, add_parser, harmonizer_config, image_size
from r3d2_ros.cli.bench_checks import NETWORK, QUALITY, RIG, checked, measurement, without_effect
from r3d2_ros.cli.ros import ros_needed
from r3d2_ros.demo.domain import demo_environment
from r3d2_ros.errors import MissingPackageError
from r3d2_ros.formats.files import atomic_output, check_output_file
from r3d2_ros.harmonizer.packages import need_packages

if TYPE_CHECKING:
    from r3d2_ros.config import SimConfig

__all__ = ["add_parser", "run"]

FAULT_END = 1000
"""Characters of an error that a row keeps."""

NO_ARGUMENTS = ("command", "what", "ros_args", "version", "quick")


def run(args: argparse.Namespace) -> int:
    """Measure what is asked for. InputError(s) for what cannot be used."""
    need_packages("The harmonizer")
    args = checked(args)
    path = Path(args.json) if args.json not in (None, STDOUT) else None
    if path is not None:
        check_output_file(path)
    from r3d2_ros.bench.harmonizer.faults import MeasurementError
    from r3d2_ros.bench.machine import machine_facts
    from r3d2_ros.harmonizer.runtime.device import find_device

    device = str(find_device(args.device, "--device"))
    if args.deterministic:
        import torch

        from r3d2_ros.harmonizer.runtime.numerics import pin_cublas_workspace

        pin_cublas_workspace(torch.device(device))  # the pinned row comes after others
    name, measure = MEASUREMENTS[measurement(args)]
    left_out = {*NO_ARGUMENTS, *without_effect(args)}
    facts: dict[str, Any] = {
        "measured": name,
        "machine": machine_facts(device),
        "arguments": {key: _plain(value) for key, value in vars(args).items() if key not in left_out},
    }
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


def _measure_network(args: argparse.Namespace, device: str, facts: dict[str, Any]) -> tuple[str, int]:
    import torch

    from r3d2_ros.bench.harmonizer.network import Bench, Work
    from r3d2_ros.bench.harmonizer.protocol import protocol_of
    from r3d2_ros.bench.harmonizer.report import PAPER_ROWS, candidates, network_table
    from r3d2_ros.bench.harmonizer.weights import model_to_measure
    from r3d2_ros.harmonizer.model.random_weights import is_random

    config = harmonizer_config(args, device)
    model = model_to_measure(args.checkpoint, args.variant or "nano", seed=args.seed)
    size = image_size(args, model.config.variant)
    protocol = protocol_of(args.protocol, cpu=device == "cpu", size=size, batch=args.batch)
    random_weights = is_random(model.config)
    runs = args.runs or (3 if args.protocol == "paper" else 1)
    work = Work(size=size, batch=args.batch, protocol=protocol, runs=runs, profile=args.profile)
    bench = Bench(model, work, torch.device(device), say=say)
    rows: list[dict[str, Any]] = []
    for candidate in candidates(config, compare=args.compare, deterministic=args.deterministic):
        try:
            rows.append(bench.measure(candidate))
        except Exception as error:  # Triton's are no RuntimeErrors
            # One that this machine does not have, or has no memory for, costs no other row.
            fault = " ".join(str(error).split())[:FAULT_END]
            say(f"{candidate.name}: {fault}")
            rows.append({"name": candidate.name, "dtype": candidate.config.dtype, "fault": fault})
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
    from r3d2_ros.harmonizer.model.checkpoints import load_config
    from r3d2_ros.harmonizer.model.shipped import model_folder

    modes = chosen_modes(args.quality)
    check_trained(load_config(model_folder(args.checkpoint, "--checkpoint")), f"--checkpoint {args.checkpoint}")
    with tempfile.TemporaryDirectory(prefix="r3d2-bench-") as name:
        config, variant, _ = _sim_config(args, device, Path(name), cameras=1)
        drive = street_drive(ticks=args.frames, rate_hz=10.0, actors=args.actors, say=say)
        rows = measure_quality(config, drive, modes, say=say)
    facts |= {"variant": variant, "weights": _weights(args, False), "frames": args.frames, "rows": rows}
    facts["harmonizer"] = _described(config)
    return quality_table(rows), 0


MEASUREMENTS = {
    NETWORK: ("network", _measure_network),
    RIG: ("rig", _measure_rig),
    QUALITY: ("quality", _measure_quality),
}
"""Name in the JSON, and what measures."""


def _sim_config(
    args: argparse.Namespace, device: str, folder: Path, *, cameras: int
) -> tuple[SimConfig, str, bool]:
    """Configuration in `folder`, variant, and whether its weights are random."""
    from r3d2_ros.bench.harmonizer.setting import RigSize, rig_config
    from r3d2_ros.bench.harmonizer.weights import checkpoint_to_measure
    from r3d2_ros.harmonizer.model.random_weights import is_random

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
