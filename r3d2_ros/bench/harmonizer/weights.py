"""The weights that are measured: of a checkpoint, or random ones, with which a picture says nothing."""

from __future__ import annotations

from pathlib import Path

import torch

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.model.checkpoints import load_checkpoint, load_config, save_checkpoint
from r3d2_ros.harmonizer.model.config import ModelConfig
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.model.random_weights import is_random, random_model
from r3d2_ros.harmonizer.model.shipped import model_folder
from r3d2_ros.harmonizer.model.variants import variant


def model_to_measure(checkpoint: str | None, name: str, *, seed: int) -> R3D2:
    """The checkpoint's model in float32 on the CPU, or a random one of a variant's sizes, no weight of it zero."""
    if checkpoint is not None:
        return load_checkpoint(model_folder(checkpoint, "--checkpoint"), dtype=torch.float32)
    return random_model(variant(name), seed=seed)


def checkpoint_to_measure(
    checkpoint: str | None, name: str, folder: Path, *, seed: int, dtype: str
) -> tuple[Path, ModelConfig]:
    """A checkpoint folder and its configuration: the given one, or random weights written to `folder` in `dtype`."""
    if checkpoint is not None:
        given = model_folder(checkpoint, "--checkpoint")
        return given, load_config(given)
    model = random_model(variant(name), seed=seed)
    save_checkpoint(model.to(getattr(torch, dtype)), folder)
    return folder, model.config


def check_trained(config: ModelConfig, where: str) -> None:
    """InputError for random weights, whose pictures say nothing about quality."""
    if is_random(config):
        raise InputError(where, "trained weights", "random ones", "Quality is unmeasured with random weights")
