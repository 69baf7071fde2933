"""What is computed in a training step, as modules that `accelerate` can wrap: their `forward` is the step's."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from r3d2_ros.errors import MissingPackageError
from r3d2_ros.harmonizer.convert.lora import Adapted, merge, take_apart
from r3d2_ros.harmonizer.model.autoencoders import KLDecoder, KLEncoder, TinyDecoder, TinyEncoder
from r3d2_ros.harmonizer.model.r3d2 import R3D2, pad_image
from r3d2_ros.training.config import LoraConfig, TrainConfig

LORA_TARGETS = (
    "to_q", "to_k", "to_v", "to_out.0", "conv", "conv1", "conv2", "conv_shortcut", "conv_out", "proj_in", "proj_out",
    "ff.net.0.proj", "ff.net.2",
)  # fmt: skip
"""Of the UNet, as img2img-turbo has them."""


class Made(NamedTuple):
    """What a stage makes of images [B,3,H,W] in [0, 1].

    image  [B,3,H,W], unclamped: beyond [0, 1] a clamp has no gradient that leads back
    sun    [B,3,h,w], where each place in the UNet's middle tells the sun to be (`Batch.sun`), or None: it is not asked
    """

    image: Tensor
    sun: Tensor | None = None


class AutoencoderStage(nn.Module):
    """Images to their reconstructions, by encoder and decoder: without skips the latents must carry the picture."""

    def __init__(self, model: R3D2) -> None:
        super().__init__()
        self.model = model
        model.requires_grad_(False)
        model.encoder.requires_grad_(True)
        model.decoder.requires_grad_(True)
        model.decoder.skips.requires_grad_(False)

    def forward(self, image: Tensor) -> Made:
        padded, (height, width) = pad_image(image, self.model.config.padding), image.shape[-2:]
        latents, taps = self.model.encode(padded)
        # The skip convolutions are zero and stay so here: what they add is exactly nothing.
        return Made(self.model.enlarged(self.model.decoder(latents, taps))[..., :height, :width])


class HarmonizerStage(nn.Module):
    """Inputs to harmonized images, with gradients for UNet, decoder and skips, and for the encoder if it is trained.

    With `tell_sun` the first three channels that leave the UNet's middle block are to be the direction to the sun:
    there a place knows the whole picture, but of the picture's loss little reaches it.
    """

    def __init__(self, model: R3D2, lora: LoraConfig, *, train_encoder: bool, tell_sun: bool) -> None:
        super().__init__()
        self.model = model
        self.train_encoder, self.tell_sun = train_encoder, tell_sun
        model.encoder.requires_grad_(train_encoder)
        model.unet.requires_grad_(True)
        model.decoder.requires_grad_(True)
        if lora.rank:
            add_lora(model, lora)

    def forward(self, image: Tensor) -> Made:
        padded, (height, width) = pad_image(image, self.model.config.padding), image.shape[-2:]
        with torch.set_grad_enabled(self.train_encoder and torch.is_grad_enabled()):
            latents, taps = self.model.encode(padded)
        middle: list[Tensor] = []
        hook = self.model.unet.mid_block.register_forward_hook(lambda _module, _inputs, output: middle.append(output))
        try:
            output = self.model.finish(padded, self.model.harmonize_latents(latents, taps))
        finally:
            hook.remove()
        return Made(output[..., :height, :width], middle[0][:, :3] if self.tell_sun else None)


Stage = AutoencoderStage | HarmonizerStage


def build_stage(model: R3D2, config: TrainConfig, *, autoencoder: bool) -> Stage:
    """One of the two stages; the other must not train `model` any more."""
    if autoencoder:
        return AutoencoderStage(model)
    if config.autoencoder.steps and model.config.skips.image:
        begin_with_the_input(model.decoder)
    tell_sun = config.loss.sun > 0
    return HarmonizerStage(model, config.lora, train_encoder=config.train_encoder, tell_sun=tell_sun)


@torch.no_grad()
def begin_with_the_input(decoder: TinyDecoder | KLDecoder) -> None:
    """Zero the last convolution: a decoder that gave whole pictures is to give changes, and begins with none."""
    last = decoder.conv_out if isinstance(decoder, KLDecoder) else decoder.layers[-1]
    last.weight.zero_()
    last.bias.zero_()


def precision(config: TrainConfig, device: torch.device) -> torch.autocast:
    """The context in which a step's networks compute."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")


def trained(stage: Stage) -> dict[str, nn.Parameter]:
    """Name in the model -> each parameter that the optimizer changes."""
    return {name: parameter for name, parameter in stage.model.named_parameters() if parameter.requires_grad}


def add_lora(model: R3D2, lora: LoraConfig) -> None:
    """Adapters in the UNet, whose own weights are frozen. MissingPackageError without peft."""
    try:
        from peft import LoraConfig as PeftConfig
        from peft import inject_adapter_in_model
    except ImportError:
        raise MissingPackageError("peft", "lora.rank above 0", "pip install 'r3d2_ros[lora]'") from None
    settings = PeftConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(LORA_TARGETS))
    inject_adapter_in_model(settings, model.unet)


def merged_state(model: R3D2, lora: LoraConfig, changed: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The model's state dictionary with `changed` in place of its own tensors, and adapters merged into the weights."""
    state = model.state_dict() | (changed or {})
    parts: Adapted = take_apart(state, where="the trained model")
    return merge({}, parts, alpha=lora.alpha, where="the trained model")


def checkpoint_activations(model: R3D2) -> None:
    """Compute activations again in the backward pass, block by block, instead of keeping them.

    A frozen encoder keeps none anyway. (In diffusers' tiny encoder the same switch changes the range of the image.)
    """
    model.unet.enable_gradient_checkpointing()
    encoder, decoder = model.encoder, model.decoder
    blocks: list[nn.Module] = []
    if isinstance(encoder, KLEncoder) and isinstance(decoder, KLDecoder):
        blocks += [resnet for block in encoder.down_blocks for resnet in block.resnets]
        blocks += [encoder.mid_block, decoder.mid_block]
        blocks += [resnet for block in decoder.up_blocks for resnet in block.resnets]
    elif isinstance(encoder, TinyEncoder) and isinstance(decoder, TinyDecoder):
        layers = (layer for part in (encoder, decoder) for layer in part.layers)
        blocks += [layer for layer in layers if any(True for _ in layer.parameters())]
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
