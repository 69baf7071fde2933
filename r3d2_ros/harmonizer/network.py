"""The network as the pipeline sees it: numpy images in, numpy images out, on one device in one dtype."""

from __future__ import annotations

import numpy as np
import torch

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.checkpoints import load_checkpoint
from r3d2_ros.harmonizer.model import DTYPES
from r3d2_ros.harmonizer.residual import Images, Network
from r3d2_ros.harmonizer.settings import HarmonizerConfig


def load_network(config: HarmonizerConfig) -> Network:
    """The checkpoint of `config` as a function of images [B, H, W, 3] float32 in [0, 1].

    InputError(s) for a device that does not work and for whatever is wrong with the checkpoint.
    """
    device = _device(config.device)
    if config.dtype == "float8":
        raise InputError("harmonizer.dtype", "float32, float16 or bfloat16 in this runtime", "float8")
    dtype = None if config.dtype == "checkpoint" else DTYPES[config.dtype]
    model = load_checkpoint(
        config.checkpoint, device=str(device), dtype=dtype, require_commercial=config.require_commercial
    )

    @torch.inference_mode()
    def network(images: Images) -> Images:
        batch = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
        return model(batch).permute(0, 2, 3, 1).float().cpu().numpy()

    return network


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            "harmonizer.device", "cpu, or a CUDA device that works, such as cuda:0", f"'{name}': {reason}"
        ) from error
    return device
