"""Arguments of `r3d2 model init` and `r3d2 model convert`, and which of them each way to a checkpoint can use."""

from __future__ import annotations

import argparse
from pathlib import Path

from r3d2_ros.cli.numbers import number
from r3d2_ros.cli.sizes import size_px
from r3d2_ros.errors import InputError

LAYOUTS = ("taesd", "pix2pix-turbo", "difix", "r3d2")
NAMES = ("r3d2", "r3d2-big", "nano")
ALPHA = number("a number above 0", lambda value: value > 0)
BY_NAMES, BY_RUNNING = "r3d2 without --allow-remote-code", "--allow-remote-code"

_PROMPT = ("prompt", "prompt_embedding")
_PADDING = ("pad_mode", "pad_multiple")
_RULES = ("timestep", *_PADDING, "skip_position", "input_range")
_CHANGES = ("base", "timestep", *_PADDING, *_PROMPT, "licence", "dtype")
USED: dict[str, tuple[str, ...]] = {
    "--random": ("random", "variant", "skip_kernel", "dtype", *_RULES),
    "--base": ("base", "autoencoder", "variant", "skip_kernel", "licence", "dtype", *_PROMPT, *_RULES),
    "taesd": ("licence",),
    "pix2pix-turbo": _CHANGES,
    "difix": _CHANGES,
    BY_NAMES: ("variant", "lora_alpha", "licence", "dtype", *_PROMPT, *_RULES),
    BY_RUNNING: ("allow_remote_code", "device", "size", "variant", "licence", "dtype"),
}
"""Way to a checkpoint -> the options that change what it makes. Another one that is given is refused by its name."""

REASONS = {
    "--random": "Random weights are made of --variant and the rules of the network alone",
    "taesd": "It only renames tensors: give this to `r3d2 model init --autoencoder`",
    "pix2pix-turbo": "The layout says it, or the folder of --base",
    "difix": "The layout says it, or the folder of --base",
    BY_NAMES: "Nothing of the folder is run, and it holds whole networks",
    BY_RUNNING: "The pipeline itself says it",
}


def add_init(parser: argparse.ArgumentParser) -> None:
    """The arguments of `init`."""
    parser.add_argument("output", type=Path, metavar="OUT", help="the checkpoint folder to write")
    parser.add_argument("--random", type=int, metavar="SEED", help="random weights instead of --base and --autoencoder")
    parser.add_argument("--base", metavar="DIR", help="SD-Turbo, or another Stable Diffusion 2 folder")
    parser.add_argument("--autoencoder", metavar="DIR", help="TAESD or AutoencoderKL; BASE/vae where not given")
    _add_choices(parser)
    parser.add_argument("--skip-kernel", type=int, choices=(1, 3), help="size of the skip convolutions (1)")


def add_convert(parser: argparse.ArgumentParser) -> None:
    """The arguments of `convert`."""
    parser.add_argument("layout", choices=LAYOUTS)
    parser.add_argument("input", metavar="IN", help="a folder (taesd, r3d2) or a .pkl file (pix2pix-turbo, difix)")
    parser.add_argument("output", type=Path, metavar="OUT", help="the folder to write")
    parser.add_argument("--base", metavar="DIR", help="SD-Turbo, for the .pkl layouts")
    parser.add_argument("--lora-alpha", type=ALPHA, metavar="ALPHA", help="of adapters in an r3d2 folder")
    parser.add_argument(
        "--allow-remote-code",
        action="store_true",
        help="r3d2: run the code in IN to find what its files leave open, and to compare with it. It can do anything",
    )
    parser.add_argument("--device", help="on which that code runs: cpu or cuda:N (cpu)")
    parser.add_argument("--size", type=size_px, metavar="HxW", help="of the image that it is run on (72x104)")
    _add_choices(parser)


def _add_choices(parser: argparse.ArgumentParser) -> None:
    """Options of both. None is the default of each, which tells whether it was given."""
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt-embedding", type=Path, metavar="FILE", help="safetensors [tokens, width]")
    prompt.add_argument("--prompt", metavar="TEXT", help="embedded once by the text encoder of BASE (transformers)")
    parser.add_argument(
        "--variant",
        choices=NAMES,
        help="sizes of the networks; parts of other sizes are refused. nano: a small network to try things with, not "
        "the shipped model nano, which also adds the image and works at half its size",
    )
    parser.add_argument("--timestep", type=int, metavar="T", help="of the single step; 999, or the layout's own")
    parser.add_argument("--pad-mode", choices=("replicate", "reflect"), help="with --pad-multiple (replicate)")
    parser.add_argument("--pad-multiple", type=int, choices=(8, 16, 32, 64), help="pixels; the variant's, or 8")
    parser.add_argument(
        "--skip-position",
        choices=("after_upsample", "after_convolution"),
        help="where skips join the decoder (after_convolution)",
    )
    parser.add_argument(
        "--input-range",
        choices=("signed", "unit"),
        help="in which images enter the autoencoder: [-1, 1] or [0, 1] (signed)",
    )
    parser.add_argument(
        "--licence",
        action="append",
        metavar="NAME;SOURCE;commercial|non-commercial",
        help="one link of the licence chain, repeatable; what the folders state where not given",
    )
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="of the checkpoint (float32)")
    parser.add_argument("--force", action="store_true", help="write into a folder that is not empty")


def check_used(args: argparse.Namespace) -> None:
    """InputError that names the options which would change nothing of what the command makes."""
    way = _way(args)
    every = sorted({name for names in USED.values() for name in names} - set(USED[way]))
    given = [name for name in every if not any(getattr(args, name, None) is nothing for nothing in (None, False))]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(options, f"nothing with {way}", "a value", REASONS.get(way, ""))


def _way(args: argparse.Namespace) -> str:
    if args.model_command == "init":
        return "--base" if args.random is None else "--random"
    if args.layout == "r3d2":
        return BY_RUNNING if args.allow_remote_code else BY_NAMES
    return args.layout
