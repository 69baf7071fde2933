"""NeuroNCAP score: 5 without a collision, else 4 (1 - v_i / v_r), not below 0. Source: NeuroNCAP (ECCV 2024), its code.

Frames of the original are 0.5 s; here a collision is looked for at every clock tick, with the box of the scenario's
vehicle (`neuroncap` is theirs). Pedestrians do not count, as there.
"""

from __future__ import annotations

import math

import numpy as np

from r3d2_ros.closed_loop.scores.collisions import Contact, first_contact
from r3d2_ros.closed_loop.scores.data import RunData, Score
from r3d2_ros.closed_loop.scores.track import SPEED, YAW, ActorTrack, Z
from r3d2_ros.geometry import Array

NOT_COUNTED = ("pedestrian",)
STEP_S = 0.5
REFERENCE_FRAME = 8
"""The reference speed is taken 4 s after the start."""


def neuroncap(data: RunData, *, compat: bool = True) -> Score:
    """The score, with impact and reference speed in `parts`.

    compat  True: the reference velocity is that of the last 0.5 s of the reference, as in the published code, whose
            condition is the wrong way round; False: that of the 0.5 s after 4 s, where the reference is long enough
    """
    contact = first_contact(data, lambda actor: actor.category not in NOT_COUNTED)
    if contact is None:
        return Score(5.0, parts={"collision": False})
    target = data.target
    if target is not None and (target.edited or target.planned is None):
        why = "it was changed from outside" if target.edited else "it depends on what the ego does"
        what = f"the trajectory of '{target.id}' without the ego: {why}"
        return Score(None, (what,), {"collision": True})
    reference = reference_velocity(data, compat=compat)
    if reference is None:
        return Score(None, ("a reference of more than 4 s, which the published code takes for granted",))
    v_r = float(np.linalg.norm(reference - target_velocity(target)))
    v_i = impact_speed(data, contact)
    value = 4.0 * max(0.0, 1.0 - v_i / v_r) if v_r > 0 else 0.0
    parts = {
        "collision": True,
        "with": contact.actor.id,
        "t_s": float(data.t_s[contact.tick]),
        "impact_speed_mps": v_i,
        "reference_speed_mps": v_r,
    }
    return Score(value, parts=parts)


def reference_velocity(data: RunData, *, compat: bool) -> Array | None:
    """Velocity [2] of the ego on its reference; None where the published code would fail."""
    duration_s = float(data.header["configuration"]["scenario"]["end"]["duration_s"])
    times = np.arange(0.0, duration_s + 1e-9, STEP_S)
    poses = np.array([data.reference.line.at(data.reference.s_at(float(t)))[:2] for t in times])
    n, f = len(poses), REFERENCE_FRAME
    if compat:
        return (poses[-1] - poses[-2]) / STEP_S if f + 1 <= n else None
    k = f if f + 1 < n else n - 2
    return (poses[k + 1] - poses[k]) / STEP_S if n >= 2 else None


def target_velocity(target: ActorTrack | None) -> Array:
    """Velocity [2] of the target 4 s after the start; zero without one."""
    if target is None:
        return np.zeros(2)
    assert target.planned is not None
    k = min(REFERENCE_FRAME, len(target.planned) - 2)
    return (target.planned[k + 1, :2] - target.planned[k, :2]) / STEP_S


def _velocity_of(actor: ActorTrack, before: int, after: int, seconds: float) -> Array:
    """Velocity [3] from its places at two ticks; where it was put to the second one, from its speed there."""
    if after in actor.jumps or not (actor.there(before) and actor.there(after)):
        k = after if actor.there(after) else before
        yaw, speed = float(actor.rows[k, YAW]), float(actor.rows[k, SPEED])
        return np.array([speed * math.cos(yaw), speed * math.sin(yaw), 0.0])
    return (actor.rows[after, :3] - actor.rows[before, :3]) / seconds


def impact_speed(data: RunData, contact: Contact) -> float:
    """Speed of the ego against the actor when they first touch, in space."""
    k = contact.tick
    before, after = (k - 1, k) if k > 0 else (0, min(1, len(data.t_s) - 1))
    seconds = max(float(data.t_s[after] - data.t_s[before]), 1e-9)
    actor = _velocity_of(contact.actor, before, after, seconds)
    climb = float(data.ego[after, Z] - data.ego[before, Z]) / seconds
    speed = float(data.ego[k, SPEED])
    level = math.sqrt(max(speed**2 - climb**2, 0.0))
    yaw = float(data.ego[k, YAW])
    ego = np.array([level * math.cos(yaw), level * math.sin(yaw), climb])
    return float(np.linalg.norm(ego - actor))
