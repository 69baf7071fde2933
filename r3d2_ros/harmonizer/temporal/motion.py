"""Carry a residual from a camera's last frame to the present one, along the motions of camera and actors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from r3d2_ros.cameras import CameraView
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.harmonizer.region import BOX_CORNERS, ActorBox
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RegionConfig
from r3d2_ros.harmonizer.temporal.guard import Carried
from r3d2_ros.harmonizer.temporal.patch import NOTHING, Patch, Window
from r3d2_ros.harmonizer.temporal.reprojection import (
    LookUp,
    PixelMotion,
    Positions,
    bounds_in_image,
    look_up,
    positions,
)

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
    """An actor that has moved since the last frame: where it is now, and where its pixels have come from."""

    actor: ActorBox
    T_camera_actor: Rigid
    motion: PixelMotion


def carried_over(
    patch: Patch,
    view: CameraView,
    actors: Sequence[ActorBox],
    *,
    stamp_ns: int,
    history: CameraHistory,
    config: HarmonizerConfig,
) -> list[Carried]:
    """The last residual, carried to the patch of the present frame.

    The first follows what each pixel shows. There is a second one when an actor has moved: in it, the ground around
    such an actor follows the actor, as its shadow does.
    """
    tolerance = config.temporal.depth_tolerance
    followed = _followed(actors, history, stamp_ns, config.temporal.max_speed_mps)
    identity = _last_identity(patch.identity, actors, followed)
    T_last_now = history.view.T_camera_world @ view.T_camera_world.inverse()
    camera_motion = PixelMotion.between(T_last_now, src=view, dst=history.view)
    at = positions(patch.window, patch.inverse_depth, camera_motion)
    movers = [mover for now, last in followed if (mover := _mover(now, last, view, history.view)) is not None]
    for mover in movers:
        _follow_surface(at, mover, patch, view)
    carried = [_difference(look_up(history.last, at, identity, tolerance), patch.residual)]
    shadows = [(mover, part) for mover in movers if not (part := _shadow_window(mover, patch, view, config)).is_empty]
    if not shadows:
        return carried
    around = _union([part for _, part in shadows])
    at = at.crop(around.seen_from(patch.window))
    for mover, part in shadows:
        _follow_shadow(at, around, mover, part, patch, view, config.region)
    window = around.seen_from(patch.window).slices
    found = look_up(history.last, at, identity[window], tolerance)
    difference, weight = carried[0].difference.clone(), carried[0].weight.clone()
    other = _difference(found, patch.residual[:, *window])
    difference[:, *window], weight[window] = other.difference, other.weight
    return [*carried, Carried(difference, weight)]


def _followed(
    actors: Sequence[ActorBox], history: CameraHistory, stamp_ns: int, max_speed_mps: float
) -> list[tuple[ActorBox, ActorBox]]:
    """Actors that were there in the last frame and have neither jumped nor changed their size, with what they were."""
    reach_m = max_speed_mps * (stamp_ns - history.stamp_ns) * 1e-9

    def goes_on(now: ActorBox, last: ActorBox) -> bool:
        moved_m = np.linalg.norm(now.T_world_actor.translation - last.T_world_actor.translation)
        return now.size_m == last.size_m and bool(moved_m <= reach_m)

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
    return torch.from_numpy(table).to(identity.device)[(identity + 1).clamp(0, most + 2).to(torch.int64)]


def _mover(now: ActorBox, last: ActorBox, view: CameraView, last_view: CameraView) -> _Mover | None:
    moved = now.T_world_actor.apply(now.corners) - last.T_world_actor.apply(last.corners)
    if np.linalg.norm(moved, axis=1).max() <= MOVED_M:
        return None
    # Both factors are small numbers, wherever in the world the scene lies.
    T_camera_actor = view.T_camera_world @ now.T_world_actor
    T_last_now = (last_view.T_camera_world @ last.T_world_actor) @ T_camera_actor.inverse()
    return _Mover(now, T_camera_actor, PixelMotion.between(T_last_now, src=view, dst=last_view))


def _follow_surface(at: Positions, mover: _Mover, patch: Patch, view: CameraView) -> None:
    """The pixels that show the actor come from where the actor was."""
    low, high = np.array([-BLUR_M] * 3), np.array([BLUR_M] * 3)
    corners = mover.actor.corners
    box = _box_corners(np.array([corners.min(axis=0) + low, corners.max(axis=0) + high]))
    window = bounds_in_image(mover.T_camera_actor.apply(box), view).cut(patch.window)
    if window.is_empty:
        return
    part = window.seen_from(patch.window)
    its_own = patch.identity[part.slices] == mover.actor.instance
    at.put(part, its_own, positions(window, patch.inverse_depth[part.slices], mover.motion))


def _shadow_window(mover: _Mover, patch: Patch, view: CameraView, config: HarmonizerConfig) -> Window:
    box = _box_corners(mover.actor.shadow_bounds(config.region))
    return bounds_in_image(mover.T_camera_actor.apply(box), view).cut(patch.window)


def _follow_shadow(
    at: Positions, around: Window, mover: _Mover, window: Window, patch: Patch, view: CameraView, region: RegionConfig
) -> None:
    """The background on which the actor's shadow can fall comes from where the shadow was; `at` is over `around`."""
    part = window.seen_from(patch.window).slices
    inverse_depth = patch.inverse_depth[part]
    where = patch.identity[part] == 0
    low, high = mover.actor.shadow_bounds(region)
    T_actor_camera = mover.T_camera_actor.inverse()
    rays = T_actor_camera.rotation @ np.linalg.inv(view.K)
    u = torch.arange(window.left, window.right, device=where.device, dtype=torch.float32) + 0.5
    v = torch.arange(window.top, window.bottom, device=where.device, dtype=torch.float32)[:, None] + 0.5
    for axis in range(3):
        # The point in the actor's frame is rays @ (u, v, 1) * z + origin; everything is divided by z.
        a, b, c = (float(x) for x in rays[axis])
        origin, ray = float(T_actor_camera.translation[axis]), (a * u) + (b * v + c)
        where &= ray >= (float(low[axis]) - origin) * inverse_depth
        where &= ray <= (float(high[axis]) - origin) * inverse_depth
    at.put(window.seen_from(around), where, positions(window, inverse_depth, mover.motion))


def _difference(found: tuple[Tensor, Tensor], residual: Tensor) -> Carried:
    values, weight = found
    return Carried(values - weight * residual, weight)


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
