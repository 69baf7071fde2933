"""A model to train, or to compare with: SD-Turbo's UNet, an autoencoder, and skips that add exactly nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from r3d2_ros.harmonizer.convert.choices import Choices, PromptInput, complete, configure
from r3d2_ros.harmonizer.convert.diffusers import own_autoencoder_keys, own_unet_keys, read_autoencoder, read_unet
from r3d2_ros.harmonizer.convert.schedules import read_schedule
from r3d2_ros.harmonizer.model.config import Schedule
from r3d2_ros.harmonizer.model.licences import licences_of
from r3d2_ros.harmonizer.model.r3d2 import R3D2


def model_from_base(base: Path, autoencoder: Path, prompt: PromptInput, choices: Choices) -> R3D2:
    """The untrained model of a Stable Diffusion folder and an autoencoder.

    InputError(s): they do not fit, or the folder's scheduler states a diffusion that checkpoints do not compute.
    """
    stated = read_schedule(base)
    unet, images = read_unet(base), read_autoencoder(autoencoder)
    folders = [base] if autoencoder == base else [base, autoencoder]
    config = configure(
        unet.config,
        images.config,
        prompt=prompt,
        choices=replace(choices, licences=choices.licences or tuple(one for f in folders for one in licences_of(f))),
        schedule=stated.schedule if stated else Schedule(),
    )
    tensors = own_unet_keys(unet.tensors) | own_autoencoder_keys(images.tensors)
    return complete(config, tensors, prompt=prompt, where=f"{base} and {autoencoder}")
