"""Which arguments of `r3d2 bench harmonizer` go together, so that each one given is one that was measured."""

from __future__ import annotations

import argparse
from typing import Any

from r3d2_ros.cli.bench_arguments import DEFAULT_MODES, DEFAULTS
from r3d2_ros.errors import InputError, InputErrors

NETWORK, RIG, QUALITY = "the network alone", "--rig", "--quality"

MEASURED_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("variant", "seed", "deterministic"), (NETWORK, RIG)),
    **dict.fromkeys(("checkpoint", "runtime", "dtype", "float8", "device", "attention"), (NETWORK, RIG, QUALITY)),
    **dict.fromkeys(("no_cuda_graph", "no_channels_last", "rewrites", "no_rewrites"), (NETWORK, RIG, QUALITY)),
    "size": (NETWORK, RIG, QUALITY),
    **dict.fromkeys(("protocol", "batch", "runs", "compare", "profile"), (NETWORK,)),
    **dict.fromkeys(("rig", "rate", "seconds", "deadline_ms", "to"), (RIG,)),
    **dict.fromkeys(("composite", "roi", "temporal", "resolution", "max_batch"), (RIG,)),
    **dict.fromkeys(("actors", "splats", "renderer"), (RIG, QUALITY)),
    **dict.fromkeys(("quality", "frames"), (QUALITY,)),
}
"""Argument -> the measurements that it has an effect on."""


def measurement(args: argparse.Namespace) -> str:
    """NETWORK, RIG or QUALITY."""
    return QUALITY if args.quality is not None else RIG if args.rig else NETWORK


def checked(args: argparse.Namespace) -> argparse.Namespace:
    """The arguments, with defaults for those that are not given. InputError(s) for what does not go together."""
    words = {name: getattr(args, name) for name in MEASURED_BY}
    given = {name: value for name, value in words.items() if value is not None and value is not False}
    _check_weights(args)
    if args.quality is not None:
        _check_quality(args)
    if args.float8 is not None and args.dtype != "float8":
        raise InputError("--float8", "--dtype float8 with it", f"--dtype {args.dtype}" if args.dtype else "no --dtype")
    if args.rig and args.protocol == "paper":
        raise InputError("--protocol paper", "no --rig: the paper timed the network alone", f"--rig {args.rig}")
    if args.roi and args.composite == "full":
        raise InputError("--roi", "--composite region with it: crops exist only around a region", "--composite full")
    _check_effect(given, measurement(args))
    defaults = {name: value for name, value in DEFAULTS.items() if name not in given}
    return argparse.Namespace(**{**vars(args), **defaults})


def without_effect(args: argparse.Namespace) -> set[str]:
    """Names of the arguments that change nothing in what is measured: what a record of it leaves out."""
    asked = measurement(args)
    others = {name for name, by in MEASURED_BY.items() if asked not in by}
    return others if args.checkpoint is None else others | {"seed", "variant"}


def _check_weights(args: argparse.Namespace) -> None:
    if args.checkpoint is None:
        return
    if args.variant is not None:
        raise InputError("--variant", "nothing with --checkpoint, which has its own sizes", args.variant)
    if args.seed is not None:
        raise InputError("--seed", "nothing with --checkpoint, which has its own numbers", str(args.seed))


def _check_quality(args: argparse.Namespace) -> None:
    if args.rig:
        raise InputError("--quality", "nothing with --rig", args.quality)
    if args.checkpoint is None:
        hint = "Quality is unmeasured with random weights"
        raise InputError("--quality", "trained weights given by --checkpoint", "random weights", hint)
    changes = {
        f"--resolution {args.resolution}": args.resolution not in (None, "full"),
        "--roi": args.roi,
        f"--dtype {args.dtype}": args.dtype == "float8",
        "--temporal": args.temporal,
        f"--composite {args.composite}": args.composite not in (None, "region"),
        "--deterministic": args.deterministic,
    }
    for argument, given in changes.items():
        if given:
            hint = f"Approximate modes are named behind --quality ({DEFAULT_MODES})"
            raise InputError("--quality", "the exact network to compare with", argument, hint)


def _check_effect(given: dict[str, Any], asked: str) -> None:
    """InputErrors that name each argument that would change nothing."""
    faults = []
    for name, value in given.items():
        if asked not in MEASURED_BY[name]:
            flag = f"--{name.replace('_', '-')}"
            expected = f"no argument without effect, where {_described(asked)}"
            got = flag if value is True else f"{flag} {value}"
            owners = " or ".join(_described(owner) for owner in MEASURED_BY[name])
            faults.append(InputError(flag, expected, got, f"It has an effect where {owners}"))
    if faults:
        raise InputErrors(faults)


def _described(kind: str) -> str:
    return f"{kind} is measured" if kind == NETWORK else f"{kind} is given"
