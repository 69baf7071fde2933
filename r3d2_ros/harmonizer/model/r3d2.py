"""R3D2: encode, one UNet pass at a fixed timestep, closed-form x0, decode with skips. No noise is added."""

from __future__ import annotations

import math

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.model.autoencoders import build_autoencoder
from r3d2_ros.harmonizer.model.config import DTypeName, KLConfig, ModelConfig, Padding, Schedule, UNetConfig
from r3d2_ros.harmonizer.resampling import enlarged

DTYPES: dict[DTypeName, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def dtype_name(dtype: torch.dtype) -> DTypeName:
    """The name of `dtype` in a configuration. InputError for one that a checkpoint cannot have."""
    for name, known in DTYPES.items():
        if known == dtype:
            return name
    raise InputError("dtype", " | ".join(DTYPES), str(dtype))


class R3D2(nn.Module):
    """Images [B,3,H,W] in [0, 1] of any size to images of the same size, range and dtype.

    Parts that can be compiled one by one: `encoder`: image -> latents, taps; `unet`; `decoder`: latents, taps -> image.
    """

    prompt_embedding: Tensor
    timestep: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        check_sizes(config)
        self.config = config
        self.encoder, self.decoder = build_autoencoder(config.autoencoder, config.skips)
        self.unet = build_unet(config.unet)
        prompt_shape = (1, config.prompt.tokens, config.unet.cross_attention_dim)
        self.register_buffer("prompt_embedding", torch.zeros(prompt_shape))
        self.alpha_bar = alpha_bar(config.schedule, config.timestep)  # first: it refuses a timestep of any size
        # Not in the file but real at once, also where the rest is built on the meta device to be filled from a file.
        self.register_buffer("timestep", torch.tensor([config.timestep], device="cpu"), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """In which the parts compute; x0 is always formed in float32."""
        return self.prompt_embedding.dtype

    @property
    def image_dtype(self) -> torch.dtype:
        """Of padded images: at least float32 where the output is the image and a change, so that 16 bit rounds that
        change alone and not the render."""
        return torch.promote_types(self.dtype, torch.float32) if self.config.skips.image else self.dtype

    def forward(self, image: Tensor) -> Tensor:
        check_image(image)
        height, width = image.shape[-2:]
        padded = pad_image(image.to(self.image_dtype), self.config.padding)
        return self.harmonize_padded(padded)[..., :height, :width].to(image.dtype)

    def harmonize_padded(self, image: Tensor) -> Tensor:
        """`forward` for images [B,3,H,W] in `image_dtype` whose size already is a multiple of the padding rule's."""
        latents, taps = self.encode(image)
        return limited(self.finish(image, self.harmonize_latents(latents, taps)))

    def encode(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Of padded images [B,3,H,W] in [0, 1] the latents [B,4,H/p,W/p], p = `config.latent_px`, and the taps.

        Each tap [B,C,h,w] is an activation of the encoder (see `autoencoders`), the coarsest first.
        """
        signed, reduction = self.config.input_range == "signed", self.config.skips.reduction
        seen = (functional.avg_pool2d(image, reduction) if reduction > 1 else image).to(self.dtype)
        return self.encoder(seen if signed else (seen + 1) / 2)

    def harmonize_latents(self, latents: Tensor, taps: tuple[Tensor, ...]) -> Tensor:
        """What the decoder makes of what `encode` gave: [B,3,H/r,W/r], r = `config.skips.reduction`."""
        epsilon = self.predict_epsilon(latents)
        return self.decoder(clean_latents(latents, epsilon, self.alpha_bar), taps)

    def finish(self, image: Tensor, decoded: Tensor) -> Tensor:
        """The output [B,3,H,W] for padded images of that shape, unclamped; `decoded` is `harmonize_latents`'s."""
        return image + self.enlarged(decoded) if self.config.skips.image else decoded

    def enlarged(self, decoded: Tensor) -> Tensor:
        """What the decoder gives, [B,3,H/r,W/r], in the size of the images: [B,3,H,W]."""
        reduction = self.config.skips.reduction
        if reduction == 1:
            return decoded
        return enlarged(decoded, (decoded.shape[-2] * reduction, decoded.shape[-1] * reduction))

    def predict_epsilon(self, latents: Tensor) -> Tensor:
        """The UNet's noise prediction [B,4,h,w] for latents of that shape."""
        prompt = self.prompt_embedding.expand(latents.shape[0], -1, -1)
        return self.unet(latents, self.timestep, encoder_hidden_states=prompt, return_dict=False)[0]


def limited(image: Tensor) -> Tensor:
    """The image in [0, 1]. What is infinite is NaN then, as what follows from it would be: 0 or 1 would hide it."""
    return torch.where(image.isfinite(), image, torch.nan).clamp(0, 1)


def build_unet(config: UNetConfig) -> UNet2DConditionModel:
    """diffusers' UNet with SD-Turbo's choices in the sizes of `config`."""
    return UNet2DConditionModel(
        block_out_channels=config.block_out_channels,
        attention_head_dim=config.attention_heads,  # the number of heads, in spite of its name
        cross_attention_dim=config.cross_attention_dim,
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_groups,
        use_linear_projection=config.linear_projection,
    )


def check_sizes(config: ModelConfig) -> None:
    """InputErrors for channel counts that normalisation groups or attention heads do not divide."""
    faults = _indivisible(config.unet, "unet.")
    if isinstance(config.autoencoder, KLConfig):
        faults += _indivisible(config.autoencoder, "autoencoder.")
    if faults:
        raise InputErrors(faults)


def check_part(part: UNetConfig | KLConfig, *, where: str) -> None:
    """`check_sizes` of one part, before diffusers builds it. `where` names its file."""
    if faults := _indivisible(part, f"{where}: "):
        raise InputErrors(faults)


def _indivisible(part: UNetConfig | KLConfig, before: str) -> list[InputError]:
    faults = []
    heads = part.attention_heads if isinstance(part, UNetConfig) else ()
    for channels, number in zip(part.block_out_channels, heads, strict=False):
        if channels % number:
            faults.append(InputError(f"{before}attention_heads", f"a divisor of {channels} channels", str(number)))
    for channels in part.block_out_channels:
        if channels % part.norm_groups:
            expected = f"a divisor of {channels} channels"
            faults.append(InputError(f"{before}norm_groups", expected, str(part.norm_groups)))
    return faults


def alpha_bar(schedule: Schedule, timestep: int) -> float:
    """Share of the clean image's variance at `timestep`, in float32 as diffusers' DDPMScheduler has it.

    InputError for a timestep the schedule does not have, or at which it leaves nothing.
    """
    if not 0 <= timestep < schedule.steps:
        raise InputError("timestep", f"0 to {schedule.steps - 1}, the steps of the schedule", str(timestep))
    first, last = math.sqrt(schedule.beta_start), math.sqrt(schedule.beta_end)
    betas = torch.linspace(first, last, schedule.steps, dtype=torch.float32, device="cpu") ** 2
    share = float(torch.cumprod(1 - betas, dim=0)[timestep])
    if share <= 0:  # x0 divides by it
        got = f"{schedule.beta_start:g} to {schedule.beta_end:g} in {schedule.steps} steps"
        raise InputError("schedule", f"betas that leave something of the image at timestep {timestep}", got)
    return share


def clean_latents(latents: Tensor, epsilon: Tensor, alpha_bar: float) -> Tensor:
    """x0 = (z - sqrt(1 - abar) eps) / sqrt(abar), DDPM's estimate (arXiv 2006.11239, eq. 15), all of its last step.

    At timestep 999 it multiplies errors by 14.6, hence float32 whatever the dtype of the parts.
    """
    x0 = (latents.float() - math.sqrt(1 - alpha_bar) * epsilon.float()) / math.sqrt(alpha_bar)
    return x0.to(latents.dtype)


def pad_image(image: Tensor, rule: Padding) -> Tensor:
    """`image` with rows below and columns to the right up to multiples of the rule's. InputError: too small."""
    height, width = image.shape[-2:]
    below, right = -height % rule.multiple_px, -width % rule.multiple_px
    if not (below or right):
        return image
    if rule.mode == "reflect" and (below >= height or right >= width):
        least = "more rows and columns than the padding adds"
        raise InputError("image", f"{least} ({below}, {right})", f"{height} x {width} (height x width)")
    return functional.pad(image, (0, right, 0, below), mode=rule.mode)


def check_image(image: Tensor) -> None:
    """InputError unless `image` is [B,3,H,W] of a floating dtype, with at least one pixel."""
    expected = "a floating-point tensor [B, 3, H, W] with values in [0, 1]"
    if image.ndim != 4 or image.shape[1] != 3 or 0 in image.shape:
        raise InputError("image", expected, f"shape {list(image.shape)}")
    if not image.is_floating_point():
        raise InputError("image", expected, f"dtype {image.dtype}")
