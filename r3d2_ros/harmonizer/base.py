"""What a harmonizer runs: the contract between pictures and networks. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

Shape = tuple[int, int, int]
"""Images, rows, columns."""


class ImageModel(Protocol):
    """Images [B, 3, H, W] in [0, 1] to images of the same shape and range."""

    def __call__(self, image: torch.Tensor, /) -> torch.Tensor: ...


class ImageNetwork(Protocol):
    """Images [B, 3, H, W] float32 in [0, 1] on `device` to images of the same shape there.

    latent_px  pixels, a side, that are one of its latents: crops begin at multiples of it
    """

    device: torch.device
    latent_px: int

    def __call__(self, images: torch.Tensor) -> torch.Tensor: ...

    def warm_up(self, shapes: Iterable[Shape]) -> None:
        """Do what is done once for each shape, so that no frame waits for it."""
        ...
