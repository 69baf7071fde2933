"""Makes a procedural dataset, sequence by sequence, in this process or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from r3d2_ros.dataset.procedural import ProceduralOptions, Sequence, make_group, make_stage, plan_sequences
from r3d2_ros.dataset.samples import DatasetWriter, only_build
from r3d2_ros.errors import InputError
from r3d2_ros.rendering import make_renderer
from r3d2_ros.rendering.base import RenderSettings
from r3d2_ros.rigs import load_rig

RIG = "demo3"


def make_dataset(
    folder: str | Path,
    options: ProceduralOptions,
    *,
    command: str,
    workers: int = 1,
    tell: Callable[[int], None] = lambda done: None,
) -> int:
    """Make what is missing of a procedural dataset in `folder`; returns the number of samples made.

    An interrupted run is continued: samples are the same in whatever order, and in however many processes, they are
    made. `tell` is called with the number of samples that are there. InputError for a folder that holds something
    else, that another build is writing into, when the disk is full, and when one of the processes is killed.
    """
    made = {"kind": "procedural", "rig": RIG, "options": _told(options), "command": command}
    with only_build(folder):
        return _make_missing(folder, made, options, workers=workers, tell=tell)


def _told(options: ProceduralOptions) -> dict[str, Any]:
    told = asdict(options)
    if not options.covering:
        del told["covering"]  # datasets begun before there was this option go on
    return told


def _make_missing(
    folder: str | Path, made: dict[str, Any], options: ProceduralOptions, *, workers: int, tell: Callable[[int], None]
) -> int:
    writer = DatasetWriter(folder, made, ignored=("command",))
    writer.tidy()
    plan = plan_sequences(options)
    there = sum(options.counts) - sum(len(_missing(writer, sequence)) for sequence in plan)
    tell(there)
    count = 0
    for _ in _all_made(partial(_make_sequence, folder, made, options), plan, workers):
        count += 1
        tell(there + count)
    return count


def _missing(writer: DatasetWriter, sequence: Sequence) -> list[int]:
    return [n for n in range(sequence.count) if not writer.has(sequence.split, sequence.sample_name(n))]


Make = Callable[[Sequence], Iterator[int]]


def _all_made(make: Make, plan: list[Sequence], workers: int) -> Iterator[int]:
    """One number for every sample that was made."""
    if workers <= 1:
        for sequence in plan:
            yield from make(sequence)
        return
    # A process forked from one that has rendered could not render.
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for numbers in pool.map(partial(_listed, make), plan):
                yield from numbers
    except BrokenProcessPool as error:
        got = "one that ended before (where nobody ended it, the memory was used up)"
        hint = "Fewer of them need less memory; the same command goes on with what is left"
        raise InputError("--workers", f"{workers} processes that make samples to the end", got, hint) from error


def _listed(make: Make, sequence: Sequence) -> list[int]:
    return list(make(sequence))


def _make_sequence(
    folder: str | Path, made: dict[str, Any], options: ProceduralOptions, sequence: Sequence
) -> Iterator[int]:
    writer = DatasetWriter(folder, made, ignored=("command",))
    missing = set(_missing(writer, sequence))
    if not missing:
        return
    rig = load_rig(RIG, width_px=options.frame[1], height_px=options.frame[0])
    renderer = make_renderer("cpu", RenderSettings(), threads=1)
    stages = [make_stage(sequence, options.detail, renderer, sun=sun) for sun in range(len(sequence.groups()[0]))]
    for group in sequence.groups():
        if missing.isdisjoint(group):
            continue
        for number, (meta, pair) in zip(group, make_group(stages, sequence, group, options, rig), strict=True):
            if number in missing:
                writer.write(sequence.split, meta, pair)
                yield number
