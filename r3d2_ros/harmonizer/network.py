"""The runtime for numpy images."""

from __future__ import annotations

import numpy as np
import torch

from r3d2_ros.harmonizer.residual import Images, Network
from r3d2_ros.harmonizer.runtime import load_runtime
from r3d2_ros.harmonizer.settings import HarmonizerConfig


def load_network(config: HarmonizerConfig) -> Network:
    """The checkpoint of `config` as a function of images [B, H, W, 3] float32 in [0, 1]. Errors: `load_runtime`'s."""
    runtime = load_runtime(config)

    def network(images: Images) -> Images:
        batch = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).to(runtime.device)
        return runtime(batch).permute(0, 2, 3, 1).cpu().numpy()

    return network
