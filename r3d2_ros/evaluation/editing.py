"""Text-driven image editing through diffusers' pipelines, as networks beside which a harmonizer is judged.

SDEdit (Meng et al., 2022) is image-to-image with any Stable Diffusion model; InstructPix2Pix (Brooks et al., 2023) and
CosXL-Edit (Stability AI, 2024) follow an instruction. Folders are local, in diffusers' layout; none of their code runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from r3d2_ros.errors import InputError
from r3d2_ros.evaluation.rows import EditingRow
from r3d2_ros.harmonizer.model.config import LATENT_PX
from r3d2_ros.harmonizer.model.r3d2 import DTYPES
from r3d2_ros.harmonizer.pipelines.calls import first_image, resized, to_pil, to_tensor
from r3d2_ros.harmonizer.pipelines.code import no_progress_bars, offline
from r3d2_ros.harmonizer.pipelines.folders import PipelineFolder, check_code, check_parts, read_pipeline_folder
from r3d2_ros.harmonizer.runtime.device import find_device
from r3d2_ros.resources import user_path

CLASSES = {
    "instruct-pix2pix": "StableDiffusionInstructPix2PixPipeline",
    "cosxl-edit": "StableDiffusionXLInstructPix2PixPipeline",
}
"""What the index of a folder must name; any text-to-image or image-to-image model will do for sdedit."""

COSXL_SCHEDULER = {
    "sigma_min": 0.002,
    "sigma_max": 120.0,
    "sigma_data": 1.0,
    "prediction_type": "v_prediction",
    "sigma_schedule": "exponential",
}
"""Of EDMEulerScheduler, as diffusers' documentation runs CosXL-Edit."""


def load_editing(row: EditingRow, *, device: str, name: str) -> EditingNetwork:
    """InputError(s): no pipeline folder, one of another kind, or parts that are missing. MissingPackageError for
    transformers, which the text encoders need."""
    folder = read_pipeline_folder(user_path(row.checkpoint, f"row '{name}'"))
    check_code(folder, allow_remote_code=False)
    wanted = CLASSES.get(row.kind)
    if wanted and folder.class_name != wanted:
        raise InputError(f"row '{name}': {folder.path}", f"a folder of {wanted}", folder.class_name)
    check_parts(folder)
    pipe = _load(folder, row)
    pipe.set_progress_bar_config(disable=True)
    return EditingNetwork(pipe.to(find_device(device)), row, find_device(device))


def _load(folder: PipelineFolder, row: EditingRow) -> Any:
    import diffusers

    options: dict[str, Any] = {"dtype": DTYPES[row.dtype], "local_files_only": True, "use_safetensors": True}
    if folder.variant:
        options["variant"] = folder.variant
    if any(component.name == "safety_checker" for component in folder.components):
        options |= {"safety_checker": None, "requires_safety_checker": False}  # a black picture would be measured
    cls = diffusers.AutoPipelineForImage2Image if row.kind == "sdedit" else getattr(diffusers, CLASSES[row.kind])
    if row.kind == "cosxl-edit":
        options |= {"is_cosxl_edit": True, "scheduler": diffusers.EDMEulerScheduler(**COSXL_SCHEDULER)}
    try:
        with no_progress_bars(), offline():
            return cls.from_pretrained(str(folder.path), **options)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
        raise InputError(str(folder.path), f"a pipeline that diffusers can load for {row.kind}", reason) from error


class EditingNetwork:
    """A pipeline as the harmonizer calls a network; images go through 8 bits, one after the other."""

    def __init__(self, pipe: Any, row: EditingRow, device: torch.device) -> None:
        self._pipe, self._row, self.device, self.latent_px = pipe, row, device, LATENT_PX

    def __call__(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] to the same; each image is made with the same seed."""
        return torch.stack([self._edited(image) for image in images])

    def warm_up(self, shapes: Iterable[tuple[int, int, int]]) -> None:
        """Nothing is done once only."""

    def _edited(self, image: Tensor) -> Tensor:
        row = self._row
        own: dict[str, Any] = {"image_guidance_scale": row.image_guidance}
        if row.kind == "sdedit":
            own = {"strength": row.strength}
        elif row.kind == "cosxl-edit":
            # It takes its model's square else, where the others take the image's own size, down to a multiple of 8.
            own |= {"height": image.shape[-2] // 8 * 8, "width": image.shape[-1] // 8 * 8}
        try:
            with torch.no_grad():
                result = self._pipe(
                    prompt=row.prompt,
                    image=to_pil(image),
                    num_inference_steps=row.steps,
                    guidance_scale=row.guidance,
                    generator=torch.Generator(self.device).manual_seed(row.seed),
                    output_type="pt",
                    **own,
                )
        except Exception as error:  # pipelines refuse settings, and run out of memory, in many ways
            got = " ".join(str(error).split())[:400]
            expected = f"a pipeline that takes an image and the settings of {row.kind}"
            raise InputError(row.checkpoint, expected, got) from error
        out = to_tensor(first_image(result)).to(self.device)
        return resized(out, *image.shape[-2:]).clamp(0, 1)
