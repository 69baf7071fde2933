"""The two published sizes, and a small one of the same classes for tests and for machines without a GPU."""

from __future__ import annotations

from dataclasses import replace

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.model.config import KLConfig, ModelConfig, Padding, Prompt, TinyConfig, UNetConfig

_R3D2 = ModelConfig(variant="r3d2", autoencoder=TinyConfig())

VARIANTS: dict[str, ModelConfig] = {
    "r3d2": _R3D2,
    "r3d2-big": replace(_R3D2, variant="r3d2-big", autoencoder=KLConfig()),
    "nano": ModelConfig(
        variant="nano",
        unet=UNetConfig(
            block_out_channels=(32, 64, 64, 64),
            attention_heads=(1, 2, 2, 2),
            cross_attention_dim=32,
            layers_per_block=1,
            norm_groups=16,
        ),
        autoencoder=TinyConfig(channels=16, encoder_blocks=(1, 1, 1, 1), decoder_blocks=(1, 1, 1, 1)),
        prompt=Prompt(tokens=4),
        padding=Padding(multiple_px=64),
    ),
}
"""Name -> configuration without prompt text and licences. R3D2: SD-Turbo's UNet with TAESD; R3D2-BIG: with SD's KL."""


def variant(name: str) -> ModelConfig:
    """The configuration of a published size or `nano`. InputError for any other name."""
    if name not in VARIANTS:
        raise InputError("variant", " | ".join(VARIANTS), repr(name))
    return VARIANTS[name]
