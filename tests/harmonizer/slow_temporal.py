"""The temporal mode's steps in a form that is easy to read: one actor, one motion and one tap at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from r3d2_ros.cameras import CameraView
from r3d2_ros.harmonizer.compositing.region import ActorBox
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.harmonizer.temporal.motion import BLUR_M, CameraHistory
from r3d2_ros.harmonizer.temporal.patch import Patch
from r3d2_ros.harmonizer.temporal.reprojection import LookUp, PixelMotion, bounds_in_image
from r3d2_ros.harmonizer.windows import Window


def positions(window: Window, inverse_depth: Tensor, motion: PixelMotion) -> Tensor:
    """[3, h, w] column, row and inverse depth after `motion` of a window's pixels."""
    u = torch.arange(window.left, window.right, dtype=torch.float32) + 0.5
    v = torch.arange(window.top, window.bottom, dtype=torch.float32)[:, None] + 0.5

    def offset(axis: int) -> Tensor:
        a, b, c = (float(x) for x in motion.turn[axis])
        return (a * u) + (b * v + c) + float(motion.shift[axis]) * inverse_depth

    farther = offset(2)
    scale = 1.0 / (farther + 1.0).clamp(min=1e-3)
    column = u + (offset(0) - u * farther) * scale - 0.5
    row = v + (offset(1) - v * farther) * scale - 0.5
    return torch.stack([torch.where(farther + 1.0 < 1e-3, 1e9, column), row, inverse_depth * scale])


def look_up(picture: LookUp, at: Tensor, identity: Tensor, depth_tolerance: float) -> Tensor:
    """[C + 1, h, w]: sums of weights times values over the four nearest pixels, and of the weights."""
    height, width = picture.window.shape
    column = (at[0] - picture.window.left).clamp(-1.0, float(width))
    row = (at[1] - picture.window.top).clamp(-1.0, float(height))
    right, below = column - column.floor(), row - row.floor()
    index = (row.floor().to(torch.int64) + 1) * (width + 3) + column.floor().to(torch.int64) + 1
    found = torch.zeros(len(picture.values) + 1, *identity.shape)
    for down, vertical in ((0, 1.0 - below), (1, below)):
        for across, horizontal in ((0, 1.0 - right), (1, right)):
            tap = index + down * (width + 3) + across
            there = picture.inverse_depth[tap]
            near = (there - at[2]).abs() <= depth_tolerance * torch.maximum(there, at[2])
            share = vertical * horizontal * (near & (picture.identity[tap] == identity))
            found += share * torch.cat([picture.values[:, tap], torch.ones_like(share)[None]])
    return found


def carried_over(
    patch: Patch, view: CameraView, actors: Sequence[ActorBox], history: CameraHistory, config: HarmonizerConfig
) -> Tensor:
    """[2, 4, h, w] of actors that all have moved, under the numbers that they had."""
    motion = PixelMotion.between(
        history.view.T_camera_world @ view.T_camera_world.inverse(), src=view, dst=history.view
    )
    surfaces = positions(patch.window, patch.inverse_depth, motion)
    shadows = surfaces.clone()
    rows, columns = torch.meshgrid(*(torch.arange(n) for n in patch.window.shape), indexing="ij")
    for actor in actors:
        T_camera_actor = view.T_camera_world @ actor.T_world_actor
        T_last_actor = history.view.T_camera_world @ history.actors[actor.id].T_world_actor
        motion = PixelMotion.between(T_last_actor @ T_camera_actor.inverse(), src=view, dst=history.view)
        moved = positions(patch.window, patch.inverse_depth, motion)
        low, high = actor.corners.min(axis=0) - BLUR_M, actor.corners.max(axis=0) + BLUR_M
        box = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        seen = bounds_in_image(T_camera_actor.apply(box), view).seen_from(patch.window)
        its_own = (rows >= seen.top) & (rows < seen.bottom) & (columns >= seen.left) & (columns < seen.right)
        its_own &= patch.identity == actor.instance
        surfaces, shadows = torch.where(its_own, moved, surfaces), torch.where(its_own, moved, shadows)
    for actor in actors:
        T_camera_actor = view.T_camera_world @ actor.T_world_actor
        T_last_actor = history.view.T_camera_world @ history.actors[actor.id].T_world_actor
        motion = PixelMotion.between(T_last_actor @ T_camera_actor.inverse(), src=view, dst=history.view)
        moved = positions(patch.window, patch.inverse_depth, motion)
        low, high = actor.shadow_bounds(config.region)
        rays = np.linalg.inv(view.K) @ np.concatenate([patch.pixels.flatten(1).numpy(), np.ones((1, rows.numel()))])
        # The sky is far away.
        depth = 1.0 / np.maximum(patch.inverse_depth.flatten().numpy(), 1e-9)
        points = T_camera_actor.inverse().apply((rays * depth).T)
        near = ((points >= low) & (points <= high)).all(axis=1).reshape(rows.shape)
        shadows = torch.where(torch.from_numpy(near) & (patch.identity == 0), moved, shadows)
    tolerance = config.temporal.depth_tolerance
    carried = torch.stack([look_up(history.last, at, patch.identity, tolerance) for at in (surfaces, shadows)])
    carried[:, :3] -= carried[:, 3:] * patch.residual
    return carried


def trusted(carried: Sequence[Tensor], inside: Tensor, tolerance: float, block_px: int) -> Tensor:
    """[4, h, w] of one or two [4, h, w]."""

    def pooled(image: Tensor) -> Tensor:
        blocks = F.avg_pool2d(image[None, None], block_px, ceil_mode=True)
        return F.avg_pool2d(F.pad(blocks, (1, 1, 1, 1)), 3, stride=1)

    def enlarged(blocks: Tensor) -> Tensor:
        return in_pixels(blocks, block_px, inside.shape)[0]

    squares, weights = [pooled((c[:3] ** 2).mean(0)) for c in carried], [pooled(c[3]) for c in carried]
    best, square, weight = carried[0], squares[0], weights[0]
    if len(carried) == 2:
        miss = [s + tolerance**2 * (pooled(inside) - w) + 1e-12 for s, w in zip(squares, weights, strict=True)]
        blocks = miss[0] ** 2 / (miss[0] ** 2 + miss[1] ** 2)
        square, weight = torch.lerp(squares[0], squares[1], blocks), torch.lerp(weights[0], weights[1], blocks)
        best = torch.lerp(carried[0], carried[1], enlarged(blocks))
    trust = enlarged((2.0 - (square / weight.clamp(min=1e-6)).sqrt() / tolerance).clamp(0.0, 1.0))
    return torch.cat([(best[:3] * trust).clamp(-tolerance, tolerance), best[3:] * trust])


def spread(carried: Tensor, inside: Tensor, block_px: int, blocks_far: int) -> Tensor:
    """[4, h, w] of [4, h, w]."""
    size = 2 * blocks_far + 1
    blocks = F.avg_pool2d(carried[None], block_px, ceil_mode=True)
    blocks = F.avg_pool2d(blocks, size, stride=1, padding=blocks_far)
    blocks = torch.cat([blocks[:, :3] / blocks[:, 3:].clamp(min=1e-6), (3.0 * blocks[:, 3:]).clamp(max=1.0)], dim=1)
    beside = in_pixels(blocks, block_px, inside.shape)
    missing = (inside - carried[3]).clamp(min=0.0) * beside[3]
    return torch.cat([missing * beside[:3], missing[None]])


def in_pixels(blocks: Tensor, block_px: int, shape: Sequence[int]) -> Tensor:
    """[C, h, w]: between the middles of four blocks [1, C, rows, columns], their mean weighted by nearness."""
    for axis, size in ((2, shape[0]), (3, shape[1])):
        at = ((torch.arange(size) + 0.5) / block_px - 0.5).clamp(0.0, blocks.shape[axis] - 1.0)
        before, after = at.floor().long(), at.ceil().long()
        nearness = (at - before).view(-1, 1) if axis == 2 else at - before
        blocks = torch.lerp(blocks.index_select(axis, before), blocks.index_select(axis, after), nearness)
    return blocks[0]
