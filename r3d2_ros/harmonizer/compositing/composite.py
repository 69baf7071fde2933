"""Composite: the output pasted into the render. Where the mask is 0 the render's bytes stay as they are."""

from __future__ import annotations

import torch
from torch import Tensor

from r3d2_ros.harmonizer.packages import kernels_run_on
from r3d2_ros.rendering.cuda_copies import rgb8_tensor


def composited(render: Tensor, harmonized: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """What `composite_region` gives, or `composite_full` without a mask, and the number of `bad_pixels`."""
    _check_sizes(render, harmonized, harmonized[0] if mask is None else mask)
    if kernels_run_on(render.device):
        from r3d2_ros.harmonizer.compositing.kernels_composite import mixed

        return mixed(render, harmonized, mask)
    bad = bad_pixels(harmonized, mask)
    return (composite_full(harmonized) if mask is None else composite_region(render, harmonized, mask)), bad


def composite_region(render: Tensor, harmonized: Tensor, mask: Tensor) -> Tensor:
    """The render [H, W, 3] uint8 with `harmonized` [3, H, W] float32 in [0, 1] where `mask` [H, W] float32 says so.

    Mask 0 gives the render's bytes, 1 what `rgb8_tensor` makes of `harmonized`, between them their weighted mean in
    8-bit steps, rounded half up.
    """
    _check_sizes(render, harmonized, mask)
    after = harmonized.movedim(0, -1)
    weight = mask[..., None]
    before = render.float()
    # Halfway the two are mixed; at weight 1 this must be rgb8_tensor's arithmetic, without a detour through the render.
    mixed = before + weight * ((after * 255).clamp(0, 255) - before)
    mixed = torch.nan_to_num(mixed + 0.5, nan=0.0).to(torch.uint8)
    return torch.where(weight <= 0, render, torch.where(weight >= 1, rgb8_tensor(after), mixed))


def composite_full(harmonized: Tensor) -> Tensor:
    """The whole output [3, H, W] as bytes [H, W, 3], what the paper shows."""
    return rgb8_tensor(harmonized.movedim(0, -1)).contiguous()


def bad_pixels(harmonized: Tensor, mask: Tensor | None) -> Tensor:
    """How many pixels of `harmonized` [3, H, W] are NaN or infinite where `mask` [H, W] is above 0: an int64 scalar."""
    bad = ~harmonized.isfinite().all(dim=0)
    return (bad if mask is None else bad & (mask > 0)).sum()


def _check_sizes(render: Tensor, harmonized: Tensor, mask: Tensor) -> None:
    if render.shape != (*mask.shape, 3) or harmonized.shape != (3, *mask.shape):
        shapes = f"{list(render.shape)}, {list(harmonized.shape)}, {list(mask.shape)}"
        raise ValueError(f"expected images of one size, got {shapes}")
