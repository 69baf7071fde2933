"""The Triton kernel that makes images of what gsplat composited, in one pass: `gsplat_images.finished_reference`."""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

PIXELS = 256
"""For one program."""


@triton.jit
def atan2(y, x):
    """Within 3e-7 rad: Abramowitz and Stegun, Handbook of Mathematical Functions, 4.4.49, for tangents up to 1."""
    steep = tl.abs(y) > tl.abs(x)
    larger = tl.where(steep, tl.abs(y), tl.abs(x))
    t = tl.where(steep, tl.abs(x), tl.abs(y)) / tl.maximum(larger, 1e-30)
    s = t * t
    series = 0.0028662257 * s - 0.0161657367
    series = series * s + 0.0429096138
    series = series * s - 0.0752896400
    series = series * s + 0.1065626393
    series = series * s - 0.1420889944
    series = series * s + 0.1999355085
    series = series * s - 0.3333314528
    angle = (series * s + 1.0) * t
    angle = tl.where(steep, 1.5707963267948966 - angle, angle)
    angle = tl.where(x < 0, 3.141592653589793 - angle, angle)
    return tl.where(y < 0, -angle, angle)


@triton.jit
def ray(ray_map, u, v, AXIS: tl.constexpr):
    row = ray_map + 3 * AXIS
    return tl.load(row) * u + tl.load(row + 1) * v + tl.load(row + 2)


@triton.jit(do_not_specialize=["HEIGHT", "WIDTH", "ROWS", "COLUMNS"])
def finish(
    render, alphas, texture, ray_maps, colour, rgb, rgb8, depth, weight, HEIGHT, WIDTH, ROWS, COLUMNS,
    LEAST_ALPHA, TEXTURED: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """ROWS and COLUMNS are the texture's, whose first and last column are copies."""
    camera = tl.program_id(1).to(tl.int64)
    pixels = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    there = pixels < HEIGHT * WIDTH
    place = camera * HEIGHT * WIDTH + pixels
    alpha = tl.load(alphas + place, mask=there, other=1.0)
    light = 1.0 - alpha
    if TEXTURED:
        ray_map = ray_maps + camera * 9
        u, v = (pixels % WIDTH).to(tl.float32) + 0.5, (pixels // WIDTH).to(tl.float32) + 0.5
        x, y, z = ray(ray_map, u, v, 0), ray(ray_map, u, v, 1), ray(ray_map, u, v, 2)
        across = (0.5 - atan2(y, x) / 6.283185307179586) * (COLUMNS - 2) + 0.5
        down = (0.5 - atan2(z, tl.sqrt(x * x + y * y)) / 3.141592653589793) * ROWS - 0.5
        across = tl.minimum(tl.maximum(across, 0.0), (COLUMNS - 1).to(tl.float32))
        down = tl.minimum(tl.maximum(down, 0.0), (ROWS - 1).to(tl.float32))
        left, top = tl.minimum(across.to(tl.int32), COLUMNS - 2), down.to(tl.int32)
        right_part, lower_part = across - left.to(tl.float32), down - top.to(tl.float32)
        corner = texture + top * COLUMNS + left
        below = tl.where(top + 1 < ROWS, COLUMNS, 0)
        seen = there & (light > 0)
    for channel in tl.static_range(3):
        if TEXTURED:
            plane = corner + channel * ROWS * COLUMNS
            upper = tl.load(plane, mask=seen, other=0.0) * (1.0 - right_part)
            upper += tl.load(plane + 1, mask=seen, other=0.0) * right_part
            lower = tl.load(plane + below, mask=seen, other=0.0) * (1.0 - right_part)
            lower += tl.load(plane + below + 1, mask=seen, other=0.0) * right_part
            sky = upper * (1.0 - lower_part) + lower * lower_part
        else:
            sky = tl.load(colour + channel)
        value = tl.load(render + place * 5 + channel, mask=there, other=0.0) + light * sky
        tl.store(rgb + place * 3 + channel, value, mask=there)
        byte = value * 255.0 + 0.5
        byte = tl.where(byte > 0.0, tl.minimum(byte, 255.0), 0.0)  # NaN gives 0
        tl.store(rgb8 + place * 3 + channel, byte.to(tl.uint8), mask=there)
    tl.store(weight + place, tl.load(render + place * 5 + 3, mask=there, other=0.0), mask=there)
    surface = tl.load(render + place * 5 + 4, mask=there, other=0.0) / tl.maximum(alpha, 1e-10)
    tl.store(depth + place, tl.where(alpha >= LEAST_ALPHA, surface, float("nan")), mask=there)


def launch(
    render: Tensor, alphas: Tensor, texture: Tensor | None, ray_maps: Tensor, colour: Tensor, *, least_alpha: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """rgb [C, H, W, 3] float32 and uint8, depth and actor weight [C, H, W] float32.

    render [C, H, W, 5], alphas [C, H, W, 1], texture [1, 3, h, w + 2] or None, ray_maps [C, 3, 3], colour [3].
    """
    cameras, height, width, _ = render.shape
    rgb = torch.empty((cameras, height, width, 3), device=render.device)
    rgb8 = torch.empty_like(rgb, dtype=torch.uint8)
    # Each in memory of its own, which goes when nobody needs it any more.
    depth, weight = (torch.empty((cameras, height, width), device=render.device) for _ in range(2))
    rows, columns = (2, 4) if texture is None else texture.shape[2:]
    finish[triton.cdiv(height * width, PIXELS), cameras](
        render.contiguous(), alphas.contiguous(), colour if texture is None else texture, ray_maps, colour,
        rgb, rgb8, depth, weight, HEIGHT=height, WIDTH=width, ROWS=rows, COLUMNS=columns,
        LEAST_ALPHA=least_alpha, TEXTURED=texture is not None, PIXELS=PIXELS,
        enable_fp_fusion=False,  # a product and a sum are rounded each, as PyTorch does
    )  # fmt: skip
    return rgb, rgb8, depth, weight
