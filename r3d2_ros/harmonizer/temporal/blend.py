"""Temporal harmonizing: the last residual, carried along with what each pixel shows, is blended with the new one.

A residual is what the network changed: its output minus the render. A one-step diffusion model flickers, because each
frame is harmonized on its own; averaging residuals over time takes the flicker out, provided that every surface point
is averaged with itself:

    pixel --depth--> surface point --motion since the last frame--> pixel in the last frame --> its residual

The motion is the camera's for the static scene, and the actor's as well for what belongs to an actor. Around an actor
that moves, what the network changed on the ground, its shadow, moves with the actor, though the ground does not: there
both motions are tried, and the one whose residual fits the new one better counts. Where nothing can be carried (out of
view, hidden, another surface, an actor that has just appeared), the pixel's new residual stands.

The history is a value: `blend` takes one and returns the next. It holds each camera's own residuals. What the cameras
of one frame see together is brought together after that (see `cameras`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from r3d2_ros.harmonizer.compositing.region import ActorBox
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.harmonizer.temporal.cameras import bring_together
from r3d2_ros.harmonizer.temporal.guard import spread, trusted
from r3d2_ros.harmonizer.temporal.motion import CameraHistory, carried_over
from r3d2_ros.harmonizer.temporal.patch import CameraResidual, Patch, block_px_of, patch_of, whole_picture
from r3d2_ros.harmonizer.temporal.reprojection import LookUp


@dataclass(frozen=True, eq=False)
class TemporalHistory:
    """What is carried from one frame to the next: of each camera, by its name."""

    cameras: Mapping[str, CameraHistory] = field(default_factory=dict)


def blend(
    cameras: Sequence[CameraResidual],
    *,
    actors: Sequence[ActorBox],
    stamp_ns: int,
    history: TemporalHistory | None,
    config: HarmonizerConfig,
) -> tuple[list[Tensor | None], TemporalHistory]:
    """The residuals [3, H, W] of the frame at `stamp_ns`, blended with what is carried over, and the next history.

    cameras  of this frame; a camera that is not among them keeps its history, one without a residual loses it
    history  what the last call returned; None at the beginning

    A residual is exactly 0 where its mask is 0. A camera begins anew after more than `temporal.max_gap_s`, when time
    has not advanced since its last frame, and when its size has changed.
    """
    limit_ns = config.temporal.max_gap_s * 1e9
    kept = {} if history is None else dict(history.cameras)
    kept = {name: old for name, old in kept.items() if 0 <= stamp_ns - old.stamp_ns <= limit_ns}
    patches: dict[str, Patch] = {}
    by_id = {actor.id: actor for actor in actors}
    for camera in cameras:
        old, patch = kept.pop(camera.name, None), patch_of(camera)
        if patch is None:
            continue
        if old is not None and _continues(old, camera, stamp_ns):
            residual = _blended(patch, camera, actors, stamp_ns=stamp_ns, history=old, config=config)
            patch = replace(patch, residual=residual)
        kept[camera.name] = CameraHistory(stamp_ns, camera.view, by_id, LookUp.of(patch, patch.residual))
        patches[camera.name] = patch
    shown = [camera for camera in cameras if camera.name in patches]
    residuals = {name: patch.residual for name, patch in patches.items()}
    if config.temporal.cross_camera:
        together = bring_together(
            list(patches.values()),
            [kept[camera.name].last for camera in shown],
            [camera.view for camera in shown],
            config.temporal,
        )
        residuals = dict(zip(patches, together, strict=True))
    wholes = {camera.name: whole_picture(camera, patches[camera.name], residuals[camera.name]) for camera in shown}
    return [wholes.get(camera.name) for camera in cameras], TemporalHistory(kept)


def _continues(old: CameraHistory, camera: CameraResidual, stamp_ns: int) -> bool:
    size, last_size = ((view.height_px, view.width_px) for view in (camera.view, old.view))
    return stamp_ns > old.stamp_ns and size == last_size


def _blended(
    patch: Patch,
    camera: CameraResidual,
    actors: Sequence[ActorBox],
    *,
    stamp_ns: int,
    history: CameraHistory,
    config: HarmonizerConfig,
) -> Tensor:
    """The patch's residual [3, h, w] with the share `temporal.blend` of the carried one where that can be trusted."""
    carried = carried_over(patch, camera.view, actors, stamp_ns=stamp_ns, history=history, config=config)
    block_px = block_px_of(camera.view.height_px)
    sound = trusted(carried, inside=patch.inside, tolerance=config.temporal.tolerance, block_px=block_px)
    beside = spread(sound, inside=patch.inside, block_px=block_px)
    return patch.residual + config.temporal.blend * (sound[:3] + beside[:3])
