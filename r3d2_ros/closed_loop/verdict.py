"""Whether a run passed: its figures against the scenario's criteria, and whether its pictures can be trusted at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from r3d2_ros.closed_loop.scenario import Criteria
from r3d2_ros.closed_loop.scores.data import Score
from r3d2_ros.closed_loop.scores.driving import Comfort, OffPath

Status = Literal["passed", "failed", "invalid", "error"]


@dataclass(frozen=True)
class Figures:
    """What criteria are asked about. Infinity: never near anybody, never on a collision course.

    note        what to know about the collision
    beside      how far it was from the reference path where that ended the run
    off_road_s  when the stack left the road; None: where its edges are is not known
    """

    collision_with: str = ""
    note: str = ""
    beside: str = ""
    off_road_s: float | None = math.inf
    neuroncap: Score | None = None
    hd: Score | None = None
    alpasim: Score | None = None
    distance_m: float = math.inf
    ttc_s: float = math.inf
    progress: float = 0.0
    comfort: Comfort | None = None
    off_path: OffPath | None = None
    actors: bool = False


@dataclass(frozen=True)
class Verdict:
    """error: the infrastructure failed. invalid: too far from what was captured. Each with its reasons."""

    status: Status
    reasons: tuple[str, ...] = ()


def verdict(figures: Figures, criteria: Criteria, *, max_share: float, misses: int, broken: str = "") -> Verdict:
    """The verdict. A criterion whose figure is missing fails, and says what is missing."""
    if broken:
        return Verdict("error", (broken,))
    reasons = tuple(_failures(figures, criteria, misses))
    off = figures.off_path
    if off is not None and off.share is not None and off.share > max_share:
        text = f"{off.share:.0%} of the frame sets lie beyond the limits of the capture path, {max_share:.0%} may"
        return Verdict("invalid", (f"{text} (up to {off.max_m:.2f} m, {off.max_deg:.1f} degrees)", *reasons))
    return Verdict("failed" if reasons else "passed", reasons)


def _failures(figures: Figures, criteria: Criteria, misses: int) -> list[str]:
    comfort = figures.comfort or Comfort(0.0, 0.0, 0.0, 0.0, 0.0)
    failures = []
    if criteria.no_collision and figures.collision_with:
        failures.append(f"collision with {figures.collision_with}")
    if criteria.on_road and (off_road := _off_road(figures)):
        failures.append(f"on_road: {off_road}")
    for name, limit, score in (
        ("neuroncap_min", criteria.neuroncap_min, figures.neuroncap),
        ("hd_score_min", criteria.hd_score_min, figures.hd),
        ("alpasim_min", criteria.alpasim_min, figures.alpasim),
    ):
        if limit is None:
            continue
        if score is None or score.value is None:
            missing = "; ".join(score.missing) if score is not None else "the score"
            failures.append(f"{name}: expected at least {limit:g}, and this is missing for it: {missing}")
        elif score.value < limit:
            failures.append(f"{name}: expected at least {limit:g}, got {score.value:.3f}")
    least = (
        ("ttc_min_s", criteria.ttc_min_s, figures.ttc_s),
        ("distance_min_m", criteria.distance_min_m, figures.distance_m),
        ("progress_min", criteria.progress_min, figures.progress),
    )
    most = (
        ("deceleration_max_mps2", criteria.deceleration_max_mps2, comfort.deceleration_mps2),
        ("jerk_max_mps3", criteria.jerk_max_mps3, comfort.jerk_mps3),
        ("misses_max", criteria.misses_max, float(misses)),
    )
    failures += [
        f"{name}: expected at least {limit:g}, got {got:.3f}" for name, limit, got in least if _is_below(got, limit)
    ]
    failures += [
        f"{name}: expected at most {limit:g}, got {got:.3f}" for name, limit, got in most if _is_below(limit, got)
    ]
    return failures


def _off_road(figures: Figures) -> str:
    if figures.off_road_s is None:
        return figures.beside or "this is missing for it: a lane map with edges of the road (scene.yaml: lane_map)"
    return f"off the road at t = {figures.off_road_s:.2f} s" if math.isfinite(figures.off_road_s) else figures.beside


def _is_below(low: float | None, high: float | None) -> bool:
    return low is not None and high is not None and low < high
