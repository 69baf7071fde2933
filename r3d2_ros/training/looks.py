"""A look at the val split while a model trains: how near it comes, in numbers and in a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r3d2_ros.dataset.samples import Sample
from r3d2_ros.harmonizer.settings import RegionConfig
from r3d2_ros.training.config import TrainConfig
from r3d2_ros.training.data import as_batch
from r3d2_ros.training.stages import Stage, precision

ROWS, COLUMN_PX = 4, 480


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` of them at even distances, the first and the last among them: they lie street by street."""
    count = min(count, len(samples))
    return [samples[round(k * (len(samples) - 1) / max(count - 1, 1))] for k in range(count)]


def look(
    stage: Stage, mean: Mapping[str, Tensor], samples: Sequence[Sample], name: str, config: TrainConfig
) -> tuple[dict[str, float], NDArray[np.uint8]]:
    """Mean PSNR (dB) over `samples`, and a picture of four of them: input, output, target.

    The harmonizer's is that of the inserts' region (`psnr`, and of the input `psnr_naive`), the autoencoder's that of
    the whole target. `mean`: weights to use in place of the module's own, by their names in the model.
    """
    device = next(stage.parameters()).device
    weights = {f"model.{key}": tensor for key, tensor in mean.items()}
    found: dict[str, list[float]] = {"psnr": [], "psnr_naive": []}
    rows: list[list[NDArray]] = []
    shown_ones = spread(samples, ROWS)
    stage.eval()
    for sample in samples:
        pair = sample.load()
        batch = as_batch(pair, sample.name)
        given = batch.target if name == "autoencoder" else batch.input
        with torch.no_grad(), precision(config, device):
            output = torch.func.functional_call(stage, weights, (given.to(device),)).image
        shown = output[0].float().clamp(0, 1).cpu().numpy().transpose(1, 2, 0)
        region = np.ones(pair.mask.shape) if name == "autoencoder" else sample.region(pair.mask, RegionConfig())
        if region.any():
            found["psnr"].append(psnr(shown, pair.target, region))
            found["psnr_naive"].append(psnr(pair.input, pair.target, region))
        if sample in shown_ones:
            rows.append([_small(i) for i in (given[0].numpy().transpose(1, 2, 0), shown, pair.target)])
    stage.train()
    if name == "autoencoder":
        del found["psnr_naive"]
    width = max(tile.shape[1] for row in rows for tile in row)
    picture = np.concatenate([np.concatenate([_padded(tile, width) for tile in row], 1) for row in rows])
    return {key: float(np.mean(values)) for key, values in found.items() if values}, _bytes(picture)


def psnr(image: NDArray, target: NDArray, weight: NDArray) -> float:
    """dB, of images [H, W, 3] in [0, 1], the pixels weighted by [H, W]; at most 100."""
    square = ((image - target) ** 2).mean(2)
    return float(-10 * np.log10(max((square * weight).sum() / weight.sum(), 1e-10)))


def _small(image: NDArray) -> NDArray:
    height, width = image.shape[:2]
    if width <= COLUMN_PX:
        return image
    return cv2.resize(image, (COLUMN_PX, max(1, round(height * COLUMN_PX / width))), interpolation=cv2.INTER_AREA)


def _padded(image: NDArray, width: int) -> NDArray:
    """Black to the right, so that a column is as wide as its widest picture."""
    return np.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0)))


def _bytes(image: NDArray) -> NDArray[np.uint8]:
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
