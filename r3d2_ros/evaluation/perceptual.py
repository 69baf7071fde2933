"""LPIPS over whole pictures and over parts of them, with the trunk and the heads that training uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.evaluation.inserts import Picture
from r3d2_ros.evaluation.run import Lpips
from r3d2_ros.evaluation.similarity import as_tensor
from r3d2_ros.harmonizer.runtime.device import find_device
from r3d2_ros.input_files import open_input
from r3d2_ros.resources import user_path
from r3d2_ros.training.perceptual import LpipsHeads
from r3d2_ros.training.trunk import TRUNK_FILE, TRUNK_URL, Trunk, load_trunk


def open_lpips(path: str | None, *, device: str, required: bool) -> Lpips:
    """LPIPS with the VGG16 weights of `path`, or of torchvision's cache for None.

    Where the cache has no such file, or `lpips` is missing, the result says so, unless `required`. InputError(s) for
    weights that are there, or are named, and cannot be used.
    """
    file = user_path(path, "--lpips") if path else Path(torch.hub.get_dir()) / "checkpoints" / TRUNK_FILE
    if not file.exists():
        hint = f"Download {TRUNK_URL} (553 MB) there, or give its path by --lpips"
        missing = InputError(str(file), "VGG16 weights of torchvision", "no such file", hint)
        if path or required:
            raise missing
        return Lpips(None, str(missing), {"trunk": None})
    _check_is_trunk(file)
    try:
        heads = LpipsHeads()
    except MissingPackageError as error:
        if path or required:
            raise
        return Lpips(None, str(error), {"trunk": None})
    measure = LpipsMap(load_trunk(file), heads, find_device(device))
    made = {"network": "vgg16", "version": "0.1", "trunk": str(file)}
    return Lpips(measure, "", made)


def _check_is_trunk(file: Path) -> None:
    """InputError for what no PyTorch file begins like. What is one is checked by its reader."""
    with open_input(file, expected="VGG16 weights of torchvision") as opened:
        start = opened.read(4)
    if file.suffix != ".safetensors" and not start.startswith((b"PK\x03\x04", b"\x80")):  # a zip archive, a pickle
        expected = f"VGG16 weights of torchvision, such as {TRUNK_FILE}"
        raise InputError(str(file), expected, f"a file that starts with {start!r}")


class LpipsMap:
    """LPIPS of two pictures. Each layer's map is brought to the size of the picture, bilinear, as `lpips` does it."""

    def __init__(self, trunk: Trunk, heads: LpipsHeads, device: torch.device) -> None:
        self._trunk, self._heads, self._device = trunk.to(device), heads.to(device), device

    @torch.inference_mode()
    def __call__(self, picture: Picture, target: Picture) -> tuple[float, NDArray[np.float32]]:
        one, other = (self._trunk(as_tensor(image).to(self._device)) for image in (picture, target))
        layers = self._heads.maps(one, other)
        size = picture.shape[:2]
        whole = sum(float(layer.mean()) for layer in layers)
        image = sum(
            torch.nn.functional.interpolate(layer[:, None], size=size, mode="bilinear", align_corners=False)
            for layer in layers
        )
        assert isinstance(image, torch.Tensor)
        return whole, image[0, 0].cpu().numpy()
