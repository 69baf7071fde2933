"""`r3d2 model verify`: how far two models are apart on the same images."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3d2_ros.cli.numbers import number
from r3d2_ros.cli.sizes import size_px
from r3d2_ros.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from r3d2_ros.harmonizer.base import ImageModel

TOLERANCE = number("a number from 0 on", lambda value: value >= 0)
DEFAULT_TOLERANCE = 1e-3
EIGHT_BIT_TOLERANCE = 1 / 255 + 1e-6
"""One step of 8 bits: where one model rounds, the other may truncate."""

NOISE_PX = (264, 392)
"""Rows and columns: multiples of 8, as pipelines work in, and of nothing larger, so that the other rules all pad."""

LARGEST_MULTIPLE_PX = 128
"""Of every padding rule that there is: a pipeline, whose rule is not known, does not pad multiples of it."""

RUNTIMES = ("eager", "torch-compile", "stable-fast")
DTYPE_NAMES = ("float32", "float16", "bfloat16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("a", metavar="A", help="a checkpoint's folder, a pipeline's, or a shipped one: nano")
    parser.add_argument("b", metavar="B", help="the same, to be compared")
    parser.add_argument(
        "images", nargs="*", type=Path, metavar="IMAGE", help="pictures, before all options; noise where none is given"
    )
    parser.add_argument(
        "--size",
        type=size_px,
        metavar="HxW",
        help="of the noise, where there is no picture (264x392, which every padding rule pads, except that to "
        "multiples of 8)",
    )
    parser.add_argument(
        "--tolerance", type=TOLERANCE, default=DEFAULT_TOLERANCE, metavar="X", help="largest difference (%(default)s)"
    )
    parser.add_argument("--dtype", choices=DTYPE_NAMES, default="float32", help="of both models (%(default)s)")
    parser.add_argument("--dtype-b", choices=DTYPE_NAMES, help="of B, where it is another")
    parser.add_argument("--runtime", choices=RUNTIMES, help="run B, a checkpoint, as the simulator would with this one")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda:N (%(default)s)")
    parser.add_argument(
        "--allow-remote-code", action="store_true", help="run the code of pipeline folders. It can do anything"
    )
    parser.add_argument(
        "--mean-latents",
        action="store_true",
        help="pipelines that sample their latents take the mean, as checkpoints do",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the difference: 0 where it is within the tolerance, else 1. InputError(s) for what cannot be used."""
    from r3d2_ros.harmonizer.convert.observed import watch_latents
    from r3d2_ros.harmonizer.model.verify import in_eight_bits, noise_images, read_images, verify
    from r3d2_ros.harmonizer.runtime.device import find_device

    _check_used(args)
    device = find_device(args.device, "--device")
    read = read_images(args.images) if args.images else noise_images(*(args.size or NOISE_PX))
    images = [image.to(device) for image in read]
    a = _model(args.a, args, str(device), dtype=args.dtype)
    b = _model(args.b, args, str(device), dtype=args.dtype_b or args.dtype, runtime=args.runtime)
    with watch_latents(use_mean=args.mean_latents) as latents:
        eight_bit = [name for name, model in (("A", a), ("B", b)) if _gives_eight_bits(model, images[0])]
        if eight_bit:
            a, b = in_eight_bits(a), in_eight_bits(b)
        difference = verify(a, b, images)
    tolerance = max(args.tolerance, EIGHT_BIT_TOLERANCE) if eight_bit else args.tolerance
    facts = {
        **asdict(difference),
        "tolerance": tolerance,
        "equal": difference.max_abs <= tolerance,
        "eight_bit": eight_bit,
        "padded": [name for name, source in (("A", args.a), ("B", args.b)) if _pads(source, images)],
        "samples_latents": latents.seen and not args.mean_latents,
    }
    print(_as_json(facts) if args.json else _as_text(facts))
    return 0 if facts["equal"] else 1


def _check_used(args: argparse.Namespace) -> None:
    """InputError for an option that would change nothing."""
    from r3d2_ros.harmonizer.diffusers_layout import is_pipeline_folder
    from r3d2_ros.harmonizer.model.shipped import model_folder

    if args.size and args.images:
        raise InputError("--size", "the size of the noise, without pictures", "it beside pictures")
    for option in ("allow_remote_code", "mean_latents"):
        if getattr(args, option) and not any(is_pipeline_folder(model_folder(one, one)) for one in (args.a, args.b)):
            raise InputError(f"--{option.replace('_', '-')}", "a pipeline's folder as A or B", "two checkpoints")


def _model(source: str, args: argparse.Namespace, device: str, *, dtype: Any, runtime: Any = None) -> ImageModel:
    """A pipeline, a checkpoint's plain module, or the checkpoint in a runtime."""
    from r3d2_ros.harmonizer.backends import load_network
    from r3d2_ros.harmonizer.diffusers_layout import is_pipeline_folder
    from r3d2_ros.harmonizer.model.checkpoints import load_checkpoint
    from r3d2_ros.harmonizer.model.r3d2 import DTYPES
    from r3d2_ros.harmonizer.model.shipped import model_folder
    from r3d2_ros.harmonizer.settings import HarmonizerConfig, RuntimeConfig

    path = model_folder(source, source)
    pipeline = is_pipeline_folder(path)
    if not pipeline and runtime is None:
        return load_checkpoint(path, device=device, dtype=DTYPES[dtype])
    return load_network(
        HarmonizerConfig(
            backend="pipeline" if pipeline else "r3d2",
            checkpoint=str(path),
            allow_remote_code=args.allow_remote_code,
            device=device,
            dtype=dtype,
            runtime=RuntimeConfig(kind=runtime or "eager"),
        )
    )


def _pads(source: str, images: Sequence[Tensor]) -> bool:
    """Whether a checkpoint pads any of the images, or a pipeline may."""
    from r3d2_ros.harmonizer.diffusers_layout import is_pipeline_folder
    from r3d2_ros.harmonizer.model.checkpoints import load_config
    from r3d2_ros.harmonizer.model.shipped import model_folder

    path = model_folder(source, source)
    multiple_px = LARGEST_MULTIPLE_PX if is_pipeline_folder(path) else load_config(path).padding.multiple_px
    return any(side_px % multiple_px for image in images for side_px in image.shape[-2:])


def _gives_eight_bits(model: ImageModel, image: Tensor) -> bool:
    from r3d2_ros.harmonizer.pipelines.network import Pipeline

    if not isinstance(model, Pipeline):
        return False
    model.warm_up([(1, *image.shape[-2:])])
    return model.form is not None and model.form.eight_bit


def _as_json(facts: dict[str, Any]) -> str:
    psnr_db = facts["psnr_db"] if math.isfinite(facts["psnr_db"]) else None
    return json.dumps({**facts, "psnr_db": psnr_db}, indent=2, allow_nan=False)


def _as_text(facts: dict[str, Any]) -> str:
    verdict = "equal within" if facts["equal"] else "they differ by more than"
    lines = [
        f"{facts['images']} images: max {facts['max_abs']:.3g}, mean {facts['mean_abs']:.3g}, "
        f"PSNR {facts['psnr_db']:.2f} dB; {verdict} {facts['tolerance']:.4g}"
    ]
    if facts["eight_bit"]:
        names = " and ".join(facts["eight_bit"])
        lines.append(f"8-bit pictures are all that {names} gives: both were compared in 8 bits, to one step")
    if not facts["padded"]:
        lines.append("No image was padded, for A or for B: these sizes cannot show a wrong padding rule")
    if facts["samples_latents"]:
        lines.append("A pipeline samples its latents; --mean-latents compares it with the mean instead")
    return "\n".join(lines)
