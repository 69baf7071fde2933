"""`r3d2 model info`: what a model is, without reading a number of it or running code that lies beside it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3d2_ros.cli.sizes import size_px
from r3d2_ros.errors import InputError, printable
from r3d2_ros.harmonizer.model.variants import VARIANTS

if TYPE_CHECKING:
    from r3d2_ros.harmonizer.model.config import ModelConfig

SIZE_PX = (1080, 1920)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "path", nargs="?", metavar="PATH", help="folder of a checkpoint or pipeline, or a shipped one: nano, nano_1080"
    )
    which.add_argument(
        "--variant", choices=tuple(VARIANTS), help="sizes without weights; this nano is not the shipped model"
    )
    parser.add_argument("--size", type=size_px, metavar="HxW", help="for FLOP (1080x1920)")
    parser.add_argument("--require-commercial", action="store_true", help="refuse licences that forbid commercial use")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the facts. InputError(s) for a folder that cannot be used."""
    from r3d2_ros.harmonizer.diffusers_layout import is_pipeline_folder
    from r3d2_ros.harmonizer.model.checkpoints import check_commercial, inspect_checkpoint
    from r3d2_ros.harmonizer.model.shipped import model_folder
    from r3d2_ros.harmonizer.model.variants import variant

    path = None if args.path is None else model_folder(args.path, "PATH")
    if path and is_pipeline_folder(path):
        if args.size:
            raise InputError("--size", "nothing with a pipeline, whose FLOP are not known", "a value")
        facts = describe_pipeline(path, require_commercial=args.require_commercial)
        print(json.dumps(facts, indent=2, allow_nan=False) if args.json else _pipeline_text(_printable(facts)))
        return 0
    if path:
        config = inspect_checkpoint(path, require_commercial=args.require_commercial).config
    else:
        config = variant(args.variant)
        if args.require_commercial:
            check_commercial(config.licences, where=f"variant {args.variant}, which is sizes without weights")
    facts = describe(config, size_px=args.size or SIZE_PX)
    print(json.dumps(facts, indent=2, allow_nan=False) if args.json else _as_text(_printable(facts)))
    return 0


def describe(config: ModelConfig, *, size_px: tuple[int, int]) -> dict[str, Any]:
    """What `r3d2 model info --json` prints of a checkpoint; `size_px` is (height, width)."""
    from r3d2_ros.harmonizer.model.flops import measure_size
    from r3d2_ros.harmonizer.model.r3d2 import alpha_bar

    size = measure_size(config, height_px=size_px[0], width_px=size_px[1])
    return {
        **asdict(config),
        "alpha_bar": alpha_bar(config.schedule, config.timestep),
        "size_px": {"height": size_px[0], "width": size_px[1]},
        "parameters": {**size.parameters, "total": size.total_parameters},
        "flop": {**size.flop, "total": size.total_flop, "total_without_skips": size.total_flop - size.flop["skips"]},
    }


def describe_pipeline(path: Path, *, require_commercial: bool = False) -> dict[str, Any]:
    """What `r3d2 model info --json` prints of a pipeline folder. InputError(s): wrong folders, refused licences."""
    import math

    from r3d2_ros.harmonizer.model.checkpoints import check_commercial
    from r3d2_ros.harmonizer.model.licences import licence_of
    from r3d2_ros.harmonizer.model.tensor_files import read_shapes
    from r3d2_ros.harmonizer.pipelines.folders import check_parts, read_pipeline_folder
    from r3d2_ros.harmonizer.pipelines.weights import check_weights

    folder, licence = read_pipeline_folder(path), licence_of(path)
    if require_commercial:
        check_commercial((licence,), where=str(path))
    check_parts(folder)
    check_weights(folder)
    parts = {
        part.name: {
            "library": part.library,
            "class": part.class_name,
            "parameters": sum(
                math.prod(shape) for file in folder.weight_files(part.name) for shape in read_shapes(file).values()
            ),
        }
        for part in folder.components
    }
    return {
        "format": "diffusers pipeline",
        "class": folder.class_name,
        "parts": parts,
        "code_that_would_be_run": list(folder.code),
        "licences": [asdict(licence)],
    }


def _printable(facts: Any) -> Any:
    """The facts with every text of the model's files made harmless for a terminal."""
    if isinstance(facts, dict):
        return {_printable(key): _printable(value) for key, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [_printable(value) for value in facts]
    return printable(facts) if isinstance(facts, str) else facts


def _as_text(facts: dict[str, Any]) -> str:
    height, width = facts["size_px"]["height"], facts["size_px"]["width"]
    lines = [f"{'part':10}{'parameters':>15}{f'TFLOP at {height}x{width}':>24}"]
    for part, count in facts["parameters"].items():
        lines.append(f"{part:10}{count:>15,}{facts['flop'][part] / 1e12:>24.3f}")
    prompt, padding, skips = facts["prompt"], facts["padding"], facts["skips"]
    text = f"'{prompt['text']}'" if prompt["text"] is not None else "text not stated"
    convolution = f"{skips['kernel_size']}x{skips['kernel_size']} convolutions, {skips['position']}"
    if skips["image"]:
        convolution += ", the image added" + (", the network at half its size" if skips["reduction"] == 2 else "")
    described = {
        "variant": f"{facts['variant']}, {facts['autoencoder']['kind']} autoencoder, {facts['dtype']}",
        "prompt": f"{text}, {prompt['tokens']} tokens, stored as an embedding",
        "timestep": f"{facts['timestep']} (alpha bar {facts['alpha_bar']:.8f})",
        "padding": f"{padding['mode']} below and right, to multiples of {padding['multiple_px']} px",
        "skips": convolution if skips["enabled"] else "none",
        "trained": "on pairs: " + (", ".join(facts["trained_on"]) or "not stated"),
    }
    lines += [f"{key + ':':10}{value}" for key, value in described.items()]
    return "\n".join([*lines, *_licence_lines(facts)])


def _pipeline_text(facts: dict[str, Any]) -> str:
    lines = [f"{'part':16}{'parameters':>15}  class"]
    for name, part in facts["parts"].items():
        count = f"{part['parameters']:,}" if part["parameters"] else ""
        lines.append(f"{name:16}{count:>15}  {part['library']} {part['class']}")
    code = ", ".join(facts["code_that_would_be_run"]) or "none"
    lines += [f"{'pipeline:':10}{facts['class']}", f"{'code:':10}{code}"]
    return "\n".join([*lines, *_licence_lines(facts)])


def _licence_lines(facts: dict[str, Any]) -> list[str]:
    lines = []
    for licence in facts["licences"]:
        use = "commercial use allowed" if licence["commercial"] else "commercial use not allowed to everyone"
        lines.append(f"{'licence:':10}{licence['name']} ({licence['source']}): {use}")
    return lines or [f"{'licence:':10}none recorded"]
