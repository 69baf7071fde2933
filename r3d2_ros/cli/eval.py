"""`r3d2 eval`: harmonizers beside each other on a dataset: the paper's measures, and what users judge by."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3d2_ros.cli.numbers import whole_number
from r3d2_ros.cli.stopping import stopping
from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output, check_output_file
from r3d2_ros.harmonizer.packages import need_packages
from r3d2_ros.progress import Progress

if TYPE_CHECKING:
    from r3d2_ros.evaluation.inserts import Picture
    from r3d2_ros.evaluation.subjects import Subject

DEFAULT_ROWS = ("naive", "nano")
DONE, FAILED, INTERRUPTED = 0, 1, 130

EXAMPLES = """examples:
  r3d2 eval out/pairs --rows naive nano --json out/eval.json --pictures out/eval
  r3d2 eval out/pairs --rows naive --row r3d2=out/r3d2 --row mine=out/train/checkpoint --markdown out/eval.md
  r3d2 eval out/pairs --rows naive difix --row difix=images:out/difix_pictures
  r3d2 eval out/pairs --config my_eval.yaml --rows original naive r3d2 sdedit --lpips vgg16-397923af.pth

A row is what makes the pictures: naive (the input), original (the reconstruction as it was), target, or a name of
config/eval.yaml or of --config. The table goes to stdout; every row is written as soon as it is done.
docs/evaluation.md says what each measure is.
Exit status: 0 done, 1 an input cannot be used or a row failed, 2 wrong arguments,
130 interrupted; what is done stays."""


def add_parser(subparsers: Any) -> None:
    """Add `eval` to the result of `ArgumentParser.add_subparsers`."""
    parser = subparsers.add_parser(
        "eval",
        help="measure harmonizers on a dataset",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", type=Path, metavar="DIR", help="a dataset (`r3d2 dataset build`)")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help=f"in this order ({' '.join(DEFAULT_ROWS)})")
    parser.add_argument(
        "--row",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a row's checkpoint or pipeline, or images:FOLDER with its pictures; may be repeated",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="rows and settings, as config/eval.yaml")
    parser.add_argument("--split", default="test", choices=("train", "val", "test", "all"), help="%(default)s")
    parser.add_argument("--limit", type=whole_number(), metavar="N", help="the first N samples only")
    parser.add_argument("--device", help="of the networks: auto, cpu or cuda:N; in the place of the configuration's")
    parser.add_argument("--lpips", metavar="FILE", help="torchvision's VGG16 weights; its cache without this")
    parser.add_argument("--require", action="append", default=[], choices=("lpips",), help="fail where it has no value")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to a file too")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write input, output and target side by side")
    parser.add_argument(
        "--pictures-count", type=whole_number(), default=8, metavar="N", help="of N samples (%(default)s)"
    )
    parser.add_argument(
        "--save", type=Path, metavar="DIR", help="write every row's pictures, which --row NAME=images:DIR/ROW reads"
    )
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """Measure. InputError(s) for what cannot be used; a row that fails costs no other row and gives exit status 1."""
    if args.json is not None and args.markdown is not None and args.json.resolve() == args.markdown.resolve():
        args.refuse(f"--json, --markdown: expected two files, got '{args.json}' for both")
    need_packages("The evaluation", "pip install 'r3d2_ros[harmonizer,evaluation]'")
    from dataclasses import replace

    from r3d2_ros.dataset.samples import open_dataset
    from r3d2_ros.evaluation.perceptual import open_lpips
    from r3d2_ros.evaluation.rows import chosen_rows, load_eval_config
    from r3d2_ros.evaluation.run import Interrupted, about_dataset, evaluate, samples_in_order

    config = load_eval_config(args.config)
    if args.device:
        config = replace(config, device=args.device)
    extra = _pairs(args.row)
    names = args.rows if args.rows is not None else [*(["naive"] if extra else DEFAULT_ROWS)]
    rows = chosen_rows(config, names, extra)
    dataset = open_dataset(args.dataset)
    samples = samples_in_order(dataset, args.split, args.limit)
    for path in (args.json, args.markdown):
        if path is not None:
            check_output_file(path)
    lpips = open_lpips(args.lpips, device=config.device, required="lpips" in args.require)
    if lpips.why_not:
        _say(f"LPIPS is not measured: {lpips.why_not}")
    done: dict[str, dict[str, Any]] = {}
    with stopping("stopping; finished rows are kept. Once more to stop at once") as stop:
        watcher = _Watcher(args, stop, len(samples))
        try:
            for name, facts in evaluate(
                samples, rows, config, lpips=lpips, about=about_dataset(dataset, args.split, samples), watcher=watcher
            ):
                done[name] = facts
                watcher.end()
                _write(args, done)
                if "fault" in facts:
                    _say(f"row '{name}': {facts['fault']}")
        except Interrupted:
            _say(f"interrupted: {', '.join(done) or 'no row'} done, {', '.join(n for n in rows if n not in done)} not")
            return INTERRUPTED
        finally:
            watcher.end()
            if done:
                print(_markdown(done), end="", flush=True)
    return FAILED if any("fault" in facts for facts in done.values()) else DONE


class _Watcher:
    """Draws the progress, writes pictures, and asks whether to stop."""

    def __init__(self, args: argparse.Namespace, stop: threading.Event, samples: int) -> None:
        self._args, self._stop = args, stop
        self._progress: Progress | None = None
        count = min(args.pictures_count, samples)
        self._shown = {round(k * (samples - 1) / max(count - 1, 1)) for k in range(count)}

    def begin(self, name: str, samples: int) -> None:
        _say(f"row '{name}'")
        self._progress = Progress(samples, unit="samples").__enter__()

    def end(self) -> None:
        if self._progress is not None:
            self._progress.__exit__()
            self._progress = None

    def seen(self, name: str, number: int, subject: Subject, picture: Picture) -> None:
        from r3d2_ros.evaluation.run import Interrupted
        from r3d2_ros.evaluation.side_by_side import picture_file, side_by_side, write_picture

        if self._args.pictures is not None and number in self._shown:
            write_picture(picture_file(self._args.pictures, name, subject.sample), side_by_side(name, subject, picture))
        if self._args.save is not None:
            write_picture(picture_file(self._args.save, name, subject.sample), picture)
        if self._progress is not None:
            self._progress.at(number + 1)
        if self._stop.is_set():
            raise Interrupted


def _write(args: argparse.Namespace, rows: Mapping[str, dict[str, Any]]) -> None:
    """Each file whole, with the rows so far."""
    if args.json is not None:
        with atomic_output(args.json) as file:
            file.write((json.dumps(rows, indent=2, allow_nan=False) + "\n").encode())
    if args.markdown is not None:
        with atomic_output(args.markdown) as file:
            file.write(_markdown(rows).encode())


def _markdown(rows: Mapping[str, dict[str, Any]]) -> str:
    from r3d2_ros.evaluation.table import markdown

    return markdown(rows)


def _pairs(texts: list[str]) -> dict[str, str]:
    """NAME=FOLDER. InputError for another form, a name that is no folder's, or one given twice."""
    from r3d2_ros.evaluation.rows import NAME

    found: dict[str, str] = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if not equals or not source or not NAME.fullmatch(name):
            expected = "NAME=FOLDER or NAME=images:FOLDER, the name of letters, digits and _ . + -"
            raise InputError("--row", expected, f"'{text}'")
        if name in found:
            raise InputError("--row", "each name once", f"'{name}' again")
        found[name] = source
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
