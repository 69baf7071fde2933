"""Carry a residual from a camera's last frame to the present one, along the motions of camera and actors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from r3d2_ros.cameras import CameraView
from r3d2_ros.geometry import Array
from r3d2_ros.harmonizer.compositing.region import BOX_CORNERS, ActorBox
from r3d2_ros.harmonizer.settings import HarmonizerConfig, TemporalConfig
from r3d2_ros.harmonizer.temporal.patch import NOTHING, Patch
from r3d2_ros.harmonizer.temporal.reprojection import (
    LookUp,
    PixelMotion,
    bounds_in_image,
    chunks,
    look_up,
    positions,
)
from r3d2_ros.harmonizer.windows import Window
from r3d2_ros.rendering.cuda_copies import to_device

MOVED_M = 1e-3
"""An actor of which no corner has moved further than this since the last frame stands still."""

BLUR_M = 0.3
"""An actor's Gaussians reach this far beyond its box."""


@dataclass(frozen=True, eq=False)
class CameraHistory:
    """A camera's last residual after blending, ready to be looked up: when, from where and with which actors."""

    stamp_ns: int
    view: CameraView
    actors: Mapping[str, ActorBox]
    last: LookUp


@dataclass(frozen=True, eq=False)
class _Mover:
    """An actor that has moved since the last frame.

    motion           where its pixels have come from
    surface, shadow  where in the patch the actor and its shadow can be, counted from the patch's corner
    reach            [3, 5]: for each axis of the actor's frame the factors of u, of v and of 1 in a pixel's ray, and
                     the bounds of the shadow; all of them relative to the camera's position
    """

    actor: ActorBox
    motion: PixelMotion
    surface: Window
    shadow: Window
    reach: Array


@dataclass(frozen=True, eq=False)
class _Table:
    """What pixels are moved by, on their device: column 0 is the camera alone, column k the k-th mover.

    motions  [12, 1 + movers] of `PixelMotion.factors`
    reaches  [15, 1 + movers] of the movers' `reach`, by column
    """

    motions: Tensor
    reaches: Tensor

    @classmethod
    def of(cls, camera: PixelMotion, movers: Sequence[_Mover], device: torch.device) -> _Table:
        motions = np.stack([camera.factors(), *(mover.motion.factors() for mover in movers)], axis=1)
        reaches = np.stack([np.zeros(15), *(mover.reach.T.ravel() for mover in movers)], axis=1)
        both = to_device(np.concatenate([motions, reaches]).astype(np.float32), device)  # one copy
        return cls(both[:12], both[12:])


def carried_over(
    patch: Patch,
    view: CameraView,
    actors: Sequence[ActorBox],
    *,
    stamp_ns: int,
    history: CameraHistory,
    config: HarmonizerConfig,
) -> Tensor:
    """The last residual, carried to the patch of the present frame, [K, 4, h, w] as `guard.trusted` takes it.

    The first follows what each pixel shows. There is a second one when an actor has moved: in it, the ground around
    such an actor follows the actor, as its shadow does.
    """
    tolerance = config.temporal.depth_tolerance
    followed = _followed(actors, history, stamp_ns, config.temporal)
    identity = _last_identity(patch.identity, actors, followed)
    T_last_now = history.view.T_camera_world @ view.T_camera_world.inverse()
    camera_motion = PixelMotion.between(T_last_now, src=view, dst=history.view)
    movers = [
        mover for now, last in followed if (mover := _mover(now, last, patch, view, history.view, config)) is not None
    ]
    table = _Table.of(camera_motion, movers, identity.device)
    at = positions(patch.pixels, patch.inverse_depth, table.motions[:, 0])
    if not movers:
        return _differences(look_up(history.last, at, identity, tolerance)[None], patch)
    around = _union([window for mover in movers for window in (mover.surface, mover.shadow) if not window.is_empty])
    part = around.slices
    surfaces, *shadows = _moved(patch, around, _followers(movers, patch, around, table.reaches), table.motions)
    at[:, *part] = surfaces
    if not shadows:
        return _differences(look_up(history.last, at, identity, tolerance)[None], patch)
    # Both are looked up at once: on a GPU half as many kernels.
    both = torch.cat([at.flatten(1), shadows[0].flatten(1)], dim=1)
    identities = torch.cat([identity.flatten(), identity[part].flatten()])
    first, second = look_up(history.last, both, identities, tolerance).tensor_split([identity.numel()], dim=1)
    found = first.unflatten(1, identity.shape).repeat(2, 1, 1, 1)
    found[1][:, *part] = second.unflatten(1, around.shape)
    return _differences(found, patch)


def _differences(found: Tensor, patch: Patch) -> Tensor:
    """[K, 4, h, w] of what was found, as differences from the patch's residual; in place."""
    found[:, :3].addcmul_(found[:, 3:], patch.residual, value=-1.0)
    return found


def _followed(
    actors: Sequence[ActorBox], history: CameraHistory, stamp_ns: int, config: TemporalConfig
) -> list[tuple[ActorBox, ActorBox]]:
    """Actors that were there in the last frame and have neither jumped nor grown, with what they were.

    A tracker states a little another size each time, which is less than another depth.
    """
    reach_m = config.max_speed_mps * (stamp_ns - history.stamp_ns) * 1e-9

    def goes_on(now: ActorBox, last: ActorBox) -> bool:
        moved_m = np.linalg.norm(now.T_world_actor.translation - last.T_world_actor.translation)
        same_size = np.allclose(now.size_m, last.size_m, rtol=config.depth_tolerance, atol=0)
        return same_size and bool(moved_m <= reach_m)

    pairs = [(now, history.actors[now.id]) for now in actors if now.id in history.actors]
    return [(now, last) for now, last in pairs if goes_on(now, last)]


def _last_identity(
    identity: Tensor, actors: Sequence[ActorBox], followed: Sequence[tuple[ActorBox, ActorBox]]
) -> Tensor:
    """The identities [h, w] of the present frame in the numbers of the last one; NOTHING for what was not there."""
    if len(followed) == len(actors) and all(now.instance == last.instance for now, last in followed):
        return identity
    most = max((actor.instance for actor in actors), default=0)
    table = np.full(most + 3, NOTHING, np.int32)
    table[1] = 0
    for now, last in followed:
        table[now.instance + 1] = last.instance
    # Numbers that belong to no actor of the frame end up in the last entry.
    entries = (identity + 1).clamp_(0, most + 2)
    return to_device(table, identity.device).index_select(0, entries.flatten()).view_as(identity)


def _mover(
    now: ActorBox, last: ActorBox, patch: Patch, view: CameraView, last_view: CameraView, config: HarmonizerConfig
) -> _Mover | None:
    """None for an actor that stands still or has nothing to do with the patch."""
    moved = now.T_world_actor.apply(now.corners) - last.T_world_actor.apply(last.corners)
    if np.linalg.norm(moved, axis=1).max() <= MOVED_M:
        return None
    # Both factors are small numbers, wherever in the world the scene lies.
    T_camera_actor = view.T_camera_world @ now.T_world_actor
    T_last_now = (last_view.T_camera_world @ last.T_world_actor) @ T_camera_actor.inverse()

    def window(bounds: Array) -> Window:
        seen = bounds_in_image(T_camera_actor.apply(_box_corners(bounds)), view)
        return seen.cut(patch.window).seen_from(patch.window)

    shadow_bounds = now.shadow_bounds(config.region)
    blur = np.array([[-BLUR_M], [BLUR_M]])
    surface = window(np.stack([now.corners.min(axis=0), now.corners.max(axis=0)]) + blur)
    shadow = window(shadow_bounds)
    if surface.is_empty and shadow.is_empty:
        return None
    T_actor_camera = T_camera_actor.inverse()
    rays = T_actor_camera.rotation @ np.linalg.inv(view.K)
    reach = np.concatenate([rays, (shadow_bounds - T_actor_camera.translation).T], axis=1)
    return _Mover(now, PixelMotion.between(T_last_now, src=view, dst=last_view), surface, shadow, reach)


def _followers(movers: Sequence[_Mover], patch: Patch, around: Window, reaches: Tensor) -> Tensor:
    """Which mover each pixel follows, counted from 1, 0 for none: [K, h, w] int32 over the window `around`.

    The first is for surfaces: the pixels that show an actor come from where the actor was. The second, where any shadow
    can be, has the background as well on which an actor's shadow can fall: it comes from where the shadow was.

    reaches  [15, 1 + movers] of the movers' `reach`, by column
    """
    layers = 1 if all(mover.shadow.is_empty for mover in movers) else 2
    followers = patch.identity.new_zeros(layers, *around.shape)
    for number, mover in enumerate(movers, start=1):
        if not mover.surface.is_empty:
            its_own = patch.identity[mover.surface.slices] == mover.actor.instance
            followers[:, *mover.surface.seen_from(around).slices].masked_fill_(its_own, number)
    for number, mover in enumerate(movers, start=1):
        if not mover.shadow.is_empty:
            where = _in_reach(patch, mover.shadow, reaches[:, number])
            followers[1, *mover.shadow.seen_from(around).slices].masked_fill_(where, number)
    return followers


def _moved(patch: Patch, around: Window, followers: Tensor, motions: Tensor) -> Tensor:
    """`positions` of the window's pixels by the motion of what they follow: [K, 3, h, w] for `followers` [K, h, w]."""
    pixels, inverse_depth = patch.pixels[:, None, *around.slices], patch.inverse_depth[around.slices]
    moved = patch.residual.new_empty(3, *followers.shape)
    for rows in chunks(around.shape[0], followers.device, each=followers[:, 0].numel()):
        motion = motions.index_select(1, followers[:, rows].flatten()).unflatten(1, followers[:, rows].shape)
        moved[:, :, rows] = positions(pixels[:, :, rows], inverse_depth[rows], motion)
    return moved.movedim(1, 0)


def _in_reach(patch: Patch, part: Window, reach: Tensor) -> Tensor:
    """Where in a part of the patch the background lies within `reach` [15]."""
    rows, columns = part.slices
    u, v = patch.pixels[0, :1, columns], patch.pixels[1, rows, :1]
    inverse_depth = patch.inverse_depth[rows, columns]
    # The point in the actor's frame is ray * z + the camera's position; everything is divided by z.
    of_u, of_v, of_1, low, high = reach.view(5, 3, 1, 1)
    ray = of_u * u + (of_v * v + of_1)
    inside = (ray >= low * inverse_depth) & (ray <= high * inverse_depth)
    return inside[0] & inside[1] & inside[2] & (patch.identity[rows, columns] == 0)


def _box_corners(bounds: Array) -> Array:
    """[8, 3] of a box's lower and upper corner [2, 3]."""
    return (BOX_CORNERS + (0.5, 0.5, 0.0)) * (bounds[1] - bounds[0]) + bounds[0]


def _union(windows: Sequence[Window]) -> Window:
    return Window(
        min(w.top for w in windows),
        min(w.left for w in windows),
        max(w.bottom for w in windows),
        max(w.right for w in windows),
    )
