"""Lists of assets to generate, with the settings of the paper (R3D2, supplement D): one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from r3d2_ros.dataset.occlusion import condition_mask, occlusion_mask
from r3d2_ros.dataset.samples import read_pixels
from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output, make_folder
from r3d2_ros.input_files import not_a_file

TYPES = ("car", "truck", "van", "SUV", "sedan", "coupe", "hatchback", "convertible")
STYLES = ("new", "old", "rusty", "shiny", "dusty", "muddy", "sporty", "modern", "luxury", "vintage")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "silver", "gray", "brown", "orange")

STEPS = 250
"""Of each of the two diffusions: structure, then features."""
TEXT_MODEL, IMAGE_MODEL, AMODAL_MODEL = "microsoft/TRELLIS-text-xlarge", "Sm0kyWu/Amodal3R", "cvlab/pix2gestalt"
JOBS = "jobs.jsonl"
IMAGE, INSTANCE, AMODAL, OCCLUSION, CONDITION = (
    "image.png", "instance.png", "amodal.png", "occlusion.png", "condition.png"
)  # fmt: skip


@dataclass(frozen=True)
class TextJob:
    """An asset from a text, by TRELLIS."""

    name: str
    prompt: str
    seed: int
    output: str
    kind: str = "text"
    model: str = TEXT_MODEL
    structure_steps: int = STEPS
    feature_steps: int = STEPS


@dataclass(frozen=True)
class AmodalJob:
    """The whole outline of an object of which a part is seen, by pix2gestalt. Paths are relative to the list."""

    name: str
    image: str
    instance: str
    output: str
    seed: int
    kind: str = "amodal"
    model: str = AMODAL_MODEL


@dataclass(frozen=True)
class ImageJob:
    """An asset from pictures of one object, by Amodal3R.

    views       folders with image.png, and condition.png once the outline is known
    multi_image stochastic: at each step of the diffusion it is conditioned on one of the pictures
    """

    name: str
    views: tuple[str, ...]
    seed: int
    output: str
    kind: str = "image"
    model: str = IMAGE_MODEL
    multi_image: str = "stochastic"
    structure_steps: int = STEPS
    feature_steps: int = STEPS


Job = TextJob | AmodalJob | ImageJob


@dataclass(frozen=True)
class JobList:
    """jobs in the order in which they have to be run; notes: what the user should know."""

    jobs: tuple[Job, ...]
    notes: tuple[str, ...] = field(default=())


def prompts() -> list[str]:
    """All 800 combinations of style, colour and type."""
    return [f"{style} {colour} {kind}" for kind, style, colour in product(TYPES, STYLES, COLOURS)]


def text_jobs(count: int, seed: int) -> JobList:
    """Jobs of `count` prompts drawn by `seed`; none comes again before all have been drawn. A longer list begins with
    the jobs of a shorter one."""
    if count < 1:
        raise InputError("--text", "at least 1", str(count))
    _check_seed(seed)
    everything = prompts()
    rng = np.random.default_rng(seed)
    rounds = -(-count // len(everything))
    drawn = np.concatenate([rng.permutation(len(everything)) for _ in range(rounds)])[:count]
    jobs = []
    for number, index in enumerate(drawn):
        name = f"text_{number:05d}"
        jobs.append(TextJob(name, everything[index], job_seed(seed, name), f"{name}.ply"))
    return JobList(tuple(jobs))


def image_jobs(objects: Path, seed: int) -> JobList:
    """Jobs of a folder of objects, each a folder of views with image.png, instance.png and, if it is there, amodal.png.

    Where amodal.png is, occlusion.png and condition.png are written beside it; else there is a job for it first.
    InputError when there is no view, and for a picture that cannot be read or has another size.
    """
    _check_seed(seed)
    if not objects.is_dir():
        raise InputError(str(objects), "a folder of objects", not_a_file(objects) or "a file")
    jobs: list[Job] = []
    for folder in sorted(path for path in objects.iterdir() if path.is_dir()):
        views = sorted(path.parent for path in folder.glob(f"*/{IMAGE}"))
        if not views:
            continue
        for view in views:
            if not write_condition(view):
                jobs.append(_amodal_job(view, objects, seed))
        places = tuple(str(view.relative_to(objects)) for view in views)
        jobs.append(ImageJob(folder.name, places, job_seed(seed, folder.name), f"{folder.name}.ply"))
    if not jobs:
        expected = f"folders of objects with <view>/{IMAGE} and <view>/{INSTANCE}"
        raise InputError(str(objects), expected, "none")
    missing = sum(isinstance(job, AmodalJob) for job in jobs)
    note = f"{missing} views have no {AMODAL}: their outlines have to be made first"
    return JobList(tuple(jobs), (note,) if missing else ())


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise InputError("--seed", "0 or more", str(seed))


def _amodal_job(view: Path, objects: Path, seed: int) -> AmodalJob:
    place = view.relative_to(objects)
    name = str(place).replace("/", "_")
    return AmodalJob(name, str(place / IMAGE), str(place / INSTANCE), str(place / AMODAL), job_seed(seed, name))


def job_seed(seed: int, name: str) -> int:
    """A job's own seed, 0 to 2^31 - 1: it depends on no other job of the list, nor on what is there already."""
    return int(np.random.default_rng([seed, *name.encode()]).integers(2**31))


def write_condition(view: Path) -> bool:
    """Write occlusion.png and condition.png of a view whose amodal.png is there; False where it is not."""
    instance = read_pixels(view / INSTANCE, None, channels=1) >= 128
    image = read_pixels(view / IMAGE, None, channels=3)
    if image.shape[:2] != instance.shape:
        wanted, got = (f"{w}x{h}" for h, w in (image.shape[:2], instance.shape))
        raise InputError(str(view / INSTANCE), f"the size of {IMAGE}, {wanted}", got)
    if not (view / AMODAL).exists():
        return False
    amodal = read_pixels(view / AMODAL, image.shape[:2], channels=1) >= 128
    occlusion = occlusion_mask(amodal, instance)
    for name, pixels in ((OCCLUSION, occlusion * np.uint8(255)), (CONDITION, condition_mask(occlusion, instance))):
        ok, data = cv2.imencode(".png", pixels)
        if not ok:
            raise RuntimeError("the PNG encoder failed")
        with atomic_output(view / name) as file:
            file.write(data.tobytes())
    return True


def write_jobs(folder: Path, jobs: Sequence[Job]) -> Path:
    """Write the list to jobs.jsonl in `folder`; returns its path.

    It takes the place of an older list of the same origin, texts or pictures. Jobs of the other origin stay, and those
    whose asset lies there: the list tells how it was made. InputError where an asset of this list lies there that
    another job made: it would pass for this list's.
    """
    make_folder(folder)
    path = folder / JOBS
    older = _older_jobs(path)
    for job in jobs:
        facts = json.loads(json.dumps(asdict(job)))
        before = older.pop(job.output, facts)
        if before != facts and (folder / job.output).exists():
            keys = ", ".join(key for key in facts if before.get(key) != facts[key])
            expected = f"the job '{job.name}' that {job.output} was made by"
            raise InputError(str(path), expected, f"another {keys}", "Choose another folder")
    from_texts = {job.kind == TextJob.kind for job in jobs}
    kept = [
        facts
        for output, facts in older.items()
        if (facts.get("kind") == TextJob.kind) not in from_texts or (folder / output).exists()
    ]
    with atomic_output(path) as file:
        file.write("".join(json.dumps(entry) + "\n" for entry in [*map(asdict, jobs), *kept]).encode())
    return path


def _older_jobs(path: Path) -> dict[str, dict[str, Any]]:
    """Output -> facts of the jobs of a list that is there. InputError when it cannot be read."""
    if not path.exists():
        return {}
    found = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        try:
            facts = json.loads(line)
            found[str(facts["output"])] = facts
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}:{number}", "a job as one JSON object", line[:80], "Remove the file") from error
    return found
