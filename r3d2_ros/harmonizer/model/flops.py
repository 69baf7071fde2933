"""Parameters and floating-point operations of each part, counted on the meta device: no memory, no arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from r3d2_ros.harmonizer.model.config import ModelConfig
from r3d2_ros.harmonizer.model.r3d2 import R3D2


@dataclass(frozen=True)
class ModelSize:
    """Per part (encoder, unet, decoder without skips, skips): parameters, and FLOP of one image (a MAC is 2)."""

    parameters: dict[str, int]
    flop: dict[str, int]

    @property
    def total_parameters(self) -> int:
        return sum(self.parameters.values())

    @property
    def total_flop(self) -> int:
        return sum(self.flop.values())


def measure_size(config: ModelConfig, *, height_px: int, width_px: int) -> ModelSize:
    """Parameters, and FLOP for one `height_px` x `width_px` image after the padding rule."""
    with torch.device("meta"):
        model = R3D2(config)
        image = torch.empty(1, 3, height_px, width_px)
    model.to("meta").requires_grad_(False)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(image)
    counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    parameters = {part: _parameter_count(getattr(model, part)) for part in ("encoder", "unet", "decoder")}
    flop = {part: counts[f"R3D2.{part}"] for part in ("encoder", "unet", "decoder")}
    skips = model.decoder.skips
    parameters["skips"] = _parameter_count(skips)
    flop["skips"] = sum(counts.get(f"R3D2.decoder.skips.{level}", 0) for level in range(len(skips)))
    for sizes in (parameters, flop):
        sizes["decoder"] -= sizes["skips"]
    return ModelSize(parameters=parameters, flop=flop)


def _parameter_count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
