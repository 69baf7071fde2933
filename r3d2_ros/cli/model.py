"""`r3d2 model init|info|convert|verify`: the harmonizer's networks and their checkpoints."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3d2_ros.cli import model_arguments, model_info, model_verify
from r3d2_ros.errors import InputError, printable
from r3d2_ros.harmonizer.packages import need_packages

if TYPE_CHECKING:
    from r3d2_ros.harmonizer.convert.choices import Choices, PromptInput
    from r3d2_ros.harmonizer.convert.folders import Part
    from r3d2_ros.harmonizer.convert.released import Released
    from r3d2_ros.harmonizer.model.config import DTypeName, Licence, ModelConfig
    from r3d2_ros.harmonizer.model.r3d2 import R3D2

EXAMPLES = """examples:
  r3d2 model info --variant r3d2                     parameters and FLOP of each part at 1080x1920
  r3d2 model info nano --size 540x960 --json         the same of a checkpoint, here the shipped one, with its licences
  r3d2 model init out/nano --variant nano --random 0
  r3d2 model init out/r3d2 --base sd-turbo --autoencoder taesd --prompt-embedding prompt.safetensors
  r3d2 model convert taesd DIR_WITH_PTH out/taesd
  r3d2 model convert difix model.pkl out/difix --base sd-turbo --prompt "remove degradation"
  r3d2 model convert r3d2 RELEASED_DIR out/r3d2 --variant r3d2 --allow-remote-code
  r3d2 model verify RELEASED_DIR out/r3d2 frame1.png frame2.png --allow-remote-code

Folders that `init` and `convert` read by names are local ones, or owner/name on the Hugging Face hub; all others are
local. Nothing that is read executes code, except the code of a released pipeline where --allow-remote-code is given.
Exit status: 0 done, 1 an input cannot be used or the models differ, 2 wrong arguments."""


def add_parser(subparsers: Any) -> None:
    """Add `model` to the result of `ArgumentParser.add_subparsers`."""
    raw = argparse.RawDescriptionHelpFormatter
    model = subparsers.add_parser(
        "model", help="make, inspect, convert and compare harmonizers", description=__doc__, epilog=EXAMPLES,
        formatter_class=raw,
    )  # fmt: skip
    commands = model.add_subparsers(dest="model_command", required=True, metavar="{init,info,convert,verify}")
    for name, text, add_arguments in (
        ("init", "build a checkpoint", model_arguments.add_init),
        ("info", "print what a model is", model_info.add_arguments),
        ("convert", "read other layouts", model_arguments.add_convert),
        ("verify", "compare two models", model_verify.add_arguments),
    ):
        add_arguments(commands.add_parser(name, help=text, epilog=EXAMPLES, formatter_class=raw))


def run(args: argparse.Namespace) -> int:
    """Run the parsed command and return the exit status. InputError(s) for files that cannot be used."""
    need_packages("The harmonizer")
    runs = {"init": _init, "info": model_info.run, "convert": _convert, "verify": model_verify.run}
    return runs[args.model_command](args)


def _init(args: argparse.Namespace) -> int:
    from r3d2_ros.harmonizer.convert.folders import local_folder
    from r3d2_ros.harmonizer.convert.schedules import read_schedule, schedule_notes
    from r3d2_ros.harmonizer.convert.untrained import model_from_base
    from r3d2_ros.harmonizer.model.checkpoints import check_output
    from r3d2_ros.harmonizer.model.random_weights import random_model

    model_arguments.check_used(args)
    check_output(args.output, overwrite=args.force)
    if args.random is not None:
        return _save(args, random_model(_random_config(args), seed=args.random))
    if args.base is None:
        raise InputError("--base", "the folder of SD-Turbo, or --random SEED", "neither")
    reads: list[Part] = ["unet", *_text_encoder(args)]
    base = local_folder(args.base, reads=reads if args.autoencoder else [*reads, "autoencoder"])
    autoencoder = local_folder(args.autoencoder, reads=["autoencoder"]) if args.autoencoder else base
    model = model_from_base(base, autoencoder, _prompt(args, base), _choices(args))
    if (stated := read_schedule(base)) is None:  # that one clips concerns no training
        _print_notes(schedule_notes(stated))
    return _save(args, model)


def _random_config(args: argparse.Namespace) -> ModelConfig:
    from dataclasses import replace

    from r3d2_ros.harmonizer.model.variants import variant

    if args.variant is None:
        hint = "Random weights need to know for which sizes"
        raise InputError("--variant", " | ".join(model_arguments.NAMES), "nothing", hint)
    config, choices = variant(args.variant), _choices(args)
    return replace(
        config,
        skips=choices.skips or config.skips,
        input_range=choices.input_range or config.input_range,
        padding=choices.padding or config.padding,
        timestep=config.timestep if args.timestep is None else args.timestep,
    )


def _convert(args: argparse.Namespace) -> int:
    from r3d2_ros.harmonizer.convert.folders import local_folder
    from r3d2_ros.harmonizer.convert.pickles import check_is_file
    from r3d2_ros.harmonizer.convert.schedules import read_schedule, schedule_notes
    from r3d2_ros.harmonizer.convert.turbo import model_from_turbo
    from r3d2_ros.harmonizer.model.checkpoints import check_output

    model_arguments.check_used(args)
    check_output(args.output, overwrite=args.force)
    if args.layout == "taesd":
        return _convert_taesd(args)
    if args.layout == "r3d2":
        released = _released(args)
        _print_notes(released.notes)
        for key in released.unmapped:
            print(f"not mapped: {printable(key)}")
        return _save(args, released.model)
    if args.base is None:
        raise InputError("--base", "the folder of SD-Turbo, which the file changes", "nothing")
    path = Path(args.input)
    check_is_file(path)  # before anything is fetched, or a text encoder read
    base = local_folder(args.base, reads=["unet", "autoencoder", *_text_encoder(args)])
    model = model_from_turbo(path, base, _prompt(args, base), _choices(args), layout=args.layout)
    _print_notes(schedule_notes(read_schedule(base)))
    return _save(args, model)


def _convert_taesd(args: argparse.Namespace) -> int:
    from r3d2_ros.harmonizer.convert.folders import local_folder
    from r3d2_ros.harmonizer.convert.taesd import read_taesd, write_taesd
    from r3d2_ros.harmonizer.model.licences import licences_of

    folder = local_folder(args.input, reads=["taesd"])
    tensors, licences = read_taesd(folder), _licences(args) or licences_of(folder)
    with _writing(args.output):
        write_taesd(tensors, args.output, licences)
    print(f"{args.output}: AutoencoderTiny, for `r3d2 model init --autoencoder`")
    for licence in licences:
        use = "allowed" if licence.commercial else "not allowed to everyone; --licence states another"
        print(printable(f"licence: {licence.name} ({licence.source}): commercial use {use}"))
    return 0


def _released(args: argparse.Namespace) -> Released:
    """A released folder, by the names of its tensors or by running it."""
    from r3d2_ros.harmonizer.convert.folders import local_folder
    from r3d2_ros.harmonizer.convert.released import model_from_released

    if not args.allow_remote_code:
        folder = local_folder(args.input, reads=["released", *_text_encoder(args)])
        prompt = None if args.prompt is None and args.prompt_embedding is None else _prompt(args, folder)
        return model_from_released(folder, prompt, _choices(args), lora_alpha=args.lora_alpha)
    from r3d2_ros.harmonizer.convert.by_running import PROBE_PX, model_from_pipeline
    from r3d2_ros.harmonizer.model.shipped import model_folder
    from r3d2_ros.harmonizer.pipelines.network import load_pipeline
    from r3d2_ros.harmonizer.settings import HarmonizerConfig

    path = model_folder(args.input, args.input)
    config = HarmonizerConfig(
        backend="pipeline", checkpoint=str(path), allow_remote_code=True, dtype="float32", device=args.device or "cpu"
    )
    return model_from_pipeline(load_pipeline(config), _choices(args), size_px=args.size or PROBE_PX)


def _text_encoder(args: argparse.Namespace) -> list[Part]:
    """It is read where a text has to be embedded."""
    return ["text_encoder"] if args.prompt is not None else []


def _prompt(args: argparse.Namespace, base: Path) -> PromptInput:
    from r3d2_ros.harmonizer.convert.choices import PromptInput
    from r3d2_ros.harmonizer.convert.prompts import embed_prompt, read_prompt

    if args.prompt_embedding is not None:
        return PromptInput(embedding=read_prompt(args.prompt_embedding))
    if args.prompt is None:
        raise InputError("--prompt-embedding", "a file, or --prompt TEXT", "neither", "The checkpoint stores it")
    return PromptInput(embedding=embed_prompt(base, args.prompt), text=args.prompt)


def _choices(args: argparse.Namespace) -> Choices:
    from r3d2_ros.harmonizer.convert.choices import Choices
    from r3d2_ros.harmonizer.model.config import Padding, SkipOptions

    if args.pad_mode and not args.pad_multiple:
        raise InputError("--pad-multiple", "8, 16, 32 or 64, with --pad-mode", "nothing")
    position, kernel = args.skip_position, getattr(args, "skip_kernel", None)
    skips = SkipOptions(position=position or SkipOptions.position, kernel_size=kernel or SkipOptions.kernel_size)
    padding = Padding(mode=args.pad_mode or Padding.mode, multiple_px=args.pad_multiple) if args.pad_multiple else None
    return Choices(
        variant=args.variant,
        skips=skips if position or kernel else None,
        input_range=args.input_range,
        padding=padding,
        timestep=args.timestep,
        licences=_licences(args),
    )


def _licences(args: argparse.Namespace) -> tuple[Licence, ...]:
    from r3d2_ros.harmonizer.model.licences import parse_licence

    return tuple(parse_licence(text) for text in args.licence or ())


def _print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"note: {printable(note, most=1000)}")


def _save(args: argparse.Namespace, model: R3D2) -> int:
    from r3d2_ros.harmonizer.model.checkpoints import in_dtype, save_checkpoint
    from r3d2_ros.harmonizer.model.r3d2 import DTYPES

    dtype_name: DTypeName = args.dtype or "float32"
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
