"""What a network is made of, as a checkpoint records it. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from r3d2_ros.schema import STRICT

Count = Annotated[int, Field(ge=1, le=4096, strict=True)]
DTypeName = Literal["float32", "float16", "bfloat16"]
Few = Annotated[int, Field(ge=1, le=16, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
InputRange = Literal["signed", "unit"]
Position = Literal["after_upsample", "after_convolution"]
Four = tuple[Count, Count, Count, Count]
FewFour = tuple[Few, Few, Few, Few]


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """The parts of `UNet2DConditionModel` that vary here, the finest resolution first; the rest is SD-Turbo's."""

    block_out_channels: Four = (320, 640, 1280, 1280)
    attention_heads: Four = (5, 10, 20, 20)
    cross_attention_dim: Count = 1024
    layers_per_block: Few = 2
    norm_groups: Count = 32
    linear_projection: Flag = True

    __pydantic_config__ = STRICT


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    """TAESD, diffusers' `AutoencoderTiny`: skips at 3 levels."""

    kind: Literal["tiny"] = "tiny"
    channels: Count = 64
    encoder_blocks: FewFour = (1, 3, 3, 3)
    decoder_blocks: FewFour = (3, 3, 3, 1)

    __pydantic_config__ = STRICT


@dataclass(frozen=True, kw_only=True)
class KLConfig:
    """Stable Diffusion's `AutoencoderKL`: skips at 4 levels."""

    kind: Literal["kl"] = "kl"
    block_out_channels: Four = (128, 256, 512, 512)
    layers_per_block: Few = 2
    norm_groups: Count = 32
    scaling_factor: Annotated[float, Field(gt=0, strict=True)] = 0.18215

    __pydantic_config__ = STRICT


@dataclass(frozen=True, kw_only=True)
class SkipOptions:
    """How encoder taps reach the decoder: through convolutions that start at exactly 0.

    `position`: the sum is formed with the upsampled tensor, or with the result of the convolution that follows it.
    `image`: the input image is added to what the decoder gives, which then says what changes. Not in R3D2: a small
    autoencoder cannot carry texture, and this way it need not.
    `reduction`: with `image`, the network sees the means of squares of so many pixels a side, and what it changes is
    enlarged: light and shadow are smooth, and cost a quarter.
    """

    enabled: Flag = True
    kernel_size: Literal[1, 3] = 1
    bias: Flag = False
    position: Position = "after_convolution"
    image: Flag = False
    reduction: Literal[1, 2] = 1

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if self.reduction > 1 and not self.image:
            raise ValueError("reduction 1 where the input image is not added: the output would be blurred")


@dataclass(frozen=True, kw_only=True)
class Padding:
    """Rows below and columns to the right bring an image to a multiple of `multiple_px`; the output is cropped again.

    8 is what the autoencoders need. 64 also spares the UNet the odd sizes between its levels (1080 rows are 135 latent
    rows). Training and inference must agree, so the rule is part of the checkpoint.
    """

    mode: Literal["replicate", "reflect"] = "replicate"
    multiple_px: Literal[8, 16, 32, 64, 128] = 8

    __pydantic_config__ = STRICT


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Betas of the diffusion, linear in their square roots ("scaled_linear"); epsilon prediction."""

    beta_start: Annotated[float, Field(gt=0, lt=1, strict=True)] = 0.00085
    beta_end: Annotated[float, Field(gt=0, lt=1, strict=True)] = 0.012
    steps: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 1000

    __pydantic_config__ = STRICT


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """The text whose embedding [1, tokens, cross_attention_dim] the checkpoint stores; None where it is not known."""

    text: str | None = None
    tokens: Count = 77

    __pydantic_config__ = STRICT


@dataclass(frozen=True, kw_only=True)
class Licence:
    """One link of what a checkpoint was made from. `commercial`: its terms allow commercial use to anyone."""

    name: str
    source: str
    commercial: Flag

    __pydantic_config__ = STRICT


LATENT_PX = 8
"""Pixels, a side, that the autoencoders make one latent of."""

PROCEDURAL = "procedural"
"""The kind of dataset that `r3d2 dataset build --procedural` makes, in a checkpoint's `trained_on`."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything about a model except its numbers: `config.json` of a checkpoint.

    `input_range`: the range in which the image enters the autoencoder. "signed" is [-1, 1], what the autoencoders were
    trained for; "unit" leaves it in [0, 1], as pix2pix-turbo does.
    `trained_on`: the kinds of datasets that it was trained on, as dataset.json names them, in order; empty where that
    is not known.
    """

    format: Literal["r3d2-harmonizer"] = "r3d2-harmonizer"
    version: Literal[1] = 1
    variant: Annotated[str, Field(min_length=1, max_length=64)]
    unet: UNetConfig = field(default_factory=UNetConfig)
    autoencoder: Annotated[TinyConfig | KLConfig, Field(discriminator="kind")]
    skips: SkipOptions = field(default_factory=SkipOptions)
    timestep: Annotated[int, Field(ge=0, le=9999, strict=True)] = 999
    schedule: Schedule = field(default_factory=Schedule)
    prompt: Prompt = field(default_factory=Prompt)
    padding: Padding = field(default_factory=Padding)
    input_range: InputRange = "signed"
    dtype: DTypeName = "float32"
    licences: tuple[Licence, ...] = ()
    trained_on: tuple[Annotated[str, Field(max_length=64)], ...] = ()

    __pydantic_config__ = STRICT

    @property
    def latent_px(self) -> int:
        """Pixels of an image, a side, that are one of its latents."""
        return LATENT_PX * self.skips.reduction

    def __post_init__(self) -> None:
        if self.padding.multiple_px % self.latent_px:
            raise ValueError(f"padding.multiple_px a multiple of {self.latent_px}, the pixels of a latent")
