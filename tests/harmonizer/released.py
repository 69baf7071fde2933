"""A small pipeline folder in the form in which R3D2's weights were released, written without the code under test.

`pipeline.py` holds the pipeline's class, `vae/skip_autoencoder.py` an autoencoder with skips and the prompt. The
formulas are those of the paper and of diffusers' scheduler, in code of their own.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from r3d2_ros.harmonizer.model.config import TinyConfig
from r3d2_ros.harmonizer.model.r3d2 import R3D2

PIPELINE = """
import torch
from pathlib import Path

from diffusers import DiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput

from .steps import noise_of

EXECUTED
class ReleasedPipeline(DiffusionPipeline):
    def __init__(self, unet, vae, scheduler, timestep=999):
        super().__init__()
        self.register_modules(unet=unet, vae=vae, scheduler=scheduler)
        self.register_to_config(timestep=timestep)
        self.processor = VaeImageProcessor(vae_scale_factor=8)

    @torch.no_grad()
    def __call__(self, image, output_type="pil"):
        x = self.processor.preprocess(image).to(self.device, self.unet.dtype)
        latents, taps = self.vae.encode_with_taps(x)
        timestep = self.config.timestep
        noise = noise_of(self.unet, latents, timestep, self.vae.prompt_embeds)
        self.scheduler.set_timesteps(timesteps=[timestep])
        clean = self.scheduler.step(noise.float(), timestep, latents.float()).pred_original_sample
        decoded = self.vae.decode_with_taps(clean.to(latents.dtype), taps)
        return ImagePipelineOutput(images=self.processor.postprocess(decoded, output_type=output_type))
"""

STEPS = """
import torch

def noise_of(unet, latents, timestep, prompt):
    t = torch.tensor([timestep], device=latents.device)
    return unet(latents, t, encoder_hidden_states=prompt, return_dict=False)[0]
"""

AUTOENCODER = """
import torch
from torch import nn

from diffusers import AutoencoderTiny
from diffusers.configuration_utils import register_to_config


class SkipAutoencoder(AutoencoderTiny):
    @register_to_config
    def __init__(self, channels=8, width=8, tokens=3, early=False):
        super().__init__(
            encoder_block_out_channels=(channels,) * 4, decoder_block_out_channels=(channels,) * 4
        )
        for number in (1, 2, 3):
            setattr(self.decoder, f"skip_conv_{number}", nn.Conv2d(channels, channels, 1, bias=False))
        self.prompt_embeds = nn.Parameter(torch.zeros(1, tokens, width))
        self.early = early

    def encode_with_taps(self, x):
        x, taps = (x + 1) / 2, []
        for layer in self.encoder.layers:
            if getattr(layer, "stride", None) == (2, 2):
                taps.append(x)
            x = layer(x)
        return x, taps

    def decode_with_taps(self, z, taps):
        x, number, due = 3 * torch.tanh(z / 3), 0, False
        for layer in self.decoder.layers:
            x = layer(x)
            if isinstance(layer, nn.Upsample):
                number += 1
                if self.early:
                    x = x + getattr(self.decoder, f"skip_conv_{number}")(taps.pop())
                due = not self.early
            elif due:
                x = x + getattr(self.decoder, f"skip_conv_{number}")(taps.pop())
                due = False
        return x * 2 - 1
"""


KL_AUTOENCODER = """
import torch
from torch import nn

from diffusers import AutoencoderKL
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution


class SkipAutoencoder(AutoencoderKL):
    @register_to_config
    def __init__(self, channels=(8, 8, 16, 16), width=8, tokens=3):
        super().__init__(
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=channels, layers_per_block=1, norm_num_groups=4,
        )
        a, b, c, d = channels
        for number, (taken, given) in enumerate([(c, d), (b, d), (a, c), (a, b)], start=1):
            setattr(self.decoder, f"skip_conv_{number}", nn.Conv2d(taken, given, 1, bias=False))
        self.prompt_embeds = nn.Parameter(torch.zeros(1, tokens, width))

    def encode_with_taps(self, x):
        encoder, taps = self.encoder, []
        x = encoder.conv_in(x)
        for block in encoder.down_blocks:
            taps.append(x)
            x = block(x)
        x = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(encoder.mid_block(x))))
        return DiagonalGaussianDistribution(self.quant_conv(x)).sample() * 0.18215, taps

    def decode_with_taps(self, z, taps):
        decoder = self.decoder
        x = decoder.mid_block(decoder.conv_in(self.post_quant_conv(z / 0.18215)))
        for number, block in enumerate(decoder.up_blocks, start=1):
            x = block(x + getattr(decoder, f"skip_conv_{number}")(taps.pop()))
        return decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(x)))
"""


def write_released(folder: Path, model: R3D2, *, marker: Path | None = None, early: bool = False) -> Path:
    """The folder of a model; importing its code creates `marker`. `early`: TAESD's skips join before convolutions."""
    tiny = isinstance(model.config.autoencoder, TinyConfig)
    for part in ("unet", "vae", "scheduler"):
        (folder / part).mkdir(parents=True)
    executed = f"Path({str(marker)!r}).touch()\n\n" if marker else "\n"
    (folder / "pipeline.py").write_text(PIPELINE.replace("EXECUTED\n", executed))
    (folder / "steps.py").write_text(STEPS)
    (folder / "vae/skip_autoencoder.py").write_text(AUTOENCODER if tiny else KL_AUTOENCODER)
    state = model.state_dict()
    unet = {key.removeprefix("unet."): tensor for key, tensor in state.items() if key.startswith("unet.")}
    vae = {key: tensor for key, tensor in state.items() if key.startswith(("encoder.", "decoder."))}
    for key in [key for key in vae if ".skips." in key]:
        vae[f"decoder.skip_conv_{int(key.split('.')[2]) + 1}.weight"] = vae.pop(key)
    for key in [key for key in vae if "quant_conv" in key]:
        vae[key.partition(".")[2]] = vae.pop(key)
    vae["prompt_embeds"] = state["prompt_embedding"]
    _, tokens, width = state["prompt_embedding"].shape
    config = {"_class_name": "SkipAutoencoder", "width": width, "tokens": tokens}
    if isinstance(model.config.autoencoder, TinyConfig):
        config |= {"channels": model.config.autoencoder.channels, "early": early}
    _write(folder / "unet", unet, {**_plain(model.unet.config), "_class_name": "UNet2DConditionModel"})
    _write(folder / "vae", vae, config)
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps({"_class_name": "DDPMScheduler", **schedule}))
    index = {
        "_class_name": ["pipeline", "ReleasedPipeline"],
        "_diffusers_version": "0.42.1",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["skip_autoencoder", "SkipAutoencoder"],
        "scheduler": ["diffusers", "DDPMScheduler"],
        "timestep": model.config.timestep,
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: waymo-dataset-license\n---\nR3D2\n")
    return folder


def edit_index(folder: Path, **changes: object) -> None:
    """Change keys of the index; None removes one."""
    path = folder / "model_index.json"
    index = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in index.items() if value is not None}))


def edit_weights(path: Path, *, drop: str = "", add: dict[str, torch.Tensor] | None = None) -> None:
    """Remove the tensor `drop` from a safetensors file, and add others."""
    tensors = {key: tensor.clone() for key, tensor in load_file(path).items() if key != drop}
    save_file(tensors | (add or {}), path)


def _plain(config: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in config.items() if not key.startswith("_")}


def _write(folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, object]) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {key: tensor.clone().contiguous() for key, tensor in tensors.items()},
        folder / "diffusion_pytorch_model.safetensors",
    )
