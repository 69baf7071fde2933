"""PSNR and SSIM of two pictures, over whole frames and over a part of them, from torchmetrics."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r3d2_ros.errors import MissingPackageError

Picture = NDArray[np.uint8]
Part = NDArray[np.bool_]

REACH_PX = 5
"""How far the windows of SSIM reach."""
BAND_ROWS = 64

INSTALL = "pip install 'r3d2_ros[evaluation]'"


@dataclass(frozen=True)
class Similarity:
    """psnr in dB, infinite where nothing differs; ssim at most 1. Both None where there are no pixels."""

    psnr: float | None
    ssim: float | None


def check_torchmetrics() -> None:
    """MissingPackageError where torchmetrics is not installed, or cannot be imported."""
    try:
        import torchmetrics.functional.image  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingPackageError(error.name or "torchmetrics", "The evaluation", INSTALL) from error
    except RuntimeError as error:  # a torchvision made for another torch
        reason = f"pip install a torchvision that fits torch {torch.__version__} ({' '.join(str(error).split())[:200]})"
        raise MissingPackageError("torchvision", "torchmetrics, with the torch that is installed,", reason) from error


def similarity(picture: Picture, target: Picture, parts: dict[str, Part | None]) -> dict[str, Similarity]:
    """Of pictures [H, W, 3], over each part [H, W]; None stands for the whole frame.

    PSNR has a peak of 255. SSIM is that of Gaussian windows of 11 pixels (sigma 1.5) in each channel, torchmetrics'
    default; over a part it is the mean of its map over the part's pixels, whose windows reach beyond the part.
    """
    if picture.shape != target.shape:
        raise ValueError(f"expected pictures of one size, got {picture.shape} and {target.shape}")
    ssim = ssim_map(picture, target)
    return {name: _of_part(picture, target, ssim, part) for name, part in parts.items()}


def ssim_map(picture: Picture, target: Picture) -> NDArray[np.float64]:
    """[H, W], the mean of the channels. Both pictures have more than REACH_PX pixels a side.

    In float64, because in float32 the variances of even surfaces drown in rounding, and equal pictures do not give 1.
    That is slow and takes memory: only windows with a difference are computed, some rows at a time; the others have 1.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    found = np.ones(picture.shape[:2])
    rows, columns = picture.shape[0], picture.shape[1]
    left, top, width, height = cv2.boundingRect((picture != target).any(axis=2).astype(np.uint8))
    first, last = max(top - REACH_PX, 0), min(top + height + REACH_PX, rows)
    across = slice(max(left - REACH_PX, 0), min(left + width + REACH_PX, columns))
    seen_across = slice(max(across.start - REACH_PX, 0), min(across.stop + REACH_PX, columns))
    for row in range(first, last if height else first, BAND_ROWS):
        down = slice(row, min(row + BAND_ROWS, last))
        seen_down = slice(max(down.start - REACH_PX, 0), min(down.stop + REACH_PX, rows))
        a, b = (_unit(image[seen_down, seen_across]) for image in (picture, target))
        _, image = structural_similarity_index_measure(a, b, data_range=1.0, return_full_image=True)
        band = image[0].mean(dim=0).numpy()
        inside = [slice(p.start - s.start, p.stop - s.start) for p, s in ((down, seen_down), (across, seen_across))]
        found[down, across] = band[inside[0], inside[1]]
    return found


def psnr(picture: Picture, target: Picture, part: Part | None = None) -> float | None:
    """In dB over the pixels of `part`, None where it has none."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    if part is not None:
        picture, target = picture[part], target[part]
    if not picture.size:
        return None
    return float(peak_signal_noise_ratio(_double(picture), _double(target), data_range=255.0))


def as_tensor(picture: Picture) -> Tensor:
    """[H, W, 3] uint8 to [1, 3, H, W] float32 in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def _of_part(picture: Picture, target: Picture, ssim: NDArray[np.float64], part: Part | None) -> Similarity:
    values = ssim if part is None else ssim[part]
    return Similarity(psnr(picture, target, part), float(values.mean()) if values.size else None)


def _unit(picture: Picture) -> Tensor:
    return _double(picture).permute(2, 0, 1)[None] / 255


def _double(picture: Picture) -> Tensor:
    return torch.from_numpy(np.array(picture)).double()


def mean_db(values: list[float]) -> tuple[float | None, str]:
    """The mean of the finite values, and a remark where there are infinite ones, which have no mean."""
    finite = [value for value in values if math.isfinite(value)]
    identical = len(values) - len(finite)
    mean = float(np.mean(finite)) if finite else None
    if not identical:
        return mean, ""
    return mean, f"infinite in {identical} of {len(values)} pictures, which do not differ there at all" + (
        "; the mean of the others" if finite else ""
    )
