"""The first record of a log: what was run with what, and everything that figures need beside the ticks."""

from __future__ import annotations

from typing import Any

from r3d2_ros.closed_loop.motions import Timed
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.run_log import FORMAT
from r3d2_ros.closed_loop.runs import configuration_hash, described
from r3d2_ros.closed_loop.traffic import PlannedActor
from r3d2_ros.versions import versions

PLANNED_STEP_S = 0.5
"""Planned trajectories are kept in the step of the scores that use them."""


def header(plan: RunPlan, *, controller: str, renderer: str) -> dict[str, Any]:
    """Values of the record `header`. controller: what drives; renderer: what makes the pictures."""
    spec, reference = plan.spec, plan.reference
    return {
        "format": FORMAT,
        **described(spec),
        "scenario": spec.scenario.name,
        "type": spec.scenario.type,
        "description": spec.scenario.description,
        "seed": spec.seed,
        "controller": controller,
        "renderer": renderer,
        "configuration_hash": configuration_hash(spec),
        "versions": versions("numpy", "scipy", "numba", "gsplat", "torch"),
        "vehicle": {
            "length_m": plan.vehicle.length_m,
            "width_m": plan.vehicle.width_m,
            "centre_m": plan.vehicle.centre_m,
        },
        "reference": {
            "path": reference.line.points.tolist(),
            "times_s": reference.times_s.tolist(),
            "s_m": reference.s_m.tolist(),
        },
        "actors": {actor.id: _actor(plan, k) for k, actor in enumerate(plan.traffic.actors)},
    }


def _actor(plan: RunPlan, k: int) -> dict[str, Any]:
    actor = plan.traffic.actors[k]
    steps = int(plan.spec.scenario.end.duration_s / PLANNED_STEP_S) + 2
    poses = [plan.traffic.planned(actor, i * PLANNED_STEP_S) for i in range(steps)]
    planned = [[*T.translation.tolist(), T.yaw_rad] for T in poses if T is not None]
    return {
        "asset": actor.asset,
        "category": actor.category,
        "size_m": list(actor.size_m),
        "target": actor.target,
        "planned": planned or None,
        "times_s": _times(actor),
    }


def _times(actor: PlannedActor) -> list[float] | None:
    """First and last time of a path with times, before and after which it stands; None when they depend on the ego."""
    if not isinstance(actor.motion, Timed) or actor.starts_s is None:
        return None
    return [actor.starts_s + float(actor.motion.times_s[k]) for k in (0, -1)]
