"""From gsplat's output to the images of the contract, on the device: sky, depth, which actor a pixel shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from r3d2_ros.cameras import CameraView
from r3d2_ros.geometry import Array
from r3d2_ros.rendering.base import MIN_DEPTH_ALPHA
from r3d2_ros.rendering.cuda_copies import rgb8_tensor, to_device
from r3d2_ros.rendering.gsplat_scene import on_device
from r3d2_ros.sky import Sky

INSTANCE_CHANNELS = 16
"""Actors whose weights are composited together for the instance image; bounds its memory."""


@dataclass(frozen=True, eq=False)
class ImageTensors:
    """`RenderedImage` on the device: of one camera, or of several with a leading axis [C].

    rgb8      `rgb` as bytes
    instance  int32
    """

    rgb: Tensor
    rgb8: Tensor
    depth: Tensor
    alpha: Tensor
    actor_weight: Tensor
    instance: Tensor | None = None

    def __getitem__(self, camera: int) -> ImageTensors:
        images = (self.rgb, self.rgb8, self.depth, self.alpha, self.actor_weight, self.instance)
        return ImageTensors(*(None if image is None else image[camera] for image in images))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class SkyTensors:
    """What is behind the pixels of some cameras of one size.

    texture   [1, 3, h, w + 2], see `_wrapped_texture`; None for a sky of one colour
    ray_maps  [C, 3, 3]: (column, line, 1) -> direction in the texture's frame; corner of the first pixel at (0, 0)
    colour    [3], of a sky without a texture
    """

    texture: Tensor | None
    ray_maps: Tensor
    colour: Tensor


def image_tensors(render: Tensor, alphas: Tensor, sky: SkyTensors, instance: Tensor | None) -> ImageTensors:
    """Images of gsplat's RGB+D output.

    render  [C, H, W, 5]: red, green, blue, actor weight, depth, each times its weight
    alphas  [C, H, W, 1]
    """
    arguments = (render, alphas, sky.texture, sky.ray_maps, sky.colour)
    if render.is_cuda and find_spec("triton") is not None:
        from r3d2_ros.rendering.gsplat_kernels import launch

        with torch.cuda.device(render.device):  # Triton launches on the current one
            rgb, rgb8, depth, weight = launch(*arguments, least_alpha=MIN_DEPTH_ALPHA)
    else:
        rgb, rgb8, depth, weight = finished_reference(*arguments, least_alpha=MIN_DEPTH_ALPHA)
    return ImageTensors(rgb, rgb8, depth, alphas[..., 0].contiguous(), weight, instance)


def finished_reference(
    render: Tensor, alphas: Tensor, texture: Tensor | None, ray_maps: Tensor, colour: Tensor, *, least_alpha: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """rgb, rgb8, depth and actor weight of `ImageTensors`: the readable form of `gsplat_kernels`."""
    height, width = render.shape[1:3]
    behind = colour if texture is None else _looked_up(texture, _rays(ray_maps, width, height))
    rgb = render[..., :3] + (1.0 - alphas) * behind
    alpha = alphas[..., 0]
    depth = torch.where(alpha >= least_alpha, render[..., 4] / alpha.clamp_min(1e-10), torch.nan)
    return rgb, rgb8_tensor(rgb), depth, render[..., 3].contiguous()


class DeviceSky:
    """The sky behind every pixel. An image stays on the device as long as it is the same array."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._image: object = None
        self._texture: Tensor | None = None

    def behind(self, sky: Sky, views: Sequence[CameraView]) -> SkyTensors:
        """Of views of one size."""
        if self._image is not sky.image:
            self._image, self._texture = sky.image, None
            if sky.image is not None:
                self._texture = _wrapped_texture(on_device(sky.image, self._device))
        ray_maps = np.stack([_ray_map(sky, view) for view in views]).astype(np.float32)
        colour = to_device(np.array(sky.colour, np.float32), self._device)
        return SkyTensors(self._texture, to_device(ray_maps, self._device), colour)


def _ray_map(sky: Sky, view: CameraView) -> Array:
    """[3, 3]: (column, line, 1) -> direction in the sky image's frame; corner of the first pixel at (0, 0)."""
    return sky.R_sky_world @ view.T_camera_world.rotation.T @ np.linalg.inv(view.K)


def _rays(ray_maps: Tensor, width: int, height: int) -> Tensor:
    """Directions [C, H, W, 3] through the pixel centres, not normalised."""
    columns = torch.arange(width, device=ray_maps.device) + 0.5
    lines = torch.arange(height, device=ray_maps.device) + 0.5
    along_x, along_y, start = ray_maps[:, None, None].unbind(-1)
    return along_x * columns[:, None] + along_y * lines[:, None, None] + start


def _wrapped_texture(image: Tensor) -> Tensor:
    """[1, 3, h, w + 2] of an image [h, w, 3]: the last column again before the first, the first after the last."""
    wrapped = torch.cat([image[:, -1:], image, image[:, :1]], dim=1)
    return wrapped.permute(2, 0, 1)[None].contiguous()


def _looked_up(texture: Tensor, rays: Tensor) -> Tensor:
    """Colours [C, H, W, 3] in directions [C, H, W, 3], bilinear: columns wrap around, rows end at the poles."""
    x, y, z = rays.unbind(-1)
    azimuth, elevation = torch.atan2(y, x), torch.atan2(z, torch.hypot(x, y))
    rows, columns = texture.shape[2], texture.shape[3] - 2
    # Positions in the wrapped texture, corner of its first pixel at 0; grid_sample wants them in [-1, 1].
    u = (0.5 - azimuth / (2 * torch.pi)) * columns + 1.0
    v = (0.5 - elevation / torch.pi) * rows
    grid = torch.stack([2 * u / (columns + 2) - 1, 2 * v / rows - 1], dim=-1).flatten(0, 1)[None]
    colours = torch.nn.functional.grid_sample(texture, grid, padding_mode="border", align_corners=False)
    return colours[0].permute(1, 2, 0).reshape(rays.shape)


@dataclass(frozen=True, eq=False)
class InstanceSlots:
    """Which actors are told apart. Slot 0 is what has no number: background, sky, actors of instance 0.

    numbers  [slots] int32, numbers[0] = 0
    slot     [n] int64: slot of every Gaussian from row `first` of the buffer on
    """

    numbers: Tensor
    slot: Tensor
    first: int

    @classmethod
    def of(cls, instances: Sequence[int], nodes: Tensor, first: int) -> InstanceSlots:
        """`instances` [M] of the actors, `nodes` [n] the actor of every row. ValueError outside 0..65535."""
        every = np.array([0, *instances], np.int64)
        if every.min() < 0 or every.max() > np.iinfo(np.uint16).max:
            raise ValueError(f"actor instances: expected 0..65535, got {every.min()}..{every.max()}")
        numbers, slots = np.unique(every, return_inverse=True)
        slot_of_node = on_device(slots[1:].astype(np.int64), nodes.device)
        return cls(on_device(numbers.astype(np.int32), nodes.device), slot_of_node[nodes], first)

    def of_rows(self, rows: Tensor) -> Tensor:
        """Slots [k] int64 of buffer rows [k]."""
        if len(self.slot) == 0:
            return torch.zeros_like(rows)
        return torch.where(rows >= self.first, self.slot[(rows - self.first).clamp_min(0)], 0)


def instance_images(rasterize_to_pixels: Callable[..., Any], meta: Mapping[str, Any], slots: InstanceSlots) -> Tensor:
    """[C, H, W] int32: the number of the actor that outweighs each other one and all without a number, else 0.

    `meta` is what gsplat.rasterization returned with packed=True: the Gaussians of all cameras in one list,
    sorted by camera, and the tiles' lists of them. They are composited again with one channel per actor.
    """
    offsets, camera_ids = meta["isect_offsets"], meta["camera_ids"]
    cameras = len(offsets)
    row_bounds = torch.searchsorted(camera_ids, torch.arange(cameras + 1, device=camera_ids.device)).tolist()
    list_bounds = [*offsets[:, 0, 0].tolist(), len(meta["flatten_ids"])]
    images = []
    for camera in range(cameras):
        rows = slice(row_bounds[camera], row_bounds[camera + 1])
        entries = slice(list_bounds[camera], list_bounds[camera + 1])
        row_slots = slots.of_rows(meta["gaussian_ids"][rows])

        composited = partial(
            rasterize_to_pixels,
            meta["means2d"][rows],
            meta["conics"][rows],
            opacities=meta["opacities"][rows],
            image_width=meta["width"],
            image_height=meta["height"],
            tile_size=meta["tile_size"],
            isect_offsets=offsets[camera : camera + 1] - entries.start,
            flatten_ids=meta["flatten_ids"][entries] - rows.start,
            packed=True,
        )
        slot = _heaviest_slot(composited, row_slots, (meta["height"], meta["width"]))
        images.append(slots.numbers[slot])
    return torch.stack(images)


def _heaviest_slot(composited: Callable[..., Any], row_slots: Tensor, size: tuple[int, int]) -> Tensor:
    """[H, W] int64: the slot with strictly the largest accumulated weight, 0 where it is slot 0 or two are equal.

    `composited(colors=[rows, k])` gives [1, H, W, k] first. With the sky the weights of a pixel sum to 1, so slot
    0 has what the others leave.
    """
    present = torch.unique(row_slots[row_slots > 0])
    best = torch.zeros(size, device=row_slots.device)
    second, total = torch.zeros_like(best), torch.zeros_like(best)
    winner = torch.zeros(size, dtype=torch.int64, device=row_slots.device)
    for begin in range(0, len(present), INSTANCE_CHANNELS):
        chunk = present[begin : begin + INSTANCE_CHANNELS]
        weight = composited(colors=(row_slots[:, None] == chunk).float())[0][0]
        total += weight.sum(-1)
        challenger, index = weight.max(-1)
        runner_up = weight.scatter(-1, index[..., None], 0.0).amax(-1)
        second = torch.maximum(torch.minimum(best, challenger), torch.maximum(second, runner_up))
        winner = torch.where(challenger > best, chunk[index], winner)
        best = torch.maximum(best, challenger)
    return torch.where(best > torch.maximum(second, 1.0 - total), winner, 0)
