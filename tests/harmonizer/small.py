"""Models of a few thousand parameters, with the tiny and with the KL autoencoder, and folders of their parts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from r3d2_ros.harmonizer.model.autoencoders import kl_autoencoder, tiny_autoencoder
from r3d2_ros.harmonizer.model.config import KLConfig, ModelConfig, Prompt, TinyConfig, UNetConfig
from r3d2_ros.harmonizer.model.r3d2 import R3D2, build_unet
from r3d2_ros.harmonizer.model.random_weights import random_model

UNET = UNetConfig(
    block_out_channels=(8, 8, 16, 16),
    attention_heads=(1, 1, 2, 2),
    cross_attention_dim=8,
    layers_per_block=1,
    norm_groups=4,
)
TINY = ModelConfig(variant="tiny test", unet=UNET, autoencoder=TinyConfig(channels=8), prompt=Prompt(tokens=3))
KL = replace(
    TINY,
    variant="kl test",
    autoencoder=KLConfig(block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_groups=4),
)


def seeded(config: ModelConfig, seed: int = 0) -> R3D2:
    """A random model, the same for the same seed."""
    return random_model(config, seed=seed)


def picture(height: int, width: int, *, batch: int = 1, seed: int = 0) -> torch.Tensor:
    """Seeded noise [B,3,H,W] in [0, 1]."""
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def write_model(folder: Path, model: torch.nn.Module, class_name: str) -> None:
    """`model` as diffusers writes one."""
    folder.mkdir(parents=True)
    config = {key: value for key, value in model.config.items() if not key.startswith("_")}
    (folder / "config.json").write_text(json.dumps({"_class_name": class_name, **config}))
    save_file(model.state_dict(), folder / "diffusion_pytorch_model.safetensors")


def write_base(folder: Path, *, licence: str = "stability-ai-community") -> Path:
    """A Stable Diffusion folder: `unet/` and `vae/` (KL) in the sizes of the configurations above."""
    torch.manual_seed(0)
    assert isinstance(KL.autoencoder, KLConfig)
    write_model(folder / "unet", build_unet(UNET), "UNet2DConditionModel")
    write_model(folder / "vae", kl_autoencoder(KL.autoencoder), "AutoencoderKL")
    (folder / "README.md").write_text(f"---\nlicense: other\nlicense_name: {licence}\n---\nweights\n")
    return folder


def write_tiny(folder: Path) -> Path:
    """An AutoencoderTiny folder."""
    torch.manual_seed(1)
    assert isinstance(TINY.autoencoder, TinyConfig)
    write_model(folder, tiny_autoencoder(TINY.autoencoder), "AutoencoderTiny")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder
