"""Faults of a dataset, each with the sample it is in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from r3d2_ros.dataset.meta import SampleMeta
from r3d2_ros.dataset.samples import (
    DATASET,
    INPUT,
    MASK,
    META,
    ORIGINAL,
    SHADOW,
    SPLITS,
    TARGET,
    read_made,
    read_meta,
    read_pixels,
    sample_folders,
)
from r3d2_ros.errors import InputError, InputErrors

SUN_WITHIN = 0.01
"""How far a number of sun.camera may be from what sun.world says: both may have been written with three digits."""


def check_dataset(folder: str | Path) -> tuple[int, list[InputError]]:
    """How many samples there are, and every fault found; each names the file. Nothing is changed.

    InputError when `folder` is no dataset.
    """
    folder = Path(folder)
    expected_of = _counts(read_made(folder))
    faults: list[InputError] = []
    count, sequences = 0, dict[str, tuple[str, Path]]()
    for split in SPLITS:
        paths = sample_folders(folder / split)
        count += len(paths)
        if len(paths) != expected_of.get(split, len(paths)):
            expected = f"{expected_of[split]} samples, as {DATASET} says"
            hint = "An interrupted build is continued by the same command"
            faults.append(InputError(str(folder / split), expected, str(len(paths)), hint))
        for path in paths:
            try:
                meta = read_meta(path)
            except InputError as error:
                faults.append(error)
                continue
            except InputErrors as error:
                faults += error.faults
                continue
            faults += _sun_faults(path, meta)
            with _opencv_says_errors_only():
                faults += _image_faults(path, meta)
            first_split, first = sequences.setdefault(meta.sequence, (split, path))
            if first_split != split:
                expected, got = f"sequence '{meta.sequence}' in one split", f"it in {split} and in {first_split}"
                faults.append(InputError(str(path / META), expected, f"{got} ({first.name})"))
    if not count and not faults:
        faults.append(InputError(str(folder), "samples in train, val or test", "none"))
    return count, faults


def _counts(made: Mapping[str, Any]) -> dict[str, int]:
    """Split -> how many samples were asked for, where dataset.json says it."""
    options = made.get("options")
    counts = options.get("counts") if isinstance(options, dict) else None
    if not isinstance(counts, list) or len(counts) != len(SPLITS) or not all(type(n) is int for n in counts):
        return {}
    return dict(zip(SPLITS, counts, strict=True))


@contextmanager
def _opencv_says_errors_only() -> Iterator[None]:
    """Its warnings of damaged pictures name no file, and each is a fault here."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


def _image_faults(path: Path, meta: SampleMeta) -> Iterator[InputError]:
    size = (meta.camera.height_px, meta.camera.width_px)
    images = {}
    for name, channels in ((INPUT, 3), (TARGET, 3), (MASK, 1), (SHADOW, 1), (ORIGINAL, 3)):
        if name in (SHADOW, ORIGINAL) and not (path / name).exists():
            continue
        try:
            images[name] = read_pixels(path / name, size, channels=channels)
        except InputError as error:
            yield error
    if MASK in images:
        yield from _mask_faults(path, meta, images[MASK])
    if INPUT in images and TARGET in images and np.array_equal(images[INPUT], images[TARGET]):
        yield InputError(str(path / TARGET), "another image than input.png", "the same: nothing can be learned from it")
    for name in (INPUT, TARGET):
        if name in images and images[name].min() == images[name].max():
            yield InputError(str(path / name), "an image", f"one colour, {images[name].min()}, everywhere")


def _sun_faults(path: Path, meta: SampleMeta) -> Iterator[InputError]:
    """Of the same sun in two frames."""
    if meta.sun is None or meta.sun.camera is None:
        return
    told = np.array(meta.sun.camera)
    turned = meta.camera.view.T_camera_world.rotation @ np.array(meta.sun.world)
    if np.abs(told - turned).max() > SUN_WITHIN:
        expected = f"sun.world in the camera's axes (camera.T_camera_world), {np.round(turned, 3).tolist()}"
        yield InputError(f"{path / META}: sun.camera", expected, str(np.round(told, 3).tolist()))


def _mask_faults(path: Path, meta: SampleMeta, mask: np.ndarray) -> Iterator[InputError]:
    where = str(path / MASK)
    grey = np.count_nonzero((mask != 0) & (mask != 255))
    if grey:
        yield InputError(where, "0 or 255 in every pixel", f"other values in {grey} pixels")
    if not mask.any():
        yield InputError(where, "an insert", "an empty mask")
    if not meta.actors:
        yield InputError(f"{path / META}: actors", "at least one insert", "none")
    inside = np.zeros(mask.shape, bool)
    for k, actor in enumerate(meta.actors):
        left, top, right, bottom = actor.box_px
        inside[top:bottom, left:right] = True
        if not mask[top:bottom, left:right].any():
            yield InputError(f"{path / META}: actors.{k}.box_px", "a box with pixels of the mask", "one without")
    outside = np.count_nonzero((mask >= 128) & ~inside)
    if meta.actors and outside:
        yield InputError(where, "pixels within the boxes of meta.json only", f"{outside} pixels outside of them")
