"""The part of a camera's picture in which the harmonizer changed something, and what is seen there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from r3d2_ros.cameras import CameraView
from r3d2_ros.harmonizer.windows import Window

NOTHING = -1
"""Identity of pixels that have no residual, or whose residual is not to be used for anything else."""


def block_px_of(height_px: int) -> int:
    """Side of a block of pixels in an image of that height: 4 at 540 rows, 8 at 1080."""
    return max(2, round(height_px / 135))


@dataclass(frozen=True, eq=False)
class CameraResidual:
    """What the network changed in one camera's picture, and what the picture shows. All tensors are on one device.

    residual  [3, H, W] float32, output minus render, finite where it is used; None when the network did not run,
              because the camera sees no actor
    mask      [H, W] float32 in [0, 1]: how much of the residual is shown; None: all of it, everywhere
    depth     [H, W] float32 z-depth in metres, NaN where nothing solid is seen; not asked for without a residual
    instance  [H, W] int32, 0 or the number of an actor; the same
    window    outside of it the mask is 0. None: looked for on a CPU; a GPU, which the CPU would have to wait for, works
              on the whole picture
    """

    name: str
    view: CameraView
    residual: Tensor | None
    mask: Tensor | None
    depth: Tensor | None
    instance: Tensor | None
    window: Window | None = None


@dataclass(frozen=True, eq=False)
class Patch:
    """The window of a picture that holds all of the mask, with [h, w] float32 tensors unless they say otherwise.

    residual       [3, h, w], 0 where the mask is 0
    inside         1 where the mask is above 0, else 0
    inverse_depth  1 / z in 1 / metres; 0 is the sky
    identity       int32: 0 the background, else an actor's number; NOTHING outside the mask
    pixels         [2, h, w] u and v of the pixels' centres in the whole picture
    """

    window: Window
    residual: Tensor
    inside: Tensor
    inverse_depth: Tensor
    identity: Tensor
    pixels: Tensor


def patch_of(camera: CameraResidual) -> Patch | None:
    """None for a camera without a residual. ValueError for tensors that do not fit together."""
    if camera.residual is None:
        return None
    size = (camera.view.height_px, camera.view.width_px)
    mask, depth, instance = camera.mask, camera.depth, camera.instance
    mask = camera.residual.new_ones(size) if mask is None else mask
    if depth is None or instance is None:
        raise ValueError(f"camera '{camera.name}': expected depth and instance with a residual, got None")
    for name, tensor in (("mask", mask), ("depth", depth), ("instance", instance)):
        if tensor.shape != size:
            raise ValueError(f"camera '{camera.name}': {name}: expected the shape {size}, got {tuple(tensor.shape)}")
    if camera.residual.shape != (3, *size):
        got = tuple(camera.residual.shape)
        raise ValueError(f"camera '{camera.name}': residual: expected the shape {(3, *size)}, got {got}")
    window = bounds_of(mask) if camera.window is None else camera.window.cut(Window(0, 0, *size))
    # Pooling needs some pixels, also where nothing is shown.
    window = Window(0, 0, 1, 1) if window.is_empty else window.with_blocks_around(block_px_of(size[0]), size)
    part = window.slices
    hidden = mask[part] <= 0
    return Patch(
        window=window,
        residual=camera.residual[:, *part].masked_fill(hidden, 0.0),
        inside=1.0 - hidden.to(torch.float32),
        # 1 / infinity is 0 as well; NaN, the sky, becomes 0.
        inverse_depth=torch.nan_to_num(1.0 / depth[part], nan=0.0),
        identity=instance[part].masked_fill(hidden, NOTHING),
        pixels=pixels_of(window, mask.device),
    )


def pixels_of(window: Window, device: torch.device) -> Tensor:
    """[2, h, w] float32: u and v of the centres of a window's pixels; the first of the picture is at (0.5, 0.5)."""
    rows, columns = window.shape
    u = torch.arange(window.left + 0.5, window.right, device=device, dtype=torch.float32)
    v = torch.arange(window.top + 0.5, window.bottom, device=device, dtype=torch.float32)
    return torch.stack([u.expand(rows, columns), v[:, None].expand(rows, columns)])


def whole_picture(camera: CameraResidual, patch: Patch, residual: Tensor) -> Tensor:
    """A residual [3, h, w] of the patch as one of the whole picture [3, H, W], 0 outside."""
    whole = residual.new_zeros(3, camera.view.height_px, camera.view.width_px)
    whole[:, *patch.window.slices] = residual
    return whole


def bounds_of(mask: Tensor) -> Window:
    """Bounds of where the mask is above 0. On a GPU the whole image: else the CPU would have to wait for it."""
    height, width = mask.shape
    if mask.is_cuda:
        return Window(0, 0, height, width)
    rows, columns = (mask.amax(axis).gt(0).nonzero().flatten() for axis in (1, 0))
    if not len(rows):
        return Window(0, 0, 0, 0)
    return Window(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
