"""`r3d2 model init|info|convert|verify`: the harmonizer's networks and their checkpoints."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3d2_ros.cli import model_info, model_verify
from r3d2_ros.cli.sizes import size_px
from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.packages import need_packages

if TYPE_CHECKING:
    from r3d2_ros.harmonizer.convert.base import Choices, PromptInput
    from r3d2_ros.harmonizer.convert.released import Released
    from r3d2_ros.harmonizer.model import R3D2
    from r3d2_ros.harmonizer.model_config import ModelConfig

EXAMPLES = """examples:
  r3d2 model info --variant r3d2                     parameters and FLOP of each part at 1080x1920
  r3d2 model info nano --size 540x960 --json         the same of a checkpoint, here the shipped one, with its licences
  r3d2 model init out/nano --variant nano --random 0
  r3d2 model init out/r3d2 --base sd-turbo --autoencoder taesd --prompt-embedding prompt.safetensors
  r3d2 model convert taesd DIR_WITH_PTH out/taesd
  r3d2 model convert difix model.pkl out/difix --base sd-turbo --prompt "remove degradation"
  r3d2 model convert r3d2 RELEASED_DIR out/r3d2 --variant r3d2 --allow-remote-code
  r3d2 model verify RELEASED_DIR out/r3d2 frame1.png frame2.png --allow-remote-code

A model folder is a local one, or owner/name on the Hugging Face hub. Nothing that is read executes code, except the
code of a released pipeline where --allow-remote-code is given.
Exit status: 0 done, 1 an input cannot be used or the models differ, 2 wrong arguments."""

OBSERVED = ("prompt", "prompt-embedding", "timestep", "lora-alpha", "pad-multiple")
"""Options that only the names of a released folder leave open."""

LAYOUTS = ("taesd", "pix2pix-turbo", "difix", "r3d2")
NAMES = ("r3d2", "r3d2-big", "nano")


def add_parser(subparsers: Any) -> None:
    """Add `model` to the result of `ArgumentParser.add_subparsers`."""
    raw = argparse.RawDescriptionHelpFormatter
    model = subparsers.add_parser(
        "model", help="make, inspect, convert and compare harmonizers", description=__doc__, epilog=EXAMPLES,
        formatter_class=raw,
    )  # fmt: skip
    commands = model.add_subparsers(dest="model_command", required=True, metavar="{init,info,convert,verify}")
    for name, text, add_arguments in (
        ("init", "build a checkpoint", _add_init),
        ("info", "print what a model is", model_info.add_arguments),
        ("convert", "read other layouts", _add_convert),
        ("verify", "compare two models", model_verify.add_arguments),
    ):
        add_arguments(commands.add_parser(name, help=text, epilog=EXAMPLES, formatter_class=raw))


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


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("layout", choices=LAYOUTS)
    parser.add_argument("input", metavar="IN", help="a folder (taesd, r3d2) or a .pkl file (pix2pix-turbo, difix)")
    parser.add_argument("output", type=Path, metavar="OUT", help="the folder to write")
    parser.add_argument("--base", metavar="DIR", help="SD-Turbo, for the .pkl layouts")
    parser.set_defaults(skip_kernel=1)
    parser.add_argument("--lora-alpha", type=float, metavar="ALPHA", help="of adapters in an r3d2 folder")
    parser.add_argument(
        "--allow-remote-code",
        action="store_true",
        help="r3d2: run the code in IN to find what its files leave open, and to compare with it. It can do anything",
    )
    parser.add_argument("--device", default="cpu", help="on which that code runs: cpu or cuda:N (%(default)s)")
    parser.add_argument(
        "--size", type=size_px, default=(72, 104), metavar="HxW", help="of the image that it is run on (72x104)"
    )
    _add_choices(parser)


def run(args: argparse.Namespace) -> int:
    """Run the parsed command and return the exit status. InputError(s) for files that cannot be used."""
    need_packages("The harmonizer")
    runs = {"init": _init, "info": model_info.run, "convert": _convert, "verify": model_verify.run}
    return runs[args.model_command](args)


def _init(args: argparse.Namespace) -> int:
    from r3d2_ros.harmonizer.checkpoints import check_output
    from r3d2_ros.harmonizer.convert.base import model_from_base
    from r3d2_ros.harmonizer.convert.folders import local_folder
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
    from r3d2_ros.harmonizer.convert.folders import local_folder
    from r3d2_ros.harmonizer.convert.taesd import read_taesd, write_taesd
    from r3d2_ros.harmonizer.convert.turbo import model_from_turbo

    check_output(args.output, overwrite=args.force)
    if args.layout == "taesd":
        tensors = read_taesd(local_folder(args.input))
        with _writing(args.output):
            write_taesd(tensors, args.output)
        print(f"{args.output}: AutoencoderTiny, for `r3d2 model init --autoencoder`")
        return 0
    if args.layout == "r3d2":
        released = _released(args)
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


def _released(args: argparse.Namespace) -> Released:
    """A released folder, by the names of its tensors or by running it."""
    from r3d2_ros.harmonizer.convert.folders import local_folder
    from r3d2_ros.harmonizer.convert.released import model_from_released

    given = [f"--{name}" for name in OBSERVED if getattr(args, name.replace("-", "_")) is not None]
    if not args.allow_remote_code:
        folder = local_folder(args.input)
        prompt = _prompt(args, folder) if {"--prompt", "--prompt-embedding"} & set(given) else None
        return model_from_released(folder, prompt, _choices(args), lora_alpha=args.lora_alpha)
    if given:
        raise InputError(given[0], "nothing with --allow-remote-code", "a value", "The pipeline itself says it")
    from r3d2_ros.harmonizer.convert.observed import model_from_pipeline
    from r3d2_ros.harmonizer.pipelines.network import load_pipeline
    from r3d2_ros.harmonizer.settings import HarmonizerConfig
    from r3d2_ros.harmonizer.shipped import model_folder

    path = model_folder(args.input, args.input)
    config = HarmonizerConfig(
        backend="pipeline", checkpoint=str(path), allow_remote_code=True, dtype="float32", device=args.device
    )
    return model_from_pipeline(load_pipeline(config), _choices(args), size_px=args.size)


def _prompt(args: argparse.Namespace, base: Path) -> PromptInput:
    from r3d2_ros.harmonizer.convert.base import PromptInput
    from r3d2_ros.harmonizer.convert.prompts import embed_prompt, read_prompt

    if args.prompt_embedding is not None:
        return PromptInput(embedding=read_prompt(args.prompt_embedding))
    if args.prompt is None:
        raise InputError("--prompt-embedding", "a file, or --prompt TEXT", "neither", "The checkpoint stores it")
    return PromptInput(embedding=embed_prompt(base, args.prompt), text=args.prompt)


def _choices(args: argparse.Namespace) -> Choices:
    from r3d2_ros.harmonizer.convert.base import Choices
    from r3d2_ros.harmonizer.licences import parse_licence
    from r3d2_ros.harmonizer.model_config import Padding, SkipOptions

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
    from r3d2_ros.harmonizer.checkpoints import in_dtype, save_checkpoint
    from r3d2_ros.harmonizer.model import DTYPES

    dtype_name = args.dtype
    model = in_dtype(model, DTYPES[dtype_name], where="--dtype")
    with _writing(args.output):
        save_checkpoint(model, args.output, overwrite=args.force)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{args.output}: {model.config.variant}, {count:,} parameters, {dtype_name}")
    return 0


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """InputError for files that cannot be written in this block."""
    from safetensors import SafetensorError

    from r3d2_ros.formats.files import write_problem

    try:
        yield
    except (OSError, SafetensorError) as error:
        problem = write_problem(folder, error) if isinstance(error, OSError) else " ".join(str(error).split())
        raise InputError(str(folder), "a folder with room that can be written to", problem) from error
