"""Harmonizer backend `pipeline`: a local diffusers folder that is called with an image alone.

The authors of R3D2 published their weights in this form (`bertaveira/R3D2`, `bertaveira/R3D2-big`), with the code of
the pipeline beside them, which is run only where the user allows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.base import Shape
from r3d2_ros.harmonizer.model.checkpoints import check_commercial
from r3d2_ros.harmonizer.model.config import LATENT_PX
from r3d2_ros.harmonizer.model.licences import licence_of
from r3d2_ros.harmonizer.model.r3d2 import DTYPES, check_image, limited
from r3d2_ros.harmonizer.model.shipped import model_folder
from r3d2_ros.harmonizer.model.tensor_files import count_dtypes
from r3d2_ros.harmonizer.noise import noise
from r3d2_ros.harmonizer.pipelines.calls import CallForm, call, choose_form, read_signature, resized
from r3d2_ros.harmonizer.pipelines.code import no_progress_bars, offline, reported, separate_modules
from r3d2_ros.harmonizer.pipelines.folders import (
    PipelineFolder,
    check_code,
    check_parts,
    read_pipeline_folder,
)
from r3d2_ros.harmonizer.pipelines.weights import check_filled, check_weights, noting_gaps
from r3d2_ros.harmonizer.runtime.device import find_device
from r3d2_ros.harmonizer.runtime.numerics import numerics, pin_cublas_workspace
from r3d2_ros.harmonizer.settings import HarmonizerConfig


def load_pipeline(config: HarmonizerConfig) -> Pipeline:
    """The folder of `config.checkpoint`, ready to run. Nothing of it is run before it has passed every check.

    InputError(s): no pipeline folder, parts that are missing, pickled or truncated or lack tensors, code that is not
    allowed, a licence that `require_commercial` refuses, a device, dtype or runtime that a pipeline cannot have.
    MissingPackageError for a library that a part or the code needs.
    """
    check_settings(config)
    device = find_device(config.device)
    if config.runtime.deterministic:
        pin_cublas_workspace(device)
    folder = read_pipeline_folder(model_folder(config.checkpoint, "harmonizer.checkpoint"))
    if config.require_commercial:
        check_commercial((licence_of(folder.path),), where=str(folder.path))
    check_code(folder, allow_remote_code=config.allow_remote_code)
    check_parts(folder)
    assert config.dtype != "float8"
    dtype = stored_dtype(folder) if config.dtype == "checkpoint" else DTYPES[config.dtype]
    with reported(str(folder.path), "a pipeline that diffusers can load"):
        check_weights(folder)
        pipe = _load(folder, dtype).to(device)
        return Pipeline(pipe, device=device, where=str(folder.path), deterministic=config.runtime.deterministic)


def check_settings(config: HarmonizerConfig) -> None:
    """InputError for a runtime or dtype that a pipeline cannot have."""
    if config.runtime.kind != "eager":
        hint = "`r3d2 model convert r3d2` makes a checkpoint of it, which every runtime runs"
        raise InputError("harmonizer.runtime.kind", "eager with backend pipeline", config.runtime.kind, hint)
    if config.dtype == "float8":
        raise InputError("harmonizer.dtype", "float32, float16 or bfloat16 with backend pipeline", "float8")


class Pipeline:
    """Runs a diffusers pipeline over images, one after the other. Not for two threads at a time.

    `form` is None until the first image, with which the way to call the pipeline is found. With `deterministic`
    nothing runs of which PyTorch has no version that gives the same bytes again: a pipeline that needs it fails.
    """

    def __init__(self, pipe: Any, *, device: torch.device, where: str, deterministic: bool = False) -> None:
        self.device, self.pipe, self.where = device, pipe, where
        self._deterministic, self.latent_px = deterministic, LATENT_PX
        self.form: CallForm | None = None
        self._signature = read_signature(pipe.__call__, where=where)
        pipe.set_progress_bar_config(disable=True)

    def __call__(self, images: Tensor) -> Tensor:
        """Harmonize images [B,3,H,W], float32 in [0, 1] on `device`, to the same; another size is resized back.

        NaN passes, infinity as NaN; where the pipeline makes 8-bit images of it, the whole picture is NaN.
        """
        check_image(images)
        height, width = images.shape[-2:]
        with numerics(self.device, deterministic=self._deterministic):
            outputs = [resized(self._run(image), height, width) for image in images]
        return limited(torch.stack(outputs))

    def warm_up(self, shapes: Iterable[Shape]) -> None:
        """Run noise of each size once; the first run finds how the pipeline is called."""
        for size in sorted({shape[1:] for shape in shapes}):
            self(noise(1, *size).to(self.device))

    def _run(self, image: Tensor) -> Tensor:
        if self.form is None:
            self.form = choose_form(self.pipe, self._signature, image, where=self.where)
        return call(self.pipe, self._signature, image, self.form, where=self.where)[0]


def _load(folder: PipelineFolder, dtype: torch.dtype) -> DiffusionPipeline:
    """What diffusers, or the code of the folder, makes of it. Either may raise anything.

    InputErrors for tensors of parts that neither the files nor the code have filled.
    """
    options = {"custom_pipeline": str(folder.code_file)} if folder.code_file else {}
    network = nullcontext() if folder.code else offline()
    with separate_modules(), no_progress_bars(), network, noting_gaps(folder) as gaps:
        pipe = DiffusionPipeline.from_pretrained(
            str(folder.path),
            dtype=dtype,
            variant=folder.variant,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=find_spec("accelerate") is not None,
            trust_remote_code=bool(folder.code),
            **options,
        )
    check_filled(gaps)
    return pipe


def stored_dtype(folder: PipelineFolder) -> torch.dtype:
    """The floating dtype of most numbers in the folder; float32 where it has none that a network computes in."""
    numbers: Counter[torch.dtype] = Counter()
    for component in folder.components:
        for file in folder.weight_files(component.name):
            numbers += count_dtypes(file)
    return next((dtype for dtype, _ in numbers.most_common() if dtype in DTYPES.values()), torch.float32)
