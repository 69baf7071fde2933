"""The Triton kernels of `composite` and `crops`: the network's output in the picture, one pass over memory each."""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

from r3d2_ros.harmonizer.compositing.roi import Crop

PIXELS = 512
"""For one program."""

FAR = tl.constexpr(1 << 20)
"""From an edge that nothing fades out towards, pixels."""


@triton.jit
def mix(render, harmonized, mask, picture, bad, PIXELS_IN_ALL, MASKED: tl.constexpr, PIXELS: tl.constexpr):
    """`harmonized` is [3, H, W], `render` and `picture` are [H, W, 3]; `bad` counts the pixels of `bad_pixels`."""
    pixels = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    there = pixels < PIXELS_IN_ALL
    weight = tl.load(mask + pixels, mask=there, other=0.0) if MASKED else tl.where(there, 1.0, 0.0)
    shown = weight > 0
    is_bad = pixels < 0
    for channel in tl.static_range(3):
        after = tl.load(harmonized + channel * PIXELS_IN_ALL + pixels, mask=shown, other=0.0)
        is_bad |= ~(tl.abs(after) < float("inf"))
        after = after * 255.0
        byte = tl.load(render + pixels * 3 + channel, mask=there, other=0)
        before = byte.to(tl.float32)
        within = tl.where(after < 0.0, 0.0, tl.where(after > 255.0, 255.0, after))
        mixed = tl.where(weight >= 1.0, within, before + weight * (within - before)) + 0.5
        mixed = tl.where(mixed > 0.0, tl.minimum(mixed, 255.0), 0.0)  # NaN gives 0
        tl.store(picture + pixels * 3 + channel, tl.where(shown, mixed.to(tl.uint8), byte), mask=there)
    count = tl.sum((is_bad & shown).to(tl.int32))
    if count > 0:
        tl.atomic_add(bad, count)


def mixed(render: Tensor, harmonized: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """`composited`'s results on a GPU."""
    picture, bad = torch.empty_like(render), torch.zeros((), dtype=torch.int32, device=render.device)
    pixels = render.shape[0] * render.shape[1]
    mix[(triton.cdiv(pixels, PIXELS),)](
        render.contiguous(), harmonized.contiguous(), picture if mask is None else mask.contiguous(), picture, bad,
        pixels, MASKED=mask is not None, PIXELS=PIXELS,
        enable_fp_fusion=False,  # a product and a sum are rounded each, as PyTorch does
    )  # fmt: skip
    return picture, bad


@triton.jit(do_not_specialize=["TOP", "LEFT", "HEIGHT", "WIDTH", "FRAME_HEIGHT", "FRAME_WIDTH"])
def add_inside(
    image, residual, output, TOP, LEFT, HEIGHT, WIDTH, FRAME_HEIGHT, FRAME_WIDTH, MARGIN, PIXELS: tl.constexpr
):
    """TOP, LEFT, HEIGHT and WIDTH are the crop's; MARGIN is of float32."""
    row, columns = tl.program_id(0), tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    there = columns < FRAME_WIDTH
    y, x = row - TOP, columns - LEFT
    inside = there & (y >= 0) & (y < HEIGHT) & (x >= 0) & (x < WIDTH)
    # How many pixels inside the crop's edges; those that are the image's are none.
    steps = tl.where(LEFT > 0, x + 1, FAR)
    steps = tl.where(LEFT + WIDTH < FRAME_WIDTH, tl.minimum(steps, WIDTH - x), steps)
    across = tl.minimum(steps.to(tl.float32) / (MARGIN + 1.0), 1.0)
    steps = tl.where(TOP > 0, y + 1, FAR)
    steps = tl.where(TOP + HEIGHT < FRAME_HEIGHT, tl.minimum(steps, HEIGHT - y), steps)
    down = tl.minimum(steps.to(tl.float32) / (MARGIN + 1.0), 1.0)
    for channel in tl.static_range(3):
        place = (channel * FRAME_HEIGHT + row) * FRAME_WIDTH + columns
        value = tl.load(image + place, mask=there, other=0.0)
        change = tl.load(residual + (channel * HEIGHT + y) * WIDTH + x, mask=inside, other=0.0)
        changed = value + down * across * change
        changed = tl.where(changed < 0.0, 0.0, tl.where(changed > 1.0, 1.0, changed))  # NaN stays
        tl.store(output + place, tl.where(inside, changed, value), mask=there)


def added_inside(image: Tensor, crop: Crop, residual: Tensor, margin_px: int) -> Tensor:
    """The image [3, H, W] plus a crop's residual [3, h, w], fading out as in `run_on_crops`: [3, H, W]."""
    height, width = image.shape[1:]
    output = torch.empty_like(image)
    add_inside[height, triton.cdiv(width, PIXELS)](
        image, residual.contiguous(), output, TOP=crop.top, LEFT=crop.left, HEIGHT=crop.height, WIDTH=crop.width,
        FRAME_HEIGHT=height, FRAME_WIDTH=width, MARGIN=float(margin_px), PIXELS=PIXELS, enable_fp_fusion=False,
    )  # fmt: skip
    return output
