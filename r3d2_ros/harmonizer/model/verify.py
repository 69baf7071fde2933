"""How far two models are apart on the same images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from r3d2_ros.errors import InputError
from r3d2_ros.formats.images import read_image
from r3d2_ros.harmonizer.base import ImageModel
from r3d2_ros.harmonizer.noise import noise
from r3d2_ros.harmonizer.runtime.numerics import numerics


@dataclass(frozen=True)
class Difference:
    """Over all images, in units of the range [0, 1]. `psnr_db` is infinite where nothing differs."""

    images: int
    max_abs: float
    mean_abs: float
    psnr_db: float


def verify(a: ImageModel, b: ImageModel, images: Iterable[Tensor]) -> Difference:
    """Run both models on each image [3,H,W] or batch [B,3,H,W], float32 without TF32.

    InputError: no image, other shape, or NaN output.
    """
    count, values, worst, total, squares = 0, 0, 0.0, 0.0, 0.0
    for image in images:
        batch = image if image.ndim == 4 else image.unsqueeze(0)
        with torch.no_grad(), numerics(batch.device, deterministic=False):
            first, second = a(batch).double().cpu(), b(batch).double().cpu()
        where = f"image {count}"
        if first.shape != second.shape:
            raise InputError(where, f"an output of shape {list(first.shape)}", f"shape {list(second.shape)}")
        if bad := [name for name, output in (("A", first), ("B", second)) if not bool(output.isfinite().all())]:
            raise InputError(where, "finite outputs of both models", f"NaN or infinite values from {' and '.join(bad)}")
        difference = (first - second).abs()
        count, values = count + len(batch), values + difference.numel()
        worst = max(worst, float(difference.max()))
        total, squares = total + float(difference.sum()), squares + float(difference.square().sum())
    if not count:
        raise InputError("images", "at least one image", "none")
    psnr_db = -10 * math.log10(squares / values) if squares else math.inf
    return Difference(images=count, max_abs=worst, mean_abs=total / values, psnr_db=psnr_db)


def in_eight_bits(model: ImageModel) -> ImageModel:
    """`model` with its images and its pictures rounded to 8 bits, to compare with one that gives no more."""

    def rounded(image: Tensor) -> Tensor:
        return (model((image * 255).round() / 255) * 255).round() / 255

    return rounded


def read_images(paths: Iterable[Path]) -> list[Tensor]:
    """PNG and JPEG files as [3,H,W] in [0, 1]. InputError for a file that is neither."""
    return [torch.from_numpy(read_image(path)).permute(2, 0, 1).contiguous() for path in paths]


def noise_images(height_px: int, width_px: int, *, count: int = 2, seed: int = 0) -> list[Tensor]:
    """Uniform noise [3,H,W] in [0, 1], the same for the same seed."""
    return list(noise(count, height_px, width_px, seed=seed))
