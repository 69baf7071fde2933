"""Encoders that hand out their skip taps and decoders that take them, around the layers of diffusers' autoencoders.

Taps are plain tensors from one call to the other, the coarsest first (the order in which the decoder meets them), so
that tracing and compiling see them. Images are in [0, 1]; latents are in the units of the UNet.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.harmonizer.model.config import KLConfig, SkipOptions, TinyConfig

TINY_LATENT_BOUND = 3
"""TAESD squashes latents softly into [-3, 3] before it decodes them."""


def build_autoencoder(
    config: TinyConfig | KLConfig, skips: SkipOptions
) -> tuple[TinyEncoder | KLEncoder, TinyDecoder | KLDecoder]:
    """Encoder (image [B,3,H,W] -> latents [B,4,H/8,W/8], taps) and decoder (latents, taps -> image, unclamped)."""
    if isinstance(config, TinyConfig):
        tiny = tiny_autoencoder(config)
        return TinyEncoder(tiny), TinyDecoder(tiny, skips)
    kl = kl_autoencoder(config)
    return KLEncoder(kl), KLDecoder(kl, skips)


def tiny_autoencoder(config: TinyConfig) -> AutoencoderTiny:
    """diffusers' TAESD in the sizes of `config`."""
    channels = (config.channels,) * 4
    return AutoencoderTiny(
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        num_encoder_blocks=config.encoder_blocks,
        num_decoder_blocks=config.decoder_blocks,
    )


def kl_autoencoder(config: KLConfig) -> AutoencoderKL:
    """diffusers' Stable Diffusion autoencoder in the sizes of `config`."""
    levels = len(config.block_out_channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_groups,
        scaling_factor=config.scaling_factor,
    )


class TinyEncoder(nn.Module):
    """TAESD's encoder. It works in [0, 1] by itself; only diffusers' wrapper around the layers goes by [-1, 1]."""

    def __init__(self, autoencoder: AutoencoderTiny) -> None:
        super().__init__()
        self.layers = autoencoder.encoder.layers

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        taps: list[Tensor] = []
        x = image
        for layer in self.layers:
            if _halves(layer):
                taps.append(x)
            x = layer(x)
        return x, tuple(reversed(taps))


class TinyDecoder(nn.Module):
    """TAESD's decoder with a skip convolution per upsampling."""

    def __init__(self, autoencoder: AutoencoderTiny, options: SkipOptions) -> None:
        super().__init__()
        self.layers = autoencoder.decoder.layers
        upsamplings = [i for i, layer in enumerate(self.layers) if isinstance(layer, nn.Upsample)]
        shift = 1 if options.position == "after_convolution" else 0
        self.sum_after = {index + shift: level for level, index in enumerate(upsamplings)}
        taps = [layer.in_channels for layer in autoencoder.encoder.layers if _halves(layer)]
        sums = [self.layers[index + 1].in_channels for index in upsamplings]
        self.skips = skip_convolutions(list(zip(reversed(taps), sums, strict=True)), options)

    def forward(self, latents: Tensor, taps: tuple[Tensor, ...]) -> Tensor:
        x = torch.tanh(latents / TINY_LATENT_BOUND) * TINY_LATENT_BOUND
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in self.sum_after:
                x = _with_skip(x, self.skips, taps, self.sum_after[index])
        return x


class KLEncoder(nn.Module):
    """AutoencoderKL's encoder. Latents are the mean of the distribution: a sample would differ from call to call."""

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        super().__init__()
        encoder = autoencoder.encoder
        self.conv_in, self.down_blocks, self.mid_block = encoder.conv_in, encoder.down_blocks, encoder.mid_block
        self.conv_norm_out, self.conv_act, self.conv_out = encoder.conv_norm_out, encoder.conv_act, encoder.conv_out
        self.quant_conv = autoencoder.quant_conv
        self.scaling_factor: float = autoencoder.config.scaling_factor

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        taps: list[Tensor] = []
        x = self.conv_in(image * 2 - 1)
        for block in self.down_blocks:
            taps.append(x)
            x = block(x)
        x = self.conv_out(self.conv_act(self.conv_norm_out(self.mid_block(x))))
        mean, _ = self.quant_conv(x).chunk(2, dim=1)
        return mean * self.scaling_factor, tuple(reversed(taps))


class KLDecoder(nn.Module):
    """AutoencoderKL's decoder with a skip convolution before each block; the first has no upsampling before it."""

    def __init__(self, autoencoder: AutoencoderKL, options: SkipOptions) -> None:
        super().__init__()
        decoder = autoencoder.decoder
        self.post_quant_conv = autoencoder.post_quant_conv
        self.conv_in, self.mid_block, self.up_blocks = decoder.conv_in, decoder.mid_block, decoder.up_blocks
        self.conv_norm_out, self.conv_act, self.conv_out = decoder.conv_norm_out, decoder.conv_act, decoder.conv_out
        self.scaling_factor: float = autoencoder.config.scaling_factor
        self.before_convolution = options.position == "after_upsample"
        taps = [block.resnets[0].in_channels for block in autoencoder.encoder.down_blocks]
        sums = [block.resnets[0].in_channels for block in self.up_blocks]
        self.skips = skip_convolutions(list(zip(reversed(taps), sums, strict=True)), options)

    def forward(self, latents: Tensor, taps: tuple[Tensor, ...]) -> Tensor:
        x = self.mid_block(self.conv_in(self.post_quant_conv(latents / self.scaling_factor)))
        x = _with_skip(x, self.skips, taps, 0)
        for level, block in enumerate(self.up_blocks, start=1):
            for resnet in block.resnets:
                x = resnet(x, None)
            if block.upsamplers is None:
                continue
            x, convolution = functional.interpolate(x, scale_factor=2.0, mode="nearest"), block.upsamplers[0].conv
            if self.before_convolution:
                x = convolution(_with_skip(x, self.skips, taps, level))
            else:
                x = _with_skip(convolution(x), self.skips, taps, level)
        x = self.conv_out(self.conv_act(self.conv_norm_out(x)))
        return (x + 1) / 2


def skip_convolutions(channels: list[tuple[int, int]], options: SkipOptions) -> nn.ModuleList:
    """One zero convolution per (tap, sum) pair of channel counts, or none where skips are off."""
    size = options.kernel_size
    convolutions = [nn.Conv2d(taken, given, size, padding=size // 2, bias=options.bias) for taken, given in channels]
    for convolution in convolutions:
        for parameter in convolution.parameters():
            nn.init.zeros_(parameter)
    return nn.ModuleList(convolutions if options.enabled else [])


def _with_skip(x: Tensor, skips: nn.ModuleList, taps: tuple[Tensor, ...], level: int) -> Tensor:
    return x + skips[level](taps[level]) if skips else x


def _halves(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.stride[0] == 2
