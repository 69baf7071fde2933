"""`r3d2 train CONFIG`: train a harmonizer, on one device or by `accelerate launch` on several."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from r3d2_ros.cli.stopping import stopping
from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.packages import need_packages
from r3d2_ros.resources import config_dir
from r3d2_ros.training.config import AutoencoderStage, TrainConfig, load_train_config

INTERRUPTED = 130

EXAMPLES = """examples:
  r3d2 train nano --data out/pairs --out out/train/nano         a small model on a CPU, by config/train/nano.yaml
  r3d2 train my_training.yaml
  r3d2 train my_training.yaml --resume                          go on with one that was ended
  accelerate launch --num_processes 8 -m r3d2_ros.cli.main train r3d2 --data pairs --out out/train/r3d2

CONFIG is a file, or the name of a shipped one: r3d2, r3d2_big, nano, nano_1080, nano_1080_agree.
docs/training.md has every key.
Ctrl-C and SIGTERM save a checkpoint and end. Exit status: 0 trained to the end, 1 an input cannot be used, the loss is
not finite or a checkpoint could not be written, 2 wrong arguments, 130 interrupted."""


def add_parser(subparsers: Any) -> None:
    """Add `train` to the result of `ArgumentParser.add_subparsers`."""
    parser = subparsers.add_parser(
        "train", help="train a harmonizer", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("config", metavar="CONFIG", help="a training (YAML), or the name of a shipped one")
    parser.add_argument("--data", nargs="+", metavar="DIR", help="the datasets, in place of data.folders")
    parser.add_argument("--out", metavar="DIR", help="where it writes, in place of out")
    parser.add_argument(
        "--checkpoint", metavar="DIR", help="weights to begin with instead of the configuration's: a folder, nano"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")


def run(args: argparse.Namespace) -> int:
    """Train and return the exit status. InputError(s) for what cannot be used."""
    config = with_options(load_train_config(config_file(args.config)), args)
    need_packages("Training", "pip install 'r3d2_ros[training]'", besides=("accelerate",))
    from r3d2_ros.training.train import train

    with stopping("saving a checkpoint after this step; again to stop at once") as stop:
        ended = train(config, resume=args.resume, stop=stop)
    if ended.main:
        early = f"ended early: {ended.checkpoint}; --resume goes on"
        print(f"trained: {ended.checkpoint}" if ended.complete else early)
    return 0 if ended.complete else INTERRUPTED


def config_file(name: str) -> Path:
    """A shipped one by its name, whatever lies in the working directory, or a file. InputError when it is neither."""
    path, folder = Path(name), config_dir() / "train"
    shipped = sorted(file.stem for file in folder.glob("*.yaml"))
    if name in shipped:
        return folder / f"{name}.yaml"
    if path.suffix or path.exists():
        return path
    raise InputError("CONFIG", f"a file, or one of {', '.join(shipped)}", repr(name))


def with_options(config: TrainConfig, args: argparse.Namespace) -> TrainConfig:
    """The configuration with what the command line says in place of the file's."""
    if args.data:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, folders=tuple(args.data)))
    if args.checkpoint:
        source = dataclasses.replace(config.model, checkpoint=args.checkpoint, timestep=-1, image_skip=False)
        config = dataclasses.replace(config, model=source, autoencoder=AutoencoderStage())
    return dataclasses.replace(config, out=args.out) if args.out else config
