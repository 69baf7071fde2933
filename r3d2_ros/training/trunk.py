"""The VGG16 whose features LPIPS and the Gram loss compare: torchvision's convolutions, without torchvision."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.convert.pickles import read_pickle, tensor_dict
from r3d2_ros.harmonizer.model.tensor_files import check_keys, read_tensors, shapes_of
from r3d2_ros.resources import user_path

TRUNK_FILE = "vgg16-397923af.pth"
TRUNK_URL = f"https://download.pytorch.org/models/{TRUNK_FILE}"

SLICES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions in each of the five parts; a part ends behind its last ReLU: relu1_2 to relu5_3."""
TAP_CHANNELS = tuple(part[-1] for part in SLICES)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Trunk(nn.Module):
    """Images [B,3,H,W] in [0, 1], 16 pixels or more a side, to five feature maps [B, 64|128|256|512|512, ...], the
    k-th (from 0) at 1 / 2^k of the size.

    Normalised as torchvision does it; LPIPS' own scaling of [-1, 1] is the same numbers.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)
        self.slices = nn.ModuleList()
        before = 3
        for number, channels in enumerate(SLICES):
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if number else []
            for after in channels:
                layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
                before = after
            self.slices.append(nn.Sequential(*layers))
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x, taps = (image - self.mean) / self.std, []
        for part in self.slices:
            x = part(x)
            taps.append(x)
        return tuple(taps)


def load_trunk(path: str | Path = "") -> Trunk:
    """The trunk with the weights of a file of torchvision's VGG16 (.pth or .safetensors); empty: of torchvision's
    cache. Pickled code in it does not run. InputError(s): missing, damaged, or of another network.
    """
    file = user_path(path, "loss.trunk") if str(path) else Path(torch.hub.get_dir()) / "checkpoints" / TRUNK_FILE
    if not file.is_file():
        hint = (
            f"Download {TRUNK_URL} (553 MB, ImageNet weights) to {Path(torch.hub.get_dir()) / 'checkpoints'}, or give "
            "its path as loss.trunk; without it, train with the weights of lpips and gram at 0"
        )
        raise InputError(str(file), "torchvision's VGG16 weights, for LPIPS and the Gram loss", "no such file", hint)
    tensors = {key: tensor.float() for key, tensor in _read(file).items() if key.startswith("features.")}
    trunk = Trunk()
    own = trunk.state_dict()
    names = dict(zip(_torchvision_keys(), own, strict=True))
    check_keys(
        str(file), needed={key: tuple(own[names[key]].shape) for key in names}, present=shapes_of(tensors.items())
    )
    trunk.load_state_dict({names[key]: tensor for key, tensor in tensors.items()})
    return trunk


def random_trunk(seed: int) -> Trunk:
    """The trunk with seeded random weights that keep variances level: distances by it mean nothing to an eye."""
    generator = torch.Generator().manual_seed(seed)
    trunk = Trunk()
    for name, parameter in trunk.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        parameter.data = values * (2 / parameter[0].numel()) ** 0.5 if name.endswith("weight") else values * 0.05
    return trunk


def torchvision_state(trunk: Trunk) -> dict[str, Tensor]:
    """The weights under torchvision's names."""
    return dict(zip(_torchvision_keys(), trunk.state_dict().values(), strict=True))


def _torchvision_keys() -> list[str]:
    """In the order of our own: torchvision numbers convolutions, ReLUs and poolings through."""
    keys, index = [], 0
    for channels in SLICES:
        for _ in channels:
            keys += [f"features.{index}.weight", f"features.{index}.bias"]
            index += 2
        index += 1
    return keys


def _read(file: Path) -> dict[str, Tensor]:
    return read_tensors(file) if file.suffix == ".safetensors" else tensor_dict(read_pickle(file), str(file))
