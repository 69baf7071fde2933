"""`r3d2 COMMAND`: finds the command, runs it, and turns what went wrong into lines for people and exit codes."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from r3d2_ros.errors import InputError, InputErrors, MissingPackageError, printable

COMMANDS = {
    "demo": "drive through a street over ROS 2; videos, contact sheet, summary",
    "sim": "start the simulator node",
    "render": "one moment as pictures, without ROS",
    "replay": "a recorded drive (rosbag2) as pictures, videos or a bag, without ROS",
    "play": "play a recorded drive to a running simulator, over ROS 2",
    "campaign": "many replays or closed-loop runs, in processes here or over Ray",
    "street": "make the procedural street",
    "scene": "inspect and convert Gaussian scenes",
    "model": "build, inspect, convert and compare harmonizer checkpoints",
    "train": "train a harmonizer on pairs of pictures",
    "eval": "measure harmonizers on a dataset, as the paper did",
    "scenario": "closed-loop runs of a driving stack, with scores, verdicts and a report",
    "stack": "an example driving stack as a ROS node",
    "dataset": "make and check training pairs for the harmonizer",
    "check": "validate a configuration, rig, scene, library, scenario, actors or Gaussian file",
    "bench": "measure the renderer, the transport and the harmonizer",
}
"""Name -> one line of help. Each is a module of this package, imported only when it is the command."""

NODES = ("sim", "play", "stack", "scenario")
"""Commands that run a node and take --ros-args."""

EXAMPLES = """examples:
  r3d2 demo                                   see it run: videos and pictures in out/demo/
  r3d2 render --scene street --rig demo3 --ego 60 0 0 0 --out out/view
  r3d2 sim --config my_sim.yaml               the node that `ros2 launch r3d2_ros sim.launch.py` starts
  r3d2 scenario run stationary_parked_car --controller depth_aeb
  r3d2 check my_rig.yaml                      every fault of a file
  r3d2 COMMAND --help                         options and examples of a command

Exit status: 0 done, 1 an input cannot be used or the run failed, 2 wrong arguments, 130 interrupted."""

DONE, FAILED, INTERRUPTED = 0, 1, 130

MAX_LINE = 10_000
"""Characters of a fault, which may repeat what a stranger's file holds."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status; wrong arguments and --help leave by SystemExit, as in argparse."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in words if not word.startswith("-")), None)
    try:
        status = _run(words, command)
        sys.stdout.flush()
    except (InputError, InputErrors, MissingPackageError) as error:
        return _fail(command, str(error))
    except MemoryError:
        return _fail(command, "not enough memory")
    except BrokenPipeError:
        _leave_stdout()
        return FAILED
    except OSError as error:
        return _fail(command, f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        _fail(command, "interrupted")
        return INTERRUPTED
    return status


def _run(words: list[str], command: str | None) -> int:
    words, ros_words = _split_ros(words) if command in NODES else (words, [])
    args = build_parser(command).parse_args([_shielded(word) for word in words])
    args.ros_args, args.words = ros_words, words
    return import_module(f"r3d2_ros.cli.{args.command}").run(args)


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser, complete for `command`; of the other commands it knows the names only."""
    parser = argparse.ArgumentParser(
        prog="r3d2",
        description="Camera simulator for driving: ego pose and actors in, camera images of a 3D Gaussian scene out.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        if name == command:
            import_module(f"r3d2_ros.cli.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=text)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from r3d2_ros.versions import own_version

        print(f"r3d2 {own_version()}")
        parser.exit()


def _split_ros(words: list[str]) -> tuple[list[str], list[str]]:
    """From --ros-args on, the words are for ROS."""
    cut = words.index("--ros-args") if "--ros-args" in words else len(words)
    return words[:cut], words[cut:]


def _shielded(word: str) -> str:
    """A negative number with a space before it: argparse takes -1e-3 for an option, and float() does not mind."""
    if word.startswith("-"):
        with contextlib.suppress(ValueError):
            float(word)
            return f" {word}"
    return word


def _fail(command: str | None, text: str) -> int:
    """One line on stderr per fault."""
    prefix = f"r3d2 {command}: " if command in COMMANDS else "r3d2: "
    with contextlib.suppress(BrokenPipeError):
        for line in text.splitlines() or ["failed"]:
            print(f"{prefix}{printable(line, most=MAX_LINE)}", file=sys.stderr)
    return FAILED


def _leave_stdout() -> None:
    """The reader of stdout has gone (`r3d2 ... | head`): the interpreter's last flush must not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
