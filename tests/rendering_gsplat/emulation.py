"""gsplat's CUDA kernels, slowly, in torch on the CPU, so that gsplat's own `rasterization` runs without a GPU.

Projection is gsplat's `_torch_impl` in float64; culling, packing, tiles and compositing follow gsplat 1.5.3's CUDA
sources. Every call is checked against the signature of the function that it stands for.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import gsplat
import gsplat.rendering
import pytest
import torch
from gsplat.cuda._torch_impl import _fully_fused_projection, _spherical_harmonics
from torch import Tensor

from r3d2_ros.rendering.gsplat import Kernels

ALPHA_MIN = 1 / 255


def fully_fused_projection(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    """Packed projection of [N] Gaussians into [C] cameras: those that are visible, camera by camera."""
    given = _checked(gsplat.fully_fused_projection, args, kwargs)
    assert given["packed"] and given["quats"] is None and given["scales"] is None
    assert given["radius_clip"] == 0.0 and given["camera_model"] == "pinhole"
    rows, columns = torch.triu_indices(3, 3)
    covars = torch.zeros((len(given["means"]), 3, 3), dtype=torch.float64)
    covars[:, rows, columns] = covars[:, columns, rows] = given["covars"].double()
    radii, means2d, depths, conics, compensations = _fully_fused_projection(
        given["means"].double(), covars, given["viewmats"].double(), given["Ks"].double(), given["width"],
        given["height"], given["eps2d"], given["near_plane"], given["far_plane"], given["calc_compensations"],
    )  # fmt: skip
    opacities = given["opacities"] * (1.0 if compensations is None else compensations)
    camera_ids, gaussian_ids = torch.nonzero((radii > 0).all(-1) & (opacities >= ALPHA_MIN), as_tuple=True)
    visible = (camera_ids, gaussian_ids)
    packed = None if compensations is None else compensations[visible].float()
    return (
        torch.zeros_like(camera_ids), camera_ids, gaussian_ids, radii[visible], means2d[visible].float(),
        depths[visible].float(), conics[visible].float(), packed,
    )  # fmt: skip


def isect_tiles(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The tiles that each Gaussian touches, sorted by image, tile and depth."""
    given = _checked(gsplat.isect_tiles, args, kwargs)
    assert given["packed"] and given["sort"]
    width, height, size = given["tile_width"], given["tile_height"], given["tile_size"]
    centre, radii = given["means2d"] / size, given["radii"] / size
    limit = torch.tensor([width, height])
    first = torch.floor(centre - radii).long().clamp_min(0).minimum(limit)
    end = torch.ceil(centre + radii).long().clamp_min(0).minimum(limit)
    columns, counts = (end - first)[:, 0], (end - first).prod(-1)
    rows = torch.repeat_interleave(torch.arange(len(counts)), counts)
    k = torch.arange(len(rows)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    tile = (first[rows, 1] + k // columns[rows]) * width + first[rows, 0] + k % columns[rows]
    depth_bits = given["depths"].view(torch.int32)[rows].long()
    bits = (width * height).bit_length()
    keys, order = torch.sort((given["image_ids"][rows] << (32 + bits)) | (tile << 32) | depth_bits, stable=True)
    return counts.int(), keys, rows[order].int()


def isect_offset_encode(*args: Any, **kwargs: Any) -> Tensor:
    """Where the list of each tile begins, [I, tile_height, tile_width]."""
    given = _checked(gsplat.isect_offset_encode, args, kwargs)
    images, width, height = given["n_images"], given["tile_width"], given["tile_height"]
    bits = (width * height).bit_length()
    tiles = given["isect_ids"] >> 32
    number = (tiles >> bits) * (width * height) + (tiles & ((1 << bits) - 1))
    offsets = torch.searchsorted(number, torch.arange(images * width * height))
    return offsets.int().reshape(images, height, width)


def rasterize_to_pixels(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """Composite the tiles' lists front to back; float32 as the CUDA kernel."""
    given = _checked(gsplat.rasterize_to_pixels, args, kwargs)
    assert given["packed"] and given["backgrounds"] is None and given["masks"] is None
    colors, offsets = given["colors"], given["isect_offsets"]
    n, channels = colors.shape
    assert given["means2d"].shape == (n, 2) and given["conics"].shape == (n, 3) and given["opacities"].shape == (n,)
    assert offsets.dtype == given["flatten_ids"].dtype == torch.int32 and 1 <= channels <= 513
    images, tile_height, tile_width = offsets.shape
    size, width, height = given["tile_size"], given["image_width"], given["image_height"]
    assert tile_width * size >= width and tile_height * size >= height
    colours = torch.zeros(images, tile_height * size, tile_width * size, channels)
    alphas = torch.zeros(images, tile_height * size, tile_width * size, 1)
    bounds = [*offsets.flatten().tolist(), len(given["flatten_ids"])]
    for number in range(offsets.numel()):
        ids = given["flatten_ids"][bounds[number] : bounds[number + 1]].long()
        image, line, column = (
            number // (tile_height * tile_width),
            number // tile_width % tile_height,
            number % tile_width,
        )
        box = (image, slice(line * size, (line + 1) * size), slice(column * size, (column + 1) * size))
        colours[box], alphas[box] = _tile(given, ids, column * size, line * size)
    return colours[:, :height, :width].contiguous(), alphas[:, :height, :width].contiguous()


def _tile(given: dict[str, Any], ids: Tensor, x0: int, y0: int) -> tuple[Tensor, Tensor]:
    """Colours [size, size, D] and alphas [size, size, 1] of one tile from its list of rows."""
    size = given["tile_size"]
    y, x = torch.meshgrid(torch.arange(size) + y0 + 0.5, torch.arange(size) + x0 + 0.5, indexing="ij")
    dx = given["means2d"][ids, 0] - x[..., None]
    dy = given["means2d"][ids, 1] - y[..., None]
    a, b, c = given["conics"][ids].unbind(-1)
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = (given["opacities"][ids] * torch.exp(-sigma)).clamp_max(0.999)
    alpha = torch.where((sigma < 0) | (alpha < ALPHA_MIN), 0.0, alpha)
    light = torch.cumprod(1.0 - alpha, dim=-1)
    # A pixel ends before the first Gaussian that would leave 1e-4 or less; what lies behind does not count either.
    alpha = torch.where(torch.cummax((light <= 1e-4).to(torch.uint8), dim=-1)[0].bool(), 0.0, alpha)
    light = torch.cumprod(1.0 - alpha, dim=-1)
    before = torch.cat([torch.ones(size, size, 1), light], dim=-1)
    return (alpha * before[..., :-1]) @ given["colors"][ids], 1.0 - before[..., -1:]


def _checked(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by name, defaults filled in; TypeError where gsplat's function would not take them."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


def emulated(monkeypatch: pytest.MonkeyPatch) -> Kernels:
    """gsplat's own `rasterization` on top of the functions above."""
    for function in (fully_fused_projection, isect_tiles, isect_offset_encode, rasterize_to_pixels):
        monkeypatch.setattr(gsplat.rendering, function.__name__, function)
    return Kernels(gsplat.rasterization, rasterize_to_pixels, _spherical_harmonics)


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernels]:
    """`emulated`, on one thread: the tensors are too small to share."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield emulated(monkeypatch)
    torch.set_num_threads(threads)
