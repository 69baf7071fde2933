"""An evaluation: every row's picture of every sample, measured. One row after the other, so that each is soon whole."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch

from r3d2_ros.dataset.samples import Dataset, Sample
from r3d2_ros.errors import InputError, InputErrors, MissingPackageError
from r3d2_ros.evaluation import inserts as of
from r3d2_ros.evaluation.flicker import MAX_GAP_NS
from r3d2_ros.evaluation.inserts import Picture
from r3d2_ros.evaluation.rows import EvalConfig, Row
from r3d2_ros.evaluation.similarity import check_torchmetrics
from r3d2_ros.evaluation.sources import open_source
from r3d2_ros.evaluation.subjects import OWN_SHARE, Subject, load_subject
from r3d2_ros.evaluation.tally import FULL, FULL_KEYS, REGION, REGION_KEYS, Perceptual, Tally
from r3d2_ros.versions import versions

ALL = "all"
"""Instead of the name of a split."""

FAULT_END = 1000
"""Characters of an error that a row keeps."""


class Interrupted(Exception):
    """The user wants no more rows; those that are done stand."""


@dataclass(frozen=True)
class Lpips:
    """How LPIPS is measured, or why not. `made` says how, in plain values."""

    measure: Perceptual | None
    why_not: str
    made: Mapping[str, Any]


class Watcher(Protocol):
    """Is shown every picture, and may end the run."""

    def begin(self, name: str, samples: int) -> None: ...

    def seen(self, name: str, number: int, subject: Subject, picture: Picture) -> None:
        """The picture of the sample with this number in order, from 0. Interrupted ends the run."""
        ...


def samples_in_order(dataset: Dataset, split: str, limit: int | None) -> tuple[Sample, ...]:
    """Those of a split, or of all of them, films together and in the order of their stamps; the first `limit` of them.

    InputError when there are none.
    """
    samples = dataset.samples if split == ALL else dataset.split(split)
    if not samples:
        held = {s.split for s in dataset.samples}
        got = f"no sample; {', '.join(sorted(held))} has some" if held else "no sample at all"
        raise InputError(str(dataset.folder / ("" if split == ALL else split)), "samples", got, "--split chooses")
    ordered = sorted(samples, key=_order)
    return tuple(ordered[:limit])


def _order(sample: Sample) -> tuple[Any, ...]:
    meta = sample.meta
    return sample.split, meta.sequence, meta.camera.name, meta.stamp_ns if meta.stamp_ns is not None else -1, meta.name


def evaluate(
    samples: Sequence[Sample],
    rows: Mapping[str, Row],
    config: EvalConfig,
    *,
    lpips: Lpips,
    about: Mapping[str, Any],
    watcher: Watcher,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and facts of each row as it is done: `full`, `region`, `counts`, `reasons`, `made`; `fault` where it failed.

    about  what is known of the dataset; it becomes part of every row's `made`
    A row that fails has null for every measure and costs no other row. MissingPackageError without torchmetrics;
    InputError for a sample that cannot be read, which would spoil every row.
    """
    check_torchmetrics()
    shared = {"dataset": dict(about), "settings": _settings(config), "lpips": dict(lpips.made), "versions": _versions()}
    for name, row in rows.items():
        start = time.monotonic()
        tally = Tally(lpips.measure, lpips.why_not)
        watcher.begin(name, len(samples))
        source = None
        torch.cuda.empty_cache()  # two rows' networks do not have to fit into a GPU together
        try:
            source = open_source(row, config, name=name)
        except (InputError, InputErrors, MissingPackageError, RuntimeError) as error:  # RuntimeError: out of memory
            yield name, _failed(error, {"row": {"kind": row.kind}, **shared})
            continue
        made = {"row": source.made, **shared}
        fault: Exception | None = None
        for number, sample in enumerate(samples):
            subject = load_subject(sample, config.region)
            try:
                got = source.picture(subject)
            except InputError as error:
                fault = error
                break
            tally.add(subject, got.picture, got.raw)
            watcher.seen(name, number, subject, got.picture)
        if fault is not None:
            yield name, _failed(fault, made)
        else:
            yield name, {**tally.facts(), "made": made, "seconds": round(time.monotonic() - start, 1)}


def _failed(error: Exception, made: Mapping[str, Any]) -> dict[str, Any]:
    fault = " ".join(str(error).split())[:FAULT_END]
    return {
        FULL: dict.fromkeys(FULL_KEYS),
        REGION: dict.fromkeys(REGION_KEYS),
        "counts": {"samples": 0},
        "reasons": {},
        "fault": fault,
        "made": dict(made),
    }


def _settings(config: EvalConfig) -> dict[str, Any]:
    return {
        "region": {**asdict(config.region), "depth_test": False},
        "composite_of_models": config.composite,
        "luminance": "BT.709 weights on 8-bit values",
        "shadow": {
            "predicted_from_darkening": of.DARKENED,
            "true_from_share_of_sunlight": of.TRUE_SHADOW,
            "score_lower_share": of.LOWER_SHARE,
            "has_shadow_from_score": of.HAS_SHADOW,
        },
        "ring_share": of.RING_SHARE,
        "luminance_error_at_most": round(of.WORST_ERROR, 4),
        "own_share_of_inserts": OWN_SHARE,
        "flicker_max_gap_s": MAX_GAP_NS / 1e9,
    }


def _versions() -> dict[str, str]:
    return versions("torchmetrics", "torch", "lpips", "diffusers", "numpy")


def about_dataset(dataset: Dataset, split: str, samples: Sequence[Sample]) -> dict[str, Any]:
    """Plain values that say what was evaluated."""
    sizes = sorted({f"{s.meta.camera.width_px}x{s.meta.camera.height_px}" for s in samples})
    return {
        "folder": str(dataset.folder),
        "split": split,
        "samples": len(samples),
        "sequences": len({s.meta.sequence for s in samples}),
        "sizes": sizes,
        "made": dict(dataset.made),
    }
