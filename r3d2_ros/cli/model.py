"""`r3d2 model init|info|convert|verify`: the harmonizer's networks and their checkpoints."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3d2_ros.errors import InputError

if TYPE_CHECKING:
    from r3d2_ros.harmonizer.base import ModelConfig
    from r3d2_ros.harmonizer.convert_base import Choices, PromptInput
    from r3d2_ros.harmonizer.model import R3D2

EXAMPLES = """examples:
  r3d2 model info --variant r3d2                     parameters and FLOP of each part at 1080x1920
  r3d2 model info out/nano --size 540x960 --json     the same of a checkpoint, with its prompt and licences
  r3d2 model init out/nano --variant nano --random 0
  r3d2 model init out/r3d2 --base sd-turbo --autoencoder taesd --prompt-embedding prompt.safetensors
  r3d2 model convert taesd DIR_WITH_PTH out/taesd
  r3d2 model convert difix model.pkl out/difix --base sd-turbo --prompt "remove degradation"
  r3d2 model convert r3d2 RELEASED_DIR out/r3d2 --variant r3d2
  r3d2 model verify out/a out/b frame1.png frame2.png

A model folder is a local one, or owner/name on the Hugging Face hub. Nothing that is read executes code.
Exit status: 0 done, 1 an input cannot be used or the models differ, 2 wrong arguments."""

LAYOUTS = ("taesd", "pix2pix-turbo", "difix", "r3d2")
NAMES = ("r3d2", "r3d2-big", "nano")
DEFAULT_TOLERANCE = 1e-3


def add_parser(subparsers: Any) -> None:
    """Add `model` to the result of `ArgumentParser.add_subparsers`."""
    raw = argparse.RawDescriptionHelpFormatter
    model = subparsers.add_parser(
        "model", help="make, inspect, convert and compare harmonizers", description=__doc__, epilog=EXAMPLES,
        formatter_class=raw,
    )  # fmt: skip
    commands = model.add_subparsers(dest="model_command", required=True, metavar="{init,info,convert,verify}")
    _add_init(commands.add_parser("init", help="build a checkpoint", epilog=EXAMPLES, formatter_class=raw))
    _add_info(commands.add_parser("info", help="print what a model is", epilog=EXAMPLES, formatter_class=raw))
    _add_convert(commands.add_parser("convert", help="read other layouts", epilog=EXAMPLES, formatter_class=raw))
    _add_verify(commands.add_parser("verify", help="compare two models", epilog=EXAMPLES, formatter_class=raw))


def _add_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=Path, metavar="OUT", help="the checkpoint folder to write")
    parser.add_argument("--random", type=int, metavar="SEED", help="random weights instead of --base and --autoencoder")
    parser.add_argument("--base", metavar="DIR", help="SD-Turbo, or another Stable Diffusion 2 folder")
    parser.add_argument("--autoencoder", metavar="DIR", help="TAESD or AutoencoderKL; BASE/vae where not given")
    _add_choices(parser)
    parser.add_argument("--skip-kernel", type=int, choices=(1, 3), default=1, help="size of the skip convolutions (1)")


def _add_choices(parser: argparse.ArgumentParser) -> None:
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt-embedding", type=Path, metavar="FILE", help="safetensors [tokens, width]")
    prompt.add_argument("--prompt", metavar="TEXT", help="embedded once by the text encoder of BASE (transformers)")
    parser.add_argument("--variant", choices=NAMES, help="refuse parts of other sizes")
    parser.add_argument("--timestep", type=int, metavar="T", help="of the single step; 999, or the layout's own")
    parser.add_argument("--pad-mode", choices=("replicate", "reflect"), default="replicate", help="%(default)s")
    parser.add_argument("--pad-multiple", type=int, choices=(8, 16, 32, 64), help="pixels; the variant's, or 8")
    parser.add_argument(
        "--skip-position",
        choices=("after_upsample", "after_convolution"),
        default="after_convolution",
        help="where skips join the decoder (%(default)s)",
    )
    parser.add_argument(
        "--licence",
        action="append",
        default=[],
        metavar="NAME;SOURCE;commercial|non-commercial",
        help="one link of the licence chain, repeatable; what the folders state where not given",
    )
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="%(default)s")
    parser.add_argument("--force", action="store_true", help="write into a folder that is not empty")


def _add_info(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("path", nargs="?", type=Path, metavar="PATH", help="a checkpoint folder")
    which.add_argument("--variant", choices=NAMES)
    parser.add_argument("--size", type=_size, default=(1080, 1920), metavar="HxW", help="for FLOP (1080x1920)")
    parser.add_argument("--require-commercial", action="store_true", help="refuse licences that forbid commercial use")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("layout", choices=LAYOUTS)
    parser.add_argument("input", metavar="IN", help="a folder (taesd, r3d2) or a .pkl file (pix2pix-turbo, difix)")
    parser.add_argument("output", type=Path, metavar="OUT", help="the folder to write")
    parser.add_argument("--base", metavar="DIR", help="SD-Turbo, for the .pkl layouts")
    parser.set_defaults(skip_kernel=1)
    parser.add_argument("--lora-alpha", type=float, metavar="ALPHA", help="of adapters in an r3d2 folder")
    _add_choices(parser)


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=Path, metavar="A", help="a checkpoint folder")
    parser.add_argument("b", type=Path, metavar="B", help="a checkpoint folder")
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="pictures; noise where none is given")
    parser.add_argument("--size", type=_size, default=(256, 384), metavar="HxW", help="of the noise (256x384)")
    parser.add_argument("--tolerance", type=float, default=DEFAULT_TOLERANCE, help="largest difference (%(default)s)")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="%(default)s")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and 1 <= int(height) <= 16384 and 1 <= int(width) <= 16384):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size such as 1080x1920 (height x width)")
    return int(height), int(width)


def run(args: argparse.Namespace) -> int:
    """Run the parsed command and return the exit status. InputError(s) for files that cannot be used."""
    _need_packages()
    return {"init": _init, "info": _info, "convert": _convert, "verify": _verify}[args.model_command](args)


def _need_packages() -> None:
    from importlib.util import find_spec

    from r3d2_ros.errors import MissingPackageError

    for package in ("torch", "diffusers", "safetensors"):
        if find_spec(package) is None:
            raise MissingPackageError(package, "The harmonizer", "pip install 'r3d2_ros[harmonizer]'")


def _init(args: argparse.Namespace) -> int:
    from r3d2_ros.harmonizer.checkpoints import check_output
    from r3d2_ros.harmonizer.convert_base import model_from_base
    from r3d2_ros.harmonizer.folders import local_folder
    from r3d2_ros.harmonizer.random_weights import random_model

    check_output(args.output, overwrite=args.force)
    if args.random is not None:
        return _save(args, random_model(_random_config(args), seed=args.random))
    if args.base is None:
        raise InputError("--base", "the folder of SD-Turbo, or --random SEED", "neither")
    base = local_folder(args.base)
    autoencoder = local_folder(args.autoencoder) if args.autoencoder else base
    return _save(args, model_from_base(base, autoencoder, _prompt(args, base), _choices(args)))


def _random_config(args: argparse.Namespace) -> ModelConfig:
    from dataclasses import replace

    from r3d2_ros.harmonizer.variants import variant

    if args.variant is None:
        raise InputError("--variant", " | ".join(NAMES), "nothing", "Random weights need to know for which sizes")
    config, choices = variant(args.variant), _choices(args)
    return replace(
        config,
        skips=choices.skips,
        padding=choices.padding or config.padding,
        timestep=config.timestep if args.timestep is None else args.timestep,
    )


def _convert(args: argparse.Namespace) -> int:
    from r3d2_ros.harmonizer.checkpoints import check_output
    from r3d2_ros.harmonizer.convert_released import model_from_released
    from r3d2_ros.harmonizer.convert_taesd import read_taesd, write_taesd
    from r3d2_ros.harmonizer.convert_turbo import model_from_turbo
    from r3d2_ros.harmonizer.folders import local_folder

    check_output(args.output, overwrite=args.force)
    if args.layout == "taesd":
        write_taesd(read_taesd(local_folder(args.input)), args.output)
        print(f"{args.output}: AutoencoderTiny, for `r3d2 model init --autoencoder`")
        return 0
    if args.layout == "r3d2":
        given = args.prompt_embedding is not None or args.prompt is not None
        folder = local_folder(args.input)
        prompt = _prompt(args, folder) if given else None
        released = model_from_released(folder, prompt, _choices(args), lora_alpha=args.lora_alpha)
        for note in released.notes:
            print(f"note: {note}")
        for key in released.unmapped:
            print(f"not mapped: {key}")
        return _save(args, released.model)
    if args.base is None:
        raise InputError("--base", "the folder of SD-Turbo, which the file changes", "nothing")
    base = local_folder(args.base)
    return _save(
        args, model_from_turbo(Path(args.input), base, _prompt(args, base), _choices(args), layout=args.layout)
    )


def _prompt(args: argparse.Namespace, base: Path) -> PromptInput:
    from r3d2_ros.harmonizer.convert_base import PromptInput
    from r3d2_ros.harmonizer.prompts import embed_prompt, read_prompt

    if args.prompt_embedding is not None:
        return PromptInput(embedding=read_prompt(args.prompt_embedding))
    if args.prompt is None:
        raise InputError("--prompt-embedding", "a file, or --prompt TEXT", "neither", "The checkpoint stores it")
    return PromptInput(embedding=embed_prompt(base, args.prompt), text=args.prompt)


def _choices(args: argparse.Namespace) -> Choices:
    from r3d2_ros.harmonizer.base import Padding, SkipOptions
    from r3d2_ros.harmonizer.convert_base import Choices
    from r3d2_ros.harmonizer.licences import parse_licence

    padding = Padding(mode=args.pad_mode, multiple_px=args.pad_multiple) if args.pad_multiple else None
    if padding is None and args.pad_mode != "replicate":
        raise InputError("--pad-multiple", "8, 16, 32 or 64, with --pad-mode", "nothing")
    return Choices(
        variant=args.variant,
        skips=SkipOptions(kernel_size=args.skip_kernel, position=args.skip_position),
        padding=padding,
        timestep=args.timestep,
        licences=tuple(parse_licence(text) for text in args.licence),
    )


def _save(args: argparse.Namespace, model: R3D2) -> int:
    from r3d2_ros.harmonizer.checkpoints import save_checkpoint
    from r3d2_ros.harmonizer.model import DTYPES

    dtype_name = args.dtype
    save_checkpoint(model.to(DTYPES[dtype_name]), args.output, overwrite=args.force)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{args.output}: {model.config.variant}, {count:,} parameters, {dtype_name}")
    return 0


def _info(args: argparse.Namespace) -> int:
    from r3d2_ros.harmonizer.checkpoints import inspect_checkpoint
    from r3d2_ros.harmonizer.variants import variant

    if args.path:
        config = inspect_checkpoint(args.path, require_commercial=args.require_commercial).config
    else:
        config = variant(args.variant)
    facts = describe(config, size_px=args.size)
    print(json.dumps(facts, indent=2, allow_nan=False) if args.json else _as_text(facts))
    return 0


def describe(config: ModelConfig, *, size_px: tuple[int, int]) -> dict[str, Any]:
    """What `r3d2 model info --json` prints; `size_px` is (height, width)."""
    from r3d2_ros.harmonizer.flops import measure_size
    from r3d2_ros.harmonizer.model import alpha_bar

    size = measure_size(config, height_px=size_px[0], width_px=size_px[1])
    return {
        **asdict(config),
        "alpha_bar": alpha_bar(config.schedule, config.timestep),
        "size_px": {"height": size_px[0], "width": size_px[1]},
        "parameters": {**size.parameters, "total": size.total_parameters},
        "flop": {**size.flop, "total": size.total_flop, "total_without_skips": size.total_flop - size.flop["skips"]},
    }


def _as_text(facts: dict[str, Any]) -> str:
    height, width = facts["size_px"]["height"], facts["size_px"]["width"]
    lines = [f"{'part':10}{'parameters':>15}{f'TFLOP at {height}x{width}':>24}"]
    for part, count in facts["parameters"].items():
        lines.append(f"{part:10}{count:>15,}{facts['flop'][part] / 1e12:>24.3f}")
    prompt, padding, skips = facts["prompt"], facts["padding"], facts["skips"]
    text = f"'{prompt['text']}'" if prompt["text"] is not None else "text not stated"
    convolution = f"{skips['kernel_size']}x{skips['kernel_size']} convolutions, {skips['position']}"
    described = {
        "variant": f"{facts['variant']}, {facts['autoencoder']['kind']} autoencoder, {facts['dtype']}",
        "prompt": f"{text}, {prompt['tokens']} tokens, stored as an embedding",
        "timestep": f"{facts['timestep']} (alpha bar {facts['alpha_bar']:.8f})",
        "padding": f"{padding['mode']} below and right, to multiples of {padding['multiple_px']} px",
        "skips": convolution if skips["enabled"] else "none",
    }
    lines += [f"{key + ':':10}{value}" for key, value in described.items()]
    for licence in facts["licences"]:
        use = "commercial use allowed" if licence["commercial"] else "commercial use not allowed to everyone"
        lines.append(f"{'licence:':10}{licence['name']} ({licence['source']}): {use}")
    return "\n".join(lines if facts["licences"] else [*lines, f"{'licence:':10}none recorded"])


def _verify(args: argparse.Namespace) -> int:
    import torch

    from r3d2_ros.harmonizer.checkpoints import load_checkpoint
    from r3d2_ros.harmonizer.model import DTYPES
    from r3d2_ros.harmonizer.verify import noise_images, read_images, verify

    try:
        device = torch.device(args.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError("--device", "cpu or cuda:N of this machine", str(error).splitlines()[0]) from error
    images = read_images(args.images) if args.images else noise_images(*args.size)
    a, b = (load_checkpoint(path, device=args.device, dtype=DTYPES[args.dtype]) for path in (args.a, args.b))
    difference = verify(a, b, [image.to(device) for image in images])
    facts = {**asdict(difference), "tolerance": args.tolerance, "equal": difference.max_abs <= args.tolerance}
    if args.json:
        psnr = facts["psnr_db"] if math.isfinite(difference.psnr_db) else None
        print(json.dumps({**facts, "psnr_db": psnr}, indent=2, allow_nan=False))
    else:
        verdict = "equal within" if facts["equal"] else "they differ by more than"
        print(
            f"{difference.images} images: max {difference.max_abs:.3g}, mean {difference.mean_abs:.3g}, "
            f"PSNR {difference.psnr_db:.2f} dB; {verdict} {args.tolerance:g}"
        )
    return 0 if facts["equal"] else 1
