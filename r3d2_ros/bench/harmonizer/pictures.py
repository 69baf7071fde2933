"""Seeded images: noise to time with, and three kinds of picture to compare paths on."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from r3d2_ros.bench.harmonizer.protocol import ROTATING_INPUTS
from r3d2_ros.geometry import Array


def rotating_inputs(size: tuple[int, int], *, batch: int, device: torch.device, seed: int = 0) -> list[Tensor]:
    """ROTATING_INPUTS different batches [batch, 3, rows, columns] of uniform noise in [0, 1], float32."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(batch, 3, *size, generator=generator).to(device) for _ in range(ROTATING_INPUTS)]


def comparison_pictures(size: tuple[int, int], *, seed: int = 0) -> dict[str, Tensor]:
    """Name -> image [1, 3, rows, columns] float32 in [0, 1]: noise, ramps with text, like a photo."""
    rng = np.random.default_rng(seed)
    pictures = {"noise": rng.random((*size, 3)), "chart": _chart(size), "photo": _photo(size, rng)}
    return {
        name: torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32))
        for name, image in pictures.items()
    }


def _chart(size: tuple[int, int]) -> Array:
    """A ramp in each channel, with letters of several sizes on it."""
    rows, columns = size
    down, across = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    image = np.ascontiguousarray((255 * np.stack([across, down, 1 - across * down], axis=2)).astype(np.uint8))
    for k in range(6):
        height = rows * (k + 1) / 7
        scale = rows / 1080 * (0.6 + 0.5 * k)
        colour = (255, 255, 255) if k % 2 else (0, 0, 0)
        place = (columns // 40, round(height))
        cv2.putText(image, "R3D2 0123456789 abc", place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, max(1, round(scale)))
    return image / 255


def _photo(size: tuple[int, int], rng: np.random.Generator) -> Array:
    """Contrast that falls with frequency as in photographs, under a bright sky, with boxes that have hard edges."""
    rows, columns = size
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    spectrum = np.fft.rfft2(rng.normal(size=(3, rows, columns))) / np.maximum(frequency, 1 / max(size))
    texture = np.fft.irfft2(spectrum, s=size).transpose(1, 2, 0)
    image = 0.4 + 0.12 * texture / texture.std()
    horizon = rows // 3
    image[:horizon] = 0.25 * image[:horizon] + np.array([0.5, 0.6, 0.7])
    for _ in range(12):
        top, left = rng.integers(horizon // 2, rows - rows // 5), rng.integers(0, columns - columns // 8)
        box = np.s_[top : top + rng.integers(rows // 20, rows // 5), left : left + rng.integers(4, columns // 8)]
        image[box] = 0.7 * rng.random(3) + 0.3 * image[box]
    return np.clip(image, 0, 1)
