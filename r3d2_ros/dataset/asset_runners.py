"""Runs asset jobs with TRELLIS, Amodal3R and pix2gestalt, where they are installed; says what is missing elsewhere.

None of them comes from PyPI: each is installed from its repository, needs CUDA, and loads its weights by its own code,
which is trusted by whoever installs it and asks for a run.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from r3d2_ros.dataset.asset_jobs import CONDITION, IMAGE, AmodalJob, ImageJob, Job, TextJob, write_condition
from r3d2_ros.dataset.occlusion import amodal_mask
from r3d2_ros.dataset.samples import read_pixels
from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output

Say = Callable[[str], None]
Runner = Callable[[Any, Path, Path], None]
"""Runs a job: the job, the folder that its paths are relative to, the file to write."""

PIX2GESTALT_SIDE = 256
PIX2GESTALT_CONFIG, PIX2GESTALT_WEIGHTS = "configs/sd-finetune-pix2gestalt-c_concat-256.yaml", "ckpt/epoch=000005.ckpt"
GUIDANCE, DDIM_STEPS = 2.0, 200
"""pix2gestalt's own defaults."""
MODULES = {
    "text": ("trellis", "TRELLIS (github.com/microsoft/TRELLIS)"),
    "image": ("amodal3r", "Amodal3R (github.com/Sm0kyWu/Amodal3R)"),
    "amodal": ("ldm", "pix2gestalt (github.com/cvlab-columbia/pix2gestalt), its folder given by --pix2gestalt"),
}
"""By kind of job: the module that has to be there, and what it belongs to."""


def missing_for(jobs: Sequence[Job], *, pix2gestalt: Path | None = None) -> list[str]:
    """What has to be installed to run `jobs`, for people; empty when everything is there."""
    kinds = {job.kind for job in jobs}
    lines = []
    for kind, (module, title) in MODULES.items():
        there = _is_checkout(pix2gestalt) if kind == "amodal" else importlib.util.find_spec(module) is not None
        if kind in kinds and not there:
            lines.append(f"{title} for {sum(job.kind == kind for job in jobs)} jobs")
    return lines


def _is_checkout(folder: Path | None) -> bool:
    return folder is not None and (folder / "inference.py").is_file() and (folder / "ldm").is_dir()


def run_jobs(jobs: Sequence[Job], *, base: Path, out: Path, pix2gestalt: Path | None, say: Say) -> int:
    """Run the jobs in order, those whose output is there not again; returns how many were run.

    base  folder that the paths of jobs are relative to
    out   folder of the assets

    InputError when something that a job needs is not installed.
    """
    if missing := missing_for(jobs, pix2gestalt=pix2gestalt):
        raise InputError("--run", "what the jobs need", f"nothing of: {'; '.join(missing)}", "The list is written")
    runners: dict[str, Callable[[], Runner]] = {
        "text": _text_runner,
        "image": _image_runner,
        "amodal": lambda: _amodal_runner(pix2gestalt),
    }
    ready: dict[str, Runner] = {}
    count = 0
    for job in jobs:
        path = (base if isinstance(job, AmodalJob) else out) / job.output
        if path.exists():
            continue
        if job.kind not in ready:
            ready[job.kind] = runners[job.kind]()
        ready[job.kind](job, base, path)
        count += 1
        say(f"{job.name}: {path}")
    return count


def _stages(job: TextJob | ImageJob) -> dict[str, Any]:
    return {
        "seed": job.seed,
        "formats": ["gaussian"],
        "sparse_structure_sampler_params": {"steps": job.structure_steps},
        "slat_sampler_params": {"steps": job.feature_steps},
    }


def _text_runner() -> Runner:
    pipeline = importlib.import_module("trellis.pipelines").TrellisTextTo3DPipeline.from_pretrained(TextJob.model)
    pipeline.cuda()

    def run(job: TextJob, base: Path, path: Path) -> None:
        _save(pipeline.run(job.prompt, **_stages(job)), path)

    return run


def _image_runner() -> Runner:
    pil = importlib.import_module("PIL.Image")
    pipeline = importlib.import_module("amodal3r.pipelines").Amodal3RImageTo3DPipeline.from_pretrained(ImageJob.model)
    pipeline.cuda()

    def run(job: ImageJob, base: Path, path: Path) -> None:
        views = [base / view for view in job.views]
        for view in views:
            if not write_condition(view):
                raise InputError(str(view), "amodal.png, the whole outline of the object", "none")
        images = [pil.open(view / IMAGE).convert("RGB") for view in views]
        masks = [pil.open(view / CONDITION).convert("L") for view in views]
        _save(pipeline.run_multi_image(images, masks, mode=job.multi_image, **_stages(job)), path)

    return run


def _amodal_runner(folder: Path | None) -> Runner:
    assert folder is not None
    sys.path.insert(0, str(folder))
    inference = importlib.import_module("inference")
    torch = importlib.import_module("torch")
    config = importlib.import_module("omegaconf").OmegaConf.load(folder / PIX2GESTALT_CONFIG)
    model = inference.load_model_from_config(config, str(folder / PIX2GESTALT_WEIGHTS), "cuda:0")

    def run(job: AmodalJob, base: Path, path: Path) -> None:
        image = read_pixels(base / job.image, None, channels=3)[..., ::-1]
        instance = read_pixels(base / job.instance, image.shape[:2], channels=1)
        torch.manual_seed(job.seed)
        small, seen = (
            cv2.resize(np.ascontiguousarray(a), (PIX2GESTALT_SIDE, PIX2GESTALT_SIDE), interpolation=how)
            for a, how in ((image, cv2.INTER_AREA), (instance, cv2.INTER_NEAREST))
        )
        completed = inference.run_inference(small, seen, model, GUIDANCE, 1, DDIM_STEPS)[0]
        outline = amodal_mask(np.asarray(completed)).astype(np.uint8) * 255
        whole = cv2.resize(outline, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_NEAREST)
        with atomic_output(path) as file:
            file.write(cv2.imencode(".png", np.maximum(whole, instance))[1].tobytes())

    return run


def _save(outputs: dict[str, Any], path: Path) -> None:
    """Write the first Gaussian asset, whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    outputs["gaussian"][0].save_ply(str(temporary))
    temporary.replace(path)
