"""Rewrites of the network that compute the same function in fewer operations; rounding alone differs.

Each is a function that changes a copy of the model, one file each, and works alone or with any of the others; `copies`,
`decoders` and `in_place` are shared by several, `kernels_*` are the Triton kernels of the rewrite of that name. New
numbers are formed in float64 from those of the model. What is meant for inference only: nothing here can be trained.

Left as it is: x0 = (z - s eps) / a is not folded into the UNet's last convolution and the KL decoder's first one. It
multiplies errors by 14.6 at timestep 999 and must be formed in float32 (`clean_latents`), while these convolutions
round to 16 bits; on a latent it costs nothing that could be measured.
"""

from __future__ import annotations

from collections.abc import Callable

from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.rewrites.chunked_attention import chunk_attention
from r3d2_ros.harmonizer.rewrites.constant_prompt import fix_prompt
from r3d2_ros.harmonizer.rewrites.constant_timestep import fix_timestep
from r3d2_ros.harmonizer.rewrites.copies import shared_copy
from r3d2_ros.harmonizer.rewrites.fold_upsample import fold_upsampling
from r3d2_ros.harmonizer.rewrites.fuse_attention import fuse_attention
from r3d2_ros.harmonizer.rewrites.fuse_geglu import fuse_geglus
from r3d2_ros.harmonizer.rewrites.fuse_norm import fuse_norms
from r3d2_ros.harmonizer.rewrites.fuse_picture import fuse_picture
from r3d2_ros.harmonizer.rewrites.fuse_relu import fuse_relus
from r3d2_ros.harmonizer.rewrites.join_projections import join_projections
from r3d2_ros.harmonizer.rewrites.merge_residuals import merge_residuals
from r3d2_ros.harmonizer.rewrites.merge_skips import merge_skip_convolutions
from r3d2_ros.harmonizer.settings import RewritesConfig

REWRITES: dict[str, Callable[[R3D2], None]] = {
    "constant_prompt": fix_prompt,
    "constant_timestep": fix_timestep,
    "fold_upsample": fold_upsampling,
    "merge_skips": merge_skip_convolutions,  # after fold_upsample: what it may merge depends on what is folded
    "fuse_relu": fuse_relus,
    "chunked_attention": chunk_attention,
    "fuse_attention": fuse_attention,
    "join_projections": join_projections,
    "fuse_geglu": fuse_geglus,
    "fuse_norm": fuse_norms,
    "fuse_picture": fuse_picture,
    "merge_residuals": merge_residuals,  # last: it takes transformers apart, and with our norms moves biases
}
"""Name of the switch -> function that rewrites a model in place. They run in this order.

A rewrite of a part that the model does not have (the ReLUs of an AutoencoderKL) changes nothing.
"""


def rewritten(model: R3D2, config: RewritesConfig) -> R3D2:
    """A copy of `model` with the rewrites that `config` switches on, for inference.

    It is called as the model is (`forward`, `harmonize_padded`, `encoder`, `unet`, `decoder`), for any batch and size.
    Weights that no rewrite changes share their memory with those of `model`, which stays as it was. Prompt and
    timestep are those of the moment of this call.
    """
    copy = shared_copy(model)
    for name, rewrite in REWRITES.items():
        if getattr(config, name):
            rewrite(copy)
    return copy
