"""LPIPS and the Gram-matrix loss, of feature maps that one pass of the trunk gave.

A loss is one number per sample: nothing mixes the samples of a batch. Sums are formed in float32 whatever the trunk
computes in; an unnormalised Gram matrix of a whole frame is beyond float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from r3d2_ros.errors import MissingPackageError
from r3d2_ros.harmonizer.convert.pickles import read_pickle, tensor_dict
from r3d2_ros.harmonizer.model.tensor_files import check_keys, shapes_of
from r3d2_ros.training.trunk import TAP_CHANNELS

Features = Sequence[Tensor]
Normalisation = Literal["film", "difix"]

GRAM_WEIGHTS = (1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5)
"""Of the five feature maps, in FILM (Reda et al. 2022, `losses/vgg19_loss.py`) and in Difix alike."""

COARSEST = 16
"""Pixels of the image per pixel of the last feature map."""


class LpipsHeads(nn.Module):
    """LPIPS 0.1 for VGG16 (Zhang et al. 2018): weighted squared differences of unit feature vectors.

    The weights per channel are those of the package `lpips`. Its code is not imported: that needs torchvision.
    """

    def __init__(self) -> None:
        """MissingPackageError without `lpips`; InputError(s) when its file of weights is not the one expected."""
        super().__init__()
        for number, weight in enumerate(_lpips_weights()):
            self.register_buffer(f"lin{number}", weight)

    def forward(self, one: Features, other: Features) -> Tensor:
        """[B] distances; 0 for equal features."""
        total: Tensor | float = 0.0
        for layer in self.maps(one, other):
            total = total + layer.mean((1, 2))
        assert isinstance(total, Tensor)
        return total

    def maps(self, one: Features, other: Features) -> list[Tensor]:
        """Of each layer where its part of the distance comes from, [B, h, w]; the distance is the sum of the means."""
        found = []
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            difference = (_unit(a.float()) - _unit(b.float())).square()
            found.append((difference * self.get_buffer(f"lin{number}").float()).sum(1))
        return found


def gram_loss(one: Features, other: Features, normalisation: Normalisation) -> Tensor:
    """[B] weighted mean squared differences of the Gram matrices of each pair of maps [B, d, h, w].

    film   G = F F^T / (h w), mean((G1 - G2)^2)
    difix  G = F F^T, mean((G1 - G2)^2) / (d h w), which is film times h w / d and grows with the image
    """
    total: Tensor | float = 0.0
    for weight, a, b in zip(GRAM_WEIGHTS, one, other, strict=True):
        channels, height, width = a.shape[1:]
        loss = (gram_matrix(a) - gram_matrix(b)).square().mean((1, 2))
        total = total + weight * (loss if normalisation == "film" else loss * (height * width / channels))
    assert isinstance(total, Tensor)
    return total


def gram_matrix(features: Tensor) -> Tensor:
    """[B, d, h, w] to F F^T / (h w), [B, d, d] float32."""
    with torch.autocast(features.device.type, enabled=False):
        flat = features.float().flatten(2)
        return flat @ (flat / flat.shape[2]).transpose(1, 2)


def crop_features(features: Features, *, top: int, left: int, size_px: int) -> list[Tensor]:
    """The maps' parts of one square of the image; all three numbers are multiples of 16 pixels.

    At its border the features have seen what lies beyond: the price of one pass for everything.
    """
    parts = []
    for level, tap in enumerate(features):
        scale = 2**level
        rows = slice(top // scale, (top + size_px) // scale)
        parts.append(tap[:, :, rows, left // scale : (left + size_px) // scale])
    return parts


def _unit(features: Tensor) -> Tensor:
    # vector_norm has gradient 0 at 0. The square root of a sum has none there: a pixel with no active feature is a NaN.
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)


def _lpips_weights() -> list[Tensor]:
    spec = find_spec("lpips")
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError("lpips", "LPIPS", "pip install --no-deps lpips")
    file = Path(spec.submodule_search_locations[0]) / "weights" / "v0.1" / "vgg.pth"
    data = tensor_dict(read_pickle(file), str(file))
    keys = [f"lin{number}.model.1.weight" for number in range(len(TAP_CHANNELS))]
    needed = {key: (1, channels, 1, 1) for key, channels in zip(keys, TAP_CHANNELS, strict=True)}
    check_keys(str(file), needed=needed, present=shapes_of(data.items()), hint="It is not that of lpips 0.1.4")
    return [data[key].reshape(-1, 1, 1) for key in keys]
